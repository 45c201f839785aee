"""Pictures of a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tfnlp.evaluation.plots import Picture
from tfnlp.studies import _settings
from tfnlp.studies._search.objectives import COSTS, Objective
from tfnlp.studies._search.space import Dimension

_OFFSET: dict[str, Any] = {"textcoords": "offset points"}
_LOST, _RUN, _BEST = "0.65", "tab:blue", "tab:orange"


def progress(
    minutes: Sequence[float], values: Sequence[float], lost: Sequence[bool], goal: Objective
) -> Figure:
    """Draw each trial's score when it ended, and the best so far.

    Args:
        minutes: when each of N trials ended.
        values: their scores.
        lost: which were given up.
        goal: what the score is.
    """
    figure = Picture(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    gone = np.array(lost, bool)
    x, y = np.array(minutes), np.array(values)
    axes.scatter(x[~gone], y[~gone], color=_RUN, label="trial")
    if gone.any():
        axes.scatter(x[gone], y[gone], color=_LOST, marker="x", label="given up")
    so_far = np.minimum if goal.less else np.maximum
    axes.step(x, so_far.accumulate(y), where="post", color=_BEST, label="best so far")
    axes.set(xlabel="minutes", ylabel=goal.title)
    axes.legend()
    return figure


def slices(
    dimensions: Sequence[Dimension],
    rows: Sequence[Mapping[str, Any]],
    values: Sequence[float],
    lost: Sequence[bool],
    goal: Objective,
) -> Figure:
    """Draw the score against each setting."""
    columns = min(len(dimensions), 3)
    lines = -(-len(dimensions) // columns)
    figure = Picture(figsize=(3.6 * columns, 3 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True).flat
    for each, axes in zip(dimensions, grid, strict=False):
        there = [place for place, row in enumerate(rows) if each.name in row]
        x = [_place(each, rows[place][each.name]) for place in there]
        colors = [_LOST if lost[place] else _RUN for place in there]
        axes.scatter(x, [values[place] for place in there], c=colors)
        axes.set_xlabel(each.name)
        _scale(each, axes.xaxis, axes.set_xscale)
        axes.label_outer()
    for axes in list(grid)[len(dimensions) :]:
        axes.set_visible(False)
    figure.supylabel(goal.title)
    return figure


def parallel(
    dimensions: Sequence[Dimension],
    rows: Sequence[Mapping[str, Any]],
    values: Sequence[float],
    goal: Objective,
) -> Figure:
    """Draw each trial as a line through its settings, coloured by its score."""
    import matplotlib as mpl

    figure = Picture(figsize=(2 + 1.8 * len(dimensions), 4), layout="constrained")
    axes = figure.subplots()
    norm = mpl.colors.Normalize(min(values), max(values) + 1e-12)
    better = -1 if goal.less else 1
    for place in np.argsort(np.array(values) * better):  # the best on top
        row = rows[place]
        x = [i for i, each in enumerate(dimensions) if each.name in row]
        y = [_share(each, row[each.name]) for each in dimensions if each.name in row]
        axes.plot(x, y, color=mpl.colormaps["viridis"](norm(values[place])), marker="o", lw=1.5)
    for i, each in enumerate(dimensions):
        for end in each.ends:
            axes.annotate(
                _settings.shown(end),
                (i, _share(each, end)),
                (6, 0),
                **_OFFSET,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
            )
        axes.axvline(i, color="0.85", zorder=0)
    axes.set_xticks(range(len(dimensions)), [each.name for each in dimensions])
    axes.set(yticks=[], ylim=(-0.08, 1.08), xlim=(-0.2, len(dimensions) - 0.4))
    figure.colorbar(mpl.cm.ScalarMappable(norm, "viridis"), ax=axes, label=goal.title)
    return figure


def front(
    goals: Sequence[Objective],
    points: Sequence[Sequence[float | None]],
    names: Mapping[int, str],
    label: str,
) -> Figure:
    """Draw the first goal against each other one, with the names of the Pareto front's points.

    Args:
        goals: M goals.
        points: of N settings, their M values; settings that lack one are left out.
        names: by the place of each setting of the front, the trials that tried it.
        label: what the names are.
    """
    figure = Picture(figsize=(1 + 5 * (len(goals) - 1), 4), layout="constrained")
    panels = figure.subplots(1, len(goals) - 1, squeeze=False, sharey=True)[0]
    there = [place for place, values in enumerate(points) if None not in values]
    for number, axes in enumerate(panels, 1):
        _front_panel(axes, goals[number], {p: (points[p][number], points[p][0]) for p in there})
        of_front = sorted((points[place][number], points[place][0], place) for place in names)
        axes.scatter(*zip(*((x, y) for x, y, _ in of_front), strict=True), color=_BEST, zorder=3)
        if len(goals) == 2:  # what none of the settings goes beyond
            corner = "post" if goals[1].less else "pre"
            axes.step(
                *zip(*((x, y) for x, y, _ in of_front), strict=True), color=_BEST, where=corner
            )
        for turn, (x, y, place) in enumerate(of_front):  # above and below: neighbours may be close
            axes.annotate(names[place], (x, y), (5, 6 if turn % 2 else -13), **_OFFSET)
    panels[0].set_ylabel(goals[0].title)
    panels[0].scatter([], [], color=_LOST, label="settings")
    panels[0].scatter([], [], color=_BEST, label=f"Pareto front, with its {label}")
    figure.legend(loc="outside upper right", ncols=2)
    return figure


def _front_panel(axes: Any, goal: Objective, points: Mapping[int, tuple[Any, Any]]) -> None:
    """Draw all settings in grey, on an axis that shows what differs by orders of magnitude."""
    from matplotlib.ticker import EngFormatter

    x, y = zip(*points.values(), strict=True)
    axes.scatter(x, y, color=_LOST)
    axes.set_xlabel(goal.title)
    axes.margins(0.12)
    if goal.name in COSTS and min(x) > 0 and max(x) > 20 * min(x):
        axes.set_xscale("log")
    if goal.name == "parameters":
        axes.xaxis.set_major_formatter(EngFormatter())


def _place(each: Dimension, value: Any) -> float:
    """Return where a value stands on an axis."""
    return float(each.values.index(value)) if each.values else float(value)


def _share(each: Dimension, value: Any) -> float:
    """Return where a value stands between the ends, 0 to 1."""
    if each.values:
        return each.values.index(value) / max(len(each.values) - 1, 1)
    low, high, given = each.low, each.high, float(value)
    if each.log:
        low, high, given = np.log(low), np.log(high), np.log(given)
    return float((given - low) / (high - low))


def _scale(each: Dimension, axis: Any, set_scale: Any) -> None:
    """Name listed values at their places; give a range its scale."""
    if each.values:
        axis.set_ticks(range(len(each.values)), list(map(_settings.shown, each.values)))
    elif each.log:
        set_scale("log")
        axis.set_major_formatter("{x:g}")  # as powers of ten they would be formulas, which are off
        axis.set_minor_formatter("")
