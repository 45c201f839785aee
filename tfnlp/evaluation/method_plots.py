"""Pictures of several methods beside one another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure


def by_steps(
    quantity: str,
    steps: str,
    names: Sequence[str],
    lines: Mapping[str, Sequence[tuple[int, float, float, float]]],
) -> Figure:
    """Draw a line for each method, with the interval of each of its points.

    Args:
        quantity: what is measured.
        steps: what the places on the axis are.
        names: of the places.
        lines: method -> place, mean, lower end and upper end, NaN where there is no interval.

    Example::

        by_steps("accuracy", "rows", ["2", "8"], {"plain": [(0, 0.7, 0.6, 0.8)]}).savefig("a.png")
    """
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, (method, points) in enumerate(lines.items()):
        shift = 0.05 * (number - (len(lines) - 1) / 2)  # so that intervals do not hide each other
        places = [place + shift for place, *_ in points]
        means = [mean for _, mean, *_ in points]
        ends = [(m - low, high - m) for _, m, low, high in points]
        spread = [[0.0 if math.isnan(one[side]) else one[side] for one in ends] for side in (0, 1)]
        axes.errorbar(places, means, spread, marker="o", capsize=3, label=method)
    axes.set_xticks(range(len(names)), names)
    axes.grid(color="0.9")
    axes.set(xlabel=steps, ylabel=quantity)
    if lines:
        axes.legend()
    return figure
