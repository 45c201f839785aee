"""What a search looks for: a metric of validation rows, or what a model costs; or several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.errors import UserError
from tfnlp.evaluation import runs
from tfnlp.extensions import Trial
from tfnlp.report import four_places
from tfnlp.studies._search.tried import Tried

# Of a run's metrics.json; of all of them less is better.
COSTS = {
    "latency": ("latency (ms a row)", "{:.3g}"),
    "parameters": ("trained parameters", "{:,.0f}"),
    "seconds": ("training (s)", "{:.1f}"),
}


@dataclass(frozen=True)
class Objective:
    """What settings are judged by.

    Attributes:
        name: of a metric, or one of `COSTS`.

    Example:
        >>> Objective("latency").less, Objective("accuracy").less
        (True, False)
    """

    name: str

    @property
    def less(self) -> bool:
        """Whether less of it is better."""
        return self.name in COSTS or runs.less_is_better(self.name)

    @property
    def title(self) -> str:
        """What stands above its values, and beside axes."""
        return COSTS[self.name][0] if self.name in COSTS else f"{self.name} (validation)"

    def of(self, trial: Trial, split: str = "validation") -> float | None:
        """Return a trial's value; None if it has none."""
        metrics = trial.metrics or {}
        held = metrics.get("costs" if self.name in COSTS else split) or {}
        value: float | None = held.get(self.name)
        return value if value is not None and math.isfinite(value) else None

    def shown(self, value: float | None) -> str:
        """Return a value as a table shows it, "" of none."""
        if value is None:
            return ""
        return COSTS[self.name][1].format(value) if self.name in COSTS else four_places(value)

    def order(self, value: float) -> float:
        """Return a number that is lower the better a value is."""
        return value if self.less else -value


def check(names: Sequence[str]) -> None:
    """Raise UserError for objectives that cannot be, whatever the trials measure."""
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"--objective {name} is there twice (leave one out)")


def objectives(trials: Sequence[Trial], names: Sequence[str]) -> list[Objective]:
    """Return what settings are judged by: the first metric of the trials if nothing is named.

    Raises:
        UserError: the trials do not have one of these.

    Example::

        objectives(trials, ("accuracy", "latency"))
    """
    metrics = next((trial.metrics for trial in trials if trial.metrics), None)
    if metrics is not None:
        there = [*metrics["validation"], *(metrics.get("costs") or {})]
        for name in names:
            if name not in there:
                raise UserError(
                    f"--objective {name}: the trials have no such metric; there are "
                    f"{', '.join(there)} (run the same command with --resume and one of these)"
                )
    headline = runs.headline(metrics) if metrics else "metric"
    return [Objective(name) for name in names or (headline,)]


def ranked(settings: Sequence[Tried], goals: Sequence[Objective]) -> list[int]:
    """Return the places of settings that all folds have judged, the best by the first goal first.

    With several goals those than which others are better, in one goal at least and worse in none,
    are left out: what is left is the Pareto front.

    Example::

        ranked(settings, [Objective("accuracy"), Objective("latency")])  # [2, 0]
    """
    orders: dict[int, list[float]] = {}
    for place, one in enumerate(settings):
        values = [one.mean(goal.of) for goal in goals]
        known = [goal.order(v) for goal, v in zip(goals, values, strict=True) if v is not None]
        if len(known) == len(goals) and not one.is_given_up:
            orders[place] = known
    if len(goals) > 1:
        orders = {
            place: own
            for place, own in orders.items()
            if not any(_beats(other, own) for other in orders.values())
        }
    return sorted(orders, key=lambda place: orders[place])


def _beats(other: Sequence[float], own: Sequence[float]) -> bool:
    """Return whether the other is better in something and worse in nothing; less is better."""
    return other != own and all(a <= b for a, b in zip(other, own, strict=True))
