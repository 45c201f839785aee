"""How sure a figure is: 95% confidence intervals.

Dimensions: N rows or runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from pipelines.rows import Rows
    from tfnlp.report import Report
    from tfnlp.task import Arrays, Context, Task

LEVEL = 0.95
_RESAMPLES = 200
_ROWS = 400_000  # in all resamples; of more rows there are fewer resamples, at least 40


def t_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the interval of the mean of N measurements, by Student's t; NaN of fewer than two.

    Example::

        t_interval([0.90, 0.92, 0.91])  # (0.8852, 0.9348)
    """
    if len(values) < 2:
        return (float("nan"), float("nan"))
    mean, error = float(np.mean(values)), float(stats.sem(values))
    margin = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * error
    return (mean - margin, mean + margin)


def bootstrap(
    figures: Callable[[np.ndarray], np.ndarray],
    rows: int,
    resamples: int,
    seed: int = 0,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> np.ndarray:
    """Return the intervals of figures by drawing rows again, with replacement.

    It is the basic interval: a figure that is too large on a sample, as a calibration error is,
    is too large on a resample by about as much again, which the basic interval takes off. Of a
    calibration error of exactly 0 it still covers 0 in 7 of 10 samples only (the percentile
    interval in none), of one of 0.05 in 87 of 100, of one of 0.2 in 92 (300 rows each).

    Args:
        figures: the places of N rows, int (N,) -> F figures, float (F,).
        rows: N.
        resamples: how often rows are drawn.
        seed: where the draws start.
        bounds: between which every figure lies.

    Returns:
        The lower and the upper ends, float (F, 2).

    Source: Davison and Hinkley 1997, "Bootstrap methods and their application", section 5.2.1.
    """
    random = np.random.default_rng(seed)
    value = figures(np.arange(rows))
    drawn = np.stack([figures(random.integers(0, rows, rows)) for _ in range(resamples)])
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    ends: np.ndarray = np.clip(np.stack([2 * value - high, 2 * value - low], 1), *bounds)
    return ends


def judged(
    task: Task, context: Context, rows: Rows, answers: Arrays, *, sure: bool = True
) -> Report:
    """Return a task's report on its answers, with the intervals of its metrics.

    Texts that are repacked into examples, and those that are written, have none: the former are
    not independent, the latter take too long to be judged again and again.

    Args:
        task: whose report it is.
        context: of the model.
        rows: N rows.
        answers: of N rows.
        sure: whether there are to be intervals.

    Example::

        judged(model.task, model.context, rows, answers).intervals["accuracy"]  # (0.91, 0.95)
    """
    report = task.report(context, rows, answers)
    if not sure or task.writing or task.pack:
        return report

    def measure(places: np.ndarray) -> Mapping[str, float]:
        some = {name: np.asarray(column)[places] for name, column in answers.items()}
        return task.report(context, rows.take(places.tolist()), some).metrics

    report.resampled.update(resampled(measure, report.metrics, len(rows)))
    report.intervals.update(of_metrics(report.resampled, report.metrics, len(rows)))
    return report


def resampled(
    measure: Callable[[np.ndarray], Mapping[str, float]], names: Iterable[str], rows: int
) -> dict[str, list[float]]:
    """Return metrics of rows drawn again, with replacement: D draws, the same for as many rows.

    Args:
        measure: the places of N rows, int (N,) -> metrics.
        names: the metrics.
        rows: N.

    Returns:
        Metric -> D values, NaN where a draw has none; no metric of fewer than two rows.

    Example:
        >>> right = np.array([1, 1, 1, 0])
        >>> share = lambda places: {"accuracy": float(right[places].mean())}
        >>> resampled(share, ["accuracy"], 4)["accuracy"][:3]
        [0.75, 1.0, 0.5]
    """
    if rows < 2:
        return {}
    random = np.random.default_rng(0)
    count = min(_RESAMPLES, max(40, _ROWS // rows))
    drawn = [measure(random.integers(0, rows, rows)) for _ in range(count)]
    return {name: [float(metrics.get(name, math.nan)) for metrics in drawn] for name in names}


def of_metrics(
    drawn: Mapping[str, Sequence[float]], values: Mapping[str, float], rows: int
) -> dict[str, tuple[float, float]]:
    """Return the percentile interval of each metric from its values on rows drawn again.

    Where every row was right, so that all draws say 1, the lower end is that of Clopper and Pearson
    (1934): of 38 rows all right the share of right answers is above 0.907. So is the upper end
    where no row was. A figure outside of its interval has none: rows that are drawn twice are pairs
    of the same text to a figure over pairs, as uniformity is, and so move it to one side.

    Args:
        drawn: as of `resampled`.
        values: the metrics of all N rows.
        rows: N.

    Example:
        >>> right = np.array([1, 1, 1, 0])
        >>> share = lambda places: {"accuracy": float(right[places].mean())}
        >>> of_metrics(resampled(share, ["accuracy"], 4), share(np.arange(4)), 4)
        {'accuracy': (0.25, 1.0)}

    Source: Efron and Tibshirani 1993, "An introduction to the bootstrap", section 13.3.
    """
    tail = (1 - LEVEL) / 2
    sure = tail ** (1 / rows)
    found = {}
    for name, several in drawn.items():
        each, value = np.array(several, float), values[name]
        each = each[np.isfinite(each)]
        if not math.isfinite(value) or not len(each):
            continue
        low, high = (float(end) for end in np.quantile(each, [tail, 1 - tail]))
        if low == high and value in (0.0, 1.0):
            low, high = (sure, 1.0) if value else (0.0, 1 - sure)
        if (
            low - 1e-9 <= value <= high + 1e-9
        ):  # a mean of the same numbers may be rounded otherwise
            found[name] = (low, high)
    return found
