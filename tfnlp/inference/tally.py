"""How many rows a command answered, left out, or read otherwise than meant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from pipelines.rows import BadRow, Rows, noted, quarantine_path
from tfnlp.inference import input_rows


@dataclass
class Tally:
    """How many rows were answered and left out; constant in size but for the notes.

    Example:
        >>> tally = Tally()
        >>> tally.leave_out(BadRow(7, "text is empty"))
        >>> list(tally.said("rows.csv", quarantined=False))
        ['bad rows left out: 1, the first: row 7: text is empty', 'no rows to answer']
    """

    answered: int = 0
    bad: int = 0
    first_bad: BadRow | None = None
    notes: list[BadRow] = field(default_factory=list)

    def leave_out(self, row: BadRow) -> None:
        """Count a bad row."""
        self.bad += 1
        self.first_bad = self.first_bad or row

    def said(self, path: str | None, quarantined: bool) -> Iterator[str]:
        """Yield a sentence for each thing a user should know at the end.

        Args:
            path: the file's; None is standard input.
            quarantined: whether bad rows were kept in a file.
        """
        source = input_rows.source(path)
        if self.bad:
            kept = f"kept in {quarantine_path(source)}, " if quarantined else ""
            yield f"bad rows left out: {self.bad:,}, {kept}the first: {self.first_bad}"
        if self.notes:
            yield noted(Rows(source, {}, [], notes=self.notes))
        if not self.answered:
            yield "no rows to answer"
