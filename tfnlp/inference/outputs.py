"""Where answers go: into files, or onto a terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO, TypeAlias

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from pipelines.atomic import replacing
from pipelines.errors import UserError
from pipelines.files.writers import Writer, csv_writer, json_text, jsonl_writer
from pipelines.rows import Record

Chunk: TypeAlias = Sequence[tuple[Record, dict[str, Any]]]


@contextmanager
def opened(path: str | None) -> Iterator[TextIO]:
    """Open standard output, or a file that is put in place when complete.

    Args:
        path: the file; None or - is standard output.

    Example::

        with opened("answers.jsonl") as output:
            write = writer("jsonl", output, ["text"])
    """
    if path in (None, "-"):
        sys.stdout.reconfigure(encoding="utf-8", newline="")  # type: ignore[union-attr]
        yield sys.stdout
    else:
        with replacing(Path(str(path))) as file:
            yield file


def form_of(path: str | None, told: str | None) -> str:
    """Return the format of the answers: as asked for, by the file's suffix, or a table.

    Raises:
        UserError: the suffix is that of a gzipped file.

    Example:
        >>> form_of("answers.csv", None), form_of("answers.csv", "tsv")
        ('csv', 'tsv')
    """
    if path in (None, "-"):
        return told or ("table" if sys.stdout.isatty() else "jsonl")
    suffix = Path(path).suffix.lower().removeprefix(".")
    if suffix == "gz":
        raise UserError(f"cannot write {path} gzipped (pipe standard output into gzip)")
    return told or (suffix if suffix in ("csv", "tsv") else "jsonl")


def writer(form: str, output: TextIO, inputs: Sequence[str]) -> Callable[[Chunk], None]:
    """Return the function that writes rows and their answers.

    Example::

        write = writer("csv", output, model.inputs)
        for chunk in answered(records, model):
            write(chunk)
    """
    if form == "table":
        show = _table_writer(output, inputs)
        return lambda chunk: show([{**record.values, **answer} for record, answer in chunk])
    write = jsonl_writer(output)
    if form != "jsonl":
        write = csv_writer(output, "\t" if form == "tsv" else ",")
    names: dict[str, str] = {}

    def write_merged(chunk: Chunk) -> None:
        names.update(names or _output_names(chunk))
        write([_merged(record, answer, names) for record, answer in chunk])

    return write_merged


def _output_names(chunk: Chunk) -> dict[str, str]:
    """Return under which name each output is written: ``predicted_...`` if a column has its own."""
    taken = {name for record, _ in chunk for name in record.fields}
    names = {}
    for name in chunk[0][1]:
        free = name
        while free in taken:
            free = f"predicted_{free}"
        names[name] = free
    return names


def _merged(record: Record, answer: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return a row's own columns and the outputs."""
    outputs = {names[name]: value for name, value in answer.items()}
    clash = outputs.keys() & record.fields.keys()
    if clash:
        raise UserError(
            f"row {record.number} has a column {min(clash)!r}, which the rows before it lack and "
            "the answers use (name the same columns in the first rows)"
        )
    return {**record.fields, **outputs}


def _table_writer(output: TextIO, inputs: Sequence[str]) -> Writer:
    """Return a function that shows inputs and outputs; mappings only if there is nothing else."""
    console = Console(file=output)

    def write(rows: Sequence[Mapping[str, Any]]) -> None:
        plain = [name for name, value in rows[0].items() if not isinstance(value, dict)]
        columns = plain if len(plain) > len(inputs) else list(rows[0])
        table = Table()
        for name in columns:
            number = isinstance(rows[0][name], (int, float))
            table.add_column(Text(name), justify="right" if number else "left")
        for row in rows:
            table.add_row(*(_cell(row[name]) for name in columns))
        with console.capture() as capture:  # on a broken pipe rich itself would exit
            console.print(table)
        output.write(capture.get())

    return write


def _cell(value: Any) -> Text:
    """Return a value for display: three digits, the three best of a mapping, nothing invisible."""
    if isinstance(value, dict):
        best = sorted(value.items(), key=lambda pair: pair[1], reverse=True)[:3]
        value = ", ".join(f"{label} {score:z.3f}" for label, score in best)
    elif isinstance(value, float):
        value = f"{value:z.3f}"
    elif not isinstance(value, str):
        value = json_text(value)
    return Text(printable(value if len(value) <= 300 else f"{value[:299]}…"))


def printable(text: str, keep: str = "") -> str:
    """Replace invisible characters by spaces, except for those in ``keep``.

    A text may hold escape sequences, which a terminal would obey.

    Example:
        >>> printable(f"a{chr(27)}[31mb")
        'a [31mb'
    """
    return "".join(c if c.isprintable() or c in keep else " " for c in text)


@contextmanager
def progress(file: BinaryIO | None, output: str | None) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how far a file has been read, unless the answers go there themselves.

    Args:
        file: what is read.
        output: the name of the file that answers go to; None or - is standard output.

    Yields:
        A function to be called with the number of rows so far.

    Example::

        with progress(file, "answers.csv") as advance:
            advance(1024)  # rows so far
    """
    to_file = output not in (None, "-") or not sys.stdout.isatty()
    shown = file is not None and to_file and sys.stderr.isatty()
    size = os.fstat(file.fileno()).st_size if file is not None and shown else 0
    columns = (
        TextColumn("{task.fields[rows]:,} rows"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[speed]:,.0f} rows/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task("", total=size or None, rows=0, speed=0.0)
        begin = time.monotonic()

        def advance(rows: int) -> None:
            if file is not None and shown:
                place = file.tell() if size else 0
                speed = rows / (time.monotonic() - begin)
                bar.update(task, completed=place, rows=rows, speed=speed)

        yield advance
