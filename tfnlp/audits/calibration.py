"""Whether a model's scores are the shares of its answers that are right.

Source: Guo et al. 2017, "On calibration of modern neural networks", sections 2 and 3
(https://arxiv.org/abs/1706.04599).

Dimensions: N rows, C answers of a row: 1, or as many as labels where a row may have several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.rows import Rows
from tfnlp.extensions import Audit, Finding, Subject, UnsuitableError
from tfnlp.options import option
from tfnlp.report import Report, Table

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Options:
    """How the error is measured.

    Example::

        python -m tfnlp.audit MODEL --test rows.csv --calibration-bins 10
    """

    bins: int = option(15, "equally wide bins of confidence [bins]", minimum=1, maximum=1000)
    resamples: int = option(
        1000, "times rows are drawn again for the intervals", minimum=100, maximum=100_000
    )


def examine(
    subject: Subject, rows: Rows, options: Options, bounds: Mapping[str, float | None]
) -> tuple[Sequence[Finding], Report]:
    """Measure calibration error, over-confidence and accuracy on N rows.

    ``ece`` is the expected calibration error, ``overconfidence`` the mean confidence less the
    accuracy. Where a row may have several labels each label is a decision of its own, and
    confidence is the score of having it.

    Example::

        findings, report = examine(subject, rows, Options(), {"ece": 0.05})
        findings[0].value
    """
    import numpy as np

    from tfnlp.evaluation import intervals, plots
    from tfnlp.evaluation.calibration import expected_calibration_error

    targets = [name for name in rows.columns if name not in {c.name for c in subject.inputs}]
    texts = {column.name: rows.columns[column.name] for column in subject.inputs}
    first = subject.answer({name: values[:1] for name, values in texts.items()})[0]
    if not isinstance(first.get("scores"), Mapping) or len(targets) != 1:
        raise UnsuitableError(
            f"calibration is of labels with scores, and {subject.name} answers with "
            f"{', '.join(first)} (audit a model that gives labels)"
        )
    answers = subject.answer(texts)
    several = "given" in first
    measure = _several if several else _one
    confidences, hits, right = measure(answers, rows.columns[targets[0]])

    def figures(places: np.ndarray) -> np.ndarray:
        sure, hit = confidences[places].ravel(), hits[places].ravel()
        error = expected_calibration_error(sure, hit, options.bins)
        return np.array([error, sure.mean() - hit.mean(), right[places].mean()])

    names = ("ece", "overconfidence", "accuracy")
    values = figures(np.arange(len(rows)))
    spread = intervals.bootstrap(figures, len(rows), options.resamples, bounds=(-1.0, 1.0))
    spread[[0, 2]] = np.maximum(spread[[0, 2]], 0.0)
    findings = [
        Finding(
            name,
            float(value),
            len(rows),
            (float(low), float(high)),
            bounds.get(name),
            worse="below" if name == "accuracy" else "above",
        )
        for name, value, (low, high) in zip(names, values, spread, strict=True)
    ]
    sure, hit = confidences.ravel(), hits.ravel()
    report = Report(
        {},
        [_table(sure, hit, options.bins)],
        {"reliability": lambda: plots.reliability({"scores": sure}, hit)},
    )
    return findings, report


def _one(
    answers: Sequence[Mapping[str, Any]], truth: Sequence[Any]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the confidence in each row's label, float (N, 1), and twice whether it is right."""
    import numpy as np

    given = [_answered(answer) for answer in answers]
    sure = np.array([[score] for _, score in given])
    names = [value if isinstance(value, str) else f"{value:g}" for value in truth]
    right = np.array([[label == name] for (label, _), name in zip(given, names, strict=True)])
    return sure, right, right


def _answered(answer: Mapping[str, Any]) -> tuple[str, float]:
    """Return the label or grade of an answer, and its score."""
    scores = answer["scores"]
    label = f"{answer['grade']:g}" if "grade" in answer else answer.get("label")
    if label is None:
        label = max(scores, key=scores.__getitem__)
    return label, float(answer.get("score", scores.get(label, 0.0)))


def _several(
    answers: Sequence[Mapping[str, Any]], truth: Sequence[Sequence[str]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return of several labels a row, (N, C) each: scores, which are true, which are right."""
    import numpy as np

    names = list(answers[0]["scores"])
    sure = np.array([[answer["scores"][name] for name in names] for answer in answers])
    true = np.array([[name in labels for name in names] for labels in truth])
    given = np.array([answer["given"] for answer in answers])
    return sure, true, given == true


def _table(sure: np.ndarray, hit: np.ndarray, bins: int) -> Table:
    """Return the rows, confidence and share right of each bin that is not empty."""
    import numpy as np

    place = np.minimum((sure * bins).astype(int), bins - 1)
    rows = [
        (
            f"{b / bins:.2f} to {(b + 1) / bins:.2f}",
            int((place == b).sum()),
            f"{sure[place == b].mean():.3f}",
            f"{hit[place == b].mean():.3f}",
        )
        for b in np.unique(place).tolist()
    ]
    return Table("By confidence", ("confidence", "answers", "mean confidence", "share right"), rows)


AUDIT = Audit(
    summary="whether scores are the shares of answers that are right",
    options=Options,
    examine=examine,
    bounds={"ece": 0.1, "overconfidence": None, "accuracy": None},
)
