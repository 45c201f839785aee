"""A unit vector for each text, and the losses that put texts of like meaning near each other.

Source of `Contrastive`: van den Oord et al. 2018, "Representation learning with contrastive
    predictive coding", equation 4, InfoNCE (https://arxiv.org/abs/1807.03748), with the other rows
    of the batch as negatives, in both directions, as in Radford et al. 2021, "CLIP", figure 3
    (https://arxiv.org/abs/2103.00020).

Dimensions: B batch, W texts of a row (1 to 3), T tokens, H hidden.
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

    A third text of a row is one more that its first text, and those of the other rows, must keep
    away from.

    Args:
        temperature: what the cosines are divided by.
        fewest_rows: that a batch must have for there to be a negative.

    Example::

        network.compile(loss=Contrastive(0.05), metrics=[Accuracy()])
    """

    def __init__(self, temperature: float, fewest_rows: int = 2) -> None:
        super().__init__(name="contrastive")
        self.temperature = temperature
        self.fewest_rows = fewest_rows

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each row [nats].

        Args:
            y_true: (B, W), a number for each text, equal for equal texts.
            y_pred: unit vectors, float32 (B, W, H), W being 2 or 3.
        """
        logits = candidates(y_true, y_pred) / self.temperature
        rows = ops.shape(logits)[0]
        target = ops.arange(rows)

        def one_way(scores: Any) -> Any:
            return ops.sparse_categorical_crossentropy(target, scores, from_logits=True)

        return (one_way(logits) + one_way(ops.transpose(logits[:, :rows]))) / 2


class CosineRegression(keras.losses.Loss):
    """The squared difference between the cosine of a pair of texts and its score.

    CoSENT (Su 2022) compares the pairs of a batch with one another only, and batches hold texts of
    a length: pairs of different lengths would never be compared.

    Source: Reimers and Gurevych 2019, "Sentence-BERT", section 3 (https://arxiv.org/abs/1908.10084).

    Example::

        network.compile(loss=CosineRegression(), metrics=[Correlation("correlation")])
    """

    def __init__(self) -> None:
        super().__init__(name="cosine_regression")

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each row: scores from 0 to 1 (B, 1), unit vectors (B, 2, H)."""
        return ops.square(pair_cosines(y_pred) - y_true[:, 0])


class Correlation(keras.metrics.Metric):
    """Pearson's correlation of the pairs' cosines with their scores, over all batches.

    Spearman's, which reports have, cannot be summed up by batches.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.sums = self.add_weight(name="sums", shape=(6,), initializer="zeros")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch: scores from 0 to 1 (B, 1), unit vectors (B, 2, H)."""
        x, y = ops.cast(y_true[:, 0], "float32"), pair_cosines(y_pred)
        terms = ops.stack([ops.ones_like(x), x, y, x * x, y * y, x * y])
        self.sums.assign_add(ops.sum(terms, -1))

    def result(self) -> Any:
        """Return it; 0 where all scores or all cosines are equal."""
        count, x, y, xx, yy, xy = ops.unstack(self.sums / ops.maximum(self.sums[0], 1), 6)
        del count
        spread = ops.maximum((xx - x * x) * (yy - y * y), 0)
        return ops.where(spread > 1e-12, (xy - x * y) / ops.sqrt(ops.maximum(spread, 1e-12)), 0.0)


def pair_cosines(vectors: Any) -> Any:
    """Return the cosine of each row's first two texts, float32 (B,), from unit vectors (B, 2, H).

    Example::

        pair_cosines(network(features))  # (B,)
    """
    return ops.sum(vectors[:, 0] * vectors[:, 1], -1)


class Accuracy(keras.metrics.Mean):
    """The share of first texts to which their partner is the nearest of the batch's second ones."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch: numbers of the texts (B, W), unit vectors (B, W, H)."""
        nearest = ops.argmax(candidates(y_true, y_pred), axis=-1)
        super().update_state(ops.equal(nearest, ops.arange(ops.shape(nearest)[0])))


def candidates(numbers: Any, vectors: Any) -> Any:
    """Return the cosines of all first texts with all second ones, and with all third ones.

    Args:
        numbers: (B, W), a number for each text, equal for equal texts.
        vectors: unit vectors, float32 (B, W, H), W being 2 or 3.

    Returns:
        float32 (B, B), of three texts a row (B, 2 B). Off the diagonal, what is no true negative is
        far below any cosine: a row with one of the two texts in common, and the first text itself
        among the second ones; and a third text that is the row's first, or one of its partners.

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
    among_second = ops.where(ops.logical_and(equal, ops.logical_not(own)), -1e4, cosines)
    if numbers.shape[1] == 2:
        return among_second
    third = numbers[:, 2]
    # partner[i, j]: row j's third text is the second text of a row with row i's first text.
    same_first = ops.cast(ops.equal(first[:, None], first[None, :]), "float32")
    is_second = ops.cast(ops.equal(second[:, None], third[None, :]), "float32")
    partner = ops.matmul(same_first, is_second) > 0
    equal = ops.logical_or(ops.equal(first[:, None], third[None, :]), partner)
    cosines = ops.matmul(vectors[:, 0], ops.transpose(vectors[:, 2]))
    return ops.concatenate([among_second, ops.where(equal, -1e4, cosines)], axis=1)
