"""Metrics and calibration that Keras and scikit-learn lack.

Dimensions: N rows, C classes.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.metrics import f1_score


def expected_calibration_error(
    confidences: np.ndarray, correct: np.ndarray, bins: int = 15
) -> float:
    """Return the mean distance between confidence and accuracy, 0 to 1.

    Args:
        confidences: float (N,), probability given to the answer.
        correct: bool (N,), whether it was right.
        bins: equally wide bins of confidence.

    Example:
        >>> round(expected_calibration_error(np.array([0.9, 0.9]), np.array([True, False])), 3)
        0.4

    Source: Guo et al. 2017, "On calibration of modern neural networks", equation 3
        (https://arxiv.org/abs/1706.04599).
    """
    place = np.minimum((confidences * bins).astype(int), bins - 1)
    # A bin's share of the rows times its gap is the gap of its sums over N.
    gaps = np.bincount(place, correct.astype(float)) - np.bincount(place, confidences)
    return float(np.abs(gaps).sum() / len(place))


def fit_temperature(logits: np.ndarray, targets: np.ndarray, exclusive: bool = True) -> float:
    """Return the temperature that gives ``logits / temperature`` the highest likelihood.

    Args:
        logits: float (N, C).
        targets: one-hot, or many-hot float (N, C).
        exclusive: whether each row has exactly one label (softmax) or any number (sigmoid).

    Returns:
        The temperature, between 0.05 and 20.

    Example:
        >>> logits = np.array([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0]])  # surer than two in three
        >>> targets = np.array([[1, 0], [1, 0], [0, 1]])
        >>> round(fit_temperature(logits, targets), 2)
        5.77

    Source: Guo et al. 2017, section 4.2 (https://arxiv.org/abs/1706.04599).
    """
    logits = logits.astype(np.float64)

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        if exclusive:
            return float(-(targets * log_softmax(scaled, axis=-1)).sum(-1).mean())
        return float((np.logaddexp(0, scaled) - targets * scaled).sum(-1).mean())

    bounds = (np.log(0.05), np.log(20.0))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def best_thresholds(scores: np.ndarray, targets: np.ndarray) -> list[float]:
    """Return for each label the threshold with the highest F1, 0.5 where none is better.

    Args:
        scores: probabilities, float (N, C).
        targets: many-hot, float (N, C).

    Returns:
        C thresholds, each half way between two scores that occur.

    Example:
        >>> best_thresholds(np.array([[0.1], [0.3], [0.4]]), np.array([[0], [1], [1]]))
        [0.2]

    Source: Lipton et al. 2014, "Optimal thresholding of classifiers to maximize F1 measure"
        (https://arxiv.org/abs/1402.1892).
    """
    return [_best_threshold(scores[:, c], targets[:, c]) for c in range(scores.shape[1])]


def _best_threshold(scores: np.ndarray, targets: np.ndarray) -> float:
    """Return the threshold of one label, from (N,) scores and targets."""
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(targets[order])
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + targets.sum())
    last = np.append(ranked[1:] < ranked[:-1], True)  # a cut is possible between unequal scores
    best = int(np.argmax(np.where(last, f1, -1.0)))
    if f1[best] <= f1_score(targets > 0.5, scores >= 0.5, zero_division=0.0):
        return 0.5
    below = ranked[best + 1] if best + 1 < len(ranked) else np.zeros_like(ranked[best])
    middle = (ranked[best] + below) / 2
    # Between neighbouring floats there is none: the half is rounded to one of them.
    return float(middle if middle > below else ranked[best])
