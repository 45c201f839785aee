"""Whether explanations say what answers depend on: words are taken out, and the model asked again.

An answer falls when the words are gone that it rests on (comprehensiveness), and stays when only
they are left (sufficiency). Both depend on how many words are taken, so they are means over shares
of them (AOPC), and mean something beside words that are taken at random.

Source: DeYoung et al. 2020, "ERASER: a benchmark to evaluate rationalized NLP models", section 4.2
(https://arxiv.org/abs/1911.03429); weights that are randomised: Adebayo et al. 2018, "Sanity checks
for saliency maps", section 3 (https://arxiv.org/abs/1810.03292).

Dimensions: N rows that are explained, Q shares of a row's words.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from pipelines.rows import Record, Rows
from tfnlp import extensions
from tfnlp.extensions import (
    Attribution,
    Audit,
    Explanation,
    Finding,
    Piece,
    Subject,
    UnsuitableError,
    Wanted,
)
from tfnlp.options import option
from tfnlp.report import Report, Table

if TYPE_CHECKING:
    import numpy as np

_SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)
_DRAWS = 3  # orders of a row's words by chance
_FEWEST = 3  # words of a row, for an order of theirs to be compared
MEASURES = ("comprehensiveness", "sufficiency", "comprehensiveness_pad", "sufficiency_pad")


@dataclass(frozen=True)
class Options:
    """What is audited.

    Example::

        python -m tfnlp.audit RUN --check faithfulness --test rows.csv --faithfulness-by occlusion
    """

    by: tuple[str, ...] = option(
        (),
        "methods, of which the first has the findings; integrated_gradients, gradient_input and "
        "occlusion of a run, else occlusion",
    )
    rows: int = option(200, "rows that are explained, evenly spaced [rows]", minimum=2)
    resamples: int = option(
        1000, "times rows are drawn again for the intervals", minimum=100, maximum=100_000
    )


@dataclass(frozen=True)
class _Explained:
    """A row with the words that its answer rests on, the heaviest first."""

    record: Record
    label: str
    score: float
    words: list[Piece]


def examine(
    subject: Subject, rows: Rows, options: Options, bounds: Mapping[str, float | None]
) -> tuple[Sequence[Finding], Report]:
    """Take the heaviest words out of each row, or all others, and see what becomes of the score.

    Findings are of the first method: how much more comprehensive it is than words by chance
    (``above_random``), and how alike its order of words is to that by a network of random weights
    (``randomised``, Spearman's rank correlation).

    Example::

        findings, report = examine(subject, rows, Options(), {"above_random": 0.0})
        report.to_frame("By method")
    """
    import numpy as np

    from pipelines import splits

    columns = [column.name for column in subject.inputs]
    some = rows.take(splits.evenly(len(rows), options.rows))
    values = zip(*(some.columns[name] for name in columns), strict=True)
    records = [
        Record(number, dict(zip(columns, row, strict=True)), {})
        for number, row in zip(some.numbers, values, strict=True)
    ]
    answer = subject.answer({name: [records[0].values[name]] for name in columns})[0]
    if not isinstance(answer.get("scores"), Mapping):
        raise UnsuitableError(
            f"faithfulness is of labels with scores, and {subject.name} answers with "
            f"{', '.join(answer)} (audit a model that gives labels)"
        )
    names = options.by or (
        ("integrated_gradients", "gradient_input", "occlusion") if subject.model else ("occlusion",)
    )
    found = {name: _explained(subject, records, name) for name in names}
    measured = {name: _measured(subject, own) for name, own in found.items()}
    chance = [_measured(subject, _shuffled(found[names[0]], seed)) for seed in range(_DRAWS)]
    random = {key: np.mean([one[key] for one in chance], 0) for key in chance[0]}
    gain = measured[names[0]]["comprehensiveness"] - random["comprehensiveness"]
    findings = [_finding("above_random", gain, options, bounds, "below", (-1.0, 1.0))]
    for key in measured[names[0]]:
        sides = (-1.0, 1.0)
        findings.append(_finding(key, measured[names[0]][key], options, bounds, "below", sides))
    warnings = []
    if subject.model:
        alike = _randomised(subject, found[names[0]], names[0])
        findings.append(_finding("randomised", alike, options, bounds, "above", (-1.0, 1.0)))
    else:
        warnings.append("without a network its weights cannot be randomised, nor words be [PAD]")
    table = [
        (name, *(f"{own[key].mean():.3f}" for key in own), len(own["comprehensiveness"]))
        for name, own in {**measured, "random": random}.items()
    ]
    header = ("method", *measured[names[0]], "rows")
    return findings, Report({}, [Table("By method", header, table)], warnings=warnings)


def _explained(subject: Subject, records: Sequence[Record], name: str) -> list[_Explained]:
    """Return the rows whose answer a method explains by at least one word."""
    entry = extensions.load(Explanation, name)
    by_row = {record.number: record for record in records}
    return [
        _Explained(by_row[found.row], found.label, found.score, _ordered(found))
        for found in entry.explain(subject, records, entry.options(), Wanted())
        if found.label and len(found.pieces)
    ]


def _ordered(found: Attribution) -> list[Piece]:
    return sorted(found.pieces, key=lambda piece: -piece.weight)


def _shuffled(rows: Sequence[_Explained], seed: int) -> list[_Explained]:
    """Return the rows with their words in an order by chance."""
    import random

    drawn = random.Random(seed)
    return [
        _Explained(r.record, r.label, r.score, drawn.sample(r.words, len(r.words))) for r in rows
    ]


def _measured(subject: Subject, rows: Sequence[_Explained]) -> dict[str, np.ndarray]:
    """Return what becomes of each row's score, float64 (N,), by measure."""
    import numpy as np

    if not rows:
        raise UserError("no row has a label with words that are explained (give other rows)")
    deleted = _asked_without(subject, rows)
    found = [deleted]
    if subject.model:
        found.append(_asked_padded(subject, rows))
    before = np.array([row.score for row in rows])[:, None, None]
    means = [(before - scores).mean(1) for scores in found]  # (N, 2) each
    flat = [mean[:, side] for mean in means for side in (0, 1)]
    return dict(zip(MEASURES, flat, strict=False))


def _parts(row: _Explained) -> Iterator[tuple[list[Piece], list[Piece]]]:
    """Yield for each share of a row's words those that are taken, and all others."""
    for share in _SHARES:
        count = max(1, math.ceil(share * len(row.words)))
        yield row.words[:count], row.words[count:]


def _asked_without(subject: Subject, rows: Sequence[_Explained]) -> np.ndarray:
    """Return the scores without the words, and with them alone, float64 (N, Q, 2)."""
    import numpy as np

    texts = [
        {name: _left_out(text, name, gone) for name, text in row.record.values.items()}
        for row in rows
        for both in _parts(row)
        for gone in both
    ]
    columns = {name: [text[name] for text in texts] for name in texts[0]}
    labels = [row.label for row in rows for _ in range(2 * len(_SHARES))]
    answers = subject.answer(columns)
    scores = [a["scores"][label] for a, label in zip(answers, labels, strict=True)]
    return np.array(scores).reshape(len(rows), len(_SHARES), 2)


def _left_out(text: str, name: str, pieces: Sequence[Piece]) -> str:
    """Return a text without some of its pieces, nor the spaces that would stand there twice."""
    parts, done = [], 0
    for piece in sorted((p for p in pieces if p.input == name), key=lambda piece: piece.start):
        parts.append(text[done : piece.start])
        done = piece.end + (text[piece.end : piece.end + 1] == " ")
    return "".join([*parts, text[done:]])


def _asked_padded(subject: Subject, rows: Sequence[_Explained]) -> np.ndarray:
    """Return the scores with the words at [PAD], and with all others, float64 (N, Q, 2)."""
    import numpy as np

    from tfnlp.runtime import precision
    from tfnlp.training import attribution

    network = attribution.network_of(subject, "faithfulness")
    scores = np.zeros((len(rows), len(_SHARES), 2))
    with precision.exact():
        for place, row in enumerate(rows):
            gone = [
                [(p.input, p.start, p.end) for p in part] for both in _parts(row) for part in both
            ]
            answers = network.answers_without(row.record.values, gone)
            found = [answer["scores"][row.label] for answer in answers]
            scores[place] = np.reshape(found, (len(_SHARES), 2))
    return scores


def _randomised(subject: Subject, rows: Sequence[_Explained], name: str) -> np.ndarray:
    """Return how alike the words' order is to that of a network of random weights, (N,)."""
    import numpy as np
    from scipy.stats import spearmanr

    assert subject.model is not None
    network = subject.model.network
    before = network.get_weights()
    random = np.random.default_rng(0)
    network.set_weights([random.permutation(w.ravel()).reshape(w.shape) for w in before])
    try:
        again = _with_labels(subject, rows, name)
    finally:
        network.set_weights(before)
    alike = []
    for row in rows:
        other = again.get((row.record.number, row.label))
        if other is None or len(row.words) < _FEWEST:
            continue
        pairs = [(p.weight, other[p.input, p.start, p.end]) for p in row.words]
        value = spearmanr(*zip(*pairs, strict=True)).statistic
        alike.append(0.0 if math.isnan(value) else float(value))
    return np.array(alike or [0.0])


def _with_labels(
    subject: Subject, rows: Sequence[_Explained], name: str
) -> dict[tuple[int, str], dict[tuple[str, int, int], float]]:
    """Explain the labels that rows had, whatever their answers are now."""
    entry = extensions.load(Explanation, name)
    found = {}
    for label in {row.label for row in rows}:
        records = [row.record for row in rows if row.label == label]
        for one in entry.explain(subject, records, entry.options(), Wanted(label=label)):
            places = {(p.input, p.start, p.end): p.weight for p in one.pieces}
            found[one.row, label] = places
    return found


def _finding(
    name: str,
    values: np.ndarray,
    options: Options,
    bounds: Mapping[str, float | None],
    worse: Any,
    sides: tuple[float, float],
) -> Finding:
    """Return the mean of a measure with its interval."""
    from tfnlp.evaluation import intervals

    ((low, high),) = intervals.bootstrap(
        lambda places: values[places].mean()[None], len(values), options.resamples, bounds=sides
    )
    interval = (float(low), float(high))
    return Finding(name, float(values.mean()), len(values), interval, bounds.get(name), worse)


AUDIT = Audit(
    summary="whether explanations name the words that answers depend on",
    options=Options,
    examine=examine,
    bounds={"above_random": 0.0, "randomised": 0.5, **dict.fromkeys(MEASURES)},
)
