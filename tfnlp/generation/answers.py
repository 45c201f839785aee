"""Answers cut out of what a loop has written: where they begin, and what ends them.

Dimensions: B batch, T tokens of prompt and answer.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfnlp.inference.settings import STOP_END


def any_length(loop: Any) -> Any:
    """Return shape invariants that allow any shape of each tensor's rank: Keras forgets sizes.

    Example::

        (loop,) = tf.while_loop(more, body, (loop,), any_length(loop))
    """
    return (tf.nest.map_structure(lambda t: tf.TensorShape([None] * t.shape.rank), loop),)


def is_one_of(tokens: tf.Tensor, ids: tuple[int, ...]) -> tf.Tensor:
    """Return which tokens are among these ids, bool of their shape.

    Example::

        is_one_of(tf.constant([5, 2, 7]), (2, 3))  # False, True, False
    """
    return tf.reduce_any(tokens[..., None] == tf.constant(ids, tf.int32), -1)


def answers_in(
    ids: tf.Tensor, lengths: tf.Tensor, ends: tuple[int, ...], written: tf.Tensor | None = None
) -> tf.RaggedTensor:
    """Return the answers in rows of prompt and answer, up to the first end token.

    Args:
        ids: int32 (B, T).
        lengths: int32 (B,), tokens of the prompts.
        ends: end tokens.
        written: int32 (B,), tokens written, if not all that follow the prompts.

    Example::

        answers_in(tf.constant([[5, 6, 7, 2, 0]]), tf.constant([1]), (2,))  # [[6, 7]]
    """
    position = tf.range(tf.shape(ids)[1])[None]
    after_prompt = position >= lengths[:, None]
    ended = tf.cumsum(tf.cast(after_prompt & is_one_of(ids, ends), tf.int32), 1) > 0
    kept = after_prompt & ~ended
    if written is not None:
        kept &= position < (lengths + written)[:, None]
    return tf.ragged.boolean_mask(ids, kept)


def before_stop(texts: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
    """Return each text, string (B,), up to the first of its stop strings.

    Args:
        texts: string (B,), UTF-8.
        stop: string (B,), the stop strings of each text as `tfnlp.inference.settings.stop_strings`
            reads them; "" is none. They are literal, and no pattern. Bytes that are no UTF-8 count
            as U+FFFD.

    Example::

        before_stop(tf.constant(["Yes. No."]), tf.constant([".||!"]))  # ["Yes"]
    """

    def each() -> tf.Tensor:
        words = _stop_strings(stop)
        rows = words.value_rowids()
        # TensorFlow searches by regular expression only, and users' text must not be one: what
        # stands before a separator, though, is literal.
        sizes = tf.map_fn(
            lambda pair: _size_before(pair[0], pair[1]),
            (tf.gather(texts, rows), words.values),
            fn_output_signature=tf.int32,
        )
        first = tf.math.unsorted_segment_min(sizes, rows, tf.shape(texts)[0])
        whole = tf.strings.length(texts)
        return tf.strings.substr(texts, tf.zeros_like(whole), tf.minimum(first, whole))

    return tf.cond(tf.reduce_any(stop != ""), each, lambda: texts)


def _size_before(text: tf.Tensor, word: tf.Tensor) -> tf.Tensor:
    """Return the size of what stands before a word in a text, or of all of the text [bytes]."""
    parts = tf.raw_ops.StringSplitV2(input=text[None], sep=word, maxsplit=1)
    return tf.strings.length(parts.values[0])


def _stop_strings(stop: tf.Tensor) -> tf.RaggedTensor:
    """Read the stop strings of each row, ragged string (B, None), none of them empty."""
    stop = tf.strings.unicode_transcode(stop, "UTF-8", "UTF-8")
    # The rules of `tfnlp.inference.settings.stop_strings`, in TensorFlow ops.
    told = tf.strings.regex_full_match(stop, rf"(?s).*{STOP_END}.*|(?:\|\|)+")
    words = tf.where(told, stop, tf.strings.regex_replace(stop, r"\|\|", STOP_END))
    parts = tf.strings.split(words, STOP_END)
    return tf.ragged.boolean_mask(parts, parts != "")
