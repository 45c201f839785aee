"""Runs compared by their metrics, as they stand in metrics.json."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

# The start of the names of metrics of which less is better.
_LESS = ("loss", "mae", "rmse", "mse", "perplexity", "bits_per", "ece", "uniformity")


def less_is_better(metric: str) -> bool:
    """Return whether a lower value of a metric is the better one."""
    return metric.startswith(_LESS)


def losses(metrics: Mapping[str, float], baseline: Mapping[str, float]) -> list[str]:
    """Return a sentence if a model is no better than the linear one in its first metric.

    Example:
        >>> losses({"f1": 0.5}, {"f1": 0.7})
        ['no better than a linear model of the same rows: f1 0.500 and 0.700']
    """
    name = next(iter(metrics))
    own, other = metrics[name], baseline.get(name, math.nan)
    if not (math.isfinite(own) and math.isfinite(other)):
        return []
    better = own < other if less_is_better(name) else own > other
    if better:
        return []
    return [f"no better than a linear model of the same rows: {name} {own:.3f} and {other:.3f}"]


def headline(metrics: Mapping[str, Any]) -> str:
    """Return the name of the metric that stands first: that of validation decides, not of test."""
    return str(next(iter(metrics["validation"])))


def best(runs: Sequence[Mapping[str, Any] | None]) -> int | None:
    """Return which run is best by the first metric of its validation rows.

    Args:
        runs: the metrics of each, split -> name -> value; None of one that has none.

    Returns:
        Its place, the first of several that are as good; None if no run has a number there.
    """
    scores = {}
    for place, metrics in enumerate(runs):
        if metrics:
            name = headline(metrics)
            value = metrics["validation"][name]
            if value is not None and math.isfinite(value):
                scores[place] = -value if less_is_better(name) else value
    return max(scores, key=scores.__getitem__) if scores else None
