"""Which words count most for each label, over all rows that were explained.

Dimensions: N rows that a word stands in.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.cells import is_visible
from tfnlp.report import Report, Table

EXCERPTS = 3  # rows that are shown for a word
_AROUND = 40  # characters on each side of it
HEADER = ("label", "word", "weight", "low", "high", "rows", "shown")
TITLE = "Words by label"


@dataclass
class _Sums:
    """What a word did in N rows."""

    rows: int = 0
    total: float = 0.0
    squares: float = 0.0
    shown: list[tuple[int, str]] = field(default_factory=list)


class Words:
    """Sums over explained rows; their number does not matter for its size, that of words does.

    Example:
        >>> words = Words()
        >>> piece = {"input": "text", "text": "Good", "start": 0, "end": 4, "weight": 0.5}
        >>> for row in (1, 2):
        ...     words.add({"row": row, "text": "Good", "label": "+", "pieces": [piece]})
        >>> words.table(fewest=2).rows[0][:6]
        ('+', 'good', 0.5, 0.5, 0.5, 2)
    """

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str], _Sums] = {}
        self.rows = 0

    def add(self, found: Mapping[str, Any]) -> None:
        """Add an explained answer, as `tfnlp.api.explaining.values` gives it.

        A word that stands in a row several times counts once, with the sum.
        """
        self.rows += 1
        weights: dict[str, float] = {}
        first: dict[str, Mapping[str, Any]] = {}
        for piece in found["pieces"]:
            word = piece["text"].casefold()
            if any(map(is_visible, word)):
                weights[word] = weights.get(word, 0.0) + piece["weight"]
                first.setdefault(word, piece)
        for word, weight in weights.items():
            sums = self._sums.setdefault((found["label"], word), _Sums())
            sums.rows += 1
            sums.total += weight
            sums.squares += weight * weight
            if len(sums.shown) < EXCERPTS:
                sums.shown.append((found["row"], _around(found, first[word])))

    def table(self, fewest: int = 2, most: int | None = None) -> Table:
        """Return the words, those first whose weight is surest to be far from 0.

        Args:
            fewest: rows that a word must stand in, at least 2: of one there is no interval.
            most: words of each label at most.

        Returns:
            Per label and word the mean weight, its 95% interval by Student's t, N, and where it
            stands.
        """
        found = [line for line in self._lines() if line[5] >= max(fewest, 2)]
        found.sort(key=lambda line: (line[0], -_least(line)))
        if most is not None:
            counts: dict[str, int] = {}
            found = [line for line in found if _counted(counts, line[0]) <= most]
        return Table(TITLE, HEADER, found)

    def report(self, fewest: int = 2) -> Report:
        """Return the table as a report, with a warning where it rests on nothing.

        Example::

            words.report().to_frame("Words by label")
        """
        table = self.table(fewest)
        told = f"no word stands in {max(fewest, 2)} rows (explain more rows)"
        return Report({}, [table], warnings=[] if table.rows else [told])

    def _lines(self) -> Iterator[tuple[Any, ...]]:
        from scipy.stats import t

        for (label, word), sums in self._sums.items():
            mean = sums.total / sums.rows
            low = high = mean
            if sums.rows > 1:
                variance = max(sums.squares / sums.rows - mean * mean, 0.0)
                half = t.ppf(0.975, sums.rows - 1) * math.sqrt(variance / (sums.rows - 1))
                low, high = mean - half, mean + half
            shown = " / ".join(f"{row}: {text}" for row, text in sums.shown)
            numbers = (round(float(value), 4) + 0.0 for value in (mean, low, high))
            yield (label, word, *numbers, sums.rows, shown)


def _least(line: Sequence[Any]) -> float:
    """Return how far the nearer end of a word's interval is from 0; below 0 if 0 is inside."""
    low, high = line[3], line[4]
    return float(low if line[2] > 0 else -high)


def _counted(counts: dict[str, int], label: str) -> int:
    counts[label] = counts.get(label, 0) + 1
    return counts[label]


def _around(found: Mapping[str, Any], piece: Mapping[str, Any]) -> str:
    """Return what stands around a piece."""
    text, start, end = found[piece["input"]], piece["start"], piece["end"]
    first, last = max(start - _AROUND, 0), min(end + _AROUND, len(text))
    before, after = "…" * (first > 0), "…" * (last < len(text))
    return " ".join(f"{before}{text[first:last]}{after}".split())
