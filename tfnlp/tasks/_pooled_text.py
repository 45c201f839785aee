"""What the tasks that read one text or a pair of texts share: options, columns and encoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pipelines.rows import Column, Rows
from tfnlp.needs import Need
from tfnlp.options import option
from tfnlp.task import Context

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

TEXT = Column("text", "text", "the text", ("sentence", "review", "question", "content", "document"))
TEXT_A = Column(
    "text_a", "text", "the first text", ("sentence1", "premise", "question1", "question", "text1")
)
TEXT_B = Column(
    "text_b", "text", "the second text", ("sentence2", "hypothesis", "question2", "answer", "text2")
)


@dataclass(frozen=True)
class TextOptions:
    """Options of a task that reads one text or two and pools the backbone's states.

    Example:
        >>> TextOptions(pair=True, max_length=256).pooling
        'mean'
    """

    pair: bool = option(False, "each row has two texts, text_a and text_b")
    max_length: int = option(128, "longest window of text [tokens]", minimum=8)
    windows: int = option(
        1,
        "windows in which a longer text is read before it is cut [windows]",
        minimum=1,
        maximum=1000,
        needs=Need(
            lambda known: known.options.overlap < widest_overlap(known.options),
            "reads hardly more than one with --max-length {known.options.max_length} and "
            "--overlap {known.options.overlap}",
            "lower --overlap",
        ),
    )
    overlap: int = option(
        32,
        "what neighbouring windows share [tokens]",
        minimum=0,
        needs=Need(
            lambda known: known.options.windows > 1,
            "has no effect with --windows 1",
            "raise --windows",
        ),
    )
    pooling: Literal["mean", "cls"] = option(
        "mean", "what stands for a text: the mean of its tokens' states, or the first one's"
    )
    unit_vectors: bool = option(False, "texts' vectors have norm 1 where the head takes them")
    head_dropout: float = option(0.1, "dropout before the output layer", minimum=0.0, maximum=0.99)


def widest_overlap(options: TextOptions) -> int:
    """Return the tokens of a window that are of the text read in windows, at the fewest.

    Of a pair that is the second text, and the first may take half of each window.

    Example:
        >>> widest_overlap(TextOptions(max_length=64)), widest_overlap(TextOptions(pair=True))
        (62, 62)
    """
    return (options.max_length - 3) // 2 if options.pair else options.max_length - 2


def input_columns(options: TextOptions) -> tuple[Column, ...]:
    """Return the raw columns of a request.

    Example:
        >>> [column.name for column in input_columns(TextOptions(pair=True))]
        ['text_a', 'text_b']
    """
    return (TEXT_A, TEXT_B) if options.pair else (TEXT,)


def encode(
    context: Context, raw: Mapping[str, tf.Tensor]
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Turn the texts into ``token_ids``, ``segment_ids`` and ``padding_mask``.

    Returns:
        int32 (B, T) each, or (B, W, T) when the options ask for windows; and ``lost``, int64
        (B,), the tokens that were cut from each row.

    Example::

        features, offsets = encode(context, {"text": tf.constant(["Who wrote Hamlet?"])})
        features["token_ids"].shape, offsets["lost"]  # (1, 6), [0]
    """
    from pipelines.encoding import segments

    options = context.options
    texts = [raw[column.name] for column in input_columns(options)]
    features, lost = segments.encode(
        context.tokenizer, texts, context.max_length, options.windows, options.overlap
    )
    return features, {"lost": lost}


def build(context: Context, backbone: keras.Model, output: keras.layers.Layer) -> keras.Model:
    """Put a pooled head that ends in ``output`` on the backbone.

    Example::

        output = keras.layers.Dense(1, dtype="float32", name="number")
        network = build(context, backbone, output)
    """
    from tfnlp.heads import pooled

    options = context.options
    return pooled.head(
        backbone,
        output,
        pooling=options.pooling,
        dropout=options.head_dropout,
        windows=options.windows > 1,
        unit=options.unit_vectors,
    )


def build_logits(context: Context, backbone: keras.Model) -> keras.Model:
    """Build a model whose outputs are a logit for each label in the facts, float32 (B, C).

    Example::

        logits = build_logits(context, backbone)(features)  # (B, C)
    """
    import keras

    count = len(context.facts["labels"])
    return build(context, backbone, keras.layers.Dense(count, dtype="float32", name="logits"))


def texts_of(context: Context, *rows: Rows) -> list[list[Sequence[str]]]:
    """Return of each rows the texts, a list for each column of a request.

    Example::

        texts_of(context, train, test)  # [[["Good."]], [["Bad.", "Dull."]]]
    """
    names = [column.name for column in input_columns(context.options)]
    return [[one.columns[name] for name in names] for one in rows]


def sample(options: TextOptions, texts: list[str], targets: list[dict[str, Any]]) -> list[dict]:
    """Return sample rows: each text with its targets; in a pair each text stands with the next.

    Example:
        >>> sample(TextOptions(), ["Good.", "Bad."], [{"label": "+"}, {"label": "-"}])
        [{'text': 'Good.', 'label': '+'}, {'text': 'Bad.', 'label': '-'}]
    """
    if not options.pair:
        return [{"text": t, **v} for t, v in zip(texts, targets, strict=True)]
    others = texts[1:] + texts[:1]
    return [{"text_a": a, "text_b": b, **v} for a, b, v in zip(texts, others, targets, strict=True)]
