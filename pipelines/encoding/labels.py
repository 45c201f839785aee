"""Label names -> targets, in graph."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def one_hot(values: tf.Tensor, names: Sequence[str]) -> tf.Tensor:
    """Return labels, string (B,), one-hot among the C known names: float32 (B, C).

    Example::

        one_hot(tf.constant(["b"]), ["a", "b"])  # [[0, 1]]
    """
    return tf.cast(values[:, None] == tf.constant(list(names)), tf.float32)


def many_hot(values: tf.RaggedTensor, names: Sequence[str]) -> tf.Tensor:
    """Return rows of labels, ragged string (B, None), as many-hot float32 (B, C).

    Example::

        many_hot(tf.ragged.constant([["b", "a"], []]), ["a", "b"])  # [[1, 1], [0, 0]]
    """
    dense = values.to_tensor("")  # the empty string is no label
    return tf.cast(tf.reduce_any(dense[:, :, None] == tf.constant(list(names)), 1), tf.float32)
