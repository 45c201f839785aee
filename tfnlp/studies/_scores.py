"""The scores of trials: the first metric of the test rows, or of validation if there are none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tfnlp.extensions import Settings, Trial
from tfnlp.report import Table, between, four_places


def headline(trials: Sequence[Trial]) -> tuple[str, str]:
    """Return the split and the metric by which trials are compared.

    Example::

        headline(trials)  # ("test", "accuracy")
    """
    from tfnlp.evaluation import runs

    ended = [trial.metrics for trial in trials if trial.metrics]
    if not ended:
        return "test", "metric"
    split = "test" if any(metrics.get("test") for metrics in ended) else "validation"
    return split, runs.headline(ended[0])


def score(trial: Trial, split: str, metric: str) -> float | None:
    """Return a metric of a trial; None if it has no number there."""
    value: float | None = ((trial.metrics or {}).get(split) or {}).get(metric)
    return value if value is not None and math.isfinite(value) else None


def without_seed(settings: Settings) -> dict[str, Any]:
    """Return settings but for the seed.

    Example:
        >>> without_seed({"epochs": 2, "seed": 1})
        {'epochs': 2}
    """
    return {name: value for name, value in settings.items() if name != "seed"}


def is_there(settings: Settings, trials: Sequence[Trial]) -> bool:
    """Return whether one of the trials has these settings."""
    return any(trial.settings == settings for trial in trials)


def mean(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of values and the ends of its 95% interval, NaN of a single one.

    Example::

        mean([0.90, 0.92, 0.91])  # (0.91, 0.8852, 0.9348)
    """
    import numpy as np

    from tfnlp.evaluation import intervals

    return (float(np.mean(values)), *intervals.t_interval(values))


def cell(found: tuple[float, float, float]) -> str:
    """Return a mean and its interval as a table shows them.

    Example:
        >>> cell((0.91, 0.885, 0.935)), cell((0.91, math.nan, math.nan))
        ('0.9100 (0.8850 to 0.9350)', '0.9100')
    """
    value, low, high = found
    return four_places(value) + ("" if math.isnan(low) else f" ({between((low, high))})")


def number(value: float) -> str:
    """Return a score as a table shows it; a dash for NaN.

    Example:
        >>> number(0.91), number(math.nan)
        ('0.9100', '–')
    """
    return four_places(None if math.isnan(value) else value)


def failures(trials: Sequence[Trial], names: Mapping[int, str]) -> list[str]:
    """Return a sentence on each trial that failed.

    Args:
        trials: in their order.
        names: what a trial is called, by its place; "trial 3" if not said.
    """
    return [
        f"{names.get(place, f'trial {place + 1}')} with seed {trial.experiment.seed} failed: "
        f"{trial.error}"
        for place, trial in enumerate(trials)
        if trial.state == "failed"
    ]


def beside_first(cells: Mapping[tuple[str, str], Sequence[Trial]]) -> Table | None:
    """Return by how much each row's score differs from the first row's on the same seeds.

    What a seed does to both cancels out, so these intervals are narrower than those of the means.

    Args:
        cells: row and column -> their trials.

    Returns:
        A table of means with their 95% intervals (Student's t); None without two pairs of runs.

    Example::

        beside_first({("full", ""): trials, ("lora", ""): others}).rows
        # [("lora", 5, "+0.0120", "+0.0013", "+0.0227")]
    """
    rows = []
    for (row, column), trials in cells.items():
        first = next(name for name, c in cells if c == column)
        of_column = [t for (_, c), several in cells.items() if c == column for t in several]
        split, metric = headline(of_column)
        base = {t.experiment.seed: score(t, split, metric) for t in cells[first, column]}
        pairs = [(score(t, split, metric), base.get(t.experiment.seed)) for t in trials]
        found = [a - b for a, b in pairs if a is not None and b is not None]
        if row != first and len(found) > 1:
            figures = (f"{value:+.4f}" for value in mean(found))
            rows.append((row, *([column] if column else []), len(found), *figures))
    if not rows:
        return None
    data = ["data"] if any(column for _, column in cells) else []
    head = ("settings", *data, "pairs", "difference", "95% from", "to")
    name = next(row for row, _ in cells)
    return Table(f"Beside {name}, on the same seeds", head, rows)
