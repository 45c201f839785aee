"""Rows that a model is asked about: texts on a command line, a file, or standard input."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pipelines.columns import Column, value_of
from pipelines.errors import UserError
from pipelines.files.formats import Format, format_of, opened
from pipelines.rows import BadRow, Layout, OnBadRow, Record, stream
from tfnlp.needs import Need

STDIN = "<stdin>"
# What options need that are about the rows of a file.
OF_FILES = Need(
    lambda known: not known.texts,
    "has no effect on texts on the command line",
    "give --input FILE in their place",
)
COLUMN_FLAG = "--column {name}=HEADER"


def source(path: str | None) -> str:
    """Return what an input is called in messages; None and - are standard input.

    Example:
        >>> source("-"), source("rows.csv")
        ('<stdin>', 'rows.csv')
    """
    return STDIN if path in (None, "-") else str(path)


def format_told(path: str | None, told: Format | None = None) -> Format:
    """Return the format of an input: as asked for, or by the file's suffix.

    Example:
        >>> format_told("rows.csv.gz"), format_told("-")
        ('csv', 'text')
    """
    told = told or ("text" if source(path) == STDIN else None)
    return told or format_of(Path(str(path)))


@contextmanager
def open_input(path: str | None) -> Iterator[BinaryIO]:
    """Open a file or standard input.

    Raises:
        UserError: the file cannot be read, or standard input is a terminal.

    Example::

        with open_input("rows.csv") as file:
            records = from_file(file, columns, path="rows.csv", ...)
    """
    if path is None and sys.stdin.isatty():
        raise UserError("nothing to answer (give texts or --input FILE, or pipe texts in)")
    if path in (None, "-"):
        yield sys.stdin.buffer
    else:
        with opened(Path(str(path))) as file:
            yield file


def from_arguments(texts: Sequence[str], columns: Sequence[Column]) -> Iterator[Record]:
    """Yield the command line's texts as rows.

    Args:
        texts: a text for each column of the first row, then for each of the second, and so on.
        columns: what the model reads.

    Raises:
        UserError: the texts do not fill the last row, or are not what the model reads.

    Example:
        >>> rows = from_arguments(["Hi", "Bye"], [Column("text", "text", "the text")])
        >>> [row.values for row in rows]
        [{'text': 'Hi'}, {'text': 'Bye'}]
    """
    names = [column.name for column in columns]
    if len(texts) % len(names):
        inputs = ", ".join(names)
        raise UserError(
            f"{len(texts)} texts, but each row takes {len(names)}, in this order: {inputs}"
        )
    for i, text in enumerate(texts, 1):
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise UserError(f"text {i} on the command line is not UTF-8")
    for start in range(0, len(texts), len(names)):
        number = start // len(names) + 1
        given = dict(zip(names, texts[start : start + len(names)], strict=True))
        keys = {name: name for name in names}
        try:
            values = {c.name: value_of(c, given, keys, "") for c in columns}
        except ValueError as error:
            raise UserError(f"row {number} of the command line: {error}") from error
        yield Record(number, values, given)


def from_file(
    file: BinaryIO,
    columns: Sequence[Column],
    *,
    path: str | None,
    form: Format,
    layout: Layout,
    headers: Mapping[str, str],
    on_bad_row: OnBadRow,
    report: Callable[[BadRow], None],
    notice: Callable[[BadRow], None] = lambda row: None,
) -> Iterator[Record]:
    """Return a file's rows, checked for the model's inputs, in constant memory.

    Args:
        file: what `open_input` opened.
        columns: what the model reads.
        path: the file's; None is standard input.
        form: its format.
        layout: what is known of it besides.
        headers: by the model's input, the file's column, where it has another name.
        on_bad_row: as in `pipelines.rows.read`.
        report: is called with each bad row that is left out.
        notice: is called with each row that may have been read otherwise than meant.

    Example::

        from_file(file, model.columns, path="rows.csv", form="csv", layout=Layout(),
                  headers={"text": "question"}, on_bad_row="skip", report=tally.leave_out)
    """
    return stream(
        file,
        columns,
        source=source(path),
        form=form,
        names=headers_of(headers, form, [column.name for column in columns]),
        flag=COLUMN_FLAG,
        on_bad_row=on_bad_row,
        layout=layout,
        report=report,
        notice=notice,
    )


def headers_of(headers: Mapping[str, str], form: Format, inputs: Sequence[str]) -> dict[str, str]:
    """Return the file's column for each of the model's inputs that has one of another name.

    Raises:
        UserError: a name is none of the inputs, or lines of text cannot hold them all.

    Example:
        >>> headers_of({"text": "question"}, "csv", ["text"])
        {'text': 'question'}
    """
    unknown = [name for name in headers if name not in inputs]
    if unknown:
        raise UserError(
            f"--column names {unknown[0]!r}; the model's inputs are: {', '.join(inputs)}"
        )
    if form == "text" and len(inputs) > 1:
        raise UserError(
            f"the model reads {', '.join(inputs)}, which lines of plain text cannot hold "
            "(use --input-format csv, tsv or jsonl)"
        )
    if form == "text" and headers:
        raise UserError(
            "--column names a column, and lines of plain text have none (leave it out, or use "
            "--input-format csv, tsv or jsonl)"
        )
    return {inputs[0]: "text"} if form == "text" else dict(headers)
