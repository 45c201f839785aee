"""All that tfnlp changes in Keras and KerasHub: nothing else in the tree replaces their code.

Each entry has a test in tests/unit/runtime/test_keras_patches.py, which shows what Keras does
without it and fails once a new release no longer needs it. Then delete the entry.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import MethodType
from typing import Any
from unittest import mock

import keras
import tensorflow as tf
from keras.src.backend.tensorflow import core, numpy
from keras.src.optimizers.base_optimizer import BaseOptimizer

_DRAWN = (
    keras.initializers.TruncatedNormal,
    keras.initializers.RandomNormal,
    keras.initializers.VarianceScaling,
)
# What Keras's TensorFlow optimizer does across replicas, and its base class on one device.
_UPDATES = (
    "_apply_weight_decay",
    "_backend_update_step",
    "_backend_increment_gradient_accumulators",
)


@contextmanager
def undrawn() -> Iterator[None]:
    """Start weights at zero: drawing a vocabulary's takes longer than reading them from a file.

    What is drawn later stays the same, for seeds are dealt out when initializers are made.

    Example::

        with undrawn():
            model = build()
        model.load_weights(path)
    """
    zeros = keras.initializers.Zeros()

    def start(_: keras.initializers.Initializer, shape: Any, dtype: Any = None, **__: Any) -> Any:
        return zeros(shape, dtype)

    with ExitStack() as stack:
        for kind in _DRAWN:
            stack.enter_context(mock.patch.object(kind, "__call__", start))
        yield


@contextmanager
def replaced_ops(
    slice_update: Callable[..., Any], einsum: Callable[..., Any], repeat: Callable[..., Any]
) -> Iterator[None]:
    """Replace, within the block, ``keras.ops`` of the same names where KerasHub's layers call them.

    ``slice_update`` of Keras is XLA's DynamicUpdateSlice, whose kernel outside of a compiled
    function asks for a compiler that the stock TF Serving does not have. ``einsum`` and ``repeat``
    in attention over a cache transpose and copy the whole cache for each token.

    Args:
        slice_update: takes inputs, start_indices, updates.
        einsum: takes subscripts and operands.
        repeat: takes x, repeats, axis.

    Example::

        with replaced_ops(slice_update, numpy.einsum, numpy.repeat):
            logits, _, cache = network.step(ids, index, cache, fixed)
    """
    before = core.slice_update, numpy.einsum, numpy.repeat
    core.slice_update, numpy.einsum, numpy.repeat = slice_update, einsum, repeat
    try:
        yield
    finally:
        core.slice_update, numpy.einsum, numpy.repeat = before


def attention_ops() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return Keras's einsum and repeat, as KerasHub's attention calls them."""
    return numpy.einsum, numpy.repeat


def turn(layer: keras.layers.Layer, kind: type[keras.layers.Layer]) -> None:
    """Make a built layer one of a subclass, or of its base class; its weights stay as they are.

    A functional model holds the layers it was built of, and Keras cannot exchange one of them.

    Args:
        layer: the layer, changed in place.
        kind: a class with the same weights and the same arguments of ``__init__``.

    Example::

        turn(layer, Encoder)
    """
    layer.__class__ = kind
    layer._call_signature = inspect.signature(layer.call)
    layer.call_signature_parameters = list(layer._call_signature.parameters)


def attach(layer: keras.layers.Layer, name: str, added: keras.layers.Layer) -> None:
    """Make a layer a part of a built one, which Keras allows before it is built only.

    Args:
        layer: built.
        name: the attribute that holds the added one.
        added: has weights.

    Example::

        attach(query, "insertion", lora)
    """
    layer._tracker.unlock()
    setattr(layer, name, added)
    layer._tracker.lock()


def detach(layer: keras.layers.Layer, name: str) -> None:
    """Take off what `attach` added; Keras goes on counting the weights of a deleted layer.

    Example::

        detach(query, "insertion")
    """
    layer._tracker.untrack(getattr(layer, name))
    delattr(layer, name)


@contextmanager
def followed(layer: keras.layers.Layer, then: Callable[[Any], Any]) -> Iterator[None]:
    """Within the block, pass what a layer returns through a function.

    A functional model cannot be given another layer in the place of one of its own.

    Args:
        layer: of one input and one output.
        then: output -> another one of its shape.

    Example::

        with followed(embedding, lambda output: output + noise):
            network(x)
    """
    plain = layer.call
    with mock.patch.object(layer, "call", lambda *given, **more: then(plain(*given, **more))):
        yield


def share(weight: keras.Variable, other: keras.Variable) -> None:
    """Let a weight be another one of the same shape and dtype; both are one variable then.

    A layer holds the weights that it was built with, and Keras gives it no others.

    Args:
        weight: of any layer.
        other: what it becomes.

    Example::

        share(one.kernel, other.kernel)
        one.kernel.value is other.kernel.value  # True
    """
    weight._value = other.value


def layers_of(network: keras.Model) -> list[keras.layers.Layer]:
    """Return the layers of a model at any depth; ``network.layers`` has the outermost alone."""
    return list(network._flatten_layers(include_self=False))


def take_added_losses(network: keras.Model) -> list[tf.Tensor]:
    """Return what layers passed to ``add_loss`` since the last call, and forget it.

    Keras keeps a tensor of the function that is being traced, which no other function can use.
    """
    added = [
        loss
        for layer in network._flatten_layers(include_self=True)
        for loss in layer._get_own_losses()
    ]
    network._clear_losses()
    return added


def update_each_copy(optimizer: keras.optimizers.Optimizer) -> None:
    """Have an optimizer update the copy of each replica as on one device.

    Keras clips and accumulates each replica's gradient before they are added up, which is not the
    gradient of the batch, and cannot accumulate at all on replicas of one process. After this call
    ``apply_gradients`` wants gradients that are added up.
    """
    inner: Any = getattr(optimizer, "inner_optimizer", optimizer)
    for name in _UPDATES:
        setattr(inner, name, MethodType(getattr(BaseOptimizer, name), inner))


class ReplicatedModel(keras.Model):
    """A model whose functions of a batch, on replicas, are its own.

    - Keras's ``_make_function`` ends in ``reduce_per_replica``, which on several workers reduces
      scalar logs over axis 0 and fails.
    - Keras's ``_maybe_symbolic_build`` averages a batch over the replicas to build a model, which
      fails where their parts are not of the same size; here the model is built.
    """

    @property
    def replicas(self) -> int:
        """Over how many replicas a batch is dealt out."""
        return int(self.distribute_strategy.num_replicas_in_sync)

    @property
    def loss_tracker(self) -> keras.metrics.Mean:
        """The mean of the loss over an epoch's rows."""
        return self._loss_tracker

    def collect(self, *results: Any) -> dict[str, Any]:
        """Return the logs, from what the replicas' step returned."""
        raise NotImplementedError

    def _make_function(self, step: Callable[[Any], Any]) -> Any:
        """Make the function of an iterator that Keras calls for each batch."""
        if self.replicas == 1:
            return super()._make_function(step)

        @tf.function(reduce_retracing=True, autograph=False)
        def on_batch(iterator: Any) -> dict[str, Any]:
            return self.collect(*self.distribute_strategy.run(step, (next(iterator),)))

        return on_batch

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Leave a model alone that is built."""
