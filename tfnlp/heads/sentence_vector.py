"""A unit vector for each text, and the loss that draws pairs together and all else apart.

Source: van den Oord et al. 2018, "Representation learning with contrastive predictive coding",
    equation 4, InfoNCE (https://arxiv.org/abs/1807.03748), with the other rows of the batch as
    negatives, in both directions, as in Radford et al. 2021, "CLIP", figure 3
    (https://arxiv.org/abs/2103.00020).

Dimensions: B batch, W texts of a row (1 or 2), T tokens, H hidden.
"""

from __future__ import annotations

from typing import Any, Literal

import keras
from keras import ops

from tfnlp.heads import pooled


def head(backbone: keras.Model, *, pooling: Literal["mean", "cls"]) -> keras.Model:
    """Return a network that pools a backbone's states into unit vectors.

    Args:
        backbone: token_ids, segment_ids, padding_mask, int32 (B, T) -> ``tokens`` (B, T, H).
        pooling: the mean over the tokens that are not padding, or the first token's state.

    Returns:
        A functional model with inputs of the same names (B, W, T): every text of a row is read by
        itself. Outputs are unit vectors, float32 (B, W, H).

    Example::

        network = head(backbone, pooling="mean")
    """
    states = backbone.output["tokens"]
    inputs = {tensor.name: tensor for tensor in backbone.inputs}
    mask = inputs["padding_mask"]
    vector = states[:, 0] if pooling == "cls" else pooled.masked_mean(states, mask)
    inputs, vectors = pooled.in_windows(keras.Model(inputs, vector, name="text"))
    unit = keras.layers.UnitNormalization(axis=-1, dtype="float32", name="unit")
    return keras.Model(inputs, unit(vectors))


class Contrastive(keras.losses.Loss):
    """InfoNCE within the batch: whose partner is whose?

    Args:
        temperature: what the cosines are divided by.

    Example::

        network.compile(loss=Contrastive(0.05), metrics=[Accuracy()])
    """

    def __init__(self, temperature: float) -> None:
        super().__init__(name="contrastive")
        self.temperature = temperature

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each row [nats].

        Args:
            y_true: (B, 2), a number for each text, equal for equal texts.
            y_pred: unit vectors, float32 (B, 2, H).
        """
        logits = candidates(y_true, y_pred) / self.temperature
        target = ops.arange(ops.shape(logits)[0])

        def one_way(scores: Any) -> Any:
            return ops.sparse_categorical_crossentropy(target, scores, from_logits=True)

        return (one_way(logits) + one_way(ops.transpose(logits))) / 2


class Accuracy(keras.metrics.Mean):
    """The share of first texts to which their partner is the nearest of the batch's second ones."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch: numbers of the texts (B, 2), unit vectors (B, 2, H)."""
        nearest = ops.argmax(candidates(y_true, y_pred), axis=-1)
        super().update_state(ops.equal(nearest, ops.arange(ops.shape(nearest)[0])))


def candidates(numbers: Any, vectors: Any) -> Any:
    """Return the cosines of all first texts with all second ones.

    Args:
        numbers: (B, 2), a number for each text, equal for equal texts.
        vectors: unit vectors, float32 (B, 2, H).

    Returns:
        float32 (B, B). Off the diagonal, what is no true negative is far below any cosine: a row
        with one of the two texts in common, and the first text itself among the second ones.

    Example::

        candidates(numbers, vectors) / temperature  # logits, float32 (B, B)
    """
    first, second = numbers[:, 0], numbers[:, 1]
    equal = ops.equal(first[:, None], first[None, :])
    equal = ops.logical_or(equal, ops.equal(second[:, None], second[None, :]))
    equal = ops.logical_or(equal, ops.equal(first[:, None], second[None, :]))
    equal = ops.logical_or(equal, ops.equal(second[:, None], first[None, :]))
    own = ops.eye(ops.shape(numbers)[0], dtype="bool")
    cosines = ops.matmul(vectors[:, 0], ops.transpose(vectors[:, 1]))
    return ops.where(ops.logical_and(equal, ops.logical_not(own)), -1e4, cosines)
