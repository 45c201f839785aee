"""A product in the form of a singular value decomposition, added to a projection.

Dimensions: R rows (tokens of a batch), I inputs of a matrix, O its outputs, K triplets.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from tfnlp.backbones.insertions import Insertion


class Triplets(Insertion):
    """Adds ``scale * x P diag(lambda) Q`` to a projection's output (AdaLoRA).

    A triplet is a column of P, its singular value and a row of Q. One whose singular value is 0
    adds nothing; the others are the rank.

    Args:
        inputs: I.
        outputs: O.
        rank: K, of which none is 0 at first but for the start.
        scale: what the product is multiplied by.
        name: unique in the network.

    Source: Zhang et al. 2023, "Adaptive budget allocation for parameter-efficient fine-tuning",
        section 3.1 (https://arxiv.org/abs/2303.10512).
    """

    def __init__(self, inputs: int, outputs: int, *, rank: int, scale: float, name: str) -> None:
        super().__init__(name=name)
        self.scale = scale
        # Drawn as the paper draws them, then made orthogonal, which it asks of them in training.
        drawn = keras.initializers.Orthogonal
        self.p = self.add_weight(shape=(inputs, rank), initializer=drawn(), name="p")
        self.singular = self.add_weight(shape=(rank,), initializer="zeros", name="lambda")
        self.q = self.add_weight(shape=(rank, outputs), initializer=drawn(), name="q")
        self.built = True

    def call(self, x: Any, y: Any, training: bool | None = None) -> Any:
        """Float (R, I), float (R, O) -> float (R, O)."""
        return y + ops.matmul(ops.matmul(x, self.p) * (self.singular * self.scale), self.q)

    def folded(self, kernel: np.ndarray, bias: np.ndarray | None) -> tuple[Any, Any]:
        """Add the product to the matrix."""
        p, singular, q = (w.numpy() for w in (self.p, self.singular, self.q))
        return kernel + self.scale * ((p * singular) @ q), bias

    def deviation(self) -> Any:
        """Return how far P's columns and Q's rows are from orthonormal, a float32 scalar.

        It is equation 4 of the paper: the squares of P'P - I and of QQ' - I, added up.
        """
        p, q = ops.convert_to_tensor(self.p), ops.convert_to_tensor(self.q)
        one = ops.eye(q.shape[0], dtype=p.dtype)
        products = ops.matmul(ops.transpose(p), p), ops.matmul(q, ops.transpose(q))
        return sum(ops.sum(ops.square(product - one)) for product in products)

    def rank(self) -> int:
        """Return how many singular values are not 0."""
        return int(np.count_nonzero(self.singular.numpy()))
