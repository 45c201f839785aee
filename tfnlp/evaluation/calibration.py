"""Metrics and calibration that Keras and scikit-learn lack.

Dimensions: N rows, C classes.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.metrics import confusion_matrix_at_thresholds, f1_score

LOWEST, HIGHEST = 0.05, 20.0  # temperatures
_TOLD = 20  # rows with a label from which a threshold of its own is told


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

    Few rows say little: a label that N rows have is taken for right with the probability
    (N + 1) / (N + 2) only, as Platt does, and where no row is answered wrongly nothing says that
    the answers should be surer than they are, so the temperature is at least 1.

    Args:
        logits: float (N, C).
        targets: one-hot, or many-hot float (N, C).
        exclusive: whether each row has exactly one label (softmax) or any number (sigmoid).

    Returns:
        The temperature, between 0.05 and 20.

    Example:
        >>> logits = np.array([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0]])  # surer than two in three
        >>> targets = np.array([[1, 0], [1, 0], [0, 1]])
        >>> fit_temperature(logits, targets) > 5
        True

    Source: Guo et al. 2017, section 4.2 (https://arxiv.org/abs/1706.04599); Platt 1999,
        "Probabilistic outputs for support vector machines", section 2.2.
    """
    logits, targets = logits.astype(np.float64), np.asarray(targets, np.float64)
    rows, labels = logits.shape
    smoothed = mixed(targets, least_doubt(rows), labels if exclusive else 2)
    if exclusive:
        right = (logits.argmax(-1) == targets.argmax(-1)).all()
    else:
        right = ((logits >= 0) == (targets > 0.5)).all()

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        if exclusive:
            return float(-(smoothed * log_softmax(scaled, axis=-1)).sum(-1).mean())
        return float((np.logaddexp(0, scaled) - smoothed * scaled).sum(-1).mean())

    bounds = (0.0 if right else np.log(LOWEST), np.log(HIGHEST))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def least_doubt(rows: int) -> float:
    """Return how probable it is that the next answer is wrong if all of so many were right.

    Example:
        >>> least_doubt(38)
        0.025

    Source: Laplace's rule of succession (1814): after n of n the next is right with (n+1) / (n+2).
    """
    return 1 / (rows + 2)


def mixed(probabilities: np.ndarray, doubt: float, labels: int) -> np.ndarray:
    """Return probabilities of which none is above 1 - doubt, by a share of the uniform one.

    Args:
        probabilities: float (N, C).
        doubt: what the surest answer leaves to the others.
        labels: between which a probability is shared out: C, or 2 where each label is by itself.

    Example:
        >>> mixed(np.array([[1.0, 0.0]]), 0.1, 2)
        array([[0.9, 0.1]])
    """
    share = mixing(doubt, labels)
    return (1 - share) * probabilities + share / labels


def mixing(doubt: float, labels: int) -> float:
    """Return the share of the uniform distribution that leaves so much doubt.

    Example:
        >>> mixing(0.1, 2)
        0.2
    """
    return min(1.0, doubt * labels / max(labels - 1, 1))


def unmixed(probabilities: np.ndarray, doubt: float, labels: int) -> np.ndarray:
    """Undo `mixed`.

    Example:
        >>> unmixed(np.array([[0.9, 0.1]]), 0.1, 2)
        array([[1., 0.]])
    """
    share = mixing(doubt, labels)
    if share >= 1:
        return probabilities
    return np.clip((probabilities - share / labels) / (1 - share), 0.0, 1.0)


def bound_warnings(temperature: float) -> list[str]:
    """Return a sentence where the temperature is at a bound; [] elsewhere.

    Example:
        >>> bound_warnings(1.3)
        []
    """
    if LOWEST * 1.01 < temperature < HIGHEST / 1.01:
        return []
    return [
        f"calibration ended at its bound, a temperature of {temperature:.3g}: the scores do not "
        "fit the validation rows, and are no probabilities (use more validation rows, or "
        "--no-calibrate)"
    ]


def best_thresholds(scores: np.ndarray, targets: np.ndarray) -> list[float]:
    """Return for each label the threshold with the highest F1 that the rows can tell.

    A label that fewer than 20 rows have gets the threshold that all labels together would have: one
    of its own would follow from a handful of rows. Where a threshold is not better than 0.5, it is
    0.5.

    Args:
        scores: probabilities, float (N, C).
        targets: many-hot, float (N, C).

    Returns:
        C thresholds, each half way between two scores that occur.

    Example:
        >>> scores = np.linspace(0, 1, 100)[:, None]
        >>> round(best_thresholds(scores, scores > 0.3)[0], 2)
        0.3

    Source: Lipton et al. 2014, "Optimal thresholding of classifiers to maximize F1 measure"
        (https://arxiv.org/abs/1402.1892).
    """
    positives = (np.asarray(targets) > 0.5).sum(0)
    # Of too few rows in all, none is told.
    common = _best_threshold(scores.ravel(), targets.ravel()) if positives.sum() >= _TOLD else 0.5
    return [
        _best_threshold(scores[:, c], targets[:, c]) if positives[c] >= _TOLD else common
        for c in range(scores.shape[1])
    ]


def _best_threshold(scores: np.ndarray, targets: np.ndarray) -> float:
    """Return the threshold of one label, from (N,) scores and targets."""
    _, wrong, missed, right, cuts = confusion_matrix_at_thresholds(targets > 0.5, scores)
    f1 = 2 * right / (2 * right + wrong + missed)
    best = int(np.argmax(f1))  # the cuts descend: of equals the highest
    if f1[best] <= f1_score(targets > 0.5, scores >= 0.5, zero_division=0.0):
        return 0.5
    below = cuts[best + 1] if best + 1 < len(cuts) else np.zeros_like(cuts[best])
    middle = (cuts[best] + below) / 2
    # Between neighbouring floats there is none: the half is rounded to one of them.
    return float(middle if middle > below else cuts[best])
