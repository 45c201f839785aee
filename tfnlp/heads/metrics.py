"""Metrics that Keras lacks: F1 from logits, F1 that leaves one label out."""

from __future__ import annotations

from typing import Any

import keras


class LogitF1(keras.metrics.F1Score):
    """F1 of independent labels, from logits, at a probability of one half."""

    def __init__(self, average: str, name: str, dtype: Any = None) -> None:
        super().__init__(average=average, threshold=0.5, name=name, dtype=dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch: targets and logits, float (B, C)."""
        super().update_state(y_true, keras.ops.sigmoid(y_pred), sample_weight)


class MicroF1(keras.metrics.Metric):
    """F1 over all rows of one label each, where one label stands for none and does not count.

    Args:
        none: the place of that label among the C labels; None if there is no such label.
        name: the metric's name.
    """

    def __init__(self, none: int | None, name: str) -> None:
        super().__init__(name=name)
        self.none = -1 if none is None else none
        self.right = self.add_weight(name="right", initializer="zeros")
        self.marked = self.add_weight(name="marked", initializer="zeros")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch: one-hot targets and logits, float (B, C)."""
        truth, answers = keras.ops.argmax(y_true, -1), keras.ops.argmax(y_pred, -1)
        marked = [keras.ops.cast(labels != self.none, "float32") for labels in (truth, answers)]
        equal = keras.ops.cast(truth == answers, "float32")
        self.right.assign_add(keras.ops.sum(equal * marked[0]))
        self.marked.assign_add(keras.ops.sum(marked[0]) + keras.ops.sum(marked[1]))

    def result(self) -> Any:
        """Return 2 right / (true + answered)."""
        return 2 * self.right / keras.ops.maximum(self.marked, 1)
