"""Files of rows: CSV, TSV and JSONL, plain or gzipped -> checked rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["text", "label", "labels", "number"]


@dataclass(frozen=True)
class Column:
    """A raw column that a task reads.

    Attributes:
        name: the task's name for it, also the SavedModel argument's name if it is an input.
        kind: ``text`` str, ``label`` str, ``labels`` list of str, ``number`` float.
        help: what it holds, in a few words.
        aliases: other header names under which it is recognised, likeliest first.
    """

    name: str
    kind: Kind
    help: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class BadRow:
    """A row that could not be used: its number and why."""

    number: int
    reason: str


@dataclass(frozen=True)
class Rows:
    """Checked rows, held column by column.

    Attributes:
        source: where they come from, as shown in messages (a path, or ``trec[train]``).
        columns: by the task's column name, N values each: str, list of str, or float by kind.
        numbers: N row numbers in the source; the first data row is 1.
        bad: the rows left out, with their reasons.
    """

    source: str
    columns: dict[str, list[Any]]
    numbers: list[int]
    bad: list[BadRow] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, places: list[int]) -> Rows:
        """Return the rows at these places (0-based), in this order, without the bad ones."""
        columns = {name: [values[i] for i in places] for name, values in self.columns.items()}
        return Rows(self.source, columns, [self.numbers[i] for i in places])
