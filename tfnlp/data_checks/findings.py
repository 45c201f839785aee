"""What a check of data found: sentences with the rows they are about, tables, and their numbers."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pipelines.errors import UserError
from pipelines.rows import BadRow
from tfnlp.report import Table

if TYPE_CHECKING:
    import numpy as np

LONGEST_TABLE = 100  # rows printed
BINS = 12
BAR = 40  # characters of a histogram's longest bar

Result = TypeVar("Result")


@dataclass(frozen=True)
class Finding:
    """Something wrong: a sentence, and the rows it is about, each with what is wrong with it."""

    message: str
    rows: list[BadRow] = field(default_factory=list)


@dataclass
class Findings:
    """What a check found.

    Attributes:
        errors: would stop training.
        warnings: training runs, but perhaps not as meant.
        notes: how rows are read.
        tables: for the eye.
        facts: the tables' numbers by name, for programs; JSON values.

    Example:
        >>> found = Findings()
        >>> found.warn("2 rows stand twice")
        >>> found.warnings[0].message
        '2 rows stand twice'
    """

    errors: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def attempt(self, step: Callable[[], Result]) -> Result | None:
        """Take a step of training's; its error is kept, so that the next check still runs."""
        try:
            return step()
        except UserError as error:
            self.errors.append(Finding(str(error)))
            return None

    def error(self, message: str, rows: list[BadRow] | None = None) -> None:
        """Add what would stop training."""
        self.errors.append(Finding(message, rows or []))

    def add(self, messages: Iterable[str]) -> None:
        """Add sentences on what would stop training, each once."""
        known = {finding.message for finding in self.errors}
        for message in messages:
            if message not in known:
                self.error(message)

    def warn(self, message: str, rows: list[BadRow] | None = None) -> None:
        """Add what may be a mistake."""
        self.warnings.append(Finding(message, rows or []))


def counted(rows: Sequence[Any]) -> str:
    """Return how many rows there are, in words.

    Example:
        >>> counted([1]), counted([1, 2])
        ('1 row', '2 rows')
    """
    return f"{len(rows)} row{'s' * (len(rows) != 1)}"


def histogram(title: str, values: np.ndarray) -> Table:
    """Return a table that draws numbers (N,) as at most twelve bars, whole ones in whole bins.

    Where a few numbers lie far above all others, they share the last bin.

    Example:
        >>> import numpy as np
        >>> [row[:2] for row in histogram("lengths", np.array([1, 1, 2])).rows]
        [('1', 2), ('2', 1)]
    """
    import numpy as np

    low, most = float(values.min()), float(np.quantile(values, 0.99, method="lower"))
    whole = bool((values == np.round(values)).all())
    open_ended = float(values.max()) - low > 4 * max(most - low, BINS)
    high = most if open_ended else float(values.max())
    step = float(np.ceil((high - low + 1) / BINS)) if whole else (high - low) / BINS or 1.0
    count = int((high - low) // step) + 1 if whole else BINS
    place = np.minimum((values - low) / step, count - 1 + open_ended).astype(int)
    sizes = np.bincount(place, minlength=count + open_ended)
    bars = []
    for i, size in enumerate(sizes.tolist()):
        start, end = low + i * step, low + (i + 1) * step - whole
        span = f"{start:.6g}" if start == end else f"{start:.6g} to {end:.6g}"
        if open_ended and i == count:
            span = f"{start:.6g} and more"
        # Rounded up, so that a few rows among many still show.
        bars.append((span, size, "█" * math.ceil(BAR * size / sizes.max())))
    return Table(f"{title[0].upper()}{title[1:]}", ("from", "rows", ""), bars)


def values(found: Findings) -> dict[str, Any]:
    """Return everything as JSON values.

    Example:
        >>> values(Findings())
        {'errors': [], 'warnings': [], 'notes': []}
    """
    told = {
        name: [
            {
                "message": finding.message,
                "rows": [{"row": bad.number, "reason": bad.reason} for bad in finding.rows],
            }
            for finding in findings
        ]
        for name, findings in (("errors", found.errors), ("warnings", found.warnings))
    }
    return {**told, "notes": found.notes, **found.facts}


def show(found: Findings, limit: int) -> None:
    """Print the tables and notes, then warnings, then errors, each with its first ``limit`` rows.

    Example::

        show(check(experiment), limit=5)
    """
    from rich.console import Console
    from rich.table import Table as Shown
    from rich.text import Text

    out = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    for table in found.tables:
        shown = Shown(*table.header, box=None, header_style="dim")
        for cells in table.rows[:LONGEST_TABLE]:
            shown.add_row(*(Text(str(cell)) for cell in cells))
        out.print(Text(table.title, "bold"))
        out.print(shown)
        if len(table.rows) > LONGEST_TABLE:
            out.print(f" and {len(table.rows) - LONGEST_TABLE} more (--json lists them)")
        out.print()
    for note in found.notes:
        out.print(Text(f"note: {note}"), soft_wrap=True)
    kinds = (("warning", "yellow", found.warnings), ("error", "red", found.errors))
    for name, style, findings in kinds:
        for finding in findings:
            out.print(Text.assemble((f"{name}: ", style), finding.message), soft_wrap=True)
            for bad in finding.rows[:limit]:
                out.print(Text(f"    {bad}"), soft_wrap=True)
            if len(finding.rows) > limit:
                out.print(f"    and {len(finding.rows) - limit} more (--show and --json list them)")
    can = "training would stop" if found.errors else "training can begin"
    out.print(f"errors: {len(found.errors)}, warnings: {len(found.warnings)}; {can}")
