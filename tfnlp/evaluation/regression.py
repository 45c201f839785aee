"""Reports on numbers and on grades, by scikit-learn and SciPy.

Dimensions: N rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn import metrics

from tfnlp.evaluation import plots
from tfnlp.evaluation.classification import unseen_warnings
from tfnlp.report import Report, Table


def regression(targets: Sequence[float], values: np.ndarray) -> Report:
    """Return the report on a number a row, N of each.

    Example:
        >>> regression([1.0, 2.0], np.array([1.0, 4.0])).metrics["mae"]
        1.0
    """
    truth = np.asarray(targets, float)
    spread = len(truth) > 1 and truth.std() > 0 and values.std() > 0
    measured = {
        "pearson": float(pearsonr(truth, values)[0]) if spread else float("nan"),
        "spearman": float(spearmanr(truth, values)[0]) if spread else float("nan"),
        "mae": float(metrics.mean_absolute_error(truth, values)),
        "rmse": float(metrics.root_mean_squared_error(truth, values)),
        "r2": float(metrics.r2_score(truth, values)) if spread else float("nan"),
    }
    figures = {"predicted_against_true": lambda: plots.scatter(truth, values)}
    warnings = [] if spread else ["all targets or all answers are equal: no correlation exists"]
    return Report(measured, [], figures, warnings)


def ordinal(grades: Sequence[float], answers: np.ndarray, known: Sequence[float]) -> Report:
    """Return the report on a grade a row, N of each.

    ``known`` are the grades of the scale, increasing.

    Example:
        >>> ordinal([1, 2], np.array([1, 2]), [1, 2]).metrics["quadratic_kappa"]
        1.0
    """
    scale = np.array(sorted({*known, *grades}), float)
    truth = np.searchsorted(scale, grades)
    # Answers are float32: nearly the grades.
    answered = np.abs(scale - np.asarray(answers, float)[:, None]).argmin(-1)
    names = [f"{grade:g}" for grade in scale]
    spread = len(set(truth)) > 1 and len(set(answered)) > 1
    agreeing = len({*truth, *answered}) == 1  # kappa asks how much of the disagreement is chance
    kappa = metrics.cohen_kappa_score
    values = {
        "mae": float(metrics.mean_absolute_error(scale[truth], scale[answered])),
        "accuracy": float((truth == answered).mean()),
        "quadratic_kappa": float("nan")
        if agreeing
        else float(kappa(truth, answered, weights="quadratic", labels=range(len(scale)))),
        "spearman": float(spearmanr(truth, answered)[0]) if spread else float("nan"),
    }
    counts = metrics.confusion_matrix(truth, answered, labels=range(len(scale)))
    table = Table(
        "Rows by true grade (down) and answer (across)",
        ("grade", *names),
        [(name, *map(int, row)) for name, row in zip(names, counts, strict=True)],
    )
    figures = {"confusion_matrix": lambda: plots.confusion_matrix(counts, names)}
    right = (truth == answered).tolist()
    return Report(values, [table], figures, unseen_warnings("grade", grades, known), right=right)
