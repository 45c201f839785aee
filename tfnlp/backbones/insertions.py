"""Layers added to a backbone's matrices: what peft methods train in place of the matrices.

Dimensions: R rows (tokens of a batch), I inputs of a matrix, O its outputs.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

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


class Insertion(keras.layers.Layer):
    """A layer that is added to a projection.

    Its ``call(x, y, training)`` takes what the projection was given, float (R, I), and what came
    out, float (R, O), and returns what is to come out in its place.
    """


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
        self.scale = scale
        # As peft draws A: evenly from -1/sqrt(I) to 1/sqrt(I).
        bound = 1 / math.sqrt(inputs)
        drawn = keras.initializers.RandomUniform(-bound, bound)
        self.a = self.add_weight(shape=(inputs, rank), initializer=drawn, name="a")
        self.b = self.add_weight(shape=(rank, outputs), initializer="zeros", name="b")
        self.built = True

    def call(self, x: Any, y: Any, training: bool | None = None) -> Any:
        """Float (R, I), float (R, O) -> float (R, O)."""
        return y + ops.matmul(ops.matmul(x, self.a), self.b) * self.scale

    def delta(self) -> Any:
        """Return what the matrix would have to be more, float32 (I, O)."""
        return ops.matmul(ops.cast(self.a, "float32"), ops.cast(self.b, "float32")) * self.scale


class Inserted:
    """A projection with an added layer, which changes its output."""

    insertion: Insertion

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Project, let the added layer change the rows, and apply the activation."""
        layer: Any = self
        outputs = (
            ops.matmul(inputs, layer.kernel)
            if isinstance(layer, keras.layers.Dense)
            else ops.einsum(layer.equation, inputs, layer.kernel)
        )
        outputs = outputs if layer.bias is None else outputs + layer.bias
        units, out = shape_of(layer)
        rows = ops.reshape(inputs, (-1, units)), ops.reshape(outputs, (-1, out))
        outputs = ops.reshape(self.insertion(*rows, training=training), ops.shape(outputs))
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


def inserted(model: keras.Model) -> list[keras.layers.Layer]:
    """Return the projections of a model that have an added layer."""
    return [layer for layer in keras_patches.layers_of(model) if isinstance(layer, Inserted)]


def remove(layer: keras.layers.Layer) -> None:
    """Take the added layer off a projection, once its matrix does the same.

    Example::

        query.kernel.assign(merged)
        remove(query)
    """
    kind = next(own for own, other in _KINDS.items() if type(layer) is other)
    keras_patches.turn(layer, kind)
    keras_patches.detach(layer, "insertion")
