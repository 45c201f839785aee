"""How a score grows with the rows: score = a + b * rows ** -c, and what more rows would bring.

Dimensions: N runs, D draws, P places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from tfnlp.evaluation.intervals import LEVEL

_DRAWS = 1000
_POWERS = np.geomspace(0.05, 2.0, 80)
FEWEST_SIZES, FEWEST_RUNS = 3, 3  # of each size


@dataclass(frozen=True)
class PowerLaw:
    """Curves that were fitted to runs, and to runs drawn again.

    Attributes:
        unit: what rows are divided by.
        curves: a, b and c of each, float (1 + D, 3); the first is that of the runs themselves.

    Example::

        law = fit(np.array([100, 100, 100, 200, ...]), np.array([0.80, 0.81, 0.79, 0.85, ...]))
        law.at(np.array([800]))  # [[0.93, 0.91, 0.95]]
    """

    unit: float
    curves: np.ndarray

    def at(self, rows: np.ndarray) -> np.ndarray:
        """Return value, lower and upper end of the 95% interval: (P,) -> float (P, 3)."""
        return _summed(self._values(rows))

    def gain(self, rows: float, more: float) -> tuple[float, float, float]:
        """Return by how much the score changes from so many rows to more, and its interval."""
        values = self._values(np.array([rows, more], float))
        value, low, high = _summed(values[:, 1:] - values[:, :1])[0]
        return float(value), float(low), float(high)

    def _values(self, rows: np.ndarray) -> np.ndarray:
        """Return the value of each curve, float (1 + D, P)."""
        a, b, c = (column[:, None] for column in self.curves.T)
        values: np.ndarray = a + b * (np.asarray(rows, float) / self.unit) ** -c
        return values


def _summed(values: np.ndarray) -> np.ndarray:
    """Return the first of values and the ends of its interval, float (1 + D, P) -> (P, 3)."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values[1:], [tail, 1 - tail], axis=0)
    return np.stack([values[0], np.minimum(low, values[0]), np.maximum(high, values[0])], 1)


def fit(
    rows: np.ndarray,
    scores: np.ndarray,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    seed: int = 0,
) -> PowerLaw | None:
    """Fit a curve to runs by least squares, and its uncertainty by drawing the runs again.

    Runs are drawn within their size, and their deviations from its mean widened: by
    sqrt(k / (k - 1)) of k runs, since k runs lie nearer to their own mean than to the true one, and
    by as much as Student's t interval is wider than the normal one.

    Args:
        rows: that each run was trained on, (N,).
        scores: of each, float (N,).
        bounds: between which the score of endlessly many rows lies.
        seed: where the draws start.

    Returns:
        The curves; None if there are too few sizes, or too few runs of one.

    Source: Hestness et al. 2017, "Deep learning scaling is predictable, empirically"
        (https://arxiv.org/abs/1712.00409), for the curve; Davison and Hinkley 1997, "Bootstrap
        methods and their application", section 3.2, for draws within groups.
    """
    sizes, of = np.unique(rows, return_inverse=True)
    if len(sizes) < FEWEST_SIZES or np.bincount(of).min() < FEWEST_RUNS:
        return None
    random = np.random.default_rng(seed)
    drawn = np.empty((_DRAWS, len(scores)))
    tail, degrees = (1 - LEVEL) / 2, len(scores) - len(sizes)
    few = stats.t.ppf(tail, degrees) / stats.norm.ppf(tail)
    for size in range(len(sizes)):
        there = np.flatnonzero(of == size)
        count = len(there)
        middle = scores[there].mean()
        deviations = (scores[there] - middle) * np.sqrt(count / (count - 1)) * few
        drawn[:, there] = middle + deviations[random.integers(0, count, (_DRAWS, count))]
    unit = float(sizes[-1])
    return PowerLaw(unit, _fitted(rows / unit, np.concatenate([scores[None], drawn]), bounds))


def _fitted(rows: np.ndarray, scores: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    """Return a, b and c that fit best: (N,), float (D, N) -> float (D, 3).

    For a given c the best a and b are those of a straight line, so c alone is searched.
    """
    best = np.full(len(scores), np.inf)
    found = np.empty((len(scores), 3))
    for c in _POWERS:
        x = rows**-c
        design = np.stack([np.ones_like(x), x], 1)
        free = (scores @ np.linalg.pinv(design).T)[:, 0]
        a = np.clip(free, *bounds)
        b = (scores - a[:, None]) @ x / (x @ x)
        errors = ((a[:, None] + b[:, None] * x - scores) ** 2).sum(1)
        better = errors < best
        best = np.where(better, errors, best)
        found[better] = np.stack([a, b, np.full_like(a, c)], 1)[better]
    return found
