"""Which column of a CoNLL file holds the words, which the tags, and which are of no use."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pipelines.files import tags

Cells: TypeAlias = list[str]  # of a line
_NUMBERED = 0.9  # share of sentences whose words must be numbered
_DELIMITERS = ",;|/，；｜"  # that some write between a word and its tag
_DELIMITED = 0.9  # share of the lines that must have one
_SHORTEST = 3  # cells of a line with a word number, a word and a tag


@dataclass(frozen=True)
class Arrangement:
    """What the columns of a file are, each by its index.

    Attributes:
        width: how many the file has.
        numbers: whether the first holds the words' numbers in their sentence.
        words: the words' index.
        columns: by name, those of tags.
    """

    width: int
    numbers: bool
    words: int
    columns: Mapping[str, int]

    def fault(self, block: Sequence[tuple[int, Cells]]) -> str:
        """Return what is wrong with a sentence's lines, each with its number; "" if nothing is."""
        for place, cells in block:
            short = _SHORTEST <= len(cells) < self.width and self.numbers
            if len(cells) != self.width and not short:
                return f"line {place} has {len(cells)} columns where the first has {self.width}"
        if not self.numbers or _are_numbered([cells for _, cells in block]):
            return ""
        given = ", ".join(cells[0][:10] for _, cells in block[:20])
        return (
            f"its words are numbered {given}, not one after the other (leave out tokens of several "
            "words, such as 3-4, and empty ones, such as 8.1)"
        )

    def taken(self, lines: Sequence[Cells]) -> tuple[list[str], dict[str, list[str]]]:
        """Return a sentence's words and, by name, its columns of tags."""
        whole = [cells + [""] * (self.width - len(cells)) for cells in lines]
        columns = {name: [cells[i] for cells in whole] for name, i in self.columns.items()}
        return [cells[self.words] for cells in whole], columns


def arranged(sentences: Sequence[Sequence[Cells]]) -> Arrangement:
    """Return what the columns of a file are, by its first sentences.

    Columns that are empty everywhere are left out, and word numbers in the first. The words come
    first, or after tags that can be nothing else. The tags (``entities``) are the last column, or
    the last that can only be of chunks; of columns with the same types, as GermEval's two of outer
    and inner names, the one that marks most words.

    Example:
        >>> order = arranged([[["1", "Ada", "B-PER"], ["2", "sings", "O"]]])
        >>> order.taken([["1", "Rome", "B-LOC"]])
        (['Rome'], {'entities': ['B-LOC']})
    """
    numbered = [_are_numbered(lines) for lines in sentences]
    numbers = sum(numbered) >= _NUMBERED * len(numbered) and any(
        len(lines) > 1 for lines in sentences
    )
    widths = [len(cells) for lines in sentences for cells in lines]
    width = max(widths) if numbers else widths[0]
    fitting = [
        cells + [""] * (width - len(cells))
        for lines in sentences
        if numbers or all(len(cells) == width for cells in lines)
        for cells in lines
    ]
    columns = list(zip(*fitting, strict=True)) if fitting else [()] * width
    used = [i for i in range(width) if any(columns[i])] or [0]
    # A small file may have no name in its last column of tags.
    bare = set(columns[used[-1]]) == {"O"}
    tagged = [i for i in used if tags.are_tagged(columns[i]) or (bare and i == used[-1])]
    numbers = numbers and len(used) > 1 and used[0] == 0 and used[1:] != tagged
    used = used[1:] if numbers else used
    words = used[0]
    if words in tagged and used[-1] not in tagged:
        words = next(i for i in used if i not in tagged)
    rest = [i for i in used if i != words]
    candidates = [i for i in tagged if i in rest] or rest[-1:]
    if bare and numbers and len(candidates) > 1:
        candidates.pop()  # inner names, of which there may be none
    chosen = _chosen(candidates, columns)
    names = {"entities" if i == chosen else f"column_{i + 1}": i for i in rest}
    return Arrangement(width, numbers, words, names)


def other_delimiter(text: str) -> str:
    r"""Return what stands in place of a tab or a space after the first cell of most lines, or "".

    Example:
        >>> other_delimiter("Ada,B-PER\nsings,O\n"), other_delimiter("1,000 O\n, O\n")
        (',', '')
    """
    lines = [line for line in text.splitlines() if line.strip()]
    for delimiter in _DELIMITERS:
        cell = rf"\s*\S+?\s*{re.escape(delimiter)}\s*[^\s{re.escape(delimiter)}]+"
        fitting = sum(
            re.match(rf"{cell}\s*($|{re.escape(delimiter)})", line) is not None for line in lines
        )
        if fitting >= max(_DELIMITED * len(lines), 2):
            return delimiter
    return ""


def _are_numbered(lines: Sequence[Cells]) -> bool:
    """Return whether the first cells of lines count up by one."""
    if not all(re.fullmatch("[0-9]{1,9}", cells[0]) for cells in lines):
        return False
    return all(int(b[0]) == int(a[0]) + 1 for a, b in itertools.pairwise(lines))


def _chosen(places: Sequence[int], columns: Sequence[Sequence[str]]) -> int | None:
    """Return the last column, or of those with its types the one that marks most words."""
    if len(places) < 2:
        return places[0] if places else None
    marked = {i: _types(columns[i]) for i in places}
    same = [i for i in places if set(marked[i]) & set(marked[places[-1]])]
    return max(same or places[-1:], key=lambda i: (len(marked[i]), i))


def _types(column: Sequence[str]) -> list[str]:
    """Return the type of each word that a column marks."""
    style = tags.style_of(column)
    good = [tag for tag in column if style != "chunks" or tags.is_tag(tag)]
    return [label for start, end, label in tags.found(good, style) for _ in range(start, end)]
