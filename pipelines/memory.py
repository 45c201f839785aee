"""Rows that are in memory: a data frame, a dict of columns, a list of rows.

A row is a mapping from column names to values, as a line of JSON Lines holds them. pandas, Polars,
PyArrow and Datasets are known by their methods and never imported.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

from pipelines.atomic import write_text
from pipelines.columns import CHATS, IN_MEMORY, Column, value_of
from pipelines.errors import UserError, reason
from pipelines.registry.packages import cache_root
from pipelines.rows import Record, find_columns

_NAMED = "columns={{'{name}': HEADER}}"
_NOTHING = object()  # where there is no row; a row may be None


def rows(data: Any, columns: Sequence[Column]) -> Iterator[dict[str, Any]]:
    """Yield rows that are in memory, with plain Python values; None for what is missing.

    Args:
        data: a data frame (pandas, Polars, PyArrow, Datasets), a dict of columns, or an iterable of
            rows: dicts, tuples in the order of ``columns``, or single texts or conversations. Any
            other list of lists is a list of columns in that order.
        columns: what is read from them, which names what has no names of its own.

    Raises:
        UserError: it is none of these, or its columns differ in length.

    Example:
        >>> both = [Column("text", "text", "a text"), Column("label", "label", "a label")]
        >>> list(rows({"text": ["Good.", "Bad."], "label": [1, 0]}, both))
        [{'text': 'Good.', 'label': 1}, {'text': 'Bad.', 'label': 0}]
        >>> list(rows([("Good.", 1)], both))
        [{'text': 'Good.', 'label': 1}]
    """
    for number, row in enumerate(_raw_rows(data, columns), 1):
        try:
            yield {str(name): _plain(value) for name, value in row.items()}
        except ValueError as error:
            raise UserError(f"row {number} of {IN_MEMORY}: {error}") from error


def records(
    data: Any, columns: Sequence[Column], names: Mapping[str, str] | None = None
) -> Iterator[Record]:
    """Yield rows that are in memory as checked records; arguments as of `rows`.

    Args:
        data: the rows.
        columns: what is checked and converted.
        names: by the name in ``columns``, the data's own name for it.

    Raises:
        UserError: a column is missing, or a row cannot be used.

    Example:
        >>> [record.values for record in records(["Good."], [Column("text", "text", "a text")])]
        [{'text': 'Good.'}]
    """
    keys: dict[str, str] | None = None
    for number, row in enumerate(rows(data, columns), 1):
        keys = keys or find_columns(list(row), columns, names or {}, IN_MEMORY, _NAMED)
        try:
            values = {c.name: value_of(c, row, keys, "|") for c in columns if c.name in keys}
        except ValueError as error:
            raise UserError(f"row {number} of {IN_MEMORY}: {error}") from error
        yield Record(number, values, row, keys)


def keep(data: Any, columns: Sequence[Column]) -> Path:
    """Write rows to a file of the cache, named by its content, and return its path.

    What trains and evaluates reads files, and finds the same rows there when it is resumed, or
    asked again which rows it had.

    Args:
        data: the rows, as `rows` takes them.
        columns: as there.

    Raises:
        UserError: the rows cannot be read, or the file cannot be written.

    Example::

        keep(frame, columns)  # ~/.cache/tfnlp/rows/5f2c1be0a1d40c55.jsonl
    """
    lines = [json.dumps(row, ensure_ascii=True) for row in rows(data, columns)]
    if not lines:
        raise UserError(f"{IN_MEMORY} has no rows")
    text = "".join(f"{line}\n" for line in lines)
    name = hashlib.sha256(text.encode("ascii")).hexdigest()[:16]
    file = _folder() / f"{name}.jsonl"
    if not file.exists():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, text)
        except OSError as error:
            raise UserError(
                f"cannot write {file}: {reason(error)} (set TFNLP_CACHE to another folder)"
            ) from error
    return file


def is_kept(file: str | None) -> bool:
    """Return whether a file is one of `keep`'s.

    Example:
        >>> is_kept("reviews.csv")
        False
    """
    return file is not None and Path(file).parent == _folder()


def named(text: str) -> str:
    """Return a message with the files of `keep` called what they are for the user.

    Example:
        >>> named(f"{_folder() / '5f2c1be0a1d40c55.jsonl'} has no column 'label'")
        "the data has no column 'label'"
    """
    return re.sub(rf"{re.escape(str(_folder()))}/[0-9a-f]{{16}}\.jsonl", IN_MEMORY, text)


def _folder() -> Path:
    return cache_root() / "rows"


def _raw_rows(data: Any, columns: Sequence[Column]) -> Iterator[Mapping[str, Any]]:
    """Yield rows with the values that the data hold."""
    names = [column.name for column in columns]
    if hasattr(data, "to_dicts"):  # Polars
        data = data.to_dicts()
    elif hasattr(data, "to_pylist"):  # PyArrow
        data = data.to_pylist()
    elif hasattr(data, "to_dict") and hasattr(data, "columns"):  # pandas
        if len(set(data.columns)) < len(data.columns):
            raise UserError(f"{IN_MEMORY} has two columns of the same name (rename one)")
        data = {name: _whole(data[name]) for name in data.columns}
    if isinstance(data, (str, bytes)) or not isinstance(data, Iterable):
        raise UserError(
            f"{IN_MEMORY} is {_shown(data)}, not rows (give a data frame, a dict of columns, or a "
            "list of texts or rows)"
        )
    if isinstance(data, Mapping):
        yield from _of_columns(data)
        return
    items = iter(data)
    first = next(items, _NOTHING)
    turns = any(column.kind == "turns" for column in columns)
    alone = turns and len(columns) == 1
    whole = isinstance(first, list) and bool(first) and isinstance(first[0], Mapping)
    if turns and whole and not alone:  # conversations that hold the answers, too
        yield from ({CHATS[0]: item} for item in itertools.chain([first], items))
    elif isinstance(first, list) and not alone:
        yield from _of_columns(_named([first, *items], names))
    elif first is not _NOTHING:
        both = itertools.chain([first], items)
        yield from (_row(item, names, number) for number, item in enumerate(both, 1))


def _whole(column: Any) -> Any:
    """Return a column of pandas, whole numbers as such: one that was missing made them floats."""
    if getattr(column.dtype, "kind", "") == "f" and (column.dropna() % 1 == 0).all():
        return column.astype("Int64")
    return column


def _of_columns(columns: Mapping[Any, Any]) -> Iterator[dict[Any, Any]]:
    """Yield the rows of columns; strings in place of lists are one row."""
    if columns and all(isinstance(column, str) for column in columns.values()):
        yield dict(columns)
        return
    for name, column in columns.items():
        if isinstance(column, str) or not isinstance(column, Collection):
            raise UserError(f"the column {name!r} is {_shown(column)}, not a list of values")
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise UserError(f"the columns differ in length: {told}")
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


def _named(columns: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
    """Return a list of columns by name, if it cannot be one of rows."""
    how = f"give a dict of columns, such as {{{names[0]!r}: [...]}}, or rows as tuples"
    if len(columns) > len(names) or not all(isinstance(column, Sized) for column in columns):
        raise UserError(
            f"a list of lists is a list of columns, of which there are {len(names)} "
            f"({', '.join(names)}), not {len(columns)} ({how})"
        )
    if len(columns) > 1 and all(len(column) == len(columns) for column in columns):
        raise UserError(f"{len(columns)} lists of {len(columns)} may be columns or rows ({how})")
    return dict(zip(names, columns, strict=False))


def _row(item: Any, names: Sequence[str], number: int) -> Mapping[str, Any]:
    """Return an item of a list as a row."""
    if isinstance(item, Mapping):
        return item
    if isinstance(item, (str, list)):  # a list is a conversation
        return {names[0]: item}
    if isinstance(item, tuple) and len(item) <= len(names):
        return dict(zip(names, item, strict=False))
    raise UserError(
        f"row {number} of {IN_MEMORY} is {_shown(item)}, not a text, a dict or a tuple of: "
        f"{', '.join(names)}"
    )


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it; None for NaN and the missing values of pandas."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if hasattr(value, "tolist"):  # of NumPy
        value = value.tolist()
    if isinstance(value, float):
        # JSON has no infinity; as text it is refused by its name, if its column is read at all.
        return None if math.isnan(value) else str(value) if math.isinf(value) else value
    if isinstance(value, str):
        if any("\ud800" <= letter <= "\udfff" for letter in value):
            raise ValueError(f"it holds half a character: {ascii(value)[:60]}")
        return str(value)
    if isinstance(value, (bool, int)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(item) for item in value), key=str)
    raise ValueError(f"it holds {_shown(value)}, which is neither text, number nor list")


def _shown(value: Any) -> str:
    """Return a value for a message, with its type."""
    return f"{type(value).__name__} {str(value)[:60]!r}"
