"""Several adapters in one place, of which training takes one at random and serving the mean.

Dimensions: P places, E experts, R rows (tokens of a batch), O outputs of a projection, S size of
the bottleneck.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops

from tfnlp.backbones.insertions import Bottleneck, Insertion, inserted


class Routes:
    """Which experts a pass goes through; all places of a network share it.

    What is computed by parts of a network (`TrainedModel.cut`) goes where its last pass went.

    Attributes:
        chosen: int32 (P, 2), of each place the experts that project down and up; None is the mean
            of all.
        always: whether also where nothing is learned, in place of the mean.
    """

    chosen: Any = None
    always = False


class Mixture(Insertion):
    """Adds ``f(y D_i + d_i) U_j + u_j``: expert i projects down and expert j up.

    In training the two are those of `Routes`; otherwise D, d, U and u are the experts' means.

    Args:
        outputs: O.
        size: S.
        experts: E.
        share: whether all experts have one projection up.
        activation: f, by Keras's name.
        routes: of the network.
        place: of this layer in the routes.
        name: unique in the network.

    Source: Wang et al. 2022, "AdaMix: mixture-of-adaptations for parameter-efficient model
        tuning", sections 3.1 to 3.4 (https://arxiv.org/abs/2205.12410).
    """

    def __init__(
        self,
        outputs: int,
        *,
        size: int,
        experts: int,
        share: bool,
        activation: str,
        routes: Routes,
        place: int,
        name: str,
    ) -> None:
        super().__init__(name=name)
        self.sizes = outputs, size
        self.kind = activation
        self.activation = keras.activations.get(activation)
        self.routes, self.place = routes, place
        near = keras.initializers.TruncatedNormal(stddev=1e-3)

        def alike(shape: Any, dtype: Any = None) -> Any:
            """Let all experts begin as the same, so that their mean stays one of their kind."""
            return ops.broadcast_to(near(shape[1:], dtype), shape)

        def add(name: str, shape: tuple[int, ...], start: Any) -> Any:
            # Not in float16, in which the mean would be another than the one that is exported.
            return self.add_weight(shape=shape, initializer=start, name=name, autocast=False)

        above = 1 if share else experts
        self.down = add("down", (experts, outputs, size), alike)
        self.down_bias = add("down_bias", (experts, size), "zeros")
        self.up = add("up", (above, size, outputs), alike)
        self.up_bias = add("up_bias", (above, outputs), "zeros")
        self.built = True

    def call(self, x: Any, y: Any, training: bool | None = None) -> Any:
        """Float (R, I), float (R, O) -> float (R, O)."""
        chosen = self.routes.chosen if training or self.routes.always else None

        def expert(weights: Any, side: int) -> Any:
            """Return the weights of one expert, or the mean of all."""
            count = weights.shape[0]
            if chosen is None or count == 1:
                return ops.cast(ops.mean(weights, axis=0), y.dtype)
            # Gathered, the others would have no gradient, not one of 0, and AdamW no momentum.
            share = ops.one_hot(chosen[self.place, side], count, dtype=weights.dtype)
            return ops.cast(ops.tensordot(share, weights, axes=1), y.dtype)

        inner = self.activation(ops.matmul(y, expert(self.down, 0)) + expert(self.down_bias, 0))
        return y + ops.matmul(inner, expert(self.up, 1)) + expert(self.up_bias, 1)

    def reduced(self) -> Bottleneck:
        """Return the averaged expert."""
        outputs, size = self.sizes
        own = Bottleneck(outputs, size=size, activation=self.kind, name=self.name)
        own.dtype_policy = self.dtype_policy  # that of the run, not of this process
        for name in ("down", "down_bias", "up", "up_bias"):
            getattr(own, name).assign(np.mean(getattr(self, name).numpy(), axis=0))
        return own


def mixtures(model: keras.Model) -> list[Mixture]:
    """Return the mixtures of a model.

    Example::

        len(mixtures(network))  # 6, one for each layer of MiniLM
    """
    return [x.insertion for x in inserted(model) if isinstance(x.insertion, Mixture)]


@contextmanager
def routed(routes: Routes, chosen: Any) -> Iterator[None]:
    """Let a network answer by certain experts, not by their mean, for a while.

    Args:
        routes: the network's.
        chosen: int32 (P, 2).

    Example::

        with routed(routes, tf.Variable(np.zeros((6, 2), "int32"))):
            network(x, training=False)  # answers by the first experts
    """
    before = routes.chosen
    routes.chosen, routes.always = chosen, True
    try:
        yield
    finally:
        routes.chosen, routes.always = before, False
