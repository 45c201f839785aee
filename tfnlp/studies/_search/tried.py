"""Settings that a search has tried, each by one trial or by a trial for each fold."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tfnlp.evaluation import runs
from tfnlp.extensions import Settings, Trial

FOLD, GIVE_UP = "fold", "give_up"
_OWN = (FOLD, GIVE_UP)  # what the trials of one setting do not have in common


@dataclass
class Tried:
    """A setting, with the trials that tried it.

    Attributes:
        settings: as they were proposed, without the fold and what is given up.
        folds: how many trials it takes.
        trials: those that have begun, in the order of their folds.
        numbers: theirs in the study; the first of all is 1.

    Example::

        Tried({"batch_size": 16}, 5, [trial], [6]).is_open  # True: four folds are left
    """

    settings: Settings
    folds: int = 1
    trials: list[Trial] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    @property
    def is_given_up(self) -> bool:
        """Whether one of its trials was ended because other settings were better by then."""
        return any(map(gave_up, self.trials))

    @property
    def is_open(self) -> bool:
        """Whether there is a fold left to begin, if those that run are not given up."""
        stopped = self.is_given_up or any(trial.state == "failed" for trial in self.trials)
        return len(self.trials) < self.folds and not stopped

    @property
    def is_running(self) -> bool:
        """Whether one of its trials is."""
        return any(trial.state == "running" for trial in self.trials)

    @property
    def state(self) -> str:
        """Return ``failed``, ``given up``, ``running``, or ``complete`` where all folds are."""
        if any(trial.state == "failed" for trial in self.trials):
            return "failed"
        if self.is_given_up:
            return "given up"
        return "running" if self.is_running or self.is_open else "complete"

    def mean(self, measure: Callable[[Trial], float | None]) -> float | None:
        """Return the mean over the folds; None before they have ended, or if one has no value."""
        values = [measure(trial) for trial in self.trials]
        known = [value for value in values if value is not None]
        ended = self.state in ("complete", "given up") and len(known) == len(values)
        return statistics.fmean(known) if ended else None


def folds_of(trials: Sequence[Trial]) -> int:
    """Return into how many folds a search that has begun divides its rows, as its first trial says.

    Example::

        folds_of([Trial(base, {"fold": "1/5"})])  # 5
    """
    return _part(trials[0].settings)[1]


def group(trials: Sequence[Trial]) -> list[Tried]:
    """Return the settings of a search's trials, in the order in which they were begun.

    Example::

        group(trials)[0].settings  # {}, the settings as they were
    """
    found: list[Tried] = []
    unfinished: dict[str, Tried] = {}
    for number, trial in enumerate(trials, 1):
        part, folds = _part(trial.settings)
        own = {name: value for name, value in trial.settings.items() if name not in _OWN}
        if part == 1:
            found.append(Tried(own, folds))
            unfinished[repr(own)] = found[-1]
        unfinished[repr(own)].trials.append(trial)
        unfinished[repr(own)].numbers.append(number)
    return found


def _part(settings: Settings) -> tuple[int, int]:
    """Return which of how many folds a trial is for; the first of one where there are none."""
    part, _, folds = str(settings.get(FOLD) or "1/1").partition("/")
    return int(part), int(folds)


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
    for text in trial.settings.get(GIVE_UP) or ():
        epoch, _, least = text.partition("=")
        if values and len(values) == int(epoch):
            best = better(values)
            return bool(best != float(least) and better(best, float(least)) == float(least))
    return False


def least(
    trials: Sequence[Trial], rungs: Sequence[int], enough: int, lost: int = 0
) -> dict[int, float]:
    """Return what a trial must reach after some epochs: what half of those before it did.

    Args:
        trials: those before it, of the same fold: folds differ in how hard they are.
        rungs: the epochs, in order.
        enough: trials that must have come as far.
        lost: settings that were given up in an earlier fold, which count as worse than all.
    """
    found: dict[int, float] = {}
    for rung in rungs:
        there = [(trial, best) for trial in trials if (best := best_until(trial, rung)) is not None]
        if len(there) < enough:
            break
        worst = math.inf if _monitored(there[0][0])[1] is min else -math.inf
        middle = statistics.median([*(best for _, best in there), *[worst] * lost])
        if math.isfinite(middle):
            found[rung] = middle
    return found


def _monitored(trial: Trial) -> tuple[list[float], Callable[..., float]]:
    """Return a trial's score by epoch, and which of several is the better."""
    if not trial.metrics or not trial.history:
        return [], max
    name = trial.metrics.get("monitor") or f"val_{runs.headline(trial.metrics)}"
    name = "score" if "score" in trial.history[0] else name
    values = [epoch[name] for epoch in trial.history if epoch.get(name) is not None]
    return values, min if runs.less_is_better(name.removeprefix("val_")) else max
