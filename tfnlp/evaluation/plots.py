"""Pictures for reports, by Matplotlib, without a screen."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager, ticker
from matplotlib.figure import Figure

from tfnlp.report import png

# Labels may be Chinese: take the first of these fonts that the machine has.
mpl.rcParams["font.sans-serif"] = [
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",  # all that Matplotlib sees of the collection in fonts-noto-cjk
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "PingFang SC",
    "DejaVu Sans",
]
# A label such as "$5 to $9" is no formula.
mpl.rcParams["text.parse_math"] = False
LONGEST_NAME = 40  # characters of a label's name that are drawn
MOST_NAMES = 60  # labels named in a picture
_MARKS = "osD^vP*Xhd<>"  # of points that have a name each


class Picture(Figure):
    """A figure that shows itself in a notebook, where pyplot and its backend are not loaded."""

    def _repr_png_(self) -> bytes:
        return png(self)


def confusion_matrix(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw rows by true label (down) and answer (across), int (C, C); colour is the row's share.

    Of more than sixty labels every second (third, ...) is named, and cells bear no numbers.

    Example::

        confusion_matrix(np.array([[8, 2], [1, 9]]), ["no", "yes"]).savefig("matrix.png")
    """
    size = min(3.0 + 0.35 * len(names), 20.0)
    figure = Picture(figsize=(size + 1, size), layout="constrained")
    axes = figure.subplots()
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    image = axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    figure.colorbar(image, ax=axes, label="share of the true label")
    step = -(-len(names) // MOST_NAMES)
    places = range(0, len(names), step)
    ticks = shown(names[::step])
    axes.set_xticks(places, ticks, rotation=90, fontsize=8)
    axes.set_yticks(places, ticks, fontsize=8)
    axes.set_xlabel("answer")
    axes.set_ylabel("true label")
    cells = np.nonzero(counts) if step == 1 else ((), ())
    for i, j in zip(*cells, strict=True):
        dark = share[i, j] > 0.5
        axes.text(
            j,
            i,
            str(counts[i, j]),
            ha="center",
            va="center",
            fontsize=7 if len(names) > 30 else 8,
            color="white" if dark else "black",
        )
    return figure


def reliability(confidences: Mapping[str, np.ndarray], correct: np.ndarray) -> Figure:
    """Draw accuracy against confidence in ten bins: name -> float (N,), and bool (N,).

    Example::

        reliability({"calibrated": scores.max(-1)}, right).savefig("reliability.png")
    """
    figure = Picture(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="perfect")
    for name, values in confidences.items():
        bin_of = np.minimum((values * 10).astype(int), 9)
        bins = np.unique(bin_of)
        x = [values[bin_of == b].mean() for b in bins]
        y = [correct[bin_of == b].mean() for b in bins]
        sizes = [20 + 300 * (bin_of == b).mean() for b in bins]
        line = axes.plot(x, y, label=name)
        axes.scatter(x, y, s=sizes, alpha=0.5, color=line[0].get_color())
    axes.set(xlabel="confidence", ylabel="share right", xlim=(0, 1), ylim=(0, 1.02))
    axes.set_title("Reliability (dot size: share of the rows)")
    axes.legend()
    return figure


def bars(quantity: str, names: Sequence[str], values: np.ndarray) -> Figure:
    """Draw a bar for each label, best first; of more than sixty the thirty best and worst.

    Example::

        bars("F1", ["no", "yes"], np.array([0.8, 0.9])).savefig("f1.png")
    """
    order = np.argsort(values)
    if len(order) > MOST_NAMES:
        order = np.concatenate([order[: MOST_NAMES // 2], order[-MOST_NAMES // 2 :]])
    figure = Picture(figsize=(6, 1.5 + 0.2 * len(order)), layout="constrained")
    axes = figure.subplots()
    axes.barh(range(len(order)), values[order])
    axes.set_yticks(range(len(order)), shown([names[i] for i in order]))
    axes.set(xlabel=quantity, xlim=(0, 1))
    return figure


def scatter(truth: np.ndarray, values: np.ndarray) -> Figure:
    """Draw answers against true numbers, float (N,) each.

    Example::

        scatter(np.array([1.0, 2.0]), np.array([1.1, 1.8])).savefig("scatter.png")
    """
    figure = Picture(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.scatter(truth, values, s=8, alpha=0.4)
    low, high = min(truth.min(), values.min()), max(truth.max(), values.max())
    axes.plot([low, high], [low, high], color="grey", linestyle=":")
    axes.set(xlabel="true", ylabel="answer")
    return figure


def differences(quantity: str, drawn: Mapping[str, tuple[float, float, float]]) -> Figure:
    """Draw differences with their intervals: name -> (difference, lower end, upper end).

    Example::

        differences("accuracy, new less old", {"seed 42": (0.01, -0.01, 0.03)}).savefig("seeds.png")
    """
    figure = Picture(figsize=(6.5, 1.3 + 0.35 * len(drawn)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0.0, color="grey", linestyle=":")
    for place, (value, low, high) in enumerate(drawn.values()):
        colour = "tab:orange" if low > 0 or high < 0 else "tab:blue"
        axes.plot([low, high], [place, place], color=colour)
        axes.plot([value], [place], "o", color=colour)
    axes.set_yticks(range(len(drawn)), shown(list(drawn)))
    axes.set_ylim(len(drawn) - 0.4, -0.6)
    axes.set_xlabel(quantity)
    axes.set_title("95% intervals; orange leaves out zero", fontsize=9)
    return figure


def histograms(quantity: str, groups: Mapping[str, np.ndarray], bins: int = 50) -> Figure:
    """Draw how values are spread, name -> (N,), each group's bars adding up to one.

    Of whole numbers every bar stands for as many, at most ``bins`` bars in all.

    Example::

        histograms("cosine", {"partners": near, "others": far}).savefig("cosines.png")
    """
    figure = Picture(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    every = np.concatenate(list(groups.values()))
    edges = np.histogram_bin_edges(every, bins)
    if every.size and every.dtype.kind == "i":
        low, high = int(every.min()), int(every.max())
        step = -(-(high - low + 1) // bins)
        edges = np.arange(low, high + step + 1, step) - 0.5
    for name, values in groups.items():
        weights = np.full(len(values), 1 / max(len(values), 1))
        axes.hist(values, list(edges), weights=weights, alpha=0.5, label=name)
    axes.set(xlabel=quantity, ylabel="share")
    axes.legend()
    return figure


def attention(
    title: str, rows: Sequence[str], columns: Sequence[str], weights: np.ndarray
) -> Figure:
    """Draw how much each token written (down) looks at each token read (across).

    Args:
        title: above it.
        rows: the R tokens written.
        columns: the C tokens read.
        weights: float (R, C), each row adding up to one or less.

    Example::

        attention("attention", ["Hallo", "Welt"], ["Hello", "world"], weights).savefig("a.png")

    Source: Bahdanau et al. 2015, "Neural machine translation by jointly learning to align and
        translate", figure 3 (https://arxiv.org/abs/1409.0473).
    """
    cell = 0.32 if max(len(rows), len(columns)) <= 20 else 0.22  # [inches]
    width, height = (min(cell * len(names), 20.0) for names in (columns, rows))
    figure = Picture(figsize=(width + 2.8, height + 2.0), layout="constrained")
    axes = figure.subplots()
    top = max(float(weights.max(initial=0.0)), 1e-9)
    image = axes.imshow(weights, cmap="Blues", vmin=0.0, vmax=top, aspect="auto")
    figure.colorbar(image, ax=axes, label="weight", aspect=30, fraction=0.08)
    across, down = (-(-len(names) // MOST_NAMES) for names in (columns, rows))
    small = 9 if cell > 0.3 else 7
    axes.xaxis.tick_top()
    axes.set_xticks(range(0, len(columns), across), shown(columns[::across]), rotation=90)
    axes.set_yticks(range(0, len(rows), down), shown(rows[::down]))
    axes.tick_params(labelsize=small, length=0)
    # Lines between the cells lead the eye from a token to its weights.
    axes.set_xticks(np.arange(1, len(columns)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(rows)) - 0.5, minor=True)
    axes.grid(which="minor", color="0.9", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    figure.suptitle(shown([title])[0])
    return figure


def plane(
    title: str,
    x_label: str,
    y_label: str,
    curves: Mapping[str, Sequence[tuple[float, float, str]]],
) -> Figure:
    """Draw named curves of points, (x, y, label) each, such as quality against diversity.

    Example::

        points = [(20.0, 30.0, "1.0"), (25.0, 34.0, "0.8")]
        plane("curves", "self-BLEU", "BLEU", {"model": points}).savefig("plane.png")
    """
    figure = Picture(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    for name, points in curves.items():
        x, y = [point[0] for point in points], [point[1] for point in points]
        (line,) = axes.plot(x, y, marker="o", label=shown([name])[0])
        for point in points:
            axes.annotate(
                shown([point[2]])[0],
                point[:2],
                xytext=(6, -10),
                textcoords="offset points",
                fontsize=8,
                color=line.get_color(),
                bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "linewidth": 0},
            )
    axes.margins(0.08)
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    if curves:
        axes.legend()
    return figure


def intervals(
    quantity: str,
    names: Sequence[str],
    panels: Mapping[str, Sequence[tuple[float, float, float] | None]],
    line: float | None = None,
) -> Figure:
    """Draw a dot and its interval for each name, from the top down, in panels side by side.

    Args:
        quantity: what is measured.
        names: N names.
        panels: title -> N times (value, lower end, upper end), or None where there is no value.
            An end that is NaN is not drawn.
        line: a value to compare with, such as 0 of differences.

    Example::

        ends = {"trec": [(0.91, 0.90, 0.92), None]}
        intervals("accuracy", ["lora", "bitfit"], ends).savefig("intervals.png")
    """
    size = (3.0 + 3.2 * max(len(panels), 1), 1.4 + 0.3 * len(names))
    figure = Picture(figsize=size, layout="constrained")
    several = figure.subplots(1, max(len(panels), 1), sharey=True, squeeze=False)[0]
    for axes, (title, points) in zip(several, panels.items(), strict=False):
        if line is not None:
            axes.axvline(line, color="grey", linestyle=":")
        there = [(y, *point) for y, point in enumerate(points) if point]
        y, x, low, high = zip(*there, strict=True) if there else ((), (), (), ())
        axes.hlines(y, low, high, linewidth=2)
        axes.plot(x, y, "o")
        axes.set(xlabel=quantity, title=shown([title])[0])
        axes.grid(axis="x", color="0.9")
        axes.margins(x=0.1)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(5))
    several[0].set_yticks(range(len(names)), shown(names))
    several[0].set_ylim(max(len(names), 1) - 0.5, -0.5)
    return figure


def costs(quantity: str, panels: Mapping[str, Sequence[tuple[float, float, str]]]) -> Figure:
    """Draw scores against what they cost, a mark for each name, in panels side by side.

    Args:
        quantity: what is paid.
        panels: what is measured -> (cost, score, name) of each point.

    Example::

        found = [(331776.0, 0.94, "lora"), (22567686.0, 0.93, "full")]
        costs("trained parameters", {"trec: accuracy (test)": found}).savefig("costs.png")
    """
    figure = Picture(figsize=(3.0 + 3.6 * max(len(panels), 1), 4), layout="constrained")
    several = figure.subplots(1, max(len(panels), 1), squeeze=False)[0]
    names = list(dict.fromkeys(name for points in panels.values() for _, _, name in points))
    for axes, (title, points) in zip(several, panels.items(), strict=False):
        for x, y, name in points:
            place = names.index(name)
            axes.plot(x, y, _MARKS[place % len(_MARKS)], color=f"C{place % 10}", markersize=8)
        known = [x for x, _, _ in points]
        if min(known) > 0 and max(known) > 20 * min(known):
            axes.set_xscale("log")
        if max(known) >= 1000:
            axes.xaxis.set_major_formatter(ticker.EngFormatter())
        axes.set(xlabel=quantity, ylabel=shown([title])[0])
        axes.grid(color="0.9")
        axes.margins(0.1)
    for place, label in enumerate(shown(names)):
        mark = _MARKS[place % len(_MARKS)]
        several[0].plot([], [], mark, color=f"C{place % 10}", markersize=8, label=label)
    figure.legend(loc="outside right center")
    return figure


def learning_curve(
    quantity: str,
    points: Sequence[tuple[float, float]],
    curve: Sequence[tuple[float, float, float, float]],
) -> Figure:
    """Draw scores against rows, on a logarithmic axis, and the fitted curve with its band.

    Args:
        quantity: what is measured.
        points: rows and score of each run.
        curve: rows, value, lower end and upper end at each place; empty if none was fitted.

    Example::

        learning_curve("accuracy", [(100, 0.8), (200, 0.85)], []).savefig("curve.png")
    """
    figure = Picture(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    if curve:
        x, y, low, high = zip(*curve, strict=True)
        axes.fill_between(x, low, high, alpha=0.2, label="95% interval")
        axes.plot(x, y, label="fitted")
    if points:
        x, y = zip(*points, strict=True)
        axes.scatter(x, y, color="black", s=16, zorder=3, label="runs")
        axes.legend()
    axes.set_xscale("log", base=2)
    sizes = sorted({rows for rows, _ in points})
    axes.set_xticks([*sizes, 2 * sizes[-1]] if sizes and len(sizes) < 10 else axes.get_xticks())
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda rows, _: f"{rows:,.0f}"))
    axes.grid(color="0.9")
    axes.set(xlabel="training rows", ylabel=quantity)
    return figure


def shown(names: Sequence[str]) -> list[str]:
    r"""Return names on one line each, long ones cut.

    Example:
        >>> shown(["two\nlines"])
        ['two lines']
    """
    if any(letter >= "\u2e80" for name in names for letter in name):  # Chinese, say
        _add_new_fonts()
    lines = [" ".join(name.split()) for name in names]
    return [f"{x[: LONGEST_NAME - 1]}…" if len(x) > LONGEST_NAME else x for x in lines]


@functools.cache
def _add_new_fonts() -> None:
    """Tell Matplotlib of fonts installed since it listed them, which it does at its first start."""
    known = {font.fname for font in font_manager.fontManager.ttflist}
    for path in set(font_manager.findSystemFonts()) - known:
        with contextlib.suppress(OSError, RuntimeError):  # a damaged font
            font_manager.fontManager.addfont(path)
