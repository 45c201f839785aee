"""Bytes of CSV, TSV, JSONL, CoNLL, SQuAD or plain lines -> raw rows, good or bad."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Literal, TextIO, get_args

from pipelines.cells import is_visible
from pipelines.errors import UserError
from pipelines.files import conll, delimited, squad
from pipelines.files.layout import USUAL, Layout
from pipelines.files.raw import (
    NOT_UTF8,
    RawRow,
    encodable,
    header_and_rows,
    refuse_constant,
    undecodable,
)

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
    file: BinaryIO,
    form: Format,
    source: str,
    blank_lines: bool = True,
    layout: Layout = USUAL,
) -> tuple[list[str], Iterator[RawRow]]:
    r"""Return a header and an iterator over the rows, read in constant memory.

    Args:
        file: bytes, gzipped if ``source`` ends in ``.gz``.
        form: how the bytes are laid out.
        source: the file's name in messages.
        blank_lines: whether a blank line of plain text is a row.
        layout: what is known of the file besides its format.

    Returns:
        The columns' names (where rows name them, those of the first 1,000) and the rows in order.

    Raises:
        UserError: the file as a whole cannot be read; faults of single rows are in the rows.

    Example:
        >>> names, rows = raw_rows(io.BytesIO(b"text,label\nGood.,yes\n"), "csv", "reviews.csv")
        >>> names, next(rows).fields
        (['text', 'label'], {'text': 'Good.', 'label': 'yes'})
    """
    rows = _guarded(_read(file, form, source, blank_lines, layout), source, layout)
    header = next(rows).fields
    return list(header), rows


def _read(
    file: BinaryIO, form: Format, source: str, blank_lines: bool, layout: Layout
) -> Iterator[RawRow]:
    """Yield the header as a row with number 0, then the rows."""
    with text_lines(file, form, source, layout) as lines:
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
            yield from delimited.rows(lines, layout, form == "tsv", source)


@contextmanager
def text_lines(
    file: BinaryIO, form: Format, source: str, layout: Layout = USUAL
) -> Iterator[TextIO]:
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
        encoding=layout.codec,
        errors="surrogateescape",
        newline="" if form in ("csv", "tsv") else "\n",
    )
    try:
        _check_start(buffered.peek(4)[:4], source, layout)
        yield lines
    except UnicodeError as error:  # of an encoding in which no single byte can be set aside
        raise UserError(
            f"{source} is not {layout.encoding}: {error} (give another --encoding)"
        ) from error
    finally:
        # Both would close the caller's file when they are collected.
        if not file.closed:
            lines.detach()
            buffered.detach()


def _text_rows(lines: TextIO, blank_lines: bool) -> Iterator[RawRow]:
    """Yield a row for each line."""
    number = 0
    for place, line in enumerate(lines, 1):
        if blank_lines or any(map(is_visible, line)):
            number += 1
            text = line.removesuffix("\n").removesuffix("\r")
            yield RawRow(number, place, line, {"text": text}, undecodable(line))


def _guarded(rows: Iterator[RawRow], source: str, layout: Layout) -> Iterator[RawRow]:
    """Yield the rows; a broken archive or disk becomes an error that names the file."""
    try:
        for row in rows:
            if layout.encoding and row.fault.startswith(NOT_UTF8):
                fault = row.fault.replace(NOT_UTF8, f"not {layout.encoding}", 1)
                yield replace(row, fault=fault)
            else:
                yield row
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{source} is not a whole gzip file: {error} (fetch it again)") from error
    except OSError as error:
        raise UserError(f"cannot read {source}: {error.strerror or error}") from error


def _check_start(start: bytes, source: str, layout: Layout) -> None:
    """Refuse files that are of another kind than their name says."""
    if not start:
        return
    zeros = "".join("0" if byte == 0 else "x" for byte in start)
    wide = {"x0x0": "utf-16-le", "0x0x": "utf-16-be"}.get(zeros)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        wide = "utf-16"
    if wide and layout.encoding is None:
        raise UserError(
            f"{source} is UTF-16, not UTF-8 (save it as UTF-8, or use --encoding {wide})"
        )
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
