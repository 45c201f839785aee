"""CSV and TSV -> rows, with quotes read strictly, and as ordinary characters where rows show it."""

from __future__ import annotations

import csv
import itertools
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TextIO

from pipelines.cells import shown
from pipelines.errors import UserError
from pipelines.files.layout import Layout
from pipelines.files.raw import RawRow, undecodable

# Longer than any real field; it bounds what a quote left open can swallow before it is reported.
LONGEST_FIELD = 10_000_000
_SAMPLE = 1_000  # lines from which it is seen how a file is laid out
_SAMPLED = 1_000_000  # characters of these at most, but for the last line
_DELIMITERS = ",;\t|"  # spreadsheets of many countries write semicolons
_MOST = 0.75  # share of a swallowed block's lines that must look like rows


def rows(lines: TextIO, layout: Layout, tabs: bool, source: str) -> Iterator[RawRow]:
    r"""Yield the header as row 0, then the rows.

    Quotes are read strictly: read leniently, a stray one swallows rows without a word. Unless the
    layout says how quotes are meant, lines inside of them that are rows are read as rows.

    Args:
        lines: the file's, each with its own line end.
        layout: what is known of it.
        tabs: whether it is TSV.
        source: the file's name in messages.

    Raises:
        UserError: it is empty, or its header cannot be read.

    Example:
        >>> import io
        >>> text = 'text,label\n"a,x\nb",x\nc,x\n'
        >>> [row.fields for row in rows(io.StringIO(text), Layout(), False, "a.csv")][1:]
        [{'text': '"a', 'label': 'x'}, {'text': 'b"', 'label': 'x'}, {'text': 'c', 'label': 'x'}]
    """
    source_lines = _Lines(lines)
    sample = source_lines.beginning()
    delimiter = layout.character or ("\t" if tabs else _delimiter(sample, layout))
    parsed = _parsed(source_lines, delimiter, layout)
    first = next(parsed, None)
    if first is None:
        raise UserError(f"{source} is empty (its first line must name the columns)")
    if fault := undecodable(first.text) or first.fault:
        raise UserError(f"{source} has a header that cannot be read: {fault}")
    header = _column_names(first.values, source)
    yield RawRow(0, first.line, first.text, dict.fromkeys(header))
    evidence = _Evidence(len(header), delimiter, _end(first.text), sample)
    for number, one in enumerate(parsed, 1):
        note = ""
        if len(one.lines) > 1 and layout.quoting is None:
            if evidence.are_rows(one.lines):
                source_lines.again(one.lines[1:])
                one = _Parsed(one.line, one.lines[:1], evidence.cells(one.lines[0]))
                note = "its quote is read as a character, as the lines after it are rows"
            elif not one.fault and evidence.may_be_rows(one.lines):
                note = f"its quotes hold {len(one.lines)} lines, each of which could be a row"
        fault = undecodable(one.text) or one.fault
        if not fault and len(one.values) != len(header):
            fault = f"{len(one.values)} fields where the header has {len(header)}"
            if len(one.values) > len(header):
                fault += f" ({_remedy(header, delimiter)})"
        if fault and len(one.lines) > 1:
            fault += f" (the row runs to line {one.line + len(one.lines) - 1})"
        fields = {} if fault else dict(zip(header, one.values, strict=True))
        yield RawRow(number, one.line, one.text, fields, fault, "" if fault else note)


@dataclass(frozen=True)
class _Parsed:
    """A row's first line's number, its lines, and its values or what is wrong with its quotes."""

    line: int
    lines: list[str]
    values: list[str]
    fault: str = ""

    @property
    def text(self) -> str:
        return "".join(self.lines)


def _parsed(lines: _Lines, delimiter: str, layout: Layout) -> Iterator[_Parsed]:
    """Yield rows by their quotes, without blank lines."""
    reader = _reader(lines, delimiter, layout)
    while True:
        line = lines.number + 1
        lines.taken.clear()
        try:
            values, fault = next(reader), ""
        except StopIteration:
            return
        except csv.Error as error:
            values, fault = [], _quoting_fault(str(error), delimiter)
        if values or fault:
            yield _Parsed(line, list(lines.taken), values, fault)


def _reader(lines: Iterable[str], delimiter: str, layout: Layout) -> Iterator[list[str]]:
    """Return what parses lines."""
    csv.field_size_limit(LONGEST_FIELD)
    if layout.quoting == "none":
        return csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
    return csv.reader(lines, delimiter=delimiter, strict=True)


class _Lines:
    """Lines that can be taken again; those taken since the last row are in ``taken``."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._back: deque[str] = deque()
        self.taken: list[str] = []
        self.number = 0  # of the last line taken; the first is 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else next(self._lines)
        self.number += 1
        self.taken.append(line)
        return line

    def again(self, lines: Sequence[str]) -> None:
        """Put back the lines taken last."""
        self._back.extendleft(reversed(lines))
        self.number -= len(lines)

    def beginning(self) -> list[str]:
        """Return the first lines, without taking them."""
        size = 0
        for line in itertools.islice(self._lines, _SAMPLE):
            self._back.append(line)
            size += len(line)
            if size > _SAMPLED:
                break
        return list(self._back)


def _delimiter(sample: Sequence[str], layout: Layout) -> str:
    """Return the delimiter by which most rows have as many fields as the header, and most fields.

    Delimiters inside quotes do not count.
    """

    def agreement(delimiter: str) -> tuple[int, int]:
        widths: list[int] = []
        parsed = _reader(iter(sample), delimiter, layout)
        while len(widths) < _SAMPLE:
            try:
                values = next(parsed)
            except StopIteration:
                break
            except csv.Error:
                continue
            if values:
                widths.append(len(values))
        first = widths[0] if widths else 1
        return (widths.count(first) if first > 1 else 0), first

    return max(_DELIMITERS, key=agreement)


@dataclass(frozen=True)
class _Evidence:
    """What rows look like, by the file's first lines.

    Attributes:
        width: the header's fields.
        delimiter: what separates fields.
        end: the header's line end; a field's may differ, as where a spreadsheet wrote the file.
        sample: the file's first lines.
    """

    width: int
    delimiter: str
    end: str
    sample: Sequence[str]

    def cells(self, line: str) -> list[str]:
        """Cut a line where a delimiter stands, quotes or not; a cell quoted by itself loses its."""
        parts = line.rstrip("\r\n").split(self.delimiter)
        return [
            part[1:-1].replace('""', '"') if len(part) > 1 and part[0] == part[-1] == '"' else part
            for part in parts
        ]

    @cached_property
    def columns(self) -> list[_Cells]:
        """What each column holds in lines whose quotes, if any, are closed."""
        closed = [line for line in self.sample[1:] if line.count('"') % 2 == 0]
        good = [one.values for one in _parsed(_Lines(closed), self.delimiter, Layout())]
        good = [values for values in good if len(values) == self.width]
        return [_Cells([values[i] for values in good]) for i in range(self.width)]

    def may_be_rows(self, lines: Sequence[str]) -> bool:
        """Return whether each line of a block has as many delimiters as the header."""
        return all(line.count(self.delimiter) == self.width - 1 for line in lines if line.strip())

    def are_rows(self, lines: Sequence[str]) -> bool:
        """Return whether the lines of a quoted block are rows that a quote has swallowed.

        The block's inner line ends then part rows: most of them are the header's, and there the
        line before holds, after the quoted column, what those columns hold elsewhere, and so does
        the line after before it.
        """
        filled = [line for line in lines[:_SAMPLE] if line.strip()]
        several = [self.cells(line) for line in filled]
        first = self.cells(lines[0])
        quoted = max((i for i, cell in enumerate(first) if cell.startswith('"')), default=0)
        if self.width < 2 or len(several) < 2:
            return False
        parted = sum(
            _end(line) == self.end
            and self._fit(before, range(quoted + 1, self.width))
            and self._fit(after, range(quoted))
            for line, (before, after) in zip(filled, itertools.pairwise(several), strict=False)
        )
        return parted >= _MOST * (len(several) - 1)

    def _fit(self, cells: Sequence[str], places: Iterable[int]) -> bool:
        """Return whether a line has the header's fields, and what is usual in some of them."""
        return len(cells) == self.width and all(self.columns[i].fits(cells[i]) for i in places)


def _end(line: str) -> str:
    """Return a line's end."""
    return line[len(line.rstrip("\r\n")) :]


class _Cells:
    """What a column holds, by some of its cells."""

    def __init__(self, cells: Sequence[str]) -> None:
        self._spaced = any(cell[:1].isspace() for cell in cells)
        self._seen = {cell.strip() for cell in cells}
        # Of a few cells it is not known what else the column may hold.
        self._known = len(cells) <= 3 or 2 * len(self._seen) <= len(cells)
        self._numbers = bool(cells) and all(map(_is_number, self._seen))

    def fits(self, cell: str) -> bool:
        """Return whether the column holds such a cell; prose goes on with a space after a comma."""
        if self._numbers:
            return _is_number(cell)
        if self._known:
            return cell.strip() in self._seen
        return bool(cell.strip()) and (self._spaced or not cell[:1].isspace())


def _is_number(cell: str) -> bool:
    """Return whether a cell holds a finite number."""
    with suppress(ValueError):
        return math.isfinite(float(cell))
    return False


def _remedy(header: Sequence[str], delimiter: str) -> str:
    """Return what to do about a row with more fields than the header."""
    if len(header) == 1 and (other := delimiter_in(header[0])):
        return f"use --delimiter {shown(other)}, if that is what separates the columns"
    return f"a field that contains {delimiter!r} must be quoted"


def delimiter_in(name: str) -> str:
    r"""Return the delimiter between what seem to be several names in a header of one, or "".

    Example:
        >>> delimiter_in("text;label"), delimiter_in("text")
        (';', '')
    """
    delimiter = max(_DELIMITERS, key=name.count)
    return delimiter if delimiter in name else ""


def _quoting_fault(message: str, delimiter: str) -> str:
    """Return in a user's words what the csv module found."""
    if "unexpected end" in message:
        return "a quote is opened and never closed"
    if "expected after" in message:
        return (
            f"text between a closing quote and the next {delimiter!r} "
            '(a quote inside a quoted field is written ""; where quotes are characters like any '
            "other, use --quoting none)"
        )
    if "field limit" in message:
        return f"a field of more than {LONGEST_FIELD:,} characters (is a quote left open?)"
    return message


def _column_names(header: list[str], source: str) -> list[str]:
    """Return a header's names; a column without one is named after its position."""
    columns = [name.strip() or f"column_{i}" for i, name in enumerate(header, 1)]
    twice = [name for name in columns if columns.count(name) > 1]
    if twice:
        raise UserError(f"{source} has two columns named {twice[0]!r} (rename one)")
    return columns
