"""Rows chosen by their labels, and rows of several files as one."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipelines import splits
from pipelines.columns import Column
from pipelines.rows import Rows


def of_each_label(rows: Rows, targets: Sequence[Column], count: int, seed: int) -> Rows:
    """Return rows drawn by the seed so that each label has at most this many, in their old order.

    A row of several labels is taken where one of them lacks rows. Rows without labels, such as
    those of numbers that are no grades, count as those of one label.

    Example:
        >>> rows = Rows("a.csv", {"label": ["a"] * 9 + ["b"]}, list(range(1, 11)))
        >>> of_each_label(rows, [Column("label", "label", "a label")], 2, 0).columns["label"]
        ['a', 'a', 'b']
    """
    taken: Counter[Any] = Counter()
    chosen = []
    marks = splits.labels_of(rows, targets)
    for place in random.Random(seed).sample(range(len(rows)), len(rows)):
        own = set[Any](marks[place]) or {None}
        if any(taken[mark] < count for mark in own):
            taken.update(own)
            chosen.append(place)
    return rows.take(sorted(chosen))


def joined(parts: Sequence[Rows], source: str) -> Rows:
    """Return rows of several files as one, numbered anew.

    Example:
        >>> rows = Rows("a.csv", {"text": ["Good."]}, [7])
        >>> joined([rows, rows], "both").numbers
        [1, 2]
    """
    names = [name for name in parts[0].columns if all(name in part.columns for part in parts)]
    columns = {name: [v for part in parts for v in part.columns[name]] for name in names}
    return replace(
        parts[0],
        source=source,
        columns=columns,
        numbers=list(range(1, sum(map(len, parts)) + 1)),
        bad=[],
        notes=[],
    )
