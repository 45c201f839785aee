"""An entity model and a relation model joined into one SavedModel: text to triples.

Dimensions: B batch, M entities of a text, P pairs of entities in the batch, C relations.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tfnlp.runtime.commands import command

if TYPE_CHECKING:
    import tensorflow as tf

    from tfnlp.training.model import TrainedModel


TOGETHER = 64  # pairs classified at a time, so that memory does not grow with their number


REACH = 6  # characters of text for each token that the relation model reads


def join(
    entities: TrainedModel,
    relations: TrainedModel,
    parent: Path,
    minimum: float,
    example: str | None = None,
) -> Path:
    """Write the next version of a SavedModel that finds triples; returns its folder.

    ``serving_default`` takes ``text``, string (B,), and answers as :func:`extractor` says.

    Args:
        entities: a trained ner model.
        relations: a trained relation_extraction model.
        parent: the folder of versions.
        minimum: lowest probability of a relation that is reported.
        example: the model card's, a text of the data; the task's sample if there is none.

    Raises:
        UserError: the folder cannot be written.

    Example::

        join(storage.load(ner_run), storage.load(relation_run), Path("saved_models/facts"), 0.5)
    """
    import tensorflow as tf

    from tfnlp.exporting.warmup import write_warmup
    from tfnlp.exporting.writer import write

    text = tf.TensorSpec([None], tf.string, "text")
    extract = tf.function(extractor(entities, relations, minimum), [text], autograph=False)
    extract.get_concrete_function()  # tokenizers make their resources when first used
    module = tf.Module(name="tfnlp")
    both = (entities, relations)
    module.weights = [weight.value for model in both for weight in model.network.weights]
    module.resources = [thing for model in both for thing in model.context.tokenizer.resources]
    sample = str(entities.task.sample(entities.context.options)[0]["text"])

    def beside(folder: Path) -> None:
        write_warmup(folder, parent.name, [("serving_default", {"text": sample})])
        card = _card(entities, relations, parent.name, example or sample)
        (folder / "README.md").write_text(card, "utf-8")

    return write(parent, module, {"serving_default": extract}, beside)


def extractor(
    entities: TrainedModel, relations: TrainedModel, minimum: float
) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """Return the function that finds triples, in TensorFlow ops.

    It takes texts, string (B,), finds their entities, asks the relation model about every ordered
    pair of them that stands within its reach, and returns ``entities`` as the entity model does
    and ``triples`` int32 (B,), how many, with (B, K) each: ``triples/head``, ``head_type``,
    ``head_start``, ``head_end`` [characters], ``relation``, the same four of ``tail``, and
    ``score``: the relation's probability times both entities' scores.

    Example::

        extract = extractor(entities, relations, minimum=0.5)
        extract(tf.constant(["Marie Curie was born in Warsaw."]))["triples/relation"]
    """
    import tensorflow as tf

    def extract(text: tf.Tensor) -> dict[str, tf.Tensor]:
        task, context = entities.task, entities.context
        features, offsets = task.encode(context, {"text": text})
        outputs = entities.network(features, training=False)
        found = task.decode(context, {"text": text}, outputs, offsets)
        starts, ends = found["entities/start"], found["entities/end"]
        there = tf.sequence_mask(found["entities"], tf.shape(starts)[1])
        gap = tf.maximum(starts[:, :, None] - ends[:, None, :], starts[:, None] - ends[:, :, None])
        pairs = there[:, :, None] & there[:, None, :] & (gap >= 0)
        reach = REACH * relations.context.max_length
        row, head, tail = tf.unstack(tf.where(pairs & (gap < reach)), axis=1)

        def of(name: str, place: tf.Tensor) -> tf.Tensor:
            return tf.gather_nd(found[f"entities/{name}"], tf.stack([row, place], 1))

        sides = {"head": head, "tail": tail}
        marked = _marked(
            tf.gather(text, row),
            *(of(name, place) for place in sides.values() for name in ("start", "end")),
            reach=reach,
        )
        relation, score = _classify(relations, marked)
        told = (relation != relations.context.options.none_label) & (score >= minimum)
        values = {"relation": relation}
        for side, place in sides.items():
            values[side] = of("text", place)
            for name in ("type", "start", "end"):
                values[f"{side}_{name}"] = of(name, place)
            score *= of("score", place)
        values["score"] = score
        row = tf.boolean_mask(row, told)
        rows = tf.shape(text, tf.int64)[0]
        answers = dict(found)
        for name, value in values.items():
            ragged = tf.RaggedTensor.from_value_rowids(tf.boolean_mask(value, told), row, rows)
            answers[f"triples/{name}"] = ragged.to_tensor()
        answers["triples"] = tf.cast(ragged.row_lengths(), tf.int32)
        return answers

    return extract


def _marked(
    texts: tf.Tensor,
    head_start: tf.Tensor,
    head_end: tf.Tensor,
    tail_start: tf.Tensor,
    tail_end: tf.Tensor,
    *,
    reach: int,
) -> tf.Tensor:
    """Mark two arguments in texts, string (P,), and keep what stands within reach [characters]."""
    import tensorflow as tf

    # Marks in the caller's own text would mislead; as many characters keep the offsets.
    clean = tf.strings.regex_replace(texts, r"<(/?e[12])>", r"(\1)")
    head_first = head_start < tail_start
    starts = tf.minimum(head_start, tail_start), tf.maximum(head_start, tail_start)
    ends = tf.minimum(head_end, tail_end), tf.maximum(head_end, tail_end)

    def part(begin: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
        return tf.strings.substr(clean, begin, end - begin, unit="UTF8_CHAR")

    def sign(mark: str, first: bool) -> tf.Tensor:
        one, two = mark.format(1), mark.format(2)
        return tf.where(head_first, one if first else two, two if first else one)

    parts = [
        part(tf.maximum(starts[0] - reach, 0), starts[0]),
        sign("<e{}>", True),
        part(starts[0], ends[0]),
        sign("</e{}>", True),
        part(ends[0], starts[1]),
        sign("<e{}>", False),
        part(starts[1], ends[1]),
        sign("</e{}>", False),
        part(ends[1], ends[1] + reach),
    ]
    return tf.strings.join(parts)


def _classify(relations: TrainedModel, marked: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Ask the relation model about marked texts (P,): relation string (P,), probability (P,)."""
    import tensorflow as tf

    task, context = relations.task, relations.context
    count = tf.shape(marked)[0]
    missing = -count % TOGETHER
    blocks = tf.reshape(tf.pad(marked, [[0, missing]], constant_values=""), [-1, TOGETHER])

    def classify(block: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features, offsets = task.encode(context, {"text": block})
        outputs = relations.network(features, training=False)
        answers = task.decode(context, {"text": block}, outputs, offsets)
        return answers["label"], answers["score"]

    kinds = (tf.TensorSpec([TOGETHER], tf.string), tf.TensorSpec([TOGETHER], tf.float32))
    label, score = tf.map_fn(classify, blocks, fn_output_signature=kinds)
    return tf.reshape(label, [-1])[:count], tf.reshape(score, [-1])[:count]


def _card(entities: TrainedModel, relations: TrainedModel, name: str, text: str) -> str:
    """Return what a person should know of the joined model, in Markdown."""
    from tfnlp.exporting import card

    none = relations.context.options.none_label
    known = ", ".join(f"`{r}`" for r in relations.context.facts["labels"] if r != none)
    kinds = ", ".join(f"`{label}`" for label in entities.context.facts["labels"])
    loading = "\n".join(card.saved_model({"text": text}))
    return f"""# {name}

Raw text -> triples: entities by `{entities.experiment.name}`, then the relation of every ordered
pair of them within reach by `{relations.experiment.name}`. How good each of the two is, their own
model cards say; the errors of both add up.

- types of entities: {kinds}
- relations: {known}

```
{command("tfnlp.predict", name, text)}
{command("tfnlp.applications.knowledge_graph", name, "--input", "texts.txt", "--output", "graph")}
```

{loading}
"""
