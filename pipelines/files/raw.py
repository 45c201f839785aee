"""A row as it stands in a file, before its values are checked."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

# Where rows name their columns themselves, those of this many rows stand for the file's header.
HEADER_ROWS = 1_000
NOT_UTF8 = "not UTF-8"  # how the fault of a row begins whose bytes are not


@dataclass(frozen=True)
class RawRow:
    """A row as it stands in the file.

    Attributes:
        number: its number; the first data row is 1.
        line: the line it begins on; the file's first line is 1. None where lines mean nothing.
        text: its characters, undecodable bytes as lone surrogates.
        fields: values by column, as they stand: str in CSV, TSV and text, any JSON elsewhere.
        fault: why it cannot be used; empty if it can.
        note: how it was read, where that may not be as meant; empty if it is plain.
    """

    number: int
    line: int | None
    text: str
    fields: dict[str, Any]
    fault: str = ""
    note: str = ""


def header_and_rows(rows: Iterator[RawRow]) -> Iterator[RawRow]:
    """Yield the columns of the first rows as row 0, then all rows.

    Example:
        >>> rows = header_and_rows(iter([RawRow(1, 1, "", {"text": "Hi"})]))
        >>> [list(row.fields) for row in rows]
        [['text'], ['text']]
    """
    first = list(itertools.islice(rows, HEADER_ROWS))
    yield RawRow(0, 0, "", dict.fromkeys(name for row in first for name in row.fields))
    yield from itertools.chain(first, rows)


def undecodable(text: str) -> str:
    r"""Return what is wrong with text whose bytes were not all UTF-8, "" if they were.

    Example:
        >>> undecodable(b"a\xff".decode("utf-8", "surrogateescape"))
        'not UTF-8: byte 0xff at character 2'
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        byte = ord(text[error.start]) & 0xFF
        return f"{NOT_UTF8}: byte 0x{byte:02x} at character {error.start + 1}"
    return ""


def encodable(value: Any) -> bool:
    r"""Return whether all strings in a JSON value can be written as UTF-8.

    Example:
        >>> encodable(["a", "\ud800"])
        False
    """
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def refuse_constant(name: str) -> NoReturn:
    """Raise ValueError for NaN and Infinity, which Python's parser would let through.

    Example:
        >>> json.loads("NaN", parse_constant=refuse_constant)
        Traceback (most recent call last):
        ValueError: NaN is not a JSON value
    """
    raise ValueError(f"{name} is not a JSON value")
