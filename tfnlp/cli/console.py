"""The terminal's two streams, sentences, warnings and tables; loads neither Keras nor NumPy."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from tfnlp.report import Report

out = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
err = Console(stderr=True, highlight=False)


def line(text: str) -> None:
    """Print a sentence."""
    out.print(escape(text), soft_wrap=True)


def warn(text: str) -> None:
    """Print a warning on standard error."""
    err.print(f"[yellow]warning:[/] {escape(text)}", soft_wrap=True)


def tables(found: Report) -> None:
    """Print a report's tables and warnings."""
    for content in found.tables:
        if len(content.header) <= 12:
            table = Table(*content.header, title=content.title)
            for row in content.rows:
                table.add_row(*(escape(str(cell)) for cell in row))
            out.print(table)
    for text in found.warnings:
        warn(text)
