"""Logits of an ordered scale."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("tfnlp")
class OrderedLogits(keras.layers.Layer):
    """(B, H) -> (B, levels): one shared score and a bias for each level, never increasing.

    Source: Cao, Mirjalili, Raschka 2020, section 3.3 (https://arxiv.org/abs/1901.07884). They show
    that the biases are ordered at the optimum; here they are ordered by construction, as a first
    one minus a running sum of positive steps.
    """

    def __init__(self, levels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.levels = levels

    def build(self, input_shape: tuple) -> None:
        """Create the score's kernel (H, 1), the first bias and the steps."""
        self.kernel = self.add_weight(
            shape=(input_shape[-1], 1), initializer="glorot_uniform", name="kernel"
        )
        self.bias = self.add_weight(shape=(1,), initializer="zeros", name="bias")
        self.steps = self.add_weight(
            shape=(self.levels - 1,), initializer="zeros", name="bias_steps"
        )

    def call(self, inputs: Any) -> Any:
        """Return the logit of reaching each level."""
        falls = ops.cumsum(ops.softplus(self.steps))
        biases = self.bias - ops.concatenate([ops.zeros((1,), falls.dtype), falls])
        return ops.matmul(inputs, self.kernel) + biases

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return (B, levels)."""
        return (*input_shape[:-1], self.levels)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {**super().get_config(), "levels": self.levels}
