"""What a search found: its trials, what the finals say of the best, which settings mattered."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from tfnlp.evaluation import runs
from tfnlp.extensions import Settings, Trial
from tfnlp.report import Report, Table, four_places
from tfnlp.studies._search.space import FIXED, Dimension, params

if TYPE_CHECKING:
    import numpy as np

_FEWEST = 15  # trials that have ended, below which importances mean nothing
_RESAMPLES = 100
_RUNS = 2  # of each finalist, without which nothing can be said of how they vary


def score(trial: Trial) -> float | None:
    """Return the first metric of a trial's validation rows; None if it has none."""
    if not trial.metrics:
        return None
    value = trial.metrics["validation"][runs.headline(trial.metrics)]
    return value if value is not None and math.isfinite(value) else None


def _monitored(trial: Trial) -> tuple[list[float], Callable[..., float]]:
    """Return a trial's score by epoch, and which of several is the better."""
    if not trial.metrics or not trial.history:
        return [], max
    name = trial.metrics.get("monitor") or f"val_{runs.headline(trial.metrics)}"
    name = "score" if "score" in trial.history[0] else name
    values = [epoch[name] for epoch in trial.history if epoch.get(name) is not None]
    return values, min if runs.less_is_better(name.removeprefix("val_")) else max


def best_until(trial: Trial, epochs: int) -> float | None:
    """Return the best score of a trial's first epochs; None if it was given up before.

    One that ended early because it got no better counts with what it had.
    """
    values, better = _monitored(trial)
    if not values or (len(values) < epochs and gave_up(trial)):
        return None
    return float(better(values[:epochs]))


def gave_up(trial: Trial) -> bool:
    """Return whether a trial was ended because others were better by then."""
    values, better = _monitored(trial)
    for text in trial.settings.get("give_up") or ():
        epoch, _, least = text.partition("=")
        if values and len(values) == int(epoch):
            best = better(values)
            return bool(best != float(least) and better(best, float(least)) == float(least))
    return False


def best(trials: Sequence[Trial], searched: int | None) -> int | None:
    """Return which trial is the one to take: of the winner of the finals, else of the search."""
    final = trials[searched:] if searched else []
    groups = {name: held for name, held in _groups(final).items() if len(held) >= _RUNS}
    if not groups:
        return runs.best([trial.metrics for trial in trials])
    _, won = _winner(groups)
    place = runs.best([trial.metrics if trial in won else None for trial in final])
    return None if place is None else (searched or 0) + place


def _key(settings: Settings) -> str:
    """Return what the runs of one finalist have in common."""
    common = ("give_up", "seed", *FIXED)
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
    importance: Callable[[Sequence[Trial]], Mapping[str, float]],
) -> Report:
    """Return a search's report.

    Args:
        trials: all that there are.
        searched: how many of them are the search's; None while it lasts.
        dimensions: what was varied.
        importance: trials -> by setting, its share in what made them differ.
    """
    from tfnlp.studies._search import pictures

    searching = trials[:searched]
    found = Report({}, [_trials(trials, searching, dimensions)])
    found.warnings.extend(
        f"trial {place} failed: {trial.error}"
        for place, trial in enumerate(trials, 1)
        if trial.state == "failed"
    )
    if searched:
        _judge(trials[searched:], found)
        _importances(searching, importance, found)
    if any(score(trial) is not None for trial in searching):
        shown = [trial for trial in searching if score(trial) is not None]
        values = [score(trial) or 0.0 for trial in shown]
        metric = runs.headline(shown[0].metrics or {})
        lost = [gave_up(trial) for trial in shown]
        rows = [params(trial.settings, dimensions) for trial in shown]
        minutes = _minutes(searching, shown)
        found.figures["score_by_time"] = partial(pictures.progress, minutes, values, lost, metric)
        found.figures["slices"] = partial(pictures.slices, dimensions, rows, values, lost, metric)
        found.figures["parallel_coordinates"] = partial(
            pictures.parallel, dimensions, rows, values, metric
        )
    return found


def _minutes(searching: Sequence[Trial], shown: Sequence[Trial]) -> list[float]:
    """Return when each trial ended [min from the start]."""
    spent, ends = 0.0, []
    for trial in searching:
        spent += trial.seconds / 60
        if trial in shown:
            ends.append(spent)
    return ends


def _trials(
    trials: Sequence[Trial], searching: Sequence[Trial], dimensions: Sequence[Dimension]
) -> Table:
    """Return a line for each trial, the best first; the finals have a table of their own."""
    metric = next((runs.headline(t.metrics) for t in trials if t.metrics), "metric")
    names = [each.name for each in dimensions]
    less = runs.less_is_better(metric)
    rows = []
    for place, trial in enumerate(searching, 1):
        value = score(trial)
        state: str = "given up" if gave_up(trial) else trial.state
        state += ", the settings as they were" * (place == 1)
        own = [trial.settings.get(name, "") for name in names]
        row = (place, *own, "" if value is None else four_places(value), len(trial.history), state)
        order = math.inf if value is None else value if less else -value
        rows.append((order, row))
    ordered = [row for _, row in sorted(rows, key=lambda pair: pair[0])]
    head = ("trial", *names, f"{metric} (validation)", "epochs", "state")
    return Table("Trials of the search", head, ordered)


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
    searching: Sequence[Trial],
    importance: Callable[[Sequence[Trial]], Mapping[str, float]],
    found: Report,
) -> None:
    """Add each setting's share in what made the trials differ, with its bootstrap interval."""
    import numpy as np

    ended = [trial for trial in searching[1:] if score(trial) is not None]
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
