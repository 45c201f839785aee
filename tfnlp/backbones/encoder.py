"""KerasHub's transformer layer in the few operations that a CPU is quick at.

Dimensions: B batch, T tokens, N heads, D size of a head, H = N * D hidden, I intermediate.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import keras
import keras_hub
import tensorflow as tf
from keras import ops

from tfnlp.backbones.insertions import Addition, Inserted, shape_of
from tfnlp.backbones.prefixes import Prefixed
from tfnlp.runtime import keras_patches

# Where `watched` collects what is looked at.
_SEEN: ContextVar[list[tf.Tensor] | None] = ContextVar("seen", default=None)
# Projections -> their matrices (I, O), while `frozen_in_bfloat16` holds them.
_HELD: weakref.WeakKeyDictionary[keras.layers.Layer, tf.Tensor] = weakref.WeakKeyDictionary()


@keras.saving.register_keras_serializable("tfnlp")
class Encoder(keras_hub.layers.TransformerEncoder):
    """The same weights and the same numbers as KerasHub's layer, in less time.

    Keras projects by einsums, multiplies tensors of rank 3, and writes GELU so that no kernel knows
    it. Here tokens are the rows of one matrix and each projection is a product of matrices with
    its bias (and GELU by ``Erf``), which TensorFlow joins to one call of oneDNN.

    Example::

        states = Encoder(intermediate_dim=1536, num_heads=12)(states, padding_mask=mask)
    """

    def call(
        self,
        inputs: Any,
        padding_mask: Any = None,
        attention_mask: Any = None,
        training: bool | None = None,
        return_attention_scores: bool = False,
    ) -> Any:
        """Float (B, T, H), int32 (B, T) -> float (B, T, H).

        Rare arguments go to Keras, and so do sublayers that somebody has replaced or changed.
        """
        rare = attention_mask is not None or padding_mask is None or return_attention_scores
        if rare or not self._is_plain():
            return super().call(
                inputs, padding_mask, attention_mask, training, return_attention_scores
            )
        if isinstance(inputs, keras.KerasTensor):
            return keras.KerasTensor(inputs.shape, inputs.dtype)
        return self._quick(inputs, padding_mask, training)

    def _quick(
        self, inputs: Any, padding_mask: Any, training: bool | None, bias: Any = None
    ) -> Any:
        """Compute the layer by products of matrices; a bias is added to the attention's scores."""
        shape, hidden = tf.shape(inputs), inputs.shape[-1]
        x = tf.reshape(inputs, [-1, hidden])
        y = _normalize(self._self_attention_layer_norm, x, training) if self.normalize_first else x
        y = self._attend(y, padding_mask, shape, training, bias)
        x += self._self_attention_dropout(y, training=training)
        if not self.normalize_first:
            x = _normalize(self._self_attention_layer_norm, x, training)
        y = _normalize(self._feedforward_layer_norm, x, training) if self.normalize_first else x
        y = _project(self._feedforward_intermediate_dense, y, training)
        y = _gelu(y, training) if self.activation is keras.activations.gelu else self.activation(y)
        y = _project(self._feedforward_output_dense, y, training)
        x += self._feedforward_dropout(y, training=training)
        if not self.normalize_first:
            x = _normalize(self._feedforward_layer_norm, x, training)
        return tf.reshape(x, [shape[0], shape[1], hidden])

    def _is_plain(self) -> bool:
        """Return whether each sublayer computes what Keras's does; its weights may be adapted."""
        return all(
            isinstance(layer, (Addition, Inserted, Prefixed))
            or (
                type(layer).__module__.partition(".")[0] in ("keras", "keras_hub")
                and "call" not in vars(layer)
            )
            for layer in self._flatten_layers(include_self=False)
        )

    def _attend(
        self, x: Any, padding_mask: Any, shape: Any, training: bool | None, bias: Any
    ) -> Any:
        """Let rows (B * T, H) see those of their example that are no padding."""
        layer = self._self_attention_layer
        heads, size = layer.num_heads, layer.key_dim
        hidden = heads * size
        parts = layer.query_dense, layer.key_dense, layer.value_dense
        query, key, value = (
            swap(tf.reshape(_project(part, x, training), [shape[0], shape[1], heads, size]))
            for part in parts
        )
        added = shut(padding_mask, x.dtype)
        added = added if bias is None else added + bias
        x = tf.reshape(swap(mix(layer, query, key, value, added, training)), [-1, hidden])
        return _project(layer.output_dense, x, training)


def mix(layer: Any, query: Any, key: Any, value: Any, added: Any, training: bool | None) -> Any:
    """Return for each query a mean of the values, weighted by how near their keys are to it.

    Args:
        layer: Keras's MultiHeadAttention, whose dropout is used, and whose prefix if it has one.
        query: float (B, N, T, D).
        key: as the queries.
        value: as the queries.
        added: to the scores of queries and keys; float, broadcast to (B, N, T, T).
        training: whether dropout is drawn.

    Returns:
        Float (B, N, T, D).

    Example::

        mix(layer, query, key, value, shut(padding_mask, query.dtype), training=False)
    """
    if isinstance(layer, Prefixed):
        key, value = layer.prefix.before(key, value, 2)
        added = layer.prefix.unbiased(added)
    scores = tf.matmul(query, key, transpose_b=True) * (1 / math.sqrt(layer.key_dim))
    shares = tf.nn.softmax(scores + added)
    if (seen := _SEEN.get()) is not None:
        seen.append(shares)
    shares = layer._dropout_layer(shares, training=training)
    return tf.matmul(shares, value)


@contextmanager
def watched() -> Iterator[list[tf.Tensor]]:
    """Collect, within the block, how layers that are called look from token to token.

    Yields:
        A list that is filled, (B, N, T, T) a layer; after a prefix (B, N, T, P + T).

    Example::

        with watched() as layers:
            network(features)
    """
    seen: list[tf.Tensor] = []
    token = _SEEN.set(seen)
    try:
        yield seen
    finally:
        _SEEN.reset(token)


def shut(padding_mask: Any, dtype: tf.DType) -> Any:
    """Return what keeps attention from padding, to be added to its scores.

    Args:
        padding_mask: int32 (B, T).
        dtype: of the scores.

    Returns:
        (B, 1, 1, T): far below every score where the mask is 0, but not so far that float16
        overflows.

    Example::

        tf.nn.softmax(scores + shut(padding_mask, scores.dtype))
    """
    closed: Any = (1.0 - tf.cast(padding_mask, dtype)) * (dtype.min / 2)
    return closed[:, None, None, :]


def _project(layer: Any, x: Any, training: bool | None) -> Any:
    """Project rows (R, I) by a layer, heads side by side: (R, O)."""
    x = layer.insertion.before(x) if isinstance(layer, Inserted) else x
    held = _HELD.get(layer) if training else None
    if held is not None:
        y = tf.cast(tf.matmul(tf.cast(x, held.dtype), held), x.dtype)
    else:
        y = tf.matmul(x, tf.reshape(ops.convert_to_tensor(layer.kernel), shape_of(layer)))
    y = tf.nn.bias_add(y, tf.reshape(ops.convert_to_tensor(layer.bias), [-1]))
    return layer.insertion(x, y, training=training) if isinstance(layer, Inserted) else y


@contextmanager
def frozen_in_bfloat16(network: keras.Model) -> Iterator[None]:
    """Keep the frozen matrices of a network's encoders in bfloat16 too, to train with.

    TensorFlow would round each of them anew in each step, and once for each part of the batch. It
    is of use where products are computed of bfloat16 factors
    (`tfnlp.runtime.precision`), and changes none of them.

    Example::

        with frozen_in_bfloat16(network):
            network.fit(data)
    """
    encoders = [layer for layer in keras_patches.layers_of(network) if isinstance(layer, Encoder)]
    layers = [part for encoder in encoders for part in keras_patches.layers_of(encoder)]
    for layer in layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is not None and not kernel.trainable and kernel.dtype == "float32":
            _HELD[layer] = tf.cast(tf.reshape(kernel.value, shape_of(layer)), tf.bfloat16)
    try:
        yield
    finally:
        for layer in layers:
            _HELD.pop(layer, None)


def swap(x: Any) -> Any:
    """Exchange the axes of tokens and heads: float (B, T, N, D) <-> (B, N, T, D).

    Example::

        swap(query_dense(x))  # (B, N, T, D)
    """
    return tf.transpose(x, [0, 2, 1, 3])


def _gelu(x: Any, training: bool | None) -> Any:
    """The exact GELU, in the form that TensorFlow joins with the product before it."""
    if training:
        return _learned_gelu(x)
    return 0.5 * x * (1.0 + tf.math.erf(x * math.sqrt(0.5)))


@tf.custom_gradient
def _learned_gelu(x: Any) -> Any:
    """The same, of which nothing but the slope is kept for the gradient."""
    share = 0.5 * (1.0 + tf.math.erf(x * math.sqrt(0.5)))
    slope = share + x * tf.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
    return x * share, lambda gradient: gradient * slope


def _normalize(layer: Any, x: Any, training: bool | None) -> Any:
    """Keras's LayerNormalization of rows (R, H), in fewer passes over them."""
    if x.dtype != tf.float32:  # Keras sums them in float32.
        return layer(x)
    beta, gamma = ops.convert_to_tensor(layer.beta), ops.convert_to_tensor(layer.gamma)
    epsilon = tf.constant(layer.epsilon, x.dtype)
    read = tf.convert_to_tensor(gamma)  # of a variable, which is a part of no gradient function
    return beta + (_learned_norm if training else _norm)(x, read, epsilon)[0]


def _norm(x: Any, gamma: Any, epsilon: Any) -> tuple[Any, Any, Any]:
    """Return rows normalized, and from their means, and the inverse of their deviation (R, 1)."""
    centred = x - tf.reduce_mean(x, -1, keepdims=True)
    scale = tf.math.rsqrt(tf.reduce_mean(tf.square(centred), -1, keepdims=True) + epsilon)
    return centred * (scale * gamma), centred, scale


@tf.custom_gradient
def _learned_norm(x: Any, gamma: Any, epsilon: Any) -> Any:
    """The same, of which one tensor of the rows' size is kept for the gradient."""
    y, centred, scale = _norm(x, gamma, epsilon)

    def gradients(above: Any) -> Any:
        inner, normal = above * gamma, centred * scale
        shift = tf.reduce_mean(inner, -1, keepdims=True)
        turn = tf.reduce_mean(inner * normal, -1, keepdims=True)
        return (inner - shift - normal * turn) * scale, tf.reduce_sum(above * normal, 0), None

    return (y,), gradients


def adopt(network: keras.Model) -> None:
    """Make KerasHub's layers in a model, at any depth, ours; their weights stay as they are.

    Example::

        adopt(keras.models.load_model("model.keras"))
    """
    _turn(network, keras_hub.layers.TransformerEncoder, Encoder)


@contextmanager
def as_kerashub(network: keras.Model) -> Iterator[None]:
    """Make our layers KerasHub's for a while, so that what is saved loads without tfnlp.

    Example::

        with as_kerashub(network):
            network.save("model.keras")
    """
    ours = _turn(network, Encoder, keras_hub.layers.TransformerEncoder)
    try:
        yield
    finally:
        for layer in ours:
            keras_patches.turn(layer, Encoder)


def _turn(network: keras.Model, one: type, other: type) -> list[keras.layers.Layer]:
    """Give the layers that are of exactly one class another; returns them."""
    found = [layer for layer in keras_patches.layers_of(network) if type(layer) is one]
    for layer in found:
        keras_patches.turn(layer, other)
    return found
