"""Words that may stand in place of others: those that speak for other labels in training rows.

`counterfactual` asks for candidates by `Candidates` alone, so that other sources take its place.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeAlias

from pipelines import text_pieces
from pipelines.rows import Rows

# (text, start and end of a word of it, the label that the text has) -> what may stand there.
Candidates: TypeAlias = Callable[[str, tuple[int, int], str], Sequence[str]]


def of_rows(rows: Rows, inputs: Sequence[str], target: str, most: int) -> Candidates:
    """Return the words that are most typical of other labels than the text's.

    Args:
        rows: training rows with one label each.
        inputs: the columns with texts.
        target: the column of labels.
        most: words of each label.

    Example:
        >>> rows = Rows("a.csv", {"text": ["bad film", "good film"], "label": ["-", "+"]}, [1, 2])
        >>> of_rows(rows, ["text"], "label", 1)("bad film", (0, 3), "-")
        ['good']
    """
    counts: dict[str, Counter[str]] = {}
    for place, label in enumerate(rows.columns[target]):
        words = {word for name in inputs for word in _words(rows.columns[name][place])}
        counts.setdefault(label, Counter()).update(words)
    total: Counter[str] = sum(counts.values(), Counter())
    typical = {label: _typical(own, total, most) for label, own in counts.items()}

    def candidates(text: str, place: tuple[int, int], label: str) -> list[str]:
        return [word for other, words in typical.items() if other != label for word in words]

    return candidates


def _words(text: str) -> list[str]:
    return [text[a:b].casefold() for a, b in text_pieces.words(text) if text[a].isalpha()]


def _typical(own: Counter[str], total: Counter[str], most: int) -> list[str]:
    """Return the words with the largest log-odds of a label, with half a row added to each."""
    rows = max(total.values(), default=1)

    def odds(word: str) -> float:
        others = total[word] - own[word]
        return math.log((own[word] + 0.5) / (others + 0.5)) * math.sqrt(own[word] / rows)

    return sorted(own, key=odds, reverse=True)[:most]
