"""Errors of a model in groups of like texts, each with the words that it has more than others.

Dimensions: N errors, H hidden, G groups.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfnlp.report import Table

_WORDS = 6  # that a group is known by
TITLE, HEADER = "Groups of errors", ("group", "errors", "mistaken", "words", "rows")


def groups(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return the group of each error, int (N,), the largest being 0: k-means on the sphere.

    There are as many as the silhouette says, from 2 to 8; all are one group where there are fewer
    than 6 errors or no number of groups fits better than 0.

    Args:
        vectors: float32 (N, H).
        seed: of the starts.

    Example::

        groups(vectors)  # [0, 0, 1, 0, 2]
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    best, chosen = 0.0, np.zeros(len(vectors), int)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = vectors / np.where(length > 0, length, 1.0)
    different = len(np.unique(units, axis=0))
    for count in range(2, min(8, different - 1, len(vectors) // 3) + 1):
        found = KMeans(count, n_init=4, random_state=seed).fit_predict(units)
        score = silhouette_score(units, found)
        if score > best:
            best, chosen = score, found
    order = [group for group, _ in Counter(chosen.tolist()).most_common()]
    return np.array([order.index(group) for group in chosen.tolist()], int)


def table(
    found: np.ndarray,
    words: Sequence[Sequence[str]],
    mistaken: Sequence[str],
    rows: Sequence[int],
) -> Table:
    """Return the groups with their words and what is mistaken for what.

    Args:
        found: int (N,), as of `groups`.
        words: of each error.
        mistaken: what each is taken for, such as ``LOC for HUM``.
        rows: their numbers.

    Example:
        >>> table(np.array([0, 1]), [["a", "b"], ["c"]], ["x for y", "y for x"], [3, 4]).rows[0]
        (1, 1, 'x for y (1)', 'a, b', '3')
    """
    everywhere = Counter(word for own in words for word in {*own})
    lines = []
    for group in range(int(found.max(initial=-1)) + 1):
        places = np.flatnonzero(found == group).tolist()
        here = Counter(word for place in places for word in {*words[place]})
        told = Counter(mistaken[place] for place in places).most_common(2)
        lines.append(
            (
                group + 1,
                len(places),
                ", ".join(f"{kind} ({count})" for kind, count in told),
                ", ".join(_typical(here, everywhere, len(places), len(words))),
                ", ".join(str(rows[place]) for place in places[:10]),
            )
        )
    return Table(TITLE, HEADER, lines)


def _typical(here: Mapping[str, int], everywhere: Mapping[str, int], n: int, total: int) -> Any:
    """Return the words that a group has more often than the other errors, most rows first."""

    def more(word: str) -> float:
        others = (everywhere[word] - here[word] + 0.5) / (total - n + 1)
        return here[word] / n - others

    return sorted(here, key=lambda word: (-more(word), word))[:_WORDS]
