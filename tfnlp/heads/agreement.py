"""How far two passes through a network are from giving the same answers.

Dimensions: B batch, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops


def choices(loss: Any, x: Any, outputs: Any) -> tuple[Any, Any] | None:
    """Return the choices between classes that outputs are logits of.

    A loss of ours says it by a method ``choices(x, outputs)``, of Keras's losses what they are.

    Args:
        loss: the task's, for these outputs.
        x: the network's inputs by name.
        outputs: the network's.

    Returns:
        Logits (..., C), and which of the choices (...) count, bool; None if outputs are no logits.

    Example::

        choices(keras.losses.BinaryCrossentropy(from_logits=True), x, outputs)  # (B, labels, 2)
    """
    if hasattr(loss, "choices"):
        found: tuple[Any, Any] = loss.choices(x, outputs)
        return found
    if not isinstance(
        loss, (keras.losses.CategoricalCrossentropy, keras.losses.BinaryCrossentropy)
    ):
        return None
    if not loss.get_config()["from_logits"]:
        return None
    if isinstance(loss, keras.losses.BinaryCrossentropy):  # each label by itself: yes or no
        outputs = ops.stack([outputs, ops.zeros_like(outputs)], axis=-1)
    return outputs, ops.ones(ops.shape(outputs)[:-1], "bool")


def divergence(loss: Any, x: Any, target: Any, other: Any, temperature: float = 1.0) -> Any:
    """Return how far outputs are from those that they should be like, a float32 scalar.

    Of logits of classes it is the mean over the choices that count of KL(target || other) [nats],
    both divided by the temperature, times its square, which keeps the size of the gradients; of
    others, such as numbers and vectors, the mean of the squared distance over the last axis.

    Args:
        loss: the task's, or one for each named output.
        x: the network's inputs by name.
        target: outputs, (B, ...), or one for each name; no gradient flows into them.
        other: outputs.
        temperature: that softens both distributions.

    Example::

        divergence(network.loss, batch.x, teacher(batch.x), network(batch.x, training=True), 2.0)

    Source: Hinton et al. 2015, "Distilling the knowledge in a neural network", section 2
        (https://arxiv.org/abs/1503.02531).
    """
    if isinstance(loss, Mapping):
        return sum(
            divergence(own, x, target[name], other[name], temperature) for name, own in loss.items()
        )
    wanted = choices(loss, x, ops.stop_gradient(target))
    return towards(loss, x, target if wanted is None else wanted[0], other, temperature)


def towards(loss: Any, x: Any, wanted: Any, outputs: Any, temperature: float = 1.0) -> Any:
    """Return how far outputs are from what another network chose, a float32 scalar.

    Of vectors, (B, W, H), it is the mean squared difference of the cosines of every two texts of
    the batch; those of the other network may be of another width.

    Args:
        loss: the task's.
        x: the network's inputs by name.
        wanted: the other network's logits of the choices, (B, ..., C), or log-probabilities; of
            outputs that are no logits, what they should be. What is beyond the outputs' shape, such
            as padding to a longer text, is left out; so are the outputs' labels that the other
            network does not have, which follow those that it has.
        outputs: the network's.
        temperature: as in `divergence`.

    Example::

        towards(network.loss, batch.x, batch.extras["teacher"], outputs, temperature=2.0)
    """
    found = choices(loss, x, outputs)
    if found is None and len(outputs.shape) == 3:
        return _unlike(wanted, outputs)
    logits, counted = found or (outputs, None)
    if counted is not None:
        logits = logits[..., : wanted.shape[-1]]
        if isinstance(loss, keras.losses.BinaryCrossentropy):  # (B, labels, yes or no)
            logits, counted = logits[:, : wanted.shape[1]], counted[:, : wanted.shape[1]]
    sizes = ops.shape(logits)
    wanted = ops.stop_gradient(wanted)[tuple(slice(0, size) for size in sizes)]
    if found is None:
        return distance(loss, x, wanted, outputs)
    p, q = (ops.log_softmax(ops.cast(o, "float32") / temperature) for o in (wanted, logits))
    each = ops.sum(ops.exp(p) * (p - q), axis=-1) * temperature**2
    return _mean(each, counted)


def _unlike(wanted: Any, vectors: Any) -> Any:
    """Return how far the cosines of a batch's texts are from those of other vectors."""

    def cosines(of: Any) -> Any:
        flat = ops.reshape(ops.cast(of, "float32"), (-1, ops.shape(of)[-1]))
        unit = ops.normalize(flat, axis=-1)
        return ops.matmul(unit, ops.transpose(unit))

    return ops.mean(ops.square(cosines(ops.stop_gradient(wanted)) - cosines(vectors)))


def distance(loss: Any, x: Any, one: Any, other: Any) -> Any:
    """Return how far the outputs of two passes of a batch are apart, a float32 scalar.

    Of logits of classes it is the mean over the choices that count of the symmetric divergence,
    half of KL(one || other) + KL(other || one) [nats]; of others, such as numbers and vectors, the
    mean of the squared distance over the last axis.

    Args:
        loss: the task's, or one for each named output.
        x: the network's inputs by name.
        one: outputs, (B, ...), or one for each name.
        other: those of the other pass.

    Example::

        distance(network.loss, x, outputs, network(x, training=True))

    Source: Wang et al. 2022, "AdaMix", section 3.3 (https://arxiv.org/abs/2205.12410).
    """
    if isinstance(loss, Mapping):
        return sum(distance(own, x, one[name], other[name]) for name, own in loss.items())
    found = choices(loss, x, one)
    if found is None:
        difference = ops.cast(one, "float32") - ops.cast(other, "float32")
        return ops.mean(ops.sum(ops.square(difference), axis=-1))
    logits, counted = found
    second = choices(loss, x, other)
    assert second is not None  # the same loss
    p, q = (ops.log_softmax(ops.cast(each, "float32")) for each in (logits, second[0]))
    each = ops.sum((ops.exp(p) - ops.exp(q)) * (p - q), axis=-1) / 2
    return _mean(each, counted)


def _mean(values: Any, counted: Any) -> Any:
    """Return the mean of the values that count."""
    weights = ops.cast(counted, "float32")
    return ops.sum(values * weights) / ops.maximum(ops.sum(weights), 1.0)
