"""Layers added to a backbone's matrices: what peft methods train in place of the matrices.

Dimensions: R rows (tokens of a batch), I inputs of a matrix, O its outputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops

from pipelines.errors import UserError
from tfnlp.runtime import keras_patches

# A matrix of a transformer layer -> the names of its layer in KerasHub's encoders and decoders.
MATRICES = {
    "query": ("query",),
    "key": ("key",),
    "value": ("value",),
    "attention": ("attention_output",),
    "intermediate": ("feedforward_intermediate_dense", "feedforward_gate_dense"),
    "output": ("feedforward_output_dense",),
}


class Addition(keras.layers.Layer):
    """A layer that a peft method adds to a backbone."""


class Insertion(Addition):
    """A layer that is added to a projection.

    Its ``call(x, y, training)`` takes what the projection was given, float (R, I), and what came
    out, float (R, O), and returns what is to come out in its place.
    """

    def before(self, x: Any) -> Any:
        """Return what the projection is given in place of its rows, float (R, I)."""
        return x

    def folded(self, kernel: np.ndarray, bias: np.ndarray | None) -> tuple[Any, Any] | None:
        """Return a matrix and a bias that alone do what the projection does with this layer.

        Args:
            kernel: the projection's own, float32 (I, O).
            bias: the projection's own, float32 (O,), or None.

        Returns:
            Both in the same shapes; None if no matrix does that.
        """
        return None

    def reduced(self) -> Insertion:
        """Return what stands in its place when merged: a smaller layer that answers the same."""
        return self


class LowRank(Insertion):
    """Adds ``scale * x A B`` to a projection's output (LoRA).

    Args:
        inputs: I.
        outputs: O.
        rank: the inner size.
        scale: what the product is multiplied by.
        name: unique in the network.
    """

    def __init__(self, inputs: int, outputs: int, *, rank: int, scale: float, name: str) -> None:
        super().__init__(name=name)
        self.rank, self.scale = rank, scale
        # As peft draws A: evenly from -1/sqrt(I) to 1/sqrt(I).
        bound = 1 / math.sqrt(inputs)
        drawn = keras.initializers.RandomUniform(-bound, bound)
        self.a = self.add_weight(shape=(inputs, rank), initializer=drawn, name="a")
        self.b = self.add_weight(shape=(rank, outputs), initializer="zeros", name="b")
        self.built = True

    def call(self, x: Any, y: Any, training: bool | None = None) -> Any:
        """Float (R, I), float (R, O) -> float (R, O)."""
        return y + ops.matmul(ops.matmul(x, self.a) * self.scale, self.b)

    def folded(self, kernel: np.ndarray, bias: np.ndarray | None) -> tuple[Any, Any]:
        """Add the product to the matrix."""
        return kernel + self.scale * (self.a.numpy() @ self.b.numpy()), bias


class Scale(Insertion):
    """Multiplies what goes into a projection, or what comes out of it, by a vector (IA3).

    Args:
        size: I or O.
        inputs: whether what goes in is multiplied.
        name: unique in the network.
    """

    def __init__(self, size: int, *, inputs: bool, name: str) -> None:
        super().__init__(name=name)
        self.inputs = inputs
        self.scale = self.add_weight(shape=(size,), initializer="ones", name="scale")
        self.built = True

    def before(self, x: Any) -> Any:
        """Float (R, I) -> float (R, I)."""
        return x * ops.cast(self.scale, x.dtype) if self.inputs else x

    def call(self, x: Any, y: Any, training: bool | None = None) -> Any:
        """Float (R, I), float (R, O) -> float (R, O)."""
        return y if self.inputs else y * self.scale

    def folded(self, kernel: np.ndarray, bias: np.ndarray | None) -> tuple[Any, Any]:
        """Multiply the matrix's rows, or its columns and the bias."""
        scale = self.scale.numpy()
        if self.inputs:
            return kernel * scale[:, None], bias
        return kernel * scale, None if bias is None else bias * scale


class Bottleneck(Insertion):
    """Adds ``f(y D + d) U + u`` to what comes out of a projection (an adapter).

    Args:
        outputs: O.
        size: of the bottleneck.
        activation: f, by Keras's name.
        name: unique in the network.
    """

    def __init__(self, outputs: int, *, size: int, activation: str, name: str) -> None:
        super().__init__(name=name)
        self.activation = keras.activations.get(activation)
        # So small that the layer begins as the identity (Houlsby et al. 2019, section 3.6).
        near = keras.initializers.TruncatedNormal(stddev=1e-3)
        self.down = self.add_weight(shape=(outputs, size), initializer=near, name="down")
        self.down_bias = self.add_weight(shape=(size,), initializer="zeros", name="down_bias")
        self.up = self.add_weight(shape=(size, outputs), initializer=near, name="up")
        self.up_bias = self.add_weight(shape=(outputs,), initializer="zeros", name="up_bias")
        self.built = True

    def call(self, x: Any, y: Any, training: bool | None = None) -> Any:
        """Float (R, I), float (R, O) -> float (R, O)."""
        inner = self.activation(ops.matmul(y, self.down) + self.down_bias)
        return y + ops.matmul(inner, self.up) + self.up_bias


class Inserted:
    """A projection with an added layer, which changes its output."""

    insertion: Insertion

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Project, let the added layer change the rows, and apply the activation."""
        layer: Any = self
        units, out = shape_of(layer)
        rows = self.insertion.before(ops.reshape(inputs, (-1, units)))
        inputs = ops.reshape(rows, ops.shape(inputs))
        outputs = (
            ops.matmul(inputs, layer.kernel)
            if isinstance(layer, keras.layers.Dense)
            else ops.einsum(layer.equation, inputs, layer.kernel)
        )
        outputs = outputs if layer.bias is None else outputs + layer.bias
        changed = self.insertion(rows, ops.reshape(outputs, (-1, out)), training=training)
        outputs = ops.reshape(changed, ops.shape(outputs))
        return outputs if layer.activation is None else layer.activation(outputs)


class InsertedDense(Inserted, keras.layers.Dense):
    """Keras's layer with an added one."""


class InsertedEinsumDense(Inserted, keras.layers.EinsumDense):
    """Keras's layer with an added one."""


_KINDS = {keras.layers.Dense: InsertedDense, keras.layers.EinsumDense: InsertedEinsumDense}


def shape_of(layer: keras.layers.Layer) -> tuple[int, int]:
    """Return the inputs and the outputs of a projection, seen as one matrix.

    Example::

        shape_of(query)  # (384, 384), though its kernel is (384, 12, 32)
    """
    kernel = layer.kernel.shape
    if isinstance(layer, keras.layers.Dense):
        return int(kernel[0]), int(kernel[1])
    given, _, _ = layer.equation.partition(",")
    letters = layer.equation.partition(",")[2].partition("->")[0]
    shared = [size for letter, size in zip(letters, kernel, strict=True) if letter in given]
    units = math.prod(shared)
    return units, math.prod(kernel) // units


def projections(
    block: tuple[keras.layers.Layer, ...], matrices: tuple[str, ...]
) -> dict[str, list[keras.layers.Layer]]:
    """Return the layers of a transformer layer that have these matrices, by the matrix's name.

    Args:
        block: an entry of `tfnlp.backbones.loading.Backbone.blocks`.
        matrices: names of `MATRICES`.

    Example::

        projections(backbone.blocks[1], ("query", "value"))["query"]  # [<EinsumDense query>]
    """
    found: dict[str, list[keras.layers.Layer]] = {}
    for outer in block:
        for layer in outer._flatten_layers():
            for matrix in dict.fromkeys(matrices):
                if layer.name in MATRICES[matrix] and type(layer) in _KINDS:
                    found.setdefault(matrix, []).append(layer)
    return found


def places(
    backbone: Any, matrices: tuple[str, ...], method: str, remedy: str = ""
) -> list[tuple[str, keras.layers.Layer]]:
    """Freeze a backbone, and find the projections of its layers that a method adds to.

    Args:
        backbone: a `tfnlp.backbones.loading.Backbone`.
        matrices: names of `MATRICES`.
        method: name of the peft method.
        remedy: what else a user may do if there are none.

    Returns:
        Each projection with a name for what is added to it, which no other has.

    Raises:
        UserError: there is none.

    Example::

        for name, layer in places(backbone, ("query", "value"), "lora"):
            insert(layer, LowRank(*shape_of(layer), rank=8, scale=2.0, name=name))
    """
    for weight in backbone.model.weights:
        weight.trainable = False
    found = [
        (f"{method}_{number}_{matrix}{f'_{place}' if place else ''}", layer)
        for number, block in enumerate(backbone.blocks[1:], 1)
        for matrix, layers in projections(block, matrices).items()
        for place, layer in enumerate(layers)
    ]
    if not found:
        raise UserError(
            f"the backbone {backbone.name!r} has no layer to train with a matrix that --peft "
            f"{method} adds to: {', '.join(matrices)} (give {remedy}fewer --freeze-layers, or "
            "another backbone)"
        )
    return found


def check_bottleneck(said: str, size: int, width: int) -> None:
    """Raise UserError for a bottleneck that is wider than a feed-forward layer usually is inside.

    Example::

        check_bottleneck("--adapters-size 48", 48, 384)
    """
    if size > 4 * width:
        raise UserError(
            f"{said} is no bottleneck where the backbone is {width} wide (less makes sense, such "
            "as 48)"
        )


def insert(layer: keras.layers.Layer, insertion: Insertion) -> None:
    """Add a layer to a projection.

    Args:
        layer: a built Dense or EinsumDense.
        insertion: what is added.

    Example::

        insert(query, LowRank(384, 384, rank=8, scale=2.0, name="query_1_lora"))
    """
    keras_patches.attach(layer, "insertion", insertion)
    keras_patches.turn(layer, _KINDS[type(layer)])


def own_weights(layer: keras.layers.Layer) -> list[Any]:
    """Return the weights of a layer at any depth, without those that a peft method added.

    Example::

        own_weights(query)  # its kernel and bias, with and without LoRA
    """
    parts = layer._flatten_layers()
    added = {id(w) for part in parts if isinstance(part, Addition) for w in part.weights}
    return [weight for weight in layer.weights if id(weight) not in added]


def inserted(model: keras.Model) -> list[keras.layers.Layer]:
    """Return the projections of a model that have an added layer."""
    return [layer for layer in keras_patches.layers_of(model) if isinstance(layer, Inserted)]


@contextmanager
def merged(model: keras.Model) -> Iterator[None]:
    """Fold what was added into the matrices, which are as large and as fast as before, for a while.

    Layers that no matrix can stand for stay, as small as they can be.

    Example::

        with merged(network):
            network.save("model.keras")
    """
    held, replaced = [], []
    for layer in inserted(model):
        found = _folded(layer)
        if found is None:
            replaced.append((layer, layer.insertion))
            _exchange(layer, layer.insertion.reduced())
            continue
        bias = None if layer.bias is None else layer.bias.numpy()
        held.append((layer, layer.insertion, layer.kernel.numpy(), bias))
        remove(layer)
        _set(layer, *found)
    try:
        yield
    finally:
        for layer, insertion, kernel, bias in held:
            _set(layer, kernel, bias)
            insert(layer, insertion)
        for layer, insertion in replaced:
            _exchange(layer, insertion)


def can_merge(model: keras.Model) -> bool:
    """Return whether nothing stays of what was added to a model once it is merged.

    Example::

        can_merge(network)  # False of adapters
    """
    added = [layer for layer in keras_patches.layers_of(model) if isinstance(layer, Addition)]
    folded = [layer for layer in inserted(model) if _folded(layer) is not None]
    return len(added) == len(folded)


def _folded(layer: Any) -> tuple[Any, Any] | None:
    """Return the matrix and the bias of a projection with what was added to it."""
    bias = None if layer.bias is None else layer.bias.numpy().reshape(-1)
    kernel = layer.kernel.numpy().astype("float32").reshape(shape_of(layer))
    found: tuple[Any, Any] | None = layer.insertion.folded(kernel, bias)
    return found


def _exchange(layer: Any, insertion: Insertion) -> None:
    """Give a projection another added layer."""
    if layer.insertion is not insertion:
        keras_patches.detach(layer, "insertion")
        keras_patches.attach(layer, "insertion", insertion)


def _set(layer: keras.layers.Layer, kernel: Any, bias: Any) -> None:
    """Set the weights of a projection, given in any shape."""
    layer.kernel.assign(np.reshape(kernel, layer.kernel.shape))
    if bias is not None:
        layer.bias.assign(np.reshape(bias, layer.bias.shape))


def remove(layer: keras.layers.Layer) -> None:
    """Take the added layer off a projection, once its matrix does the same.

    Example::

        query.kernel.assign(merged)
        remove(query)
    """
    kind = next(own for own, other in _KINDS.items() if type(layer) is other)
    keras_patches.turn(layer, kind)
    keras_patches.detach(layer, "insertion")
