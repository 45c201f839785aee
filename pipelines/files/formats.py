"""Bytes of CSV, TSV, JSONL, CoNLL, SQuAD or plain lines -> raw rows, good or bad."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, TextIO, get_args

from pipelines.errors import UserError
from pipelines.files import conll, squad
from pipelines.files.raw import RawRow, encodable, header_and_rows, refuse_constant, undecodable

Format = Literal["csv", "tsv", "jsonl", "conll", "conllu", "squad", "text"]

FORMATS: tuple[Format, ...] = get_args(Format)
SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".conll": "conll",
    ".bio": "conll",
    ".iob": "conll",
    ".iob2": "conll",
    ".conllu": "conllu",
    ".json": "squad",
    ".txt": "text",
}
# Longer than any real field; it bounds what a quote left open can swallow before it is reported.
LONGEST_FIELD = 10_000_000


def format_of(path: Path) -> Format:
    """Return a file's format by its suffix, before ``.gz`` if there is one.

    Example:
        >>> format_of(Path("reviews.csv.gz"))
        'csv'
    """
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(
            f"{path} is of an unknown kind: its name must end in {', '.join(SUFFIXES)}, "
            "each also with .gz"
        )
    return SUFFIXES[suffix]


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading bytes, within the block.

    Raises:
        UserError: there is no such file, or it cannot be read.

    Example::

        with opened(Path("reviews.csv")) as file:
            names, rows = raw_rows(file, "csv", "reviews.csv")
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise UserError(f"there is no file {path} (check the path)") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder (give a file)") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    with file:
        yield file


def raw_rows(
    file: BinaryIO, form: Format, source: str, blank_lines: bool = True
) -> tuple[list[str], Iterator[RawRow]]:
    r"""Return a header and an iterator over the rows, read in constant memory.

    Args:
        file: bytes, gzipped if ``source`` ends in ``.gz``.
        form: how the bytes are laid out.
        source: the file's name in messages.
        blank_lines: whether a blank line of plain text is a row.

    Returns:
        The columns' names (where rows name them, those of the first 1,000) and the rows in order.

    Raises:
        UserError: the file as a whole cannot be read; faults of single rows are in the rows.

    Example:
        >>> names, rows = raw_rows(io.BytesIO(b"text,label\nGood.,yes\n"), "csv", "reviews.csv")
        >>> names, next(rows).fields
        (['text', 'label'], {'text': 'Good.', 'label': 'yes'})
    """
    rows = _guarded(_read(file, form, source, blank_lines), source)
    header = next(rows).fields
    return list(header), rows


def _read(file: BinaryIO, form: Format, source: str, blank_lines: bool) -> Iterator[RawRow]:
    """Yield the header as a row with number 0, then the rows."""
    with text_lines(file, form, source) as lines:
        if form == "jsonl":
            yield from header_and_rows(_jsonl_rows(lines))
        elif form == "conll":
            yield from conll.column_rows(lines, source)
        elif form == "conllu":
            yield from conll.conllu_rows(lines, source)
        elif form == "squad":
            yield from header_and_rows(squad.rows(lines, source))
        elif form == "text":
            yield RawRow(0, 0, "", {"text": None})
            yield from _text_rows(lines, blank_lines)
        else:
            yield from _csv_rows(lines, "\t" if form == "tsv" else None, source)


@contextmanager
def text_lines(file: BinaryIO, form: Format, source: str) -> Iterator[TextIO]:
    r"""Decode a file, gunzipping it if its name says so; it is left open.

    Raises:
        UserError: it is of another kind than its name says.

    Example:
        >>> with text_lines(io.BytesIO(b"one\ntwo\n"), "text", "a.txt") as lines:
        ...     list(lines)
        ['one\n', 'two\n']
    """
    binary = gzip.GzipFile(fileobj=file) if source.endswith(".gz") else file
    buffered = io.BufferedReader(binary)  # type: ignore[type-var]
    lines = io.TextIOWrapper(
        buffered,
        encoding="utf-8-sig",
        errors="surrogateescape",
        newline="" if form in ("csv", "tsv") else "\n",
    )
    try:
        _check_start(buffered.peek(4)[:4], source)
        yield lines
    finally:
        # Both would close the caller's file when they are collected.
        if not file.closed:
            lines.detach()
            buffered.detach()


def _text_rows(lines: TextIO, blank_lines: bool) -> Iterator[RawRow]:
    """Yield a row for each line."""
    number = 0
    for place, line in enumerate(lines, 1):
        if blank_lines or line.strip():
            number += 1
            text = line.removesuffix("\n").removesuffix("\r")
            yield RawRow(number, place, line, {"text": text}, undecodable(line))


def _guarded(rows: Iterator[RawRow], source: str) -> Iterator[RawRow]:
    """Yield the rows; a broken archive or disk becomes an error that names the file."""
    try:
        yield from rows
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{source} is not a whole gzip file: {error} (fetch it again)") from error
    except OSError as error:
        raise UserError(f"cannot read {source}: {error.strerror or error}") from error


def _check_start(start: bytes, source: str) -> None:
    """Refuse files that are of another kind than their name says."""
    if not start:
        return
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError(f"{source} is UTF-16, not UTF-8 (save it as UTF-8)")
    if start[:2] == b"\x1f\x8b":
        raise UserError(f"{source} is gzipped (rename it so that it ends in .gz)")
    if start == b"PK\x03\x04":
        raise UserError(f"{source} is a zip or Excel file (save it as CSV, UTF-8)")


def _jsonl_rows(lines: TextIO) -> Iterator[RawRow]:
    """Yield a row for each line that is not blank."""
    number = 0
    for place, line in enumerate(lines, 1):
        if not line.strip(" \t\r\n"):
            continue
        number += 1
        fields, fault = {}, undecodable(line)
        if not fault:
            try:
                value = json.loads(line, parse_constant=refuse_constant)
            except (ValueError, RecursionError) as error:
                fault = f"invalid JSON: {error}"
            else:
                if not isinstance(value, dict):
                    fault = f"not a JSON object but {line.strip()[:40]}"
                elif r"\ud" in line.lower() and not encodable(value):
                    fault = "half of a surrogate pair, which is not a character"
                else:
                    fields = value
        yield RawRow(number, place, line, fields, fault)


def _csv_rows(lines: TextIO, delimiter: str | None, source: str) -> Iterator[RawRow]:
    """Yield the header as row 0, then the rows.

    Quotes are read strictly: read leniently, a stray one swallows rows without a word.
    """
    first = next(lines, "")
    # Spreadsheets of many countries write semicolons.
    delimiter = delimiter or max(",;\t", key=first.count)
    text: list[str] = []  # lines of the row being read

    def noted() -> Iterator[str]:
        for line in itertools.chain([first] if first else [], lines):
            text.append(line)
            yield line

    csv.field_size_limit(LONGEST_FIELD)
    reader = csv.reader(noted(), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    number = 0
    while True:
        line = reader.line_num + 1
        text.clear()
        try:
            values, fault = next(reader), ""
        except StopIteration:
            break
        except csv.Error as error:
            values, fault = [], _quoting_fault(str(error), delimiter)
        raw = "".join(text)
        fault = undecodable(raw) or fault
        if not values and not fault:
            continue  # a blank line
        if header is None:
            if fault:
                raise UserError(f"{source} has a header that cannot be read: {fault}")
            header = _column_names(values, source)
            yield RawRow(0, line, raw, dict.fromkeys(header))
            continue
        number += 1
        if not fault and len(values) != len(header):
            fault = f"{len(values)} fields where the header has {len(header)}"
            if len(values) > len(header):
                fault += f" (a field that contains {delimiter!r} must be quoted)"
        if fault and len(text) > 1:
            fault += f" (the row runs to line {reader.line_num})"
        fields = {} if fault else dict(zip(header, values, strict=True))
        yield RawRow(number, line, raw, fields, fault)
    if header is None:
        raise UserError(f"{source} is empty (its first line must name the columns)")


def _quoting_fault(message: str, delimiter: str) -> str:
    """Return in a user's words what the csv module found."""
    if "unexpected end" in message:
        return "a quote is opened and never closed"
    if "expected after" in message:
        return (
            f"text between a closing quote and the next {delimiter!r} "
            '(a quote inside a quoted field is written "")'
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
