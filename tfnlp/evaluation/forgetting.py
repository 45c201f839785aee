"""What a model forgot that goes on from an earlier one: tables and a picture.

Dimensions: N rows, J models, I steps.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfnlp.evaluation.plots import Picture
from tfnlp.evaluation.runs import less_is_better
from tfnlp.report import Table, four_places

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN, _OF_LABEL = 50, 5  # texts in the table, in all and of one label
_WIDTH = 200  # characters of a text that are shown


def by_label(
    labels: Sequence[str], before: Sequence[bool], now: Sequence[bool]
) -> list[tuple[Any, ...]]:
    """Return of each label its rows, how many were right before and are now, and how many broke.

    Args:
        labels: of N rows.
        before: whether the earlier model's answers are right.
        now: whether the present one's are.

    Example:
        >>> by_label(["a", "a", "b"], [True, True, False], [True, False, True])
        [('a', 2, 2, 1, 1, 0), ('b', 1, 0, 1, 0, 1)]
    """
    found: dict[str, list[int]] = defaultdict(lambda: [0] * 5)
    for label, was, is_now in zip(labels, before, now, strict=True):
        for place, value in enumerate((1, was, is_now, was and not is_now, is_now and not was)):
            found[label][place] += int(value)
    worst = sorted(found.items(), key=lambda pair: (-pair[1][3], pair[0]))
    return [(label, *counts) for label, counts in worst]


def tables(broken: Sequence[Mapping[str, Any]], counts: Sequence[tuple[Any, ...]]) -> list[Table]:
    """Return what broke by label, and some of the texts, of the labels that lost most first.

    Args:
        broken: rows that were right before and are wrong now: ``label``, ``text``, ``now``.
        counts: as `by_label` returns them.

    Example::

        tables([{"label": "a", "text": "Good.", "now": "b"}], by_label(labels, before, now))
    """
    header = ("label", "rows", "right before", "right now", "broke", "mended")
    lost = Counter(one["label"] for one in broken)
    shown: list[tuple[Any, ...]] = []
    taken = Counter[str]()
    for one in sorted(broken, key=lambda one: (-lost[one["label"]], one["label"])):
        taken[one["label"]] += 1
        if taken[one["label"]] <= _OF_LABEL and len(shown) < _SHOWN:
            text = one["text"] if len(one["text"]) <= _WIDTH else f"{one['text'][:_WIDTH]}…"
            shown.append((one["label"], text, one["now"]))
    found = [Table("Earlier rows by label", header, list(counts))] if counts else []
    if broken:
        title = f"Right before, wrong now ({len(broken)} rows, {len(shown)} shown)"
        found.append(Table(title, ("label", "text", "answer now"), shown))
    return found


def transfer(scores: Mapping[str, Mapping[str, float]], steps: Sequence[str], now: str) -> float:
    """Return the backward transfer: how much later training changed the scores of earlier steps.

    Args:
        scores: run -> step -> the score that the run's model has on that step's rows.
        steps: earlier steps, by the run that learned each.
        now: the run of the present model.

    Returns:
        The mean over the steps whose own score is known, negative where they were forgotten; NaN if
        none is.

    Example:
        >>> transfer({"1": {"1": 0.9}, "2": {"1": 0.6}}, ["1"], "2")
        -0.30000000000000004

    Source: Lopez-Paz and Ranzato 2017, "Gradient episodic memory for continual learning", section 2
        (https://arxiv.org/abs/1706.08840).
    """
    known = [s for s in steps if s in scores.get(s, {}) and s in scores.get(now, {})]
    if not known:
        return math.nan
    return float(np.mean([scores[now][s] - scores[s][s] for s in known]))


def loss(metric: str, before: float, now: float) -> float:
    """Return how much worse a metric is than before.

    Example:
        >>> loss("accuracy", 0.75, 0.5), loss("mae", 0.5, 0.75)
        (0.25, 0.25)
    """
    return now - before if less_is_better(metric) else before - now


def curve(metric: str, models: Sequence[str], scores: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw what each model in a chain scores on the rows of each step.

    Args:
        metric: what is measured.
        models: J runs, the first one first.
        scores: run -> step -> score.

    Example::

        curve("accuracy", ["a", "b"], {"a": {"a": 0.9}, "b": {"a": 0.7, "b": 0.9}})
    """
    figure = Picture(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    steps = list(dict.fromkeys(step for model in models for step in scores.get(model, ())))
    for place, step in enumerate(steps):
        points = [
            (number, scores[model][step])
            for number, model in enumerate(models, 1)
            if step in scores.get(model, {})
        ]
        name = f"rows of step {models.index(step) + 1}" if step in models else step
        axes.plot(*zip(*points, strict=True), "o-", color=f"C{place % 10}", label=name)
    axes.set_xticks(range(1, len(models) + 1))
    axes.set(xlabel="after step", ylabel=metric)
    axes.grid(color="0.9")
    axes.legend()
    return figure


def cell(value: float | None) -> str:
    """Return a score as a table shows it.

    Example:
        >>> cell(None), cell(0.5)
        ('', '0.5000')
    """
    return "" if value is None or not math.isfinite(value) else four_places(value)
