"""Label names -> targets, in graph."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def one_hot(values: tf.Tensor, names: Sequence[str]) -> tf.Tensor:
    """Compare labels, string (B,), with the C known names: float32 (B, C)."""
    return tf.cast(values[:, None] == tf.constant(list(names)), tf.float32)


def many_hot(values: tf.RaggedTensor, names: Sequence[str]) -> tf.Tensor:
    """Compare rows of labels, ragged string (B, None), with the C known names: float32 (B, C)."""
    dense = values.to_tensor("")  # the empty string is no label
    return tf.cast(tf.reduce_any(dense[:, :, None] == tf.constant(list(names)), 1), tf.float32)
