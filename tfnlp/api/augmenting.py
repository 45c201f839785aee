"""Rows of a file with those that augmenters make of them, as a file of the same layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipelines import augmentation, splits
from pipelines.atomic import replacing
from pipelines.columns import Column
from pipelines.errors import UserError
from pipelines.files import rewriting
from pipelines.files.formats import format_of, opened, raw_rows
from pipelines.rows import Rows
from tfnlp.config import Entry
from tfnlp.config_data import FileLayout
from tfnlp.extensions import Material, Subject
from tfnlp.options import option, unknown_key
from tfnlp.task import Task


@dataclass(frozen=True)
class Options(FileLayout):
    """The rows to start from, and where they go with those that are made.

    Example::

        python -m tfnlp.augment --input rows.csv --augment synonyms --output more.csv
    """

    input: str | None = option(
        None, "file of rows with their targets, of any format that training takes"
    )
    output: str | None = option(
        None,
        "file to write, the originals first: its ending says in which format, that of the input or "
        ".jsonl",
    )
    augment_times: int = option(
        1, "texts that each augmenter makes of each row", minimum=1, maximum=100
    )
    held_out: tuple[str, ...] = option(
        (), "file of rows for validation or testing, none of which is made; may be repeated"
    )
    columns: dict[str, str] = option(
        {},
        "header of a column, such as text=review; --text-column review says the same",
        flag="--column",
    )
    label_separator: str = option("|", "what separates the labels of one row in a file, or tab")
    on_bad_row: Literal["error", "skip"] = option(
        "error", "a row that cannot be used stops the command, or is left out"
    )
    seed: int = option(42, "where every random choice starts", minimum=0)


@dataclass(frozen=True)
class Done:
    """What was written: rows of the input, and rows made by each augmenter's name."""

    originals: int
    made: dict[str, int]
    left_out: int


def augment(task: Task, settings: Any, entries: Sequence[Entry], options: Options) -> Done:
    """Write a file of rows with those that augmenters make of them.

    Args:
        task: says which columns there are.
        settings: the task's options.
        entries: the augmenters with their options.
        options: the files.

    Returns:
        How many rows were written.

    Raises:
        UserError: a file, row, column, model or lexicon cannot be used.

    Example::

        augment(load("classification"), settings, [Entry("aeda", aeda.Options())], options).made
    """
    source, output = str(options.input), str(options.output)
    inputs, targets = task.input_columns(settings), task.target_columns(settings)
    columns = (*inputs, *targets)
    unknown_key(options.columns, [c.name for c in columns], "this task", "column")
    forms = (format_of(Path(source)), format_of(Path(output)))
    rows, held_out = _read(columns, options)
    fields = _fields(source, options)
    rewriting.check(source, forms, output, list(fields[0]))
    inputs = tuple(column for column in inputs if column.name in rows.columns)
    targets = tuple(column for column in targets if column.name in rows.columns)
    material = Material(rows, inputs, targets, load)
    from tfnlp.training import augmenting

    made: dict[str, Rows] = {}
    for entry, editor in zip(entries, augmenting.editors(entries, material), strict=True):
        found = augmentation.augmented(
            rows, inputs, targets, [editor], options.augment_times, (options.seed, 0), held_out
        )
        made[entry.name] = found.take(range(len(rows), len(found)))
    delimiter = "\t" if forms[1] == "tsv" else options.layout().character or ","
    text, spans = _conll(inputs, targets, rows) if forms[1] == "conll" else ("", "")
    with replacing(Path(output)) as file:
        written = _rows(rows, made, fields, (*inputs, *targets))
        rewriting.write(file, forms[1], written, text, spans, delimiter)
    return Done(len(rows), {name: len(found) for name, found in made.items()}, len(rows.bad))


def _read(columns: Sequence[Column], options: Options) -> tuple[Rows, list[Rows]]:
    """Read the rows, and those that none may equal."""
    how = (columns, options.columns, options.on_bad_row, options.label_separator)
    files = {"train": str(options.input)}
    files |= {f"held out {i}": name for i, name in enumerate(options.held_out)}
    found = splits.from_files(files, *how, options.layout())
    rows = found.pop("train")
    if not len(rows):
        raise UserError(f"{rows.source} has no row that can be used (see validate)")
    return rows, list(found.values())


def _fields(source: str, options: Options) -> dict[int, dict[str, Any]]:
    """Return the fields of each row by its number; 0 is the header."""
    with opened(Path(source)) as file:
        header, rows = raw_rows(file, format_of(Path(source)), source, False, options.layout())
        return {0: dict.fromkeys(header)} | {row.number: row.fields for row in rows}


def _conll(inputs: Sequence[Column], targets: Sequence[Column], rows: Rows) -> tuple[str, str]:
    """Return the file's names of the text and of its spans."""
    spans = [column for column in targets if column.kind == "spans"]
    if not spans:
        raise UserError("rows without tags cannot be written as .conll (give --output .jsonl)")
    return rows.names[spans[0].of], rows.names[spans[0].name]


def _rows(
    rows: Rows,
    made: dict[str, Rows],
    fields: dict[int, dict[str, Any]],
    columns: Sequence[Column],
) -> Iterator[dict[str, Any]]:
    """Yield the fields of the originals, and then of the rows that were made."""
    for number in rows.numbers:
        yield {**fields[number], rewriting.SOURCE_ROW: number}
    places = {number: place for place, number in enumerate(rows.numbers)}
    for found in made.values():
        for i, number in enumerate(found.numbers):
            values = {name: column[i] for name, column in found.columns.items()}
            origin = {name: column[places[number]] for name, column in rows.columns.items()}
            other = [c for c in columns if values[c.name] != origin[c.name]]
            row = rewriting.changed(fields[number], rows.names, other, values)
            yield {**row, rewriting.SOURCE_ROW: number}


def load(source: str) -> Subject:
    """Load a model that an augmenter asks."""
    from tfnlp.runs import subject

    return subject.load(source)
