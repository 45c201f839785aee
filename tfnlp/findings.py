"""What a check of data found: sentences with the rows they are about, tables, and their numbers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pipelines.errors import UserError
from pipelines.rows import BadRow
from tfnlp.task import Table

LONGEST_TABLE = 100  # rows printed

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
        tables: for the eye.
        facts: the tables' numbers by name, for programs; JSON values.
    """

    errors: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
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

    def warn(self, message: str, rows: list[BadRow] | None = None) -> None:
        """Add what may be a mistake."""
        self.warnings.append(Finding(message, rows or []))


def values(found: Findings) -> dict[str, Any]:
    """Return everything as JSON values."""
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
    return {**told, **found.facts}


def show(found: Findings, limit: int) -> None:
    """Print the tables, then warnings, then errors, each with its first ``limit`` rows."""
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
    kinds = (("warning", "yellow", found.warnings), ("error", "red", found.errors))
    for name, style, findings in kinds:
        for finding in findings:
            out.print(Text.assemble((f"{name}: ", style), finding.message), soft_wrap=True)
            for bad in finding.rows[:limit]:
                out.print(Text(f"    {bad}"), soft_wrap=True)
            if len(finding.rows) > limit:
                out.print(f"    and {len(finding.rows) - limit} more (--show and --json list them)")
    can = "training would stop" if found.errors else "training can begin"
    out.print(f"{len(found.errors)} errors, {len(found.warnings)} warnings: {can}")
