"""Whether two models differ, or two settings of training.

Two models are compared on rows; what is found holds for these two. Trained again with other seeds
the same settings give other models: whether settings differ takes several runs of each.

Dimensions: D draws of rows, S runs of one side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from tfnlp.evaluation.intervals import LEVEL


@dataclass(frozen=True)
class Difference:
    """How much more one side has of a metric than the other.

    Attributes:
        value: the difference.
        low: the lower end of its 95% interval.
        high: the upper end.

    Example:
        >>> Difference(0.02, 0.01, 0.03).seen
        True
    """

    value: float
    low: float
    high: float

    @property
    def seen(self) -> bool:
        """Whether its interval leaves out zero."""
        return self.low > 0 or self.high < 0


def mcnemar(only_first: int, only_second: int) -> float:
    """Return how probable it is that two equal models differ as much: McNemar's test, exact.

    Args:
        only_first: rows that the first model alone has right.
        only_second: rows that the second alone has right.

    Returns:
        The two-sided p; 1 if there are no such rows.

    Example:
        >>> mcnemar(1, 9)
        0.021484375

    Source: McNemar 1947, https://doi.org/10.1007/BF02295996; recommended for models that are
    trained once by Dietterich 1998, https://doi.org/10.1162/089976698300017197.
    """
    both = only_first + only_second
    return float(stats.binomtest(only_first, both).pvalue) if both else 1.0


def models(
    first: float, second: float, drawn_first: Sequence[float], drawn_second: Sequence[float]
) -> Difference:
    """Return what the second model has more of a metric than the first: a paired bootstrap.

    Its interval is normal with the bootstrap's standard error: few draws give no good quantiles.

    Args:
        first: the first model's metric.
        second: the second's.
        drawn_first: the first's on rows drawn again, D values; NaN where a draw has none.
        drawn_second: the second's on the same rows.

    Returns:
        The difference; without an end on either side if there are not two draws.

    Source: Efron and Tibshirani 1993, "An introduction to the bootstrap", section 13.2; Dror et
    al. 2018, "The hitchhiker's guide to testing statistical significance in natural language
    processing", https://aclanthology.org/P18-1128.

    Example::

        models(0.90, 0.92, runs[0]["accuracy"], runs[1]["accuracy"])
    """
    draws = np.subtract(drawn_second, drawn_first)
    draws = draws[np.isfinite(draws)]
    if len(draws) < 2:
        return Difference(second - first, -np.inf, np.inf)
    return _around(second - first, float(draws.var(ddof=1)), len(draws) - 1)


def settings(
    first: Sequence[float],
    second: Sequence[float],
    drawn_first: np.ndarray,
    drawn_second: np.ndarray,
) -> Difference:
    """Return what the second settings' mean has more of a metric than the first's.

    The variance of the difference of means is that over the seeds, and what the choice of rows
    adds that is common to all seeds; it is not taken to be less than that over rows alone. The
    ends are t's with Welch's degrees of freedom. A bootstrap over three seeds would see a third
    less variance than there is: ``benchmarks/compare.py`` has the rates of both.

    Args:
        first: the metric of S runs with the first settings, two or more.
        second: that of the runs with the second settings; S may be another.
        drawn_first: float (S, D), the same on rows drawn again, of all runs the same rows; D may
            be 0 if it is not known, and the interval is then that for these very rows.
        drawn_second: likewise.

    Source: Bouthillier et al. 2021, "Accounting for variance in machine learning benchmarks",
    https://arxiv.org/abs/2103.03098, which names both sources of variance; Welch 1947,
    https://doi.org/10.1093/biomet/34.1-2.28, for the degrees of freedom.

    Example::

        settings([0.90, 0.91, 0.90], [0.92, 0.93, 0.93], drawn_first, drawn_second).seen  # True
    """
    sides = [np.asarray(first, float), np.asarray(second, float)]
    value = float(sides[1].mean() - sides[0].mean())
    parts = np.array([side.var(ddof=1) / len(side) for side in sides])
    seeds = float(parts.sum())
    weights = sum(part**2 / (len(side) - 1) for part, side in zip(parts, sides, strict=True))
    varied = seeds > 1e-15  # more than rounding
    freedom = seeds**2 / weights if varied else min(map(len, sides)) - 1
    rows, common = _over_rows(sides, [drawn_first, drawn_second])
    return _around(value, max(seeds + common, rows), freedom)


def _over_rows(sides: Sequence[np.ndarray], drawn: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the variance over rows of the difference of means, and what of it is common.

    A draw favours some seeds of a side more than others: that part shrinks with more seeds, and
    is in the variance over seeds already. It is how a side's runs vary within a draw.
    """
    known = np.isfinite(drawn[0]).all(0) & np.isfinite(drawn[1]).all(0)
    if known.sum() < 2:
        return 0.0, 0.0
    first, second = (each[:, known] for each in drawn)
    rows = float((second.mean(0) - first.mean(0)).var(ddof=1))
    own = [
        (each - side[:, None]).var(0, ddof=1).mean() / len(side)
        for each, side in zip((first, second), sides, strict=True)
    ]
    return rows, max(rows - float(sum(own)), 0.0)


def _around(value: float, variance: float, freedom: float) -> Difference:
    """Return a difference with its interval by t."""
    margin = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * float(np.sqrt(variance))
    return Difference(value, value - margin, value + margin)
