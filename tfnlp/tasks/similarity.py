"""Vectors of texts whose cosine tells how much the texts mean the same.

With ``--pair`` from pairs (a question and its answer, two paraphrases), each against all others of
the batch; if a file has scores or labels of pairs, to have cosines like those, and if it has a
third text a row, a negative, also against that. Without ``--pair`` from texts alone: each is drawn
to itself under other dropout, as in Gao et al. 2021, "SimCSE", sections 3 and 4
(https://arxiv.org/abs/2104.08821).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from pipelines.errors import UserError
from pipelines.rows import BadRow, Column, Rows
from tfnlp.extensions import UnsuitableError
from tfnlp.needs import Need
from tfnlp.options import option
from tfnlp.report import Report
from tfnlp.task import Arrays, Context, Objective, Task, Tensors
from tfnlp.tasks import _explained, _pooled_text

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_FIRST = ("anchor", "query", "sentence_a", "sent0", "text_1")
_SECOND = ("positive", "pos", "passage", "sentence_b", "sent1", "text_2")
TEXT_A = replace(_pooled_text.TEXT_A, aliases=(*_pooled_text.TEXT_A.aliases, *_FIRST))
TEXT_B = replace(_pooled_text.TEXT_B, aliases=(*_pooled_text.TEXT_B.aliases, *_SECOND))
SCORE = Column(
    "score",
    "number",
    "how much the two texts mean the same, on any scale, or whether they do",
    (
        *("similarity", "similarity_score", "relatedness_score", "label", "labels", "target"),
        *("is_duplicate", "duplicate", "is_paraphrase", "paraphrase", "quality"),
    ),
    optional=True,
    truth=True,
)
NEGATIVE = Column(
    "negative",
    "text",
    "a text that means something else than the first",
    ("neg", "hard_negative", "hard_neg"),
    optional=True,
)

_NUMBERS = 2**24  # of texts; as many as float32, in which Keras compares targets, tells apart
_FEW = 10  # different scores that are counted each for itself


@dataclass(frozen=True)
class Options:
    """Options of similarity.

    Example::

        python -m tfnlp.train --task similarity --train pairs.csv --pair --temperature 0.1
    """

    pair: bool = option(
        False,
        "learn from pairs: each row has two texts, text_a and text_b, and perhaps a score (or "
        "label) of the pair, or a third text, negative",
    )
    max_length: int = option(128, "longest text [tokens]", minimum=8)
    pooling: Literal["mean", "cls"] = option(
        "mean", "what stands for a text: the mean of its tokens' states, or the first one's"
    )
    temperature: float = option(
        0.05,
        "what cosines are divided by, without scores of pairs; lower looks harder at the nearest",
        minimum=0.001,
        needs=Need(
            lambda known: known.facts is None or known.facts.get("reading") != "scores",
            "has no effect on pairs with scores",
        ),
    )


def input_columns(options: Options) -> tuple[Column, ...]:
    """Return the raw columns of a request.

    Example:
        >>> [column.name for column in input_columns(Options(pair=True))]
        ['text_a', 'text_b']
    """
    return (TEXT_A, TEXT_B) if options.pair else (_pooled_text.TEXT,)


def sample(options: Options) -> list[dict[str, Any]]:
    """Return four rows."""
    # All of one length: texts of a length share a batch, and only others can be negatives.
    pairs = [
        ("Where is my parcel?", "My order is late."),
        ("Can I pay cash?", "Do you take cards?"),
        ("When do you open?", "What are your hours?"),
        ("Who won the game?", "Tell me the score."),
    ]
    if options.pair:
        return [{"text_a": a, "text_b": b} for a, b in pairs]
    return [{"text": a} for a, _ in pairs]


def learn(rows: Rows, options: Options) -> dict[str, Any]:
    """Learn how the rows are read, by the columns that they have.

    Returns:
        ``reading``: ``scores``, with the least and the greatest as ``scores``, or ``triplets``;
        nothing where all rows are alike in meaning.

    Raises:
        UserError: the texts or the scores do not differ, or there are scores and negatives.

    Example:
        >>> columns = {"text_a": ["a", "b"], "text_b": ["c", "d"], "score": [0.0, 5.0]}
        >>> learn(Rows("a.csv", columns, [1, 2]), Options(pair=True))
        {'reading': 'scores', 'scores': [0.0, 5.0]}
    """
    scores = rows.columns.get("score", [])
    if scores and "negative" in rows.columns:
        raise UserError(
            f"{rows.source} has scores in {_name(rows, 'score')!r} and negatives in "
            f"{_name(rows, 'negative')!r}; similarity learns from one of them (take out the other)"
        )
    if len(set(scores)) > 1:
        return {"reading": "scores", "scores": [min(scores), max(scores)]}
    if scores and scores[0] != 1:
        raise UserError(
            f"{rows.source}: every row has {scores[0]:g} in {_name(rows, 'score')!r}; similarity "
            "is learned from different scores (if all pairs mean the same, take the column out)"
        )
    columns = [rows.columns[column.name] for column in input_columns(options)]
    if any(len(set(values)) < 2 for values in columns):
        raise UserError(
            f"{rows.source}: every row has the same text; similarity is learned by telling "
            "different ones apart"
        )
    return {"reading": "triplets"} if "negative" in rows.columns else {}


def grow(facts: dict[str, Any], rows: Rows, options: Options) -> dict[str, Any]:
    """Return an earlier run's facts, if new rows are read as its own were.

    Raises:
        UserError: they are read otherwise.
    """
    own, before = (kinds.get("reading", "pairs alike") for kinds in (learn(rows, options), facts))
    if own != before:
        raise UserError(
            f"{rows.source}: similarity would learn from {own} here, and the earlier run learned "
            f"from {before} (give rows of the same kind, or leave out --start-from)"
        )
    return facts


def unusable_rows(rows: Rows, facts: dict[str, Any]) -> Iterator[BadRow]:
    """Yield the rows without what the rows of train are learned by."""
    needed = {"scores": "score", "triplets": "negative"}.get(facts.get("reading", ""))
    if needed and needed not in rows.columns:
        for number in rows.numbers:
            yield BadRow(number, f"it has no {needed!r}, by which the rows of train are learned")


def remarks(rows: Rows, facts: dict[str, Any]) -> Iterator[str]:
    """Say how pairs are read.

    Example:
        >>> columns = {"text_a": ["a", "b"], "text_b": ["c", "d"], "score": [0.0, 1.0]}
        >>> rows = Rows("a.csv", columns, [1, 2], names={"score": "label"})
        >>> next(remarks(rows, {}))
        "a.csv: 'label' is read as how much the texts of a pair mean the same (0: 1 row, 1: 1 row)"
    """
    if "text_b" not in rows.columns:
        return
    counts = Counter(rows.columns.get("score", []))
    if "negative" in rows.columns:
        said = f"{_name(rows, 'negative')!r} is read as a text that means something else"
    elif len(counts) > 1:
        shown = ", ".join(
            f"{score:g}: {count} row{'s' * (count != 1)}" for score, count in sorted(counts.items())
        )
        if len(counts) > _FEW:
            shown = f"from {min(counts):g} to {max(counts):g}, {len(counts)} different ones"
        said = f"{_name(rows, 'score')!r} is read as how much the texts of a pair mean the same"
        said += f" ({shown})"
    elif counts:
        said = (
            f"{_name(rows, 'score')!r} is 1 in every row: all are read as texts that mean the same"
        )
    else:
        said = "every row is read as two texts that mean the same, for it has no score or label"
        said += " (--score-column names one)"
    yield f"{rows.source}: {said}"


def _name(rows: Rows, column: str) -> str:
    """Return a column's name in the file."""
    return rows.names.get(column, column)


def encode(context: Context, raw: Tensors) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Turn each text by itself into ``token_ids``, ``segment_ids`` and ``padding_mask``.

    Returns:
        int32 (B, W, T) each, of two texts (W = 2) or one; while training, of one text twice, of
        triplets three. And ``lost``, int64 (B,), the tokens that were cut from each row.

    Example::

        features, _ = encode(context, {"text_a": questions, "text_b": answers})
        features["token_ids"].shape  # (B, 2, T)
    """
    import tensorflow as tf

    from pipelines.encoding import segments

    given = _texts(context, raw)
    features, lost = segments.encode(context.tokenizer, [tf.concat(given, 0)], context.max_length)
    rows = tf.shape(given[0])[0]
    stacked = {
        name: tf.transpose(tf.reshape(value, [len(given), rows, tf.shape(value)[1]]), [1, 0, 2])
        for name, value in features.items()
    }
    lost = tf.reshape(lost, [len(given), rows])
    return stacked, {"lost": tf.reduce_sum(lost, 0) if "text_a" in raw else lost[0]}


def encode_targets(
    context: Context, raw: Tensors, features: Tensors, offsets: Tensors
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Return what is learned by.

    Returns:
        A number for each text, int64 (B, W): equal texts are no negatives of each other. Where
        pairs have scores those, float32 (B, 1), from 0 to 1.
    """
    import tensorflow as tf

    if context.facts.get("reading") == "scores":
        low, high = context.facts["scores"]
        return (raw["score"][:, None] - low) / (high - low), None
    return tf.strings.to_hash_bucket_fast(tf.stack(_texts(context, raw), 1), _NUMBERS), None


def _texts(context: Context, raw: Tensors) -> list[tf.Tensor]:
    """Return the texts of each row, or its one; in training (a request has no seed) twice."""
    if "text_a" in raw:
        third = "negative" in raw and context.facts.get("reading") == "triplets"
        return [raw["text_a"], raw["text_b"], *([raw["negative"]] if third else [])]
    return [raw["text"], raw["text"]] if "seed" in raw else [raw["text"]]


def build(context: Context, backbone: keras.Model) -> keras.Model:
    """Build the model: outputs are unit vectors, float32 (B, W, H)."""
    import keras

    from tfnlp.heads import sentence_vector
    from tfnlp.runtime import keras_patches

    layers = keras_patches.layers_of(backbone)
    rates = [layer.rate for layer in layers if isinstance(layer, keras.layers.Dropout)]
    if not context.options.pair and not any(rates):
        raise UserError(
            "without --pair a text is compared with itself under other dropout, and the backbone "
            "has none (give --dropout 0.1, or pairs of texts and --pair)"
        )
    return sentence_vector.head(backbone, pooling=context.options.pooling)


def objective(context: Context) -> Objective:
    """InfoNCE within the batch, or where pairs have scores their cosines."""
    from tfnlp.heads import sentence_vector

    if context.facts.get("reading") == "scores":
        return Objective(
            sentence_vector.CosineRegression(),
            [sentence_vector.Correlation("correlation")],
            monitor="val_correlation",
            mode="max",
        )
    # Of a triplet the third text is a negative of the row's own.
    fewest = 1 if context.facts.get("reading") == "triplets" else 2
    loss = sentence_vector.Contrastive(context.options.temperature, fewest)
    return Objective(
        loss, [sentence_vector.Accuracy(name="accuracy")], monitor="val_loss", mode="min"
    )


def decode(
    context: Context, raw: Tensors, outputs: tf.Tensor, offsets: Tensors
) -> dict[str, tf.Tensor]:
    """Turn unit vectors into answers.

    Returns:
        ``embedding`` float32 (B, H) of a text; of a pair ``similarity`` float32 (B,), the cosine
        from -1 to 1, and ``embedding_a`` and ``embedding_b``.

    Example::

        decode(context, raw, network(features), offsets)["similarity"]  # [0.83, 0.12]
    """
    import tensorflow as tf

    # Ids made elsewhere come without texts: the options say how many texts they stand for.
    if "text_a" in raw or (not raw and context.options.pair):
        first, second = outputs[:, 0], outputs[:, 1]
        return {
            "similarity": tf.reduce_sum(first * second, -1),
            "embedding_a": first,
            "embedding_b": second,
        }
    return {"embedding": outputs[:, 0]}


def report(context: Context, rows: Rows, answers: Arrays) -> Report:
    """Compare with scores, if there are any, and with TF-IDF; retrieval, spread of the vectors."""
    from tfnlp.evaluation import retrieval

    if not context.options.pair:
        return retrieval.texts(rows.columns["text"], answers["embedding"])
    first, second = rows.columns["text_a"], rows.columns["text_b"]
    scores, known = rows.columns.get("score", []), context.facts.get("scores", [])
    low, high = min([*scores, *known], default=0), max([*scores, *known], default=0)
    shares = [(score - low) / (high - low) for score in scores] if high > low else None
    vectors = (answers["embedding_a"], answers["embedding_b"])
    return retrieval.pairs(first, second, *vectors, shares or None)


def explained(context: Context, raw: Tensors, outputs: tf.Tensor) -> tf.Tensor:
    """Return the cosines of pairs, float32 (B, 1).

    Raises:
        UnsuitableError: the model reads one text, whose vector has no number to explain.
    """
    import tensorflow as tf

    if "text_a" not in raw:
        raise UnsuitableError(
            "a model of --task similarity that reads one text answers with a vector, in which "
            "there is nothing to explain (ask one of --pair)"
        )
    return tf.reduce_sum(outputs[:, 0] * outputs[:, 1], -1, keepdims=True)


TASK = Task(
    summary="a vector for a text, near those of texts that mean the same",
    dataset="tatoeba_paraphrases",
    options=Options,
    input_columns=input_columns,
    target_columns=lambda options: (SCORE, NEGATIVE) if options.pair else (),
    sample=sample,
    learn=learn,
    grow=grow,
    unusable_rows=unusable_rows,
    encode=encode,
    encode_targets=encode_targets,
    build=build,
    objective=objective,
    decode=decode,
    report=report,
    remarks=remarks,
    # At 1e-4 the first epochs on STS-B undo what sentence encoders were pretrained for.
    defaults={"optimizer": {"learning_rate": 5e-5}},
    extra_inputs=lambda options: {"embed": (_pooled_text.TEXT,)},
    explaining=_explained.number("similarity", explained),
)
