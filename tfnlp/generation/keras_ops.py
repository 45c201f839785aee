"""Keras ops as a step of decoding needs them: run by TF Serving, and quick for one place.

Dimensions: B batch, T tokens in the cache, N heads of queries, U heads of keys and values, H size
of a head.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf
from keras.src.backend.tensorflow import core, numpy

_FEW = 8  # heads; of more, what is multiplied in vain costs more than keeping the cache in place


@contextmanager
def portable() -> Iterator[None]:
    """Let KerasHub's layers write into a cache, and read it, by ops that serve.

    ``keras.ops.slice_update`` is XLA's DynamicUpdateSlice, whose kernel outside of a compiled
    function asks for a compiler that the stock TF Serving has not. And where a step asks for one
    place, attention turns the whole cache round, and copies it for heads that share keys and
    values, before it multiplies: what XLA would fuse.
    """
    before = core.slice_update, numpy.einsum, numpy.repeat
    attention = _OnePlace(numpy.einsum, numpy.repeat)
    core.slice_update, numpy.einsum, numpy.repeat = (
        _slice_update,
        attention.einsum,
        attention.repeat,
    )
    try:
        with warnings.catch_warnings():
            # The first token sees itself alone: Keras wonders at a softmax over one place.
            warnings.filterwarnings("ignore", "You are using a softmax over axis")
            yield
    finally:
        core.slice_update, numpy.einsum, numpy.repeat = before


def _slice_update(inputs: tf.Tensor, start_indices: Any, updates: tf.Tensor) -> tf.Tensor:
    """Replace a part of a tensor that is as large as the whole but along one axis, the second."""
    begin = tf.cast(start_indices[1], tf.int32)
    behind = inputs[:, begin + tf.shape(updates)[1] :]
    return tf.concat([inputs[:, :begin], tf.cast(updates, inputs.dtype), behind], 1)


class _OnePlace:
    """Attention of one query over a cache, which is multiplied as it lies.

    Each query stands in a row as wide as all heads of keys, zero outside of its own head. Other
    equations, and more than one query, go to Keras.
    """

    def __init__(self, einsum: Any, repeat: Any) -> None:
        self.keras_einsum, self.keras_repeat = einsum, repeat
        self.shared: dict[Any, tf.Tensor] = {}

    def repeat(self, x: Any, repeats: Any, axis: Any = None) -> tf.Tensor:
        """Repeat as Keras does, and note of what: an unused copy is never made in a graph."""
        found = self.keras_repeat(x, repeats, axis=axis)
        if axis == 2 and found.shape.rank == 4:
            self.shared[found.ref()] = x
        return found

    def einsum(self, subscripts: str, *operands: Any, **kwargs: Any) -> tf.Tensor:
        """Multiply as Keras does."""
        if subscripts in ("bquh,bkuh->buqk", "buqk,bkuh->bquh"):
            x, y = operands
            y = self.shared.get(y.ref(), y)
            if y.shape[2] is not None and y.shape[2] <= _FEW:
                if subscripts == "bquh,bkuh->buqk" and x.shape[1] == 1:
                    return _scores(x, y)
                if subscripts == "buqk,bkuh->bquh" and x.shape[2] == 1:
                    return _mixed(x, y)
        return self.keras_einsum(subscripts, *operands, **kwargs)


def _scores(query: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Multiply a query (B, 1, N, H) by keys (B, T, U, H): (B, N, 1, T)."""
    heads, size = key.shape[2:]
    group = query.shape[2] // heads
    own = tf.eye(heads, dtype=query.dtype)[:, None, :, None]
    wide = tf.reshape(query, [-1, heads, group, 1, size]) * own
    wide = tf.reshape(wide, [-1, heads * group, heads * size])
    found = tf.matmul(wide, _flat(key), transpose_b=True)
    return found[:, :, None]


def _mixed(shares: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    """Mix values (B, T, U, H) by shares (B, N, 1, T): (B, 1, N, H)."""
    heads, size = value.shape[2:]
    group = shares.shape[1] // heads
    own = tf.eye(heads, dtype=value.dtype)[:, None, :, None]
    found = tf.reshape(tf.matmul(shares[:, :, 0], _flat(value)), [-1, heads, group, heads, size])
    return tf.reshape(tf.reduce_sum(found * own, 3), [-1, 1, heads * group, size])


def _flat(cache: tf.Tensor) -> tf.Tensor:
    """Put the heads of keys or values (B, T, U, H) side by side: (B, T, U * H)."""
    shape = tf.shape(cache)
    return tf.reshape(cache, [shape[0], shape[1], cache.shape[2] * cache.shape[3]])
