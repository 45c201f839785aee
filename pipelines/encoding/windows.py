"""Long rows in overlapping windows, so that nothing is cut: which token stands where.

Dimensions: B batch, W windows, S places of a window.
"""

from __future__ import annotations

import tensorflow as tf


def layout(lengths: tf.Tensor, span: tf.Tensor | int, overlap: int) -> tf.Tensor:
    """Return which token of each row stands where in its windows.

    Window w of a row begins at token ``w * step``, where step is ``span - overlap`` and at least
    half of the span, and a row has as many windows as it takes to reach its last token.

    Args:
        lengths: tokens of each row, integer (B,).
        span: tokens that a window has room for, at least 1: one number, or one for each row.
        overlap: tokens that two neighbouring windows share, where the span allows [tokens].

    Returns:
        int32 (B, W, S): the place in its row of the token that stands there, -1 where none
        does; W and S are the most that any row needs, and at least 1.

    Example::

        layout(tf.constant([5]), 3, 1)  # [[[0, 1, 2], [2, 3, 4]]]
    """
    lengths = tf.cast(lengths, tf.int32)[:, None, None]
    span = tf.cast(tf.broadcast_to(span, tf.shape(lengths)[:1]), tf.int32)[:, None, None]
    step = stride(span, overlap)
    beyond = tf.maximum(lengths - span, 0)
    count = 1 + (beyond + step - 1) // step
    windows = tf.range(tf.maximum(tf.reduce_max(count), 1))[None, :, None]
    longest = tf.reduce_max(tf.minimum(lengths, span))
    inside = tf.range(tf.maximum(longest, 1))[None, None, :]
    places = windows * step + inside
    filled = (windows < count) & (inside < span) & (places < lengths)
    return tf.where(filled, places, -1)


def stride(span: tf.Tensor, overlap: int) -> tf.Tensor:
    """Return how far apart the windows of a span begin, int32 of the same shape [tokens].

    Example::

        stride(tf.constant(126), 32)  # 94
    """
    return tf.maximum(span - overlap, (span + 1) // 2)
