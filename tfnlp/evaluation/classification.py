"""Reports on labels: metrics, tables and pictures, by scikit-learn and Matplotlib.

Dimensions: N rows, C classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import expit, logit, softmax
from sklearn import metrics

from tfnlp.evaluation import plots
from tfnlp.evaluation.calibration import bound_warnings, expected_calibration_error, unmixed
from tfnlp.report import Report, Table


def single_label(labels: Sequence[str], scores: np.ndarray, facts: Mapping[str, Any]) -> Report:
    """Return the report on one label a row.

    Args:
        labels: N true labels; some may be unknown to the model, and then count as wrong.
        scores: calibrated probabilities, float (N, C).
        facts: of the task: the C ``labels``; ``temperature`` and ``doubt`` of the calibration,
            which are undone for the error before it.

    Example:
        >>> scores = np.array([[0.9, 0.1], [0.6, 0.4]])
        >>> facts = {"labels": ["no", "yes"], "temperature": 1.0}
        >>> single_label(["no", "yes"], scores, facts).metrics["accuracy"]
        0.5
    """
    names, temperature = facts["labels"], facts["temperature"]
    unseen = sorted(set(labels) - set(names))
    every = [*names, *unseen]
    numbers = {name: number for number, name in enumerate(every)}
    # As numbers, which scikit-learn sorts faster than texts: this is done for 200 resamples.
    truth = np.array([numbers[label] for label in labels], int)
    answers = scores.argmax(-1)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        truth, answers, labels=range(len(every)), zero_division=0.0
    )
    before = unmixed(scores, facts.get("doubt", 0.0), len(names))
    before = softmax(np.log(np.maximum(before, 1e-30)) * temperature, axis=-1)
    right = answers == truth
    known = truth < len(names)
    chosen = scores[known, truth[known]]
    likelihood = np.log(np.maximum(chosen, 1e-30)).mean() if known.any() else np.nan
    varied = len(np.union1d(truth, answers)) > 1
    values = {
        "accuracy": float(right.mean()),
        "macro_f1": float(f1[support > 0].mean()),
        "weighted_f1": float(np.average(f1, weights=support)),
        "mcc": float(metrics.matthews_corrcoef(truth, answers)) if varied else 0.0,
        "loss": float(-likelihood),
        "ece": expected_calibration_error(scores.max(-1), right),
        "ece_uncalibrated": expected_calibration_error(before.max(-1), right),
    }
    table = Table(
        "By label",
        ("label", "precision", "recall", "f1", "rows"),
        [
            (name, f"{p:.3f}", f"{r:.3f}", f"{f:.3f}", int(s))
            for name, p, r, f, s in zip(every, precision, recall, f1, support, strict=True)
        ],
    )
    figures = {
        "confusion_matrix": lambda: plots.confusion_matrix(
            metrics.confusion_matrix(truth, answers, labels=range(len(every))), every
        ),
        "reliability": lambda: plots.reliability(
            {"calibrated": scores.max(-1), "before": before.max(-1)}, right
        ),
    }
    warnings = unseen_warnings("label", labels, names)
    warnings += unjudged_warnings("label", labels, names) + bound_warnings(temperature)
    return Report(values, [table], figures, warnings, right=right.tolist())


def relations(
    labels: Sequence[str], scores: np.ndarray, facts: Mapping[str, Any], none: str
) -> Report:
    """Return the report on one relation a row, where one label stands for none.

    Args:
        labels: N true relations.
        scores: calibrated probabilities, float (N, C).
        facts: of the task: ``labels``, ``temperature`` and ``most_frequent``.
        none: the label of pairs in no relation; it counts neither as found nor as missed.

    Example:
        >>> facts = {"labels": ["none", "part-of"], "temperature": 1.0, "most_frequent": "part-of"}
        >>> scores = np.array([[0.2, 0.8], [0.7, 0.3]])
        >>> relations(["part-of", "none"], scores, facts, "none").metrics["micro_f1"]
        1.0
    """
    by_label = single_label(labels, scores, facts)
    answered = np.array(facts["labels"], object)[scores.argmax(-1)]

    def f1(answers: Any, average: str) -> float:
        counted = sorted({*labels, *answers} - {none})
        if not counted:
            return 0.0
        pair = np.array(labels, object), np.array(answers, object)
        score = metrics.f1_score(*pair, labels=counted, average=average, zero_division=0.0)
        return float(score)

    values = {
        "micro_f1": f1(answered, "micro"),
        "macro_f1": f1(answered, "macro"),
        "micro_f1_of_most_frequent": f1([facts["most_frequent"]] * len(labels), "micro"),
    }
    return replace(by_label, metrics={**values, **by_label.metrics} | values)


def multi_label(
    labels: Sequence[Sequence[str]],
    scores: np.ndarray,
    given: np.ndarray,
    facts: Mapping[str, Any],
) -> Report:
    """Return the report on any number of labels a row.

    Args:
        labels: N lists of true labels; those unknown to the model count as missed.
        scores: calibrated probabilities, float (N, C).
        given: bool (N, C), the labels that the thresholds give.
        facts: of the task: the C ``labels``; the ``thresholds`` from which they are given;
            ``temperature`` and ``doubt`` of the calibration.

    Example:
        >>> scores = np.array([[0.9, 0.2], [0.1, 0.8]])
        >>> facts = {"labels": ["a", "b"], "temperature": 1.0, "thresholds": [0.5, 0.5]}
        >>> report = multi_label([["a"], []], scores, scores > 0.5, facts)
        >>> report.metrics["exact_match"]
        0.5
    """
    names, temperature, thresholds = (facts[n] for n in ("labels", "temperature", "thresholds"))
    unseen = sorted({label for row in labels for label in row} - set(names))
    every = [*names, *unseen]
    truth = np.array([[name in row for name in every] for row in labels])
    answers = np.pad(given.astype(bool), [(0, 0), (0, len(unseen))])
    right = (truth == answers).all(-1)
    half = np.pad(scores >= 0.5, [(0, 0), (0, len(unseen))])
    each = metrics.precision_recall_fscore_support(
        _tailed(truth), _tailed(answers), zero_division=0.0
    )
    precision, recall, f1, support = (values[: len(every)] for values in each)
    known = truth[:, : len(names)].ravel()
    before = unmixed(scores, facts.get("doubt", 0.0), 2)
    before = expit(logit(np.clip(before, 1e-7, 1 - 1e-7)) * temperature)
    values = {
        "micro_f1": _micro_f1(truth, answers),
        "micro_f1_at_half": _micro_f1(truth, half),
        "macro_f1": float(f1[support > 0].mean()) if support.any() else 0.0,
        "exact_match": float(right.mean()),
        "ece": expected_calibration_error(scores.ravel(), known),
        "ece_uncalibrated": expected_calibration_error(before.ravel(), known),
    }
    cuts = [f"{t:.3f}" for t in thresholds] + [""] * len(unseen)
    table = Table(
        "By label",
        ("label", "precision", "recall", "f1", "rows", "threshold"),
        [
            (name, f"{p:.3f}", f"{r:.3f}", f"{f:.3f}", int(s), cut)
            for name, p, r, f, s, cut in zip(
                every, precision, recall, f1, support, cuts, strict=True
            )
        ],
    )
    figures = {
        "f1_by_label": lambda: plots.bars("F1", every, f1),
        "reliability": lambda: plots.reliability(
            {"calibrated": scores.ravel(), "before": before.ravel()}, known
        ),
    }
    each_label = [label for row in labels for label in row]
    warnings = unseen_warnings("label", each_label, names)
    warnings += unjudged_warnings("label", each_label, names) + bound_warnings(temperature)
    if values["micro_f1"] < values["micro_f1_at_half"]:
        warnings.append(
            f"the tuned thresholds are worse here than 0.5: micro-F1 {values['micro_f1']:.3f} "
            f"against {values['micro_f1_at_half']:.3f} (--thresholds half)"
        )
    return Report(values, [table], figures, warnings, right=right.tolist())


def _tailed(table: np.ndarray) -> np.ndarray:
    """Return a table with an empty column: one of a single column is binary to scikit-learn."""
    return np.pad(table, [(0, 0), (0, 1)])


def _micro_f1(truth: np.ndarray, answers: np.ndarray) -> float:
    """Return F1 over all labels of all rows, bool (N, C) each."""
    pair = _tailed(truth), _tailed(answers)
    return float(metrics.f1_score(*pair, average="micro", zero_division=0.0))


def unjudged_warnings(what: str, given: Sequence[Any], known: Sequence[Any]) -> list[str]:
    """Return a sentence on what the model knows and no row has; [] without any.

    Example:
        >>> unjudged_warnings("label", ["ham", "ham"], ["ham", "spam"])
        ["1 of 2 labels has no row here and is not judged; macro_f1 is of the others: 'spam'"]
    """
    absent = sorted(set(known) - set(given))
    if not absent:
        return []
    first = ", ".join(map(repr, absent[:5]))
    more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
    verbs = "have no row here and are" if len(absent) > 1 else "has no row here and is"
    return [
        f"{len(absent)} of {len(known)} {what}s {verbs} not judged; macro_f1 is of the others: "
        f"{first}{more}"
    ]


def unseen_warnings(what: str, given: Sequence[Any], known: Sequence[Any]) -> list[str]:
    """Return a sentence on labels or grades that the model cannot answer; [] without any.

    Example:
        >>> unseen_warnings("label", ["a", "b", "b"], ["a"])
        ["1 label never seen in training, answered wrongly wherever given (rows): 'b' (2)"]
    """
    counts = Counter(given)
    strange = sorted(set(counts) - set(known))
    if not strange:
        return []
    first = ", ".join(f"{one!r} ({counts[one]})" for one in strange[:5])
    more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
    plural = "s" if len(strange) > 1 else ""
    hidden = set(map(str, strange)) <= {"-1", "-1.0"}  # as in the test sets of GLUE
    remedy = " (if -1 stands for a label that is kept secret, leave these rows out)" * hidden
    return [
        f"{len(strange)} {what}{plural} never seen in training, answered wrongly wherever given "
        f"(rows): {first}{more}{remedy}"
    ]
