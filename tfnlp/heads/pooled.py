"""One vector for a whole input: pooled states -> dropout -> output layer.

Dimensions: B batch, W windows, T tokens, H hidden.
"""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import ops


@keras.saving.register_keras_serializable("tfnlp")
class MergeWindows(keras.layers.Layer):
    """(B, W, T) -> (B * W, T), so that the backbone sees every window as a row."""

    def call(self, inputs: Any) -> Any:
        """Reshape int32 (B, W, T)."""
        return ops.reshape(inputs, (-1, ops.shape(inputs)[2]))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return (B * W, T)."""
        return (None, input_shape[2])


@keras.saving.register_keras_serializable("tfnlp")
class SplitWindows(keras.layers.Layer):
    """(B * W, ...) and a tensor (B, W, T) whose shape gives B and W -> (B, W, ...)."""

    def call(self, inputs: Any, like: Any) -> Any:
        """Reshape float (B * W, H) or (B * W, T, H)."""
        sizes = ops.shape(inputs)[1:]
        return ops.reshape(inputs, (-1, ops.shape(like)[1], *sizes))

    def compute_output_shape(self, inputs_shape: tuple, like_shape: tuple) -> tuple:
        """Return (B, W, H) or (B, W, T, H)."""
        return (None, like_shape[1], *inputs_shape[1:])


def head(
    backbone: keras.Model,
    output: keras.layers.Layer,
    *,
    pooling: Literal["mean", "cls"],
    dropout: float,
    windows: bool = False,
    unit: bool = False,
) -> keras.Model:
    """Return a network that pools a backbone's states, with an output layer.

    Args:
        backbone: token_ids, segment_ids, padding_mask, int32 (B, T) -> ``tokens`` (B, T, H).
        output: the last layer, from (B, H).
        pooling: the mean over the tokens that are not padding, or the first token's state.
        dropout: dropout rate before ``output``.
        windows: inputs are (B, W, T): the windows of a row are pooled apart, then averaged.
        unit: ``output`` is given vectors of norm 1.

    Returns:
        A functional model with the same inputs (or (B, W, T) ones); outputs in float32.

    Example::

        network = head(backbone, keras.layers.Dense(2), pooling="mean", dropout=0.1)
    """
    states = backbone.output["tokens"]
    inputs = {tensor.name: tensor for tensor in backbone.inputs}
    mask = inputs["padding_mask"]
    vector = states[:, 0] if pooling == "cls" else masked_mean(states, mask)
    if windows:
        inputs, vector = in_windows(keras.Model(inputs, vector, name="window"))
        vector = masked_mean(vector, ops.max(inputs["padding_mask"], axis=-1))
    if unit:
        vector = keras.layers.UnitNormalization(axis=-1, dtype="float32", name="unit")(vector)
    vector = keras.layers.Dropout(dropout, name="head_dropout")(vector)
    return keras.Model(inputs, output(vector))


def in_windows(network: keras.Model) -> tuple[dict[str, Any], Any]:
    """Return inputs (B, W, T) and what a network of (B, T) inputs gives for every window.

    Args:
        network: int32 (B, T) inputs by name -> float (B, ...).

    Returns:
        Inputs (B, W, T) by the same names, and the network's outputs (B, W, ...).

    Example::

        inputs, vectors = in_windows(keras.Model(inputs, vector))
    """
    names = [tensor.name for tensor in network.inputs]
    inputs = {n: keras.Input((None, None), dtype="int32", name=n) for n in names}
    merged = {name: MergeWindows(name=f"merge_{name}")(x) for name, x in inputs.items()}
    return inputs, SplitWindows(name="split")(network(merged), inputs["token_ids"])


def masked_mean(states: Any, mask: Any) -> Any:
    """Return the mean of (B, T, H) where ``mask`` (B, T) is 1; zeros where it is nowhere.

    Example::

        vector = masked_mean(backbone.output["tokens"], mask)  # (B, H)
    """
    weights = ops.expand_dims(ops.cast(mask, states.dtype), -1)
    return ops.sum(states * weights, axis=1) / ops.maximum(ops.sum(weights, axis=1), 1)
