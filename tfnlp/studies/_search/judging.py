"""What a search found: its trials, what the finals say of the best, which settings mattered."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING

from tfnlp.evaluation import runs
from tfnlp.extensions import Settings, Trial
from tfnlp.report import Report, Table, four_places
from tfnlp.studies._search.space import FIXED, Dimension, params
from tfnlp.studies._search.tried import FOLD, GIVE_UP, Tried, group, score

if TYPE_CHECKING:
    import numpy as np

_FEWEST = 15  # trials that have ended, below which importances mean nothing
_RESAMPLES = 100
_RUNS = 2  # of each finalist, without which nothing can be said of how they vary


def ranked(settings: Sequence[Tried]) -> list[int]:
    """Return the places of the settings that were not given up, the best first."""
    values = {place: one.mean(score) for place, one in enumerate(settings)}
    known = {p: v for p, v in values.items() if v is not None and not settings[p].is_given_up}
    less = runs.less_is_better(_metric(settings))
    return sorted(known, key=lambda place: known[place] if less else -known[place])


def _metric(settings: Sequence[Tried]) -> str:
    """Return the name of what settings are judged by."""
    metrics = (trial.metrics for one in settings for trial in one.trials if trial.metrics)
    return next(map(runs.headline, metrics), "metric")


def best(trials: Sequence[Trial], searched: int | None) -> int | None:
    """Return which trial is the one to take: of the winner of the finals, else of the search.

    Of settings that were tried by several it is the first, as the folds are no better or worse.
    """
    final = trials[searched:] if searched else []
    groups = {name: held for name, held in _groups(final).items() if len(held) >= _RUNS}
    if not groups:
        settings = group(trials[:searched])
        order = ranked(settings)
        return settings[order[0]].numbers[0] - 1 if order else None
    _, won = _winner(groups)
    place = runs.best([trial.metrics if trial in won else None for trial in final])
    return None if place is None else (searched or 0) + place


def _key(settings: Settings) -> str:
    """Return what the runs of one finalist have in common."""
    common = (FOLD, GIVE_UP, "seed", *FIXED)
    return ", ".join(f"{name} {value}" for name, value in settings.items() if name not in common)


def _groups(final: Sequence[Trial]) -> dict[str, list[Trial]]:
    """Return the runs of each finalist that have ended, the settings as they were first."""
    found: dict[str, list[Trial]] = {}
    for trial in final:
        found.setdefault(_key(trial.settings), [])
        if score(trial) is not None:
            found[_key(trial.settings)].append(trial)
    return {name: held for name, held in found.items() if held}


def _winner(groups: Mapping[str, list[Trial]]) -> tuple[str, list[Trial]]:
    """Return the finalist of the best mean on validation rows, the base's own if it is as good."""
    sample = next(iter(groups.values()))[0].metrics or {}
    less = runs.less_is_better(runs.headline(sample))

    def mean(held: list[Trial]) -> float:
        value = statistics.mean(score(trial) or 0.0 for trial in held)
        return -value if less else value

    return max(groups.items(), key=lambda item: mean(item[1]))


def report(
    trials: Sequence[Trial],
    searched: int | None,
    dimensions: Sequence[Dimension],
    importance: Callable[[Sequence[Tried]], Mapping[str, float]],
) -> Report:
    """Return a search's report.

    Args:
        trials: all that there are.
        searched: how many of them are the search's; None while it lasts.
        dimensions: what was varied.
        importance: settings -> by name, its share in what made them differ.
    """
    from tfnlp.studies._search import pictures

    settings = group(trials[:searched])
    found = Report({}, [_table(settings, dimensions)])
    found.warnings.extend(
        f"trial {place} failed: {trial.error}"
        for place, trial in enumerate(trials, 1)
        if trial.state == "failed"
    )
    if searched:
        _judge(trials[searched:], found)
        _importances(settings, importance, found)
    values = [(one, value) for one in settings if (value := one.mean(score)) is not None]
    if values:
        shown, scores = [one for one, _ in values], [value for _, value in values]
        metric = _metric(settings)
        lost = [one.is_given_up for one in shown]
        rows = [params(one.settings, dimensions) for one in shown]
        minutes = _minutes(trials, shown)
        found.figures["score_by_time"] = partial(pictures.progress, minutes, scores, lost, metric)
        found.figures["slices"] = partial(pictures.slices, dimensions, rows, scores, lost, metric)
        found.figures["parallel_coordinates"] = partial(
            pictures.parallel, dimensions, rows, scores, metric
        )
    return found


def _minutes(trials: Sequence[Trial], shown: Sequence[Tried]) -> list[float]:
    """Return when each setting's last trial ended [min from the start]."""
    ends = list(accumulate(trial.seconds / 60 for trial in trials))
    return [ends[one.numbers[-1] - 1] for one in shown]


def _table(settings: Sequence[Tried], dimensions: Sequence[Dimension]) -> Table:
    """Return a line for each setting, the best first; the finals have a table of their own."""
    metric = _metric(settings)
    names = [each.name for each in dimensions]
    less = runs.less_is_better(metric)
    folds = max((one.folds for one in settings), default=1)
    rows = []
    for place, one in enumerate(settings):
        value = one.mean(score)
        state = one.state + ", the settings as they were" * (place == 0)
        own = [one.settings.get(name, "") for name in names]
        epochs = sum(len(trial.history) for trial in one.trials)
        shown = "" if value is None else four_places(value)
        row = (_listed(one.numbers), *own, shown, epochs, state)
        order = math.inf if value is None else value if less else -value
        rows.append((order, row))
    ordered = [row for _, row in sorted(rows, key=lambda pair: pair[0])]
    if folds == 1:
        head = ("trial", *names, f"{metric} (validation)", "epochs", "state")
        return Table("Trials of the search", head, ordered)
    head = ("trials", *names, f"{metric} (mean over folds)", "epochs", "state")
    return Table(f"Settings of the search, by {folds}-fold cross-validation", head, ordered)


def _listed(numbers: Sequence[int]) -> str | int:
    """Return the numbers of a setting's trials, "6 to 10" of five in a row."""
    if len(numbers) == 1:
        return numbers[0]
    in_a_row = list(numbers) == list(range(numbers[0], numbers[-1] + 1))
    return f"{numbers[0]} to {numbers[-1]}" if in_a_row else ", ".join(map(str, numbers))


def _judge(final: Sequence[Trial], found: Report) -> None:
    """Add what the finals say: the winner beside the settings as they were, on the same seeds."""
    from tfnlp.evaluation import comparing, plots

    groups = {name: held for name, held in _groups(final).items() if len(held) >= _RUNS}
    if final and ("" not in groups or len(groups) < 2):
        found.warnings.append(
            f"too few runs of the finals have ended for a verdict ({_RUNS} of each are needed)"
        )
    if "" not in groups or len(groups) < 2:
        return
    base = groups[""]
    ended = [trial.metrics for held in groups.values() for trial in held if trial.metrics]
    split = "test" if all(metrics.get("test") for metrics in ended) else "validation"
    metric = runs.headline(ended[0])
    winner, _ = _winner(groups)
    plain, before = _values(base, split, metric), _resampled(base, metric, groups)
    rows, gains = [], {}
    for name, held in groups.items():
        own = _values(held, split, metric)
        gain = comparing.settings(plain, own, before, _resampled(held, metric, groups))
        validation = statistics.mean(_values(held, "validation", metric))
        cells = [four_places(value) for value in (validation, statistics.mean(own))]
        ends = [four_places(v) if name else "" for v in (gain.value, gain.low, gain.high)]
        mark = "best on validation rows" if name == winner else ""
        rows.append((name or "the settings as they were", *cells, *ends, len(held), mark))
        if name:
            gains[name] = (gain.value, gain.low, gain.high)
    scores = (f"{metric} (validation)", f"{metric} ({split})")
    head = ("settings", *scores, "gain", "95% from", "to", "seeds", "")
    judged = "test rows set aside from train" if ended[0].get("set_aside") else f"{split} rows"
    verdict = _sentence(winner, gains.get(winner), metric, judged, len(base))
    title = f"The best, trained again with other seeds. {verdict}"
    found.tables.insert(0, Table(title, head, rows))
    quantity = f"gain in {metric} ({split})"
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


def _values(held: Sequence[Trial], split: str, metric: str) -> list[float]:
    """Return a metric of several runs; NaN where one has none."""
    values = [((trial.metrics or {}).get(split) or {}).get(metric) for trial in held]
    return [math.nan if value is None else float(value) for value in values]


def _sentence(
    winner: str, gain: tuple[float, float, float] | None, metric: str, judged: str, seeds: int
) -> str:
    """Return in words whether the search has found something better."""
    if gain is None:
        return "None did better on validation rows than the settings that were given: keep these"
    value, low, high = gain
    told = f"{metric} {value:+.4f} on {judged}, 95% interval {low:+.4f} to {high:+.4f}"
    if low > 0 or high < 0:
        worse = value > 0 if runs.less_is_better(metric) else value < 0
        than = "worse" if worse else "better"
        return f"{winner}: {than} than the settings that were given: {told}"
    return (
        f"As far as {seeds} seeds can tell, the settings that were given are as good as {winner}: "
        f"{told}, which covers zero"
    )


def _importances(
    settings: Sequence[Tried],
    importance: Callable[[Sequence[Tried]], Mapping[str, float]],
    found: Report,
) -> None:
    """Add each setting's share in what made their scores differ, with its bootstrap interval."""
    import numpy as np

    ended = [one for one in settings[1:] if one.mean(score) is not None]
    if len(ended) < _FEWEST:
        found.warnings.append(
            f"{len(ended)} trials are too few to tell which settings matter ({_FEWEST} are needed)"
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
    title = "Which settings mattered (PED-ANOVA; shares of 1)"
    found.tables.append(Table(title, ("setting", "importance", "95% from", "to"), rows))
