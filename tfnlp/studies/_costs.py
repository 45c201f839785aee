"""What settings cost beside what they score: trained weights and minutes, for tables of runs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from tfnlp.extensions import Trial
from tfnlp.report import Table
from tfnlp.studies import _scores

Cells = Mapping[tuple[str, str], Sequence[Trial]]  # row and column -> their trials
_UNITS = {"parameters": "trained parameters", "minutes": "minutes of training"}


def cost(trial: Trial, name: str) -> float | None:
    """Return the trained parameters or the minutes of training of a trial; None if unknown.

    Example::

        cost(trial, "parameters")  # 22567686
    """
    held = (trial.metrics or {}).get("costs") or {}
    if name == "minutes":
        return held["seconds"] / 60 if "seconds" in held else None
    value: float | None = held.get(name)
    return value


def reached(trial: Trial, goal: float) -> float:
    """Return after how many minutes of training a trial's validation score was a goal.

    An epoch counts as long as the trial's others. Infinite if no epoch was as good.

    Example::

        reached(trial, 0.93)  # 1.4
    """
    scores, sign = _story(trial)
    minutes = cost(trial, "minutes") or math.nan
    ends = (n for n, value in enumerate(scores, 1) if sign * value >= sign * goal)
    return minutes / len(scores) * next(ends, math.inf) if scores else math.inf


def _story(trial: Trial) -> tuple[list[float], int]:
    """Return the score of each epoch by which the best was chosen, and -1 if less is better."""
    from tfnlp.evaluation import runs

    monitor = str((trial.metrics or {}).get("monitor"))
    scores = [epoch[monitor] for epoch in trial.history if monitor in epoch]
    return scores, -1 if runs.less_is_better(monitor.removeprefix("val_")) else 1


def table(cells: Cells) -> Table | None:
    """Return what each cell costs, and how long it takes to the first row's validation score.

    Times are medians over the seeds, the score of the best epoch a mean; None if no trial tells its
    costs.

    Example::

        table({("full", "trec"): trials}).header[2]  # "trained parameters"
    """
    rows = []
    for (row, column), trials in cells.items():
        first = next(n for n, c in cells if c == column)
        found = {name: _median([cost(t, name) for t in trials]) for name in _UNITS}
        if found["minutes"] is None or found["parameters"] is None:
            continue
        line = (row, *([column] if column else []), f"{found['parameters']:,.0f}")
        goal = _goal(cells[first, column])
        needed = [reached(t, goal) for t in trials] if goal is not None else []
        there = [value for value in needed if math.isfinite(value)]
        until = f"{statistics.median(needed):.2f}" if len(there) > len(needed) / 2 else "–"
        if needed and len(there) < len(needed):
            until += f" ({len(there)} of {len(needed)} runs)"
        own = _goal(trials)
        best = _scores.number(math.nan if own is None else own)
        rows.append((*line, f"{found['minutes']:.2f}", best, until))
    if not rows:
        return None
    data = ["data"] if any(column for _, column in cells) else []
    goal_of = next(name for name, _ in cells)
    until = f"minutes until as good as {goal_of}"
    head = ("settings", *data, *_UNITS.values(), "best epoch (validation)", until)
    return Table("Costs", head, rows)


def _goal(trials: Sequence[Trial]) -> float | None:
    """Return the mean of the best validation scores of some trials."""
    best = []
    for trial in trials:
        scores, sign = _story(trial)
        best += [max(scores) if sign > 0 else min(scores)] if scores else []
    return statistics.mean(best) if best else None


def _median(values: Sequence[float | None]) -> float | None:
    """Return the median of the values that are known."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def figures(cells: Cells, titles: Mapping[str, str]) -> dict[str, Any]:
    """Return pictures of scores against each cost in which rows differ, by name.

    Args:
        cells: the trials.
        titles: what stands beside the scores, by column.
    """
    of_column: dict[str, list[Trial]] = {}
    for (_, column), trials in cells.items():
        of_column.setdefault(column, []).extend(trials)
    found = {}
    for name, label in _UNITS.items():
        panels: dict[str, list[tuple[float, float, str]]] = {}
        for (row, column), trials in cells.items():
            split, metric = _scores.headline(of_column[column])
            scores = [s for t in trials if (s := _scores.score(t, split, metric)) is not None]
            x = _median([cost(t, name) for t in trials])
            if scores and x:
                panels.setdefault(titles[column], []).append((x, statistics.mean(scores), row))
        if any(len({x for x, _, _ in points}) > 1 for points in panels.values()):
            found[f"score_by_{name}"] = partial(_draw, label, panels)
    return found


def _draw(label: str, panels: Mapping[str, Sequence[tuple[float, float, str]]]) -> Any:
    """Draw the scores of named points against what they cost."""
    from tfnlp.evaluation import plots

    return plots.costs(label, panels)
