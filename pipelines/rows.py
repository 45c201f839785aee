"""Files of rows in any format, plain or gzipped -> checked rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, TextIO

from pipelines.atomic import replacing
from pipelines.cells import LOST, is_visible
from pipelines.columns import CHATS, IN_MEMORY, value_of
from pipelines.columns import Column as Column
from pipelines.errors import UserError
from pipelines.files import foreign
from pipelines.files.formats import Format, format_of, opened, raw_rows
from pipelines.files.layout import USUAL, encoding_remedy
from pipelines.files.layout import Layout as Layout
from pipelines.files.raw import NOT_UTF8, RawRow
from pipelines.files.writers import json_text

OnBadRow = Literal["error", "skip", "quarantine"]


@dataclass(frozen=True)
class BadRow:
    """A row that could not be used: its number, why, and the line it begins on if known."""

    number: int
    reason: str
    line: int | None = None

    def __str__(self) -> str:
        differs = self.line is not None and self.line != self.number
        line = f" (line {self.line})" if differs else ""
        return f"row {self.number}{line}: {self.reason}"


@dataclass(frozen=True)
class Rows:
    """Checked rows, held column by column.

    Attributes:
        source: where they come from, as shown in messages (a path, or ``trec[train]``).
        columns: by the task's column name, N values each, by kind (`pipelines.columns.Column`).
        numbers: N row numbers in the source; the first data row is 1.
        bad: the rows left out, with their reasons.
        notes: rows that may have been read otherwise than meant, and how.
        names: by the task's column name, the file's own, where rows were read from a file. An
            optional column that the file lacks is neither here nor in ``columns``.

    Example:
        >>> rows = Rows("a.csv", {"text": ["Good.", "Bad."]}, [1, 2])
        >>> rows.take([1]).columns
        {'text': ['Bad.']}
    """

    source: str
    columns: dict[str, list[Any]]
    numbers: list[int]
    bad: list[BadRow] = field(default_factory=list)
    notes: list[BadRow] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, places: Sequence[int]) -> Rows:
        """Return the rows at these places (0-based), in this order, without the bad ones."""
        columns = {name: [values[i] for i in places] for name, values in self.columns.items()}
        numbers = [self.numbers[i] for i in places]
        return Rows(self.source, columns, numbers, names=self.names)


@dataclass(frozen=True)
class Record:
    """One checked row of a stream.

    Attributes:
        number: its number in the source; the first data row is 1.
        values: by the task's column name, by kind (`pipelines.columns.Column`).
        fields: every column of the file, as it stands there.
        names: by the task's column name, the file's own.
    """

    number: int
    values: dict[str, Any]
    fields: dict[str, Any]
    names: dict[str, str] = field(default_factory=dict)


def read(
    path: Path | str,
    columns: Sequence[Column],
    *,
    names: Mapping[str, str] | None = None,
    on_bad_row: OnBadRow = "error",
    quarantine: Path | None = None,
    label_separator: str = "|",
    layout: Layout = USUAL,
) -> Rows:
    """Return the rows of a whole file, plain or gzipped, for training or evaluation.

    A row whose text (nothing in it is seen) or label is empty is bad; blank lines of text are none.

    Args:
        path: the file; its suffix says its format: .csv .tsv .jsonl .ndjson; .conll .bio .iob
            .iob2 (columns) and .conllu, a sentence a row; .json (SQuAD), a question a row; .txt, a
            text a line; each also with .gz.
        columns: what to read.
        names: by the task's column name, the file's own name for it. Columns not named there are
            found by name, then by alias, upper or lower case.
        on_bad_row: ``error`` stops at the first, ``skip`` leaves bad rows out, ``quarantine``
            also writes them to ``<file>.bad.jsonl`` (number, line, reason, raw).
        quarantine: the folder of that file; that of ``path`` if not given.
        label_separator: between the labels in one cell of a ``labels`` column.
        layout: what is known of the file besides its format.

    Returns:
        The good rows, and the bad ones' numbers and reasons.

    Raises:
        UserError: the file cannot be read, lacks a column, holds no usable row, or a row is bad.

    Example::

        rows = read("reviews.csv", [Column("text", "text", "a review")], names={"text": "review"})
        rows.columns["text"]
    """
    bad: list[BadRow] = []
    rows = Rows(str(path), {}, [], bad)
    with opened(Path(path)) as file:
        for record in stream(
            file,
            columns,
            source=str(path),
            names=names,
            on_bad_row=on_bad_row,
            quarantine=quarantine,
            label_separator=label_separator,
            layout=layout,
            empty_text=False,
            report=bad.append,
            notice=rows.notes.append,
        ):
            rows.numbers.append(record.number)
            rows.names.update(record.names)
            for name, value in record.values.items():
                rows.columns.setdefault(name, []).append(value)
    if not rows.numbers and bad:
        fix = _fix(bad, str(path))
        raise UserError(
            f"{path} has no usable row; of {len(bad)} bad ones the first is {bad[0]} ({fix})"
        )
    if not rows.numbers:
        raise UserError(f"{path} has no rows (add some below the header)")
    return rows


def stream(
    file: BinaryIO,
    columns: Sequence[Column],
    *,
    source: str,
    form: Format | None = None,
    names: Mapping[str, str] | None = None,
    flag: str = "--{option}-column",
    on_bad_row: OnBadRow = "error",
    quarantine: Path | None = None,
    label_separator: str = "|",
    layout: Layout = USUAL,
    empty_text: bool = True,
    report: Callable[[BadRow], None] = lambda bad: None,
    notice: Callable[[BadRow], None] = lambda row: None,
) -> Iterator[Record]:
    r"""Yield a file's rows one by one, in order and in constant memory.

    Args:
        file: bytes; gzipped if ``source`` ends in ``.gz``.
        columns: what to check and convert; all other columns are passed on as they stand.
        source: the file's path, or a name such as ``<stdin>``, for messages and the format.
        form: the format; by ``source``'s suffix if not given. ``text`` is one text a line, in a
            column named ``text``.
        names: as in `read`.
        flag: the flag that names a column, with ``{name}`` for the task's name of it, or
            ``{option}`` for the same with hyphens.
        on_bad_row: as in `read`.
        quarantine: as in `read`; for standard input the current folder if not given.
        label_separator: as in `read`.
        layout: as in `read`.
        empty_text: whether an empty text, and a blank line of plain text, is a good row.
        report: is called with each bad row that is left out.
        notice: is called with each row that may have been read otherwise than meant.

    Raises:
        UserError: as in `read`, but for a file without rows.

    Example:
        >>> import io
        >>> columns = [Column("text", "text", "a review")]
        >>> records = stream(io.BytesIO(b"Good.\nBad.\n"), columns, source="<stdin>", form="text")
        >>> [record.values for record in records]
        [{'text': 'Good.'}, {'text': 'Bad.'}]
    """
    form = form or format_of(Path(source))
    header, raws = raw_rows(file, form, source, empty_text, layout)
    keys: dict[str, str] | None = None
    with ExitStack() as stack:
        rejected: TextIO | None = None
        for raw in raws:
            try:
                if raw.fault:
                    raise ValueError(raw.fault)
                keys = keys or find_columns(header, columns, names or {}, source, flag)
                values = {
                    column.name: value_of(column, raw.fields, keys, label_separator)
                    for column in columns
                    if column.name in keys
                }
                if not empty_text:
                    _refuse_empty(columns, keys, values)
            except ValueError as error:
                bad = BadRow(raw.number, str(error), raw.line)
                if on_bad_row == "error":
                    raise UserError(f"{source}, {bad} ({remedy_of([bad], source)})") from None
                report(bad)
                if on_bad_row == "quarantine":
                    if rejected is None:
                        place = quarantine_path(source, quarantine)
                        rejected = stack.enter_context(replacing(place))
                    rejected.write(_rejection(bad, raw))
            else:
                if raw.note:
                    notice(BadRow(raw.number, raw.note, raw.line))
                yield Record(raw.number, values, raw.fields, keys)
        if on_bad_row == "quarantine" and rejected is None:
            # The file of an earlier run would list rows that have been fixed since.
            quarantine_path(source, quarantine).unlink(missing_ok=True)
    if keys is None and header:
        find_columns(header, columns, names or {}, source, flag)


def remedy_of(bad: Sequence[BadRow], source: str) -> str:
    """Return what to do about a file's bad rows, where they would stop a command.

    Example:
        >>> remedy_of([BadRow(1, "'text' is empty")], "a.csv")
        'fix it, or use --on-bad-row skip or quarantine'
    """
    return f"{_fix(bad, source)}, or use --on-bad-row skip or quarantine"


def _fix(bad: Sequence[BadRow], source: str) -> str:
    """Return how bad rows become good ones."""
    if any(one.reason.startswith(NOT_UTF8) for one in bad):
        return encoding_remedy(source)
    return "fix it" if len(bad) == 1 else "fix them"


def noted(rows: Rows) -> str:
    """Return a warning of the rows that may have been read otherwise than meant, "" of none.

    Example:
        >>> rows = Rows("a.csv", {}, [], notes=[BadRow(3, "its quotes hold 2 lines", 4)])
        >>> noted(rows).partition(",")[0]
        'a.csv: quotes run over line ends at 1 row'
    """
    if not rows.notes:
        return ""
    count = f"{len(rows.notes)} row{'s' * (len(rows.notes) > 1)}"
    return (
        f"{rows.source}: quotes run over line ends at {count}, the first: {rows.notes[0]} "
        "(say how they are meant: --quoting none, or minimal if they enclose fields)"
    )


def quarantine_path(source: str, folder: Path | None = None) -> Path:
    """Return where the bad rows of a source are written.

    Example:
        >>> quarantine_path("data/reviews.csv").as_posix()
        'data/reviews.csv.bad.jsonl'
    """
    path = Path(source.strip("<>"))
    return (folder or path.parent) / f"{path.name}.bad.jsonl"


def _rejection(bad: BadRow, raw: RawRow) -> str:
    """Return a bad row as a line of JSON; bytes that are not UTF-8 as backslash escapes."""
    text = raw.text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    row = {"number": bad.number, "line": raw.line, "reason": bad.reason, "raw": text}
    return f"{json_text(row)}\n"


def find_columns(
    header: Sequence[str],
    columns: Sequence[Column],
    names: Mapping[str, str],
    source: str,
    flag: str = "--{option}-column",
) -> dict[str, str]:
    """Return which of a file's columns hold what is looked for.

    Args:
        header: the file's column names.
        columns: what is looked for.
        names: by the task's column name, the file's own name, where the user gave it.
        source: the file, for messages.
        flag: as in `stream`.

    Returns:
        By the task's column name, the file's; of optional columns only those that are there.

    Raises:
        UserError: a column is not there, or an optional one that ``names`` has.

    Example:
        >>> column = Column("text", "text", "a review", ("sentence", "review"))
        >>> find_columns(["id", "Review"], [column], {}, "reviews.csv")
        {'text': 'Review'}
    """
    given = ((column.name, names.get(column.name, column.name)) for column in columns)
    found = {name: _match(header, told) for name, told in given}
    for column in columns:
        for alias in (*column.aliases, *(CHATS if column.kind == "turns" else ())):
            if found[column.name] is None and column.name not in names:
                key = _match(header, alias)
                found[column.name] = None if key in found.values() else key
    turns = {column.name for column in columns if column.kind == "turns"}
    for column in columns:
        chat = found[column.of] if column.of in turns else None
        if found[column.name] is None and column.name not in names and chat is not None:
            # A list of turns under another name need not hold their answer.
            found[column.name] = chat if chat.casefold() in CHATS else None
    wanted = [column for column in columns if not column.optional or column.name in names]
    lacking = next((column for column in wanted if found[column.name] is None), None)
    if lacking is None:
        return {name: key for name, key in found.items() if key is not None}
    missing = lacking.name
    told = flag.format(name=missing, option=missing.replace("_", "-"))
    remedy = foreign.missing_column(lacking, header, told)
    unnamed = not names and source != IN_MEMORY and ".jsonl" not in Path(source).suffixes
    if unnamed and not any(found.values()):
        usual = ",".join(column.name for column in columns[: len(header)])
        remedy += f", or name the columns on the first line if that is data: {usual}"
    listed = ", ".join(name[:60] for name in header[:20]) + (", …" if len(header) > 20 else "")
    raise UserError(
        f"{source} has no column {names.get(missing, missing)!r}; it has: {listed} ({remedy})"
    )


def _match(header: Sequence[str], name: str) -> str | None:
    """Return the header's name that equals this one, or does but for case."""
    alike = (other for other in header if other.casefold() == name.casefold())
    return name if name in header else next(alike, None)


def _refuse_empty(
    columns: Sequence[Column], keys: Mapping[str, str], values: Mapping[str, Any]
) -> None:
    """Raise ValueError if nothing of a text can be seen, or a conversation has no turns."""
    for column in (column for column in columns if column.name in values):
        value = values[column.name]
        unseen = column.kind == "text" and not any(c != LOST and is_visible(c) for c in value)
        if unseen or (column.kind == "turns" and not value):
            held = f": it has only {ascii(value)[:60]}" * bool(unseen and value.strip())
            raise ValueError(f"{keys[column.name]!r} is empty{held}")


def duplicates(a: Rows, b: Rows, keys: Sequence[str]) -> list[tuple[int, int]]:
    """Return rows of ``b`` whose inputs also stand in ``a``: leakage between train and test.

    Texts are the same if they differ in white space and case only.

    Args:
        a: rows, such as those for training.
        b: rows, such as those for testing.
        keys: the columns to compare, all of which must be the same.

    Returns:
        Row numbers (in ``a``, in ``b``), one pair for each such row of ``b``, in its order.

    Example:
        >>> train = Rows("train", {"text": ["Good.", "Bad."]}, [1, 2])
        >>> test = Rows("test", {"text": ["bad."]}, [1])
        >>> duplicates(train, test, ["text"])
        [(2, 1)]
    """
    first: dict[tuple[str, ...], int] = {}
    for number, row in _normalised(a, keys):
        first.setdefault(row, number)
    return [(first[row], number) for number, row in _normalised(b, keys) if row in first]


def _normalised(rows: Rows, keys: Sequence[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield each row's number and its values in single spaces and one case."""
    for i, number in enumerate(rows.numbers):
        values = (str(rows.columns[key][i]) for key in keys)
        yield number, tuple(" ".join(value.split()).casefold() for value in values)
