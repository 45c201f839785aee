"""What a search found: its trials, what the finals say of the best, which settings mattered."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from tfnlp.extensions import Settings, Trial
from tfnlp.report import Report, Table, four_places
from tfnlp.studies import _settings
from tfnlp.studies._search.objectives import Objective, ranked
from tfnlp.studies._search.space import Dimension, params
from tfnlp.studies._search.tried import Tried, group

if TYPE_CHECKING:
    import numpy as np

_FEWEST = 15  # trials that have ended, below which importances mean nothing
_RESAMPLES = 100
_RUNS = 2  # of each finalist, without which nothing can be said of how they vary


def best(
    trials: Sequence[Trial],
    searched: int | None,
    contenders: Sequence[Settings],
    goals: Sequence[Objective],
) -> int | None:
    """Return which trial is the one to take: of the winner of the finals, else of the search.

    Of settings that were tried by several it is the first, as the folds are no better or worse.

    Args:
        trials: all that there are.
        searched: how many of them are the search's; None while it lasts.
        contenders: of the finals, in their order.
        goals: what settings are judged by, the first before the others.
    """
    goal = goals[0]
    final = trials[searched:] if searched else []
    groups = {n: h for n, h in _groups(final, contenders, goal).items() if len(h) >= _RUNS}
    if not groups:
        settings = group(trials[:searched])
        order = ranked(settings, goals)
        return settings[order[0]].numbers[0] - 1 if order else None
    _, won = _winner(groups, goal)
    first = min(won, key=lambda trial: goal.order(goal.of(trial) or 0.0))
    return next(place for place, trial in enumerate(trials) if trial is first)


def _groups(
    final: Sequence[Trial], contenders: Sequence[Settings], goal: Objective
) -> dict[str, list[Trial]]:
    """Return the runs of each contender that have ended, the settings as they were first.

    They are in the order of the contenders, again for each seed.
    """
    names = [", ".join(f"{n} {v}" for n, v in settings.items()) for settings in contenders]
    found: dict[str, list[Trial]] = {name: [] for name in names}
    for place, trial in enumerate(final):
        if goal.of(trial) is not None:
            found[names[place % len(names)]].append(trial)
    return {name: held for name, held in found.items() if held}


def _winner(groups: Mapping[str, list[Trial]], goal: Objective) -> tuple[str, list[Trial]]:
    """Return the finalist of the best mean on validation rows, the base's own if it is as good."""

    def mean(held: list[Trial]) -> float:
        return statistics.mean(goal.of(trial) or 0.0 for trial in held)

    return min(groups.items(), key=lambda item: goal.order(mean(item[1])))


def report(
    trials: Sequence[Trial],
    searched: int | None,
    contenders: Sequence[Settings],
    dimensions: Sequence[Dimension],
    goals: Sequence[Objective],
    importance: Callable[[Sequence[Tried]], Mapping[str, float]],
) -> Report:
    """Return a search's report.

    Args:
        trials: all that there are.
        searched: how many of them are the search's; None while it lasts.
        contenders: of the finals, in their order.
        dimensions: what was varied.
        goals: what settings are judged by, the first before the others.
        importance: settings -> by name, its share in what made them differ.
    """
    from tfnlp.studies._search import pictures

    settings = group(trials[:searched])
    found = Report({}, [_table(settings, dimensions, goals)])
    found.warnings.extend(
        f"trial {place} failed: {trial.error}"
        for place, trial in enumerate(trials, 1)
        if trial.state == "failed"
    )
    if len(goals) > 1:
        _front(settings, dimensions, goals, found)
    if searched:
        _judge(trials[searched:], contenders, goals, found)
        _importances(settings, goals[0], importance, found)
    values = [(one, value) for one in settings if (value := one.mean(goals[0].of)) is not None]
    if values:
        shown, scores = [one for one, _ in values], [value for _, value in values]
        lost = [one.is_given_up for one in shown]
        rows = [params(one.settings, dimensions) for one in shown]
        minutes = _minutes(trials, shown)
        goal = goals[0]
        found.figures["score_by_time"] = partial(pictures.progress, minutes, scores, lost, goal)
        found.figures["slices"] = partial(pictures.slices, dimensions, rows, scores, lost, goal)
        found.figures["parallel_coordinates"] = partial(
            pictures.parallel, dimensions, rows, scores, goal
        )
    return found


def _front(
    settings: Sequence[Tried],
    dimensions: Sequence[Dimension],
    goals: Sequence[Objective],
    found: Report,
) -> None:
    """Add the Pareto front: a table, and a picture in which its settings bear their trials."""
    from tfnlp.studies._search import pictures

    front = ranked(settings, goals)
    if not front:
        return
    lines = {_listed(settings[place].numbers): place for place in front}
    rows = [
        (number, *_cells(settings[place], dimensions), *_means(settings[place], goals))
        for number, place in lines.items()
    ]
    head = (_numbered(settings), *(each.name for each in dimensions), *(g.title for g in goals))
    title = "The Pareto front: no settings are better in one of these and worse in none"
    found.tables.insert(0, Table(title, head, rows))
    points = [[one.mean(goal.of) for goal in goals] for one in settings]
    names = {place: str(number) for number, place in lines.items()}
    label = _numbered(settings)
    found.figures["pareto_front"] = partial(pictures.front, goals, points, names, label)


def _minutes(trials: Sequence[Trial], shown: Sequence[Tried]) -> list[float]:
    """Return when each setting's last trial ended [min from the start]."""
    ends = list(accumulate(trial.seconds / 60 for trial in trials))
    return [ends[one.numbers[-1] - 1] for one in shown]


def _table(
    settings: Sequence[Tried], dimensions: Sequence[Dimension], goals: Sequence[Objective]
) -> Table:
    """Return a line for each setting, the best first; the finals have a table of their own."""
    folds = max((one.folds for one in settings), default=1)
    rows = []
    for place, one in enumerate(settings):
        value = one.mean(goals[0].of)
        state = one.state + ", the settings as they were" * (place == 0)
        epochs = round(sum(len(t.history) for t in one.trials) / max(len(one.trials), 1))
        cells = (*_cells(one, dimensions), *_means(one, goals), epochs, state)
        order = math.inf if value is None else goals[0].order(value)
        rows.append((order, (_listed(one.numbers), *cells)))
    ordered = [row for _, row in sorted(rows, key=lambda pair: pair[0])]
    titles = (goal.title for goal in goals)
    head = (_numbered(settings), *(each.name for each in dimensions), *titles, "epochs", "state")
    title = "Trials of the search"
    if folds > 1:
        title = f"Settings of the search, means over {folds} folds of the training rows"
    return Table(title, head, ordered)


def _numbered(settings: Sequence[Tried]) -> str:
    """Return what stands above the numbers of trials."""
    return "trials" if any(one.folds > 1 for one in settings) else "trial"


def _cells(one: Tried, dimensions: Sequence[Dimension]) -> list[Any]:
    """Return a cell for each setting that is varied."""
    there = one.settings
    return [_cell(there[each.name]) if each.name in there else "" for each in dimensions]


def _cell(value: Any) -> Any:
    """Return a value as --vary has it where a person would not know it otherwise."""
    return _settings.shown(value) if value is None or isinstance(value, bool) else value


def _means(one: Tried, goals: Sequence[Objective]) -> list[str]:
    """Return a cell for each goal."""
    return [goal.shown(one.mean(goal.of)) for goal in goals]


def _listed(numbers: Sequence[int]) -> str | int:
    """Return the numbers of a setting's trials, "6 to 10" of five in a row."""
    if len(numbers) == 1:
        return numbers[0]
    in_a_row = list(numbers) == list(range(numbers[0], numbers[-1] + 1))
    return f"{numbers[0]} to {numbers[-1]}" if in_a_row else ", ".join(map(str, numbers))


def _judge(
    final: Sequence[Trial],
    contenders: Sequence[Settings],
    goals: Sequence[Objective],
    found: Report,
) -> None:
    """Add what the finals say: the winner beside the settings as they were, on the same seeds."""
    from tfnlp.evaluation import comparing, plots

    goal, *others = goals
    groups = {n: h for n, h in _groups(final, contenders, goal).items() if len(h) >= _RUNS}
    if final and ("" not in groups or len(groups) < 2):
        found.warnings.append(
            f"too few runs of the finals have ended for a verdict ({_RUNS} of each are needed)"
        )
    if "" not in groups or len(groups) < 2:
        return
    base = groups[""]
    ended = [trial.metrics for held in groups.values() for trial in held if trial.metrics]
    split = "test" if all(metrics.get("test") for metrics in ended) else "validation"
    winner, _ = _winner(groups, goal)
    plain, before = _values(base, split, goal), _resampled(base, goal.name, groups)
    rows, gains = [], {}
    for name, held in groups.items():
        own = _values(held, split, goal)
        gain = comparing.settings(plain, own, before, _resampled(held, goal.name, groups))
        validation = statistics.mean(_values(held, "validation", goal))
        cells = [goal.shown(value) for value in (validation, statistics.mean(own))]
        ends = [goal.shown(v) if name else "" for v in (gain.value, gain.low, gain.high)]
        costs = [each.shown(statistics.mean(_values(held, split, each))) for each in others]
        mark = "best on validation rows" if name == winner else ""
        row = (name or "the settings as they were", *cells, *ends, *costs, len(held), mark)
        rows.append(row)
        if name:
            gains[name] = (gain.value, gain.low, gain.high)
    scores = tuple(each.title.replace("validation", split) for each in goals)
    head = ("settings", goal.title, scores[0], "gain", "95% from", "to", *scores[1:], "seeds", "")
    judged = "test rows set aside from train" if ended[0].get("set_aside") else f"{split} rows"
    verdict = _sentence(winner, gains.get(winner), goal, judged, len(base))
    title = f"The best, trained again with other seeds. {verdict}"
    found.tables.insert(0, Table(title, head, rows))
    quantity = f"gain in {scores[0]}"
    found.figures["gains"] = partial(plots.differences, quantity, gains)
    if split == "validation":
        found.warnings.append(
            "the validation rows that chose the settings also judge them, which flatters them "
            "(give --test, or --search-set-aside)"
        )


def _resampled(held: Sequence[Trial], metric: str, groups: Mapping[str, list[Trial]]) -> np.ndarray:
    """Return a metric of runs on rows drawn again, (runs, draws); no draws if one run has none."""
    import numpy as np

    def draws(trial: Trial) -> Sequence[float | None]:
        resampled: Mapping[str, Sequence[float | None]] = (trial.judged or {}).get("resampled", {})
        return resampled.get(metric, ())

    lengths = {len(draws(trial)) for several in groups.values() for trial in several}
    count = lengths.pop() if len(lengths) == 1 else 0
    return np.array([draws(trial)[:count] for trial in held], float).reshape(len(held), count)


def _values(held: Sequence[Trial], split: str, goal: Objective) -> list[float]:
    """Return a goal's values of several runs; NaN where one has none."""
    values = [goal.of(trial, split) for trial in held]
    return [math.nan if value is None else value for value in values]


def _sentence(
    winner: str, gain: tuple[float, float, float] | None, goal: Objective, judged: str, seeds: int
) -> str:
    """Return in words whether the search has found something better."""
    if gain is None:
        return "None did better on validation rows than the settings that were given: keep these"
    value, low, high = gain
    told = f"{goal.name} {value:+.4f} on {judged}, 95% interval {low:+.4f} to {high:+.4f}"
    if low > 0 or high < 0:
        than = "worse" if goal.order(value) > 0 else "better"
        return f"{winner}: {than} than the settings that were given: {told}"
    return (
        f"As far as {seeds} seeds can tell, the settings that were given are as good as {winner}: "
        f"{told}, which covers zero; what is less than {max(-low, high):.4f} may be there"
    )


def _importances(
    settings: Sequence[Tried],
    goal: Objective,
    importance: Callable[[Sequence[Tried]], Mapping[str, float]],
    found: Report,
) -> None:
    """Add each setting's share in what made their scores differ, with its bootstrap interval."""
    import numpy as np

    ended = [one for one in settings[1:] if one.mean(goal.of) is not None]
    if len(ended) < _FEWEST:
        found.warnings.append(
            f"{_FEWEST} trials are needed to tell which settings matter, and {len(ended)} ended"
        )
        return
    whole = importance(ended)
    random = np.random.default_rng(0)
    drawn: dict[str, list[float]] = {name: [] for name in whole}
    for _ in range(_RESAMPLES):
        places = random.integers(0, len(ended), len(ended))
        for name, value in importance([ended[place] for place in places]).items():
            drawn.setdefault(name, []).append(value)
    rows = []
    for name, value in whole.items():
        low, high = np.nanquantile(drawn[name], [0.025, 0.975]) if drawn[name] else (0.0, 1.0)
        rows.append((name, *map(four_places, (value, float(low), float(high)))))
    title = f"Which settings mattered to {goal.name} (PED-ANOVA; shares of 1)"
    found.tables.append(Table(title, ("setting", "importance", "95% from", "to"), rows))
