"""Keras ops as a step of decoding needs them: run by TF Serving, and quick for one token.

Dimensions: B batch, T tokens in the cache, N heads of queries, U heads of keys and values, H size
of a head.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfnlp.runtime import keras_patches

if TYPE_CHECKING:
    import keras

# With more heads, the products with zeros cost more than transposing the cache would.
_FEW = 8


@contextmanager
def portable() -> Iterator[None]:
    """Replace, within the block, Keras ops that KerasHub's cached layers use by ones that serve.

    ``keras.ops.slice_update`` is XLA's DynamicUpdateSlice, whose kernel outside of a compiled
    function asks for a compiler that the stock TF Serving does not have. And for a query of one
    token, attention transposes the whole cache, and copies it for heads that share keys and
    values, before it multiplies: XLA would fuse this, plain TensorFlow does not.

    Example::

        with portable():
            logits, _, cache = network.step(ids, index, cache, fixed)
    """
    attention = _OnePlace(*keras_patches.attention_ops())
    with (
        keras_patches.replaced_ops(_slice_update, attention.einsum, attention.repeat),
        warnings.catch_warnings(),
    ):
        # The first token attends to itself alone: Keras warns of a softmax over one element.
        warnings.filterwarnings("ignore", "You are using a softmax over axis")
        yield


@contextmanager
def in_float32(network: keras.Model) -> Iterator[None]:
    """Let the layers of a network compute in float32, whatever it was trained in.

    In bfloat16 or float16 a token's logits differ beside other rows, by enough to change tokens.
    The weights are float32 in any case.

    Example::

        with in_float32(network):
            logits, _, cache = step(ids, index, cache, fixed)  # traced in float32
    """
    mixed = [x for x in network._flatten_layers() if x.compute_dtype in ("bfloat16", "float16")]
    policies = [layer.dtype_policy for layer in mixed]
    try:
        for layer in mixed:
            layer.dtype_policy = "float32"
        yield
    finally:
        for layer, policy in zip(mixed, policies, strict=True):
            layer.dtype_policy = policy


def _slice_update(inputs: tf.Tensor, start_indices: Any, updates: tf.Tensor) -> tf.Tensor:
    """Return a tensor with a part of its second axis replaced; other axes are whole."""
    begin = tf.cast(start_indices[1], tf.int32)
    after = inputs[:, begin + tf.shape(updates)[1] :]
    return tf.concat([inputs[:, :begin], tf.cast(updates, inputs.dtype), after], 1)


class _OnePlace:
    """Attention of one query over a cache, multiplied without transposing the cache.

    Each query becomes a row as wide as all heads of keys, zero outside of its own head. Other
    equations, and more than one query, go to Keras.
    """

    def __init__(self, einsum: Any, repeat: Any) -> None:
        self.keras_einsum, self.keras_repeat = einsum, repeat
        self.shared: dict[Any, tf.Tensor] = {}

    def repeat(self, x: Any, repeats: Any, axis: Any = None) -> tf.Tensor:
        """Repeat as Keras does, and note of what."""
        repeated = self.keras_repeat(x, repeats, axis=axis)
        # Axis 2 of rank 4: keys or values copied for each query of a group. `einsum` uses the
        # original in place of the copy, and a graph never runs an op whose output is unused.
        if axis == 2 and repeated.shape.rank == 4:
            self.shared[repeated.ref()] = x
        return repeated

    def einsum(self, subscripts: str, *operands: Any, **kwargs: Any) -> tf.Tensor:
        """Multiply as Keras does."""
        # The two equations of Keras's attention: query x key, and weights x value.
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
    group = query.shape[2] // heads  # queries that share a head of keys
    # The identity puts each query at its own head's columns and zeros at the others', so that one
    # matmul with all heads side by side gives the scores of each head apart.
    own = tf.eye(heads, dtype=query.dtype)[:, None, :, None]
    wide = tf.reshape(query, [-1, heads, group, 1, size]) * own
    wide = tf.reshape(wide, [-1, heads * group, heads * size])
    return tf.matmul(wide, _flat(key), transpose_b=True)[:, :, None]


def _mixed(shares: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    """Average values (B, T, U, H) by attention weights (B, N, 1, T): (B, 1, N, H)."""
    heads, size = value.shape[2:]
    group = shares.shape[1] // heads
    own = tf.eye(heads, dtype=value.dtype)[:, None, :, None]
    # Every query has averaged the values of all heads; the identity keeps those of its own.
    mixed = tf.reshape(tf.matmul(shares[:, :, 0], _flat(value)), [-1, heads, group, heads, size])
    return tf.reshape(tf.reduce_sum(mixed * own, 3), [-1, 1, heads * group, size])


def _flat(cache: tf.Tensor) -> tf.Tensor:
    """Put the heads of keys or values (B, T, U, H) side by side: (B, T, U * H)."""
    shape = tf.shape(cache)
    return tf.reshape(cache, [shape[0], shape[1], cache.shape[2] * cache.shape[3]])
