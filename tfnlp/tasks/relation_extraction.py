"""The relation between two marked arguments of a text, or none.

Wu and He 2019, "Enriching pre-trained language model with entity information for relation
classification" (R-BERT, https://arxiv.org/abs/1905.08284).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.rows import BadRow, Column, Rows
from tfnlp.needs import Need
from tfnlp.options import option
from tfnlp.report import Fitted, Report
from tfnlp.task import Arrays, Context, Objective, Task, Tensors
from tfnlp.tasks import _explained, _labels, _single_label

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

TEXT = Column(
    "text", "marked", "the text with <e1>...</e1> and <e2>...</e2>", ("sentence", "content")
)
RELATION = Column("relation", "label", "the relation from e1 to e2", ("label", "type", "predicate"))


@dataclass(frozen=True)
class Options:
    """Options of relation extraction.

    Example::

        python -m tfnlp.train --task relation_extraction --train rows.jsonl --none-label none
    """

    max_length: int = option(128, "longest text, marks included [tokens]", minimum=16)
    none_label: str = option(
        "no_relation",
        "label of pairs that stand in no relation; it does not count for F1",
        needs=Need(
            lambda known: known.facts is None or known.options.none_label in known.facts["labels"],
            "has no effect, for no row of train has that label",
            "name one that rows have",
        ),
    )
    head_dropout: float = option(0.1, "dropout before dense layers", minimum=0.0, maximum=0.99)


def sample(options: Options) -> list[dict[str, Any]]:
    """Return four rows."""
    texts = [
        "<e1>Marie Curie</e1> was born in <e2>Warsaw</e2>.",
        "In <e2>Köln</e2> lived <e1>Heinrich Böll</e1> 🙂.",
        "<e1>Warsaw</e1> was not mentioned by <e2>Heinrich Böll</e2>.",
        "<e1>鲁迅</e1>生于<e2>绍兴</e2>。",
    ]
    relations = ["born_in", "lived_in", options.none_label, "born_in"]
    return [{"text": t, "relation": r} for t, r in zip(texts, relations, strict=True)]


def learn(rows: Rows, options: Options) -> dict[str, Any]:
    """Learn the relations' names, in alphabetical order, and the most frequent one.

    Example:
        >>> rows = Rows("a.csv", {"relation": ["born_in", "no_relation", "born_in"]}, [1, 2, 3])
        >>> learn(rows, Options())["most_frequent"]
        'born_in'
    """
    facts, counts = _single_label.learn(rows, "relation")
    positive = [(n, name) for name, n in counts.items() if name != options.none_label]
    facts["most_frequent"] = max(positive)[1]
    return facts


def grow(facts: dict[str, Any], rows: Rows, options: Options) -> dict[str, Any]:
    """Return an earlier run's facts with the relations of new rows; see `tfnlp.task.Task.grow`."""
    return _single_label.grown(facts, rows.columns["relation"])


def unusable_rows(rows: Rows, facts: dict[str, Any]) -> Iterator[BadRow]:
    """Yield the rows with a relation that training has not seen."""
    return _labels.unseen_labels(rows, "relation", facts["labels"])


def encode(context: Context, raw: Tensors) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Turn marked texts into ids and the masks of both arguments, int32 (B, T) each.

    Example::

        text = tf.constant(["<e1>Rome</e1> lies on the <e2>Tiber</e2>"])
        features, offsets = encode(context, {"text": text})
    """
    from pipelines.encoding import marked

    features, lost = marked.encode(context.tokenizer, raw["text"], context.max_length)
    return features, {"lost": lost}


def encode_targets(
    context: Context, raw: Tensors, features: Tensors, offsets: Tensors
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Return the relations as one-hot float32 (B, C)."""
    from pipelines.encoding.labels import one_hot

    return one_hot(raw["relation"], context.facts["labels"]), None


def build(context: Context, backbone: keras.Model) -> keras.Model:
    """Build a model whose outputs are a logit for each relation, float32 (B, C)."""
    import keras

    from tfnlp.heads import marked_pair

    output = keras.layers.Dense(len(context.facts["labels"]), dtype="float32", name="logits")
    return marked_pair.head(backbone, output, dropout=context.options.head_dropout)


def objective(context: Context) -> Objective:
    """Cross-entropy; the best epoch has the highest micro-F1 without the label for none."""
    import keras

    from tfnlp.heads.metrics import MicroF1

    metrics = [
        keras.metrics.CategoricalAccuracy(name="accuracy"),
        MicroF1(_none(context), name="micro_f1"),
    ]
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    return Objective(loss, metrics, monitor="val_micro_f1", mode="max")


def _none(context: Context) -> int | None:
    """Return the place of the label for none among the labels, if it is there."""
    labels = context.facts["labels"]
    none = context.options.none_label
    return labels.index(none) if none in labels else None


def decode(
    context: Context, raw: Tensors, outputs: tf.Tensor, offsets: Tensors
) -> dict[str, tf.Tensor]:
    """Turn logits into answers.

    Returns:
        As every single label's: ``label``, ``score``, ``labels``, ``scores``; for a text without
        both marks the label "" with the score 0.

    Example::

        answers = decode(context, raw, network(features), offsets)
        answers["label"]  # [b"born_in"]
    """
    import tensorflow as tf

    from pipelines.encoding.marked import is_marked

    answers = _single_label.decode(context, raw, outputs, offsets)
    marked = is_marked(raw["text"])
    answers["label"] = tf.where(marked, answers["label"], "")
    answers["score"] = tf.where(marked, answers["score"], 0.0)
    return answers


def report(context: Context, rows: Rows, answers: Arrays) -> Report:
    """Micro- and macro-F1 without the label for none, accuracy, and a table by relation."""
    from tfnlp.evaluation.classification import relations

    return relations(
        rows.columns["relation"], answers["scores"], context.facts, context.options.none_label
    )


def baseline(context: Context, train: Rows, rows: Rows) -> Fitted:
    """Return the answers of a linear SVM over the words of the texts, marks included."""
    from tfnlp.evaluation import linear

    learned, asked = ([one.columns["text"]] for one in (train, rows))
    return linear.one_label(learned, train.columns["relation"], asked, context.facts["labels"])


TASK = Task(
    summary="the relation between two marked arguments of a text",
    dataset="webnlg-relations",
    options=Options,
    input_columns=lambda options: (TEXT,),
    target_columns=lambda options: (RELATION,),
    sample=sample,
    learn=learn,
    grow=grow,
    unusable_rows=unusable_rows,
    encode=encode,
    encode_targets=encode_targets,
    build=build,
    objective=objective,
    calibrate=lambda context, rows, answers: _single_label.calibrate(
        context, rows, answers, "relation"
    ),
    decode=decode,
    report=report,
    baseline=baseline,
    decodes_from_ids=False,
    classify=lambda answers: (answers["labels"], answers["scores"]),
    explaining=_explained.label(lambda context: context.facts["labels"]),
)
