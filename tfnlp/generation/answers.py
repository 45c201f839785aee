"""Answers cut out of what a loop has written: where they begin, and what ends them.

Dimensions: B batch, T tokens of prompt and answer.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


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
    """Return each text, string (B,), up to the first of its stop strings, "||" between several.

    Example::

        before_stop(tf.constant(["Yes. No."]), tf.constant([".||!"]))  # ["Yes"]
    """

    def cut(pair: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        text, words = pair
        words = tf.strings.regex_replace(words, r"^(?:\|\|)+|(?:\|\|)+$", "")
        # \Q...\E quotes a stop string for RE2, so that its own dots and brackets are literal.
        words = tf.strings.regex_replace(words, r"(?:\|\|)+", r"\\E|\\Q")
        pattern = tf.strings.join([r"(?s)(?:\Q", words, r"\E).*"])
        return tf.raw_ops.RegexReplace(
            input=text, pattern=pattern, rewrite="", replace_global=False
        )

    def each() -> tf.Tensor:
        shortened = tf.map_fn(cut, (texts, stop), fn_output_signature=tf.string)
        return tf.where(stop == "", texts, shortened)

    return tf.cond(tf.reduce_any(stop != ""), each, lambda: texts)
