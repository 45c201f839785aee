"""Two settings compared on the same seeds and rows: is the difference more than luck?

With one or two runs a side it says whether the models differ on these rows, by McNemar's test and
a paired bootstrap, and that this does not tell about the settings; with three or more, whether the
settings differ (`tfnlp.evaluation.comparing`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from tfnlp.config import Experiment
from tfnlp.extensions import SEEDS, Settings, Study, Trial
from tfnlp.options import option
from tfnlp.report import Report, Table, four_places
from tfnlp.studies import _settings, _sides
from tfnlp.studies._sides import Sides

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tfnlp.evaluation.comparing import Difference

_NUMBERS = 10  # of rows, in a table
_AGAINST, _BASE = "against", "base"


@dataclass(frozen=True)
class Options:
    """What is compared with what the other flags say, and in how many runs.

    Example::

        python -m tfnlp.study compare --train rows.csv --against peft=bitfit --compare-seeds 5
    """

    against: tuple[str, ...] = option(
        (),
        "a setting of the other side by its flag's words, such as learning_rate=3e-4; may be "
        "repeated",
        flag="--against",
        metavar="NAME=VALUE",
    )
    seeds: int = option(3, "runs a side, on the same seeds, from --seed on [runs]", minimum=1)


def propose(base: Experiment, trials: Sequence[Trial], options: Options) -> Settings | None:
    """Return the settings of the sides in turn; those against the base come first.

    So a setting that cannot be used is found before anything is trained.

    Raises:
        UserError: ``against`` cannot be used, or the trials were made with another.

    Example::

        propose(experiment, [], Options(("learning_rate=3e-4",)))
        # {"learning_rate": 0.0003, "seed": 42}; the next is {"seed": 42}
    """
    other = _other(base, options)
    for place, trial in enumerate(trials):
        if dict(trial.settings) != _of(base, place, other):
            raise UserError(
                f"trial {place + 1} of this study was not made with --against "
                f"{' --against '.join(options.against)} (give what it was begun with, or another "
                "--name)"
            )
    return _of(base, len(trials), other) if len(trials) < 2 * options.seeds else None


def _other(base: Experiment, options: Options) -> dict[str, Any]:
    """Return the settings that the side against the base has in place of the base's."""
    if not options.against:
        raise UserError("there is nothing to compare with (give --against NAME=VALUE)")
    found: dict[str, Any] = {}
    for text in options.against:
        try:
            name, values = _settings.parse(text)
        except UserError:
            values = []
        if len(values) != 1:
            raise UserError(f"--against {text}: it must be NAME=VALUE (such as epochs=2)")
        if name in found:
            raise UserError(f"--against gives {name} twice (leave one out)")
        found[name] = values[0]
    if "seed" not in found and not _settings.effective(base, found, "--against"):
        raise UserError(
            f"--against {_settings.said(found)} is what the experiment has already: both sides "
            "would be the same (give another value)"
        )
    seed = found.get("seed", SEEDS)
    if not isinstance(seed, int) or abs(seed - base.seed) < options.seeds:
        raise UserError(
            f"--against seed={seed}: it must be a whole number at least {options.seeds} away from "
            f"--seed {base.seed}, for both sides count up from there"
        )
    return found


def _of(base: Experiment, place: int, other: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a trial by its place."""
    if place % 2:
        return {"seed": (base.seed + place // 2) % SEEDS}
    return {**other, "seed": (other.get("seed", base.seed) + place // 2) % SEEDS}


def report(trials: Sequence[Trial], options: Options) -> Report:
    """Return a verdict, the pairs, the rows that one side alone has right, and all runs.

    Raises:
        UserError: the runs were not judged on the same rows.

    Example::

        report(trials, options).tables[0].rows  # [("no difference can be seen: ...",)]
    """
    sides = _sides.sides_of(trials)
    failed = [trial for trial in trials if trial.state == "failed"]
    warnings = [f"the run with seed {t.experiment.seed} failed: {t.error}" for t in failed]
    tables = [_runs(trials, sides)]
    if sides is None or not sides.pairs:
        waiting = "no two runs that can be compared have ended"
        return Report({}, [_said(waiting), *tables], warnings=warnings)
    _sides.check_rows(sides)
    if _alike(trials):
        warnings.append("the sides differ by nothing but the seed")
    found = _sides.settings_differ(sides)
    if found and not all(len(run.drawn) for side in sides.ended for run in side):
        warnings.append(
            "the interval is that for these rows: how the metric varies with them is not known"
        )
    verdict = _about_settings(sides, found) if found else _about_models(sides)
    tables = [_said(verdict), _table(sides, options), _pairs(sides), *_rows(sides), *tables]
    return Report({}, tables, {"differences": lambda: _picture(sides, found)}, warnings)


def _alike(trials: Sequence[Trial]) -> bool:
    """Return whether the sides have the same settings."""
    one, two = (trial.experiment for trial in trials[:2])
    return dataclasses.replace(one, name=two.name, seed=two.seed) == two


def _about_settings(sides: Sides, found: Difference) -> str:
    """Say whether the settings differ."""
    if found.seen:
        return f"these settings differ: {_better(sides.metric, found)}"
    reach = max(abs(found.low), abs(found.high))
    return (
        f"no difference can be seen: {sides.metric} against less base is {_shown(found)}; what is "
        f"less than {four_places(reach)} may be there, and takes more seeds or rows to be seen"
    )


def _about_models(sides: Sides) -> str:
    """Say whether the models of each pair differ, and that this does not tell of settings."""
    said = []
    for pair in sides.pairs:
        found, p, differ = _sides.models_differ(sides.metric, *pair)
        seed = f"seed {pair[0].trial.experiment.seed}: " if len(sides.pairs) > 1 else ""
        by = f" (McNemar's p {four_places(p)})" if p is not None else ""
        if differ:
            said.append(
                f"{seed}these two models differ on these rows: {_better(sides.metric, found)}{by}"
            )
        elif not math.isfinite(found.low):
            said.append(
                f"{seed}whether these two models differ cannot be said: no answers to "
                "single rows were kept"
            )
        else:
            said.append(
                f"{seed}these two models do not differ beyond chance on these rows: "
                f"{sides.metric} against less base is {_shown(found)}{by}"
            )
    few = "one run a side cannot" if len(sides.pairs) == 1 else "two runs a side are too few to"
    more = f"{few} say whether the settings differ (--compare-seeds {_sides.ENOUGH})"
    return "; ".join([*said, more])


def _better(metric: str, found: Difference) -> str:
    """Say which side is better by how much."""
    from tfnlp.evaluation import runs

    more = (found.value > 0) != runs.less_is_better(metric)
    low, high = sorted((abs(found.low), abs(found.high))) if found.seen else (found.low, found.high)
    by = f"{four_places(abs(found.value))} [{four_places(low)}, {four_places(high)}]"
    return f"{_AGAINST if more else _BASE} is better by {by} {metric}"


def _shown(found: Difference) -> str:
    """Return a difference with its interval."""
    ends = f"{four_places(found.low)}, {four_places(found.high)}"
    return f"{four_places(found.value)} [{ends}]"


def _said(sentence: str) -> Table:
    """Return a sentence as a table."""
    return Table("Are they different?", ("verdict",), [(sentence,)])


def _table(sides: Sides, options: Options) -> Table:
    """Return a line for each side: what it is, how many runs, and their metric."""
    import numpy as np

    rows = []
    settings = ("as the other flags say", " ".join(options.against))
    for side, what, judged in zip((_BASE, _AGAINST), settings, sides.ended, strict=True):
        values = [run.value for run in judged]
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
        mean = four_places(float(np.mean(values)))
        rows.append((side, what, len(values), mean, four_places(deviation)))
    head = ("side", "settings", "runs", f"mean {sides.metric} ({sides.split})", "deviation")
    return Table("Sides", head, rows)


def _pairs(sides: Sides) -> Table:
    """Return a line for each pair of models."""
    rows = []
    for base, against in sides.pairs:
        found, p, differ = _sides.models_differ(sides.metric, base, against)
        only = _sides.only(base, against) if p is not None else ("", "")
        ends = [four_places(end) if math.isfinite(end) else "" for end in (found.low, found.high)]
        seeds = dict.fromkeys(str(run.trial.experiment.seed) for run in (base, against))
        values = map(four_places, (base.value, against.value, found.value))
        verdict = "differ" if differ else ""
        shown_p = "" if p is None else four_places(p)
        rows.append((" and ".join(seeds), *values, *ends, *only, shown_p, verdict))
    only_head = (f"only {_BASE} right", f"only {_AGAINST} right", "McNemar's p", "models")
    head = ("seed", _BASE, _AGAINST, "difference", "95% from", "to", *only_head)
    return Table(f"Models, pair by pair: {sides.metric} ({sides.split})", head, rows)


def _rows(sides: Sides) -> list[Table]:
    """Return which rows one side alone has right, in more than half of its runs."""
    import numpy as np

    base, against = ([run.right for run in side] for side in sides.ended)
    lengths = {len(right) for right in [*base, *against]}
    if len(lengths) != 1 or not max(lengths):
        return []
    mostly = [np.mean(side, 0) > 0.5 for side in (base, against)]
    numbers = (sides.ended[0][0].trial.judged or {})["numbers"]
    rows = []
    for side, alone in ((_BASE, mostly[0] & ~mostly[1]), (_AGAINST, mostly[1] & ~mostly[0])):
        places = np.flatnonzero(alone)
        first = ", ".join(str(numbers[place]) for place in places[:_NUMBERS])
        rows.append((side, len(places), first + ", ..." * (len(places) > _NUMBERS)))
    head = ("side", "rows", "their numbers")
    return [Table("Rows that one side alone has right, in most of its runs", head, rows)]


def _runs(trials: Sequence[Trial], sides: Sides | None) -> Table:
    """Return a line for each run."""
    rows = []
    for place, trial in enumerate(trials):
        cells = []
        for split in ("test", "validation"):
            value = ((trial.metrics or {}).get(split) or {}).get(sides.metric if sides else "")
            cells.append("" if value is None else four_places(value))
        side, run = (_AGAINST, _BASE)[place % 2], trial.run or ""
        rows.append((place + 1, side, trial.experiment.seed, trial.state, *cells, run))
    metric = sides.metric if sides else "metric"
    head = ("trial", "side", "seed", "state", f"{metric} (test)", f"{metric} (validation)", "run")
    return Table("Runs", head, rows)


def _picture(sides: Sides, found: Difference | None) -> Figure:
    """Draw the difference of each pair of models, and that of the settings."""
    from tfnlp.evaluation import plots

    drawn = {}
    for base, against in sides.pairs:
        one, _, _ = _sides.models_differ(sides.metric, base, against)
        ends = (one.low, one.high) if math.isfinite(one.low) else (one.value, one.value)
        drawn[f"models, seed {base.trial.experiment.seed}"] = (one.value, *ends)
    if found:
        drawn["settings"] = (found.value, found.low, found.high)
    return plots.differences(f"{sides.metric} ({sides.split}), {_AGAINST} less {_BASE}", drawn)


STUDY = Study(
    summary="two settings on the same seeds and rows: is the difference more than luck",
    options=Options,
    propose=propose,
    report=report,
)
