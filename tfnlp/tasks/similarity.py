"""Vectors of texts whose cosine tells how much the texts mean the same.

With ``--pair`` from pairs (a question and its answer, two paraphrases), each against all others of
the batch; without, from texts alone: each is drawn to itself under other dropout, as in Gao et
al. 2021, "SimCSE", sections 3 and 4 (https://arxiv.org/abs/2104.08821).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pipelines.errors import UserError
from pipelines.rows import BadRow, Column, Rows
from tfnlp.options import option
from tfnlp.report import Report
from tfnlp.task import Arrays, Context, Objective, Task, Tensors
from tfnlp.tasks import _pooled_text

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_NUMBERS = 2**24  # of texts; as many as float32, in which Keras compares targets, tells apart


@dataclass(frozen=True)
class Options:
    """Options of similarity.

    Example::

        python -m tfnlp.train --task similarity --train pairs.csv --pair --temperature 0.1
    """

    pair: bool = option(False, "learn from pairs: each row has two texts, text_a and text_b")
    max_length: int = option(128, "longest text [tokens]", minimum=8)
    pooling: Literal["mean", "cls"] = option(
        "mean", "what stands for a text: the mean of its tokens' states, or the first one's"
    )
    temperature: float = option(
        0.05, "what the cosines are divided by; lower looks harder at the nearest", minimum=0.001
    )


def input_columns(options: Options) -> tuple[Column, ...]:
    """Return the raw columns of a request.

    Example:
        >>> [column.name for column in input_columns(Options(pair=True))]
        ['text_a', 'text_b']
    """
    return (_pooled_text.TEXT_A, _pooled_text.TEXT_B) if options.pair else (_pooled_text.TEXT,)


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
    """Learn nothing, but check that the texts differ."""
    columns = [rows.columns[column.name] for column in input_columns(options)]
    if any(len(set(values)) < 2 for values in columns):
        raise UserError(
            f"{rows.source}: every row has the same text; similarity is learned by telling "
            "different ones apart"
        )
    return {}


def unusable_rows(rows: Rows, facts: dict[str, Any]) -> Iterator[BadRow]:
    """Accept any texts."""
    return iter(())


def encode(context: Context, raw: Tensors) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Turn each text by itself into ``token_ids``, ``segment_ids`` and ``padding_mask``.

    Returns:
        int32 (B, W, T) each, of two texts (W = 2) or one; while training, of one text twice. And
        ``lost``, int64 (B,), the tokens that were cut from each row.

    Example::

        features, _ = encode(context, {"text_a": questions, "text_b": answers})
        features["token_ids"].shape  # (B, 2, T)
    """
    import tensorflow as tf

    from pipelines.encoding import segments

    given = _texts(raw)
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
    """Return a number for each text, int64 (B, 2): equal texts are no negatives of each other."""
    import tensorflow as tf

    return tf.strings.to_hash_bucket_fast(tf.stack(_texts(raw), 1), _NUMBERS), None


def _texts(raw: Tensors) -> list[tf.Tensor]:
    """Return the two texts of each row, or its one; in training (a request has no seed) twice."""
    if "text_a" in raw:
        return [raw["text_a"], raw["text_b"]]
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
    """InfoNCE within the batch."""
    from tfnlp.heads import sentence_vector

    loss = sentence_vector.Contrastive(context.options.temperature)
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
    """Retrieval of each text's partner compared with TF-IDF's, and how the vectors are spread."""
    from tfnlp.evaluation import retrieval

    if not context.options.pair:
        return retrieval.texts(rows.columns["text"], answers["embedding"])
    first, second = rows.columns["text_a"], rows.columns["text_b"]
    return retrieval.pairs(first, second, answers["embedding_a"], answers["embedding_b"])


TASK = Task(
    summary="a vector for a text, near those of texts that mean the same",
    dataset="tatoeba_paraphrases",
    options=Options,
    input_columns=input_columns,
    target_columns=lambda options: (),
    sample=sample,
    learn=learn,
    unusable_rows=unusable_rows,
    encode=encode,
    encode_targets=encode_targets,
    build=build,
    objective=objective,
    decode=decode,
    report=report,
    extra_inputs=lambda options: {"embed": (_pooled_text.TEXT,)},
)
