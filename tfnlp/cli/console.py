"""The terminal's two streams, sentences, warnings, tables and bars; a notebook's likewise.

It loads neither Keras nor NumPy.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from tfnlp import report

if TYPE_CHECKING:
    from tfnlp.report import Report

Part = TypeVar("Part")

IN_NOTEBOOK = Console().is_jupyter
# Plain text in a notebook, where FORCE_COLOR is set, and where rich would put each line into a box
# of HTML and draw bars by widgets, which take in lines that are printed meanwhile.
_PLAIN: dict[str, Any] = {"force_jupyter": False, "force_terminal": False} if IN_NOTEBOOK else {}

out = Console(width=None if sys.stdout.isatty() else 120, highlight=False, **_PLAIN)
err = Console(stderr=True, highlight=False, **_PLAIN)


def line(text: str) -> None:
    """Print a sentence."""
    out.print(escape(text), soft_wrap=True)


def warn(text: str) -> None:
    """Print a warning on standard error."""
    err.print(f"[yellow]warning:[/] {escape(text)}", soft_wrap=True)


def tables(found: Report) -> None:
    """Print a report's tables and warnings."""
    shown = [content for content in found.tables if len(content.header) <= 12]
    with out.capture() if IN_NOTEBOOK else nullcontext() as drawn:
        for content in shown:
            table = Table(*content.header, title=content.title)
            for row in content.rows:
                table.add_row(*(escape(str(cell)) for cell in row))
            out.print(table)
    if drawn and drawn.get():
        from IPython.display import display

        only = dataclasses.replace(found, metrics={}, figures={}, warnings=[], tables=shown)
        display({"text/html": report.html(only), "text/plain": drawn.get()}, raw=True)
    for text in found.warnings:
        warn(text)


def tracked(parts: Collection[Part], what: str) -> Iterator[Part]:
    """Yield the parts of some work, and show on a terminal or in a notebook how far it is.

    Example::

        for batch in tracked(batches, "answering"):
            ...
    """
    if not IN_NOTEBOOK:
        yield from track(parts, what, console=err, disable=not err.is_terminal)
        return
    shown = NotebookLine()
    for number, part in enumerate(parts, start=1):
        yield part
        if shown.is_due() or (shown.is_shown and number == len(parts)):
            shown.show(f"{what} {number}/{len(parts)}")


class NotebookLine:
    """A line in a notebook that is written over; it needs no widgets.

    Attributes:
        is_shown: whether it was shown once.

    Example::

        shown = NotebookLine()
        shown.show("1 of 2")
        shown.show("2 of 2")
    """

    def __init__(self) -> None:
        self.is_shown = False
        self._handle: Any = None
        self._last = time.monotonic()

    def is_due(self) -> bool:
        """Return whether half a second has gone by since it was made or shown."""
        return time.monotonic() - self._last > 0.5

    def show(self, text: str) -> None:
        """Show a text in place of what it was, unless nothing is to be shown."""
        if out.quiet:
            return
        from IPython.display import display

        self._last = time.monotonic()
        data = {"text/plain": text}
        if self.is_shown:
            self._handle.update(data, raw=True)
        else:
            self._handle = display(data, raw=True, display_id=True)
            self.is_shown = True
