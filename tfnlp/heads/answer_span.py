"""Where a span begins and ends: each token's states -> dropout -> two logits.

Dimensions: B batch, W windows, T tokens, H hidden, R windows that are in use, at most B * W.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf
from keras import ops

CHUNK = 32  # windows that go through the backbone at once when nothing is learned from them
NEVER = -1e9  # the logit of a token that is no candidate: float32 adds two and stays finite


@keras.saving.register_keras_serializable("tfnlp")
class TakeWindows(keras.layers.Layer):
    """(B, W, T) -> (R, T): the windows in use, so that a long text costs the short ones nothing."""

    def call(self, inputs: Any, used: Any) -> Any:
        """Keep those of int32 (B, W, T) for which ``used``, bool (B, W), holds."""
        return tf.boolean_mask(inputs, used)

    def compute_output_shape(self, inputs_shape: tuple, used_shape: tuple) -> tuple:
        """Return (R, T)."""
        return (None, inputs_shape[2])


@keras.saving.register_keras_serializable("tfnlp")
class PutWindows(keras.layers.Layer):
    """(R, T, C) -> (B, W, T, C): the reverse, with zeros for windows not in use."""

    def call(self, inputs: Any, used: Any) -> Any:
        """Put float (R, T, C) where ``used``, bool (B, W), holds."""
        shape = tf.concat([tf.shape(used), tf.shape(inputs)[1:]], 0)
        return tf.scatter_nd(tf.cast(tf.where(used), tf.int32), inputs, shape)

    def compute_output_shape(self, inputs_shape: tuple, used_shape: tuple) -> tuple:
        """Return (B, W, T, C)."""
        return (*used_shape, *inputs_shape[1:])


@keras.saving.register_keras_serializable("tfnlp")
class InChunks(keras.layers.Layer):
    """A network of (R, T) inputs that sees CHUNK of them at a time, but while training.

    A text of a million characters then takes no more memory than one of ten thousand.

    Args:
        network: int32 (R, T) inputs by name -> float (R, T, H).
    """

    whole = False

    def __init__(self, network: keras.Model, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.network = network

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the network's outputs, float (R, T, H)."""
        if training or self.whole:
            return self.network(inputs, training=bool(training))
        rows = tf.shape(next(iter(inputs.values())))[0]
        count = tf.maximum((rows + CHUNK - 1) // CHUNK, 1)
        kind, shape = self.network.output.dtype, self.network.output.shape
        found = tf.TensorArray(kind, count, infer_shape=False, element_shape=shape)

        def step(i: Any, found: Any) -> tuple[Any, Any]:
            part = {name: x[i * CHUNK : (i + 1) * CHUNK] for name, x in inputs.items()}
            return i + 1, found.write(i, self.network(part, training=False))

        _, found = tf.while_loop(lambda i, _: i < count, step, (0, found), parallel_iterations=1)
        return found.concat()

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> Any:
        """Return float (R, T, H)."""
        output = self.network.output
        return keras.KerasTensor(output.shape, dtype=output.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        network = keras.saving.serialize_keras_object(self.network)
        return {**super().get_config(), "network": network}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> InChunks:
        """Rebuild the layer, its network without weights."""
        network = keras.saving.deserialize_keras_object(config.pop("network"))
        return cls(network, **config)


@contextmanager
def unchunked(network: keras.Model) -> Iterator[None]:
    """Within the block, have all windows of a batch go through the backbone at once.

    Example::

        with unchunked(network):
            network(x)
    """
    layers = [layer for layer in network.layers if isinstance(layer, InChunks)]
    try:
        for layer in layers:
            layer.whole = True
        yield
    finally:
        for layer in layers:
            layer.whole = False


def head(backbone: keras.Model, *, dropout: float) -> keras.Model:
    """Return a network with two logits on every token: to be the answer's first, and its last.

    Args:
        backbone: token_ids, segment_ids, padding_mask, int32 (B, T) -> ``tokens`` (B, T, H).
        dropout: dropout rate before the output layer.

    Returns:
        A functional model with the same inputs, but (B, W, T), and ``candidates``, int32
        (B, W, T): 1 where an answer may begin or end. Outputs are float32 (B, W, T, 2), NEVER
        where ``candidates`` is 0.

    Example::

        network = head(backbone, dropout=0.1)

    Source: Devlin et al. 2019, "BERT", section 4.2 (https://arxiv.org/abs/1810.04805).
    """
    window_inputs = {tensor.name: tensor for tensor in backbone.inputs}
    names = list(window_inputs)
    network = keras.Model(window_inputs, backbone.output["tokens"], name="window")
    inputs = {n: keras.Input((None, None), dtype="int32", name=n) for n in (*names, "candidates")}
    used = ops.max(inputs["padding_mask"], axis=-1) > 0
    taken = {name: TakeWindows(name=f"take_{name}")(inputs[name], used) for name in names}
    states = InChunks(network, name="windows")(taken)
    states = keras.layers.Dropout(dropout, name="head_dropout")(states)
    logits = keras.layers.Dense(2, dtype="float32", name="logits")(states)
    logits = PutWindows(name="put", dtype="float32")(logits, used)
    candidates = ops.expand_dims(inputs["candidates"], -1) > 0
    return keras.Model(inputs, ops.where(candidates, logits, NEVER))


def _split(y_true: Any, y_pred: Any) -> tuple[Any, Any, Any]:
    """Return targets int32 (B, W, 2), logits float32 (B, W, 2, T) and which windows are real."""
    targets = ops.cast(y_true, "int32")
    logits = ops.transpose(ops.cast(y_pred, "float32"), (0, 1, 3, 2))
    return ops.maximum(targets, 0), logits, targets[:, :, 0] >= 0


def _mean_over_windows(values: Any, real: Any) -> Any:
    """Return (B,) numbers whose mean is the mean of (B, W) over all windows that are real."""
    weights = ops.cast(real, values.dtype)
    share = ops.cast(ops.shape(values)[0], values.dtype) / ops.maximum(ops.sum(weights), 1)
    return ops.sum(values * weights, axis=1) * share


@keras.saving.register_keras_serializable("tfnlp")
class SpanCrossEntropy(keras.losses.Loss):
    """The mean of the cross-entropies of start and end over all windows of the batch.

    Targets are positions, (B, W, 2), -1 in windows that a row does not need.

    Example::

        network.compile(loss=SpanCrossEntropy(), metrics=[exact])
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss, float32 (B,), of logits (B, W, T, 2)."""
        targets, logits, real = _split(y_true, y_pred)
        losses = ops.sparse_categorical_crossentropy(targets, logits, from_logits=True)
        return _mean_over_windows(ops.mean(losses, axis=-1), real)

    def choices(self, x: Any, outputs: Any) -> tuple[Any, Any]:
        """Return the logits of start and end, (B, W, 2, T); see `agreement.choices`."""
        used = ops.max(x["padding_mask"], axis=-1) > 0
        return ops.transpose(outputs, (0, 1, 3, 2)), ops.stack([used, used], axis=-1)


def exact(y_true: Any, y_pred: Any) -> Any:
    """Return (B,) numbers whose mean is the share of windows with start and end both right.

    Example::

        network.compile(loss=SpanCrossEntropy(), metrics=[exact])
    """
    targets, logits, real = _split(y_true, y_pred)
    right = ops.all(ops.cast(ops.argmax(logits, axis=-1), "int32") == targets, axis=-1)
    return _mean_over_windows(ops.cast(right, "float32"), real)
