"""Logits of an ordered scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("tfnlp")
class OrderedLogits(keras.layers.Layer):
    """(B, H) -> (B, C - 1): one shared score and a bias for each grade but the lowest.

    The biases begin at the log-odds of the grades in training and never increase. Cao et al. show
    that they are ordered at the optimum; here they are ordered by construction, as a first one
    minus a running sum of positive steps. They are stored divided by the square root of H: Adam
    moves every weight by about the learning rate, so that the score with its H weights moves
    faster than a single bias could follow in a short fine-tuning.

    Args:
        reached: for each grade but the lowest, the share of rows that reach it, decreasing.

    Source: Cao, Mirjalili, Raschka 2020, section 3.3 (https://arxiv.org/abs/1901.07884).
    """

    def __init__(self, reached: Sequence[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reached = [float(share) for share in reached]

    def build(self, input_shape: tuple) -> None:
        """Create the score's kernel (H, 1), the first bias and the steps to the others."""
        self.scale = math.sqrt(input_shape[-1])
        odds = np.log(self.reached) - np.log1p(-np.array(self.reached))
        falls = np.maximum(-np.diff(odds), 1e-3)
        self.kernel = self.add_weight(
            shape=(input_shape[-1], 1), initializer="glorot_uniform", name="kernel"
        )
        first = keras.initializers.Constant(odds[0] / self.scale)
        self.bias = self.add_weight(shape=(1,), initializer=first, name="bias")
        self.steps = self.add_weight(shape=falls.shape, initializer="zeros", name="bias_steps")
        self.steps.assign(np.log(np.expm1(falls)) / self.scale)  # softplus reversed

    def call(self, inputs: Any) -> Any:
        """Return the logit of reaching each grade but the lowest."""
        falls = ops.cumsum(ops.softplus(self.scale * self.steps))
        biases = self.scale * self.bias - ops.concatenate([ops.zeros((1,), falls.dtype), falls])
        return ops.matmul(inputs, self.kernel) + biases

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return (B, C - 1)."""
        return (*input_shape[:-1], len(self.reached))

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {**super().get_config(), "reached": self.reached}
