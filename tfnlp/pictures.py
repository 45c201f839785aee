"""Pictures for reports, by Matplotlib, without a screen."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

# Labels may be Chinese: take the first of these fonts that the machine has.
mpl.rcParams["font.sans-serif"] = [
    "Noto Sans CJK SC",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "PingFang SC",
    "DejaVu Sans",
]


def confusion_matrix(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw rows by true label (down) and answer (across), int (C, C); colour is the row's share."""
    size = min(3.0 + 0.35 * len(names), 20.0)
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    axes = figure.subplots()
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    image = axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    figure.colorbar(image, ax=axes, label="share of the true label")
    small = 5 if len(names) > 30 else 8
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=small)
    axes.set_yticks(range(len(names)), names, fontsize=small)
    axes.set_xlabel("answer")
    axes.set_ylabel("true label")
    for i, j in zip(*np.nonzero(counts), strict=True):
        dark = share[i, j] > 0.5
        axes.text(
            j,
            i,
            str(counts[i, j]),
            ha="center",
            va="center",
            fontsize=small,
            color="white" if dark else "black",
        )
    return figure


def reliability(confidences: Mapping[str, np.ndarray], correct: np.ndarray) -> Figure:
    """Draw accuracy against confidence in ten bins: name -> float (N,), and bool (N,)."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="perfect")
    for name, values in confidences.items():
        place = np.minimum((values * 10).astype(int), 9)
        bins = np.unique(place)
        x = [values[place == b].mean() for b in bins]
        y = [correct[place == b].mean() for b in bins]
        sizes = [20 + 300 * (place == b).mean() for b in bins]
        line = axes.plot(x, y, label=name)
        axes.scatter(x, y, s=sizes, alpha=0.5, color=line[0].get_color())
    axes.set(xlabel="confidence", ylabel="share right", xlim=(0, 1), ylim=(0, 1.02))
    axes.set_title("Reliability (dot size: share of the rows)")
    axes.legend()
    return figure


def bars(quantity: str, names: Sequence[str], values: np.ndarray) -> Figure:
    """Draw a bar a label, best first, the sixty best and worst at most."""
    order = np.argsort(values)
    if len(order) > 60:
        order = np.concatenate([order[:30], order[-30:]])
    figure = Figure(figsize=(6, 1.5 + 0.2 * len(order)), layout="constrained")
    axes = figure.subplots()
    axes.barh([names[i] for i in order], values[order])
    axes.set(xlabel=quantity, xlim=(0, 1))
    return figure


def scatter(truth: np.ndarray, values: np.ndarray) -> Figure:
    """Draw answers against true numbers, float (N,) each."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.scatter(truth, values, s=8, alpha=0.4)
    low, high = min(truth.min(), values.min()), max(truth.max(), values.max())
    axes.plot([low, high], [low, high], color="grey", linestyle=":")
    axes.set(xlabel="true", ylabel="answer")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a picture as PNG; characters that no font here has are drawn as boxes.

    For Chinese, Japanese and Korean label names install one of the fonts named above, such as
    Debian's ``fonts-noto-cjk``.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(path, format="png", dpi=120)
