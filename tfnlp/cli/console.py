"""The terminal's two streams, sentences, warnings and tables; loads neither Keras nor NumPy."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from tfnlp.report import Report

out = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
err = Console(stderr=True, highlight=False)


def has_bars() -> bool:
    """Return whether progress bars can be shown: on a terminal, and in a notebook with widgets."""
    if err.is_jupyter:
        return importlib.util.find_spec("ipywidgets") is not None
    return err.is_terminal


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
