"""The score against the number of training rows: would more labels help?

Source: Hestness et al. 2017, "Deep learning scaling is predictable, empirically"
(https://arxiv.org/abs/1712.00409), for the curve that is fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from tfnlp.config import Experiment
from tfnlp.extensions import SEEDS, Settings, Study, Trial
from tfnlp.options import option
from tfnlp.report import Report, Table, between, four_places
from tfnlp.studies import _scores

if TYPE_CHECKING:
    from tfnlp.evaluation.power_law import PowerLaw

_SHARES = (16, 8, 4, 2)  # one in so many rows
_FEWEST = 10  # rows
_PLACES = 60  # of the curve that is drawn


@dataclass(frozen=True)
class Options:
    """Which sizes, and how often each.

    Example::

        python -m tfnlp.study learning_curve --train rows.csv --learning-curve-sizes 100,200,400
    """

    sizes: tuple[int, ...] = option(
        (),
        "numbers of training rows, validation rows that are taken from them included (if not given "
        "all, and 1/2, 1/4, 1/8 and 1/16) [rows]",
        metavar="INT,INT",
        minimum=1,
    )
    seeds: int = option(
        3,
        "runs of each size, from --seed on; the seed decides which rows are drawn, and every other "
        "random choice [runs]",
        minimum=1,
    )


def propose(base: Experiment, trials: Sequence[Trial], options: Options) -> Settings | None:
    """Return the first size without a trial, and that again for each further seed.

    If no sizes are given, the first trial takes all rows, which tells how many there are.

    Raises:
        UserError: a size is given twice.

    Example::

        propose(experiment, [], Options())  # {"seed": 42}
        propose(experiment, [], Options((100, 200)))  # {"limit": 100, "seed": 42}
    """
    if len(set(options.sizes)) < len(options.sizes):
        raise UserError("--learning-curve-sizes has a size twice (give each once)")
    sizes: list[Settings] = [{"limit": size} for size in options.sizes]
    if not sizes:
        whole = next((t for t in trials if "limit" not in t.settings), None)
        every = _rows(whole) if whole else None
        shares = [round(every / share) for share in _SHARES] if every else []
        sizes = [{}, *({"limit": rows} for rows in sorted(set(shares)) if rows >= _FEWEST)]
        if whole and every is None:
            return None  # it failed, and the report says what to do
    for draw in range(options.seeds):
        for size in sizes:
            settings = {**size, "seed": (base.seed + draw) % SEEDS}
            if not _scores.is_there(settings, trials):
                return settings
    return None


def length(trials: Sequence[Trial], options: Options) -> int:
    """Return how many trials there are at most.

    Example::

        length([], Options())  # 15, of five sizes under three seeds
    """
    return options.seeds * (len(options.sizes) or len(_SHARES) + 1)


def best(trials: Sequence[Trial], options: Options) -> int | None:
    """Return the best trial by validation rows, of those that most rows trained.

    Those of few rows may have few validation rows, all of them right.

    Example::

        best(trials, Options())  # 0
    """
    from tfnlp.evaluation import runs

    rows = [_rows(trial) or 0 for trial in trials]
    most = max(rows, default=0)
    return runs.best([t.metrics if r == most else None for t, r in zip(trials, rows, strict=True)])


def _rows(trial: Trial, split: str = "train") -> int | None:
    """Return how many rows a trial was trained on, or judged by; None if it has not ended."""
    found: int | None = ((trial.metrics or {}).get("rows") or {}).get(split)
    return found


def report(trials: Sequence[Trial], options: Options) -> Report:
    """Return the mean of each size, the fitted curve, and what twice as many rows would bring.

    Example::

        report(trials, Options()).metrics  # {"accuracy of twice the rows changes by": 0.012}
    """
    import numpy as np

    from tfnlp.evaluation import power_law

    split, metric = _scores.headline(trials)
    points = sorted(
        (rows, value)
        for trial in trials
        if (rows := _rows(trial)) and (value := _scores.score(trial, split, metric)) is not None
    )
    x, y = np.array(points, float).reshape(-1, 2).T
    law = power_law.fit(x, y, _bounds(metric, y)) if points else None
    sizes = {rows: [value for other, value in points if other == rows] for rows, _ in points}
    found = [(f"{rows:,}", len(s), _scores.cell(_scores.mean(s))) for rows, s in sizes.items()]
    name = f"{metric} ({split})"
    tables = [Table("Score by training rows", ("rows", "runs", f"{name}: mean (95%)"), found)]
    made = Report({}, tables, warnings=_warnings(trials, options, split))
    made.figures["learning_curve"] = partial(_draw, name, points, law)
    sentence = _too_few(sizes)
    if law:
        sentence = _expected(law, max(sizes), name, metric)
        gain, low, high = law.gain(max(sizes), 2 * max(sizes))
        key = f"{name} of twice the rows changes by"
        made.metrics[key] = gain
        made.intervals[key] = (low, high)
        a, b, c = law.curves[0]
        curve = f"{a:.4f} {'-' if b < 0 else '+'} {abs(b) * law.unit**c:.4g} * rows^-{c:.2f}"
        tables.append(Table("Fitted curve", (name,), [(curve,)]))
    tables.append(Table("Would more rows help?", ("answer",), [(sentence,)]))
    return made


def _bounds(metric: str, scores: Any) -> tuple[float, float]:
    """Return between what the score of endlessly many rows lies, as far as that is known."""
    from tfnlp.evaluation import runs

    low = 0.0 if scores.min() >= 0 else -float("inf")
    shares = not runs.less_is_better(metric) and low == 0 and scores.max() <= 1
    return low, 1.0 if shares else float("inf")


def _too_few(sizes: dict[int, list[float]]) -> str:
    """Return what is said if no curve was fitted."""
    from tfnlp.evaluation import power_law

    fewest = min(map(len, sizes.values()), default=0)
    return (
        f"Too few runs to tell: it takes {power_law.FEWEST_SIZES} sizes with "
        f"{power_law.FEWEST_RUNS} runs each, and there are {len(sizes)} with {fewest} or more "
        "(give more --learning-curve-sizes or --learning-curve-seeds)."
    )


def _expected(law: PowerLaw, rows: int, name: str, metric: str) -> str:
    """Return what is expected of twice as many rows, in words."""
    import numpy as np

    from tfnlp.evaluation import runs

    gain, low, high = law.gain(rows, 2 * rows)
    value, least, most = law.at(np.array([2 * rows]))[0]
    said = (
        f"of {2 * rows:,} rows, twice as many, {name} is expected to be {four_places(value)} "
        f"(95% interval {between((least, most))}), a change of {four_places(gain)} "
        f"({between((low, high))}), if it goes on as it has."
    )
    if low <= 0 <= high:
        return f"These runs cannot tell: {said} The change may be none."
    better = gain < 0 if runs.less_is_better(metric) else gain > 0
    return f"{'Yes' if better else 'No'}: {said}"


def _warnings(trials: Sequence[Trial], options: Options, split: str) -> list[str]:
    """Return sentences on what failed, and on scores that cannot be compared."""
    names = {
        place: f"the run on {trial.settings.get('limit', 'all')} rows"
        for place, trial in enumerate(trials)
    }
    found = _scores.failures(trials, names)
    whole = next((t for t in trials if "limit" not in t.settings), None)
    if not options.sizes and whole and _rows(whole) is None:
        found.append(
            "how many rows there are is not known, because the run on all of them failed (give "
            "--learning-curve-sizes)"
        )
    judged = {_rows(trial, "validation") for trial in trials if trial.metrics}
    if split == "validation" and len(judged) > 1:
        found.append(
            "each size was judged on validation rows of its own, taken from its rows (give --test "
            "or --validation)"
        )
    return found


def _draw(name: str, points: Sequence[tuple[float, float]], law: PowerLaw | None) -> Any:
    """Draw the runs, and the curve up to twice as many rows."""
    import numpy as np

    from tfnlp.evaluation import plots

    curve = []
    if law:
        places = np.geomspace(points[0][0], 2 * points[-1][0], _PLACES)
        curve = [(x, *ends) for x, ends in zip(places, law.at(places), strict=True)]
    return plots.learning_curve(name, points, curve)


STUDY = Study(
    summary="the score against the number of training rows, and what more rows would bring",
    options=Options,
    propose=propose,
    report=report,
    best=best,
    length=length,
)
