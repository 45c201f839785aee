"""python -m tfnlp.predict: ask a SavedModel about texts; knows nothing of how it was trained."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from pipelines.errors import UserError
from pipelines.formats import FORMATS, Format, format_of, opened
from pipelines.kinds import value_of
from pipelines.rows import BadRow, Record, quarantine_path, stream
from pipelines.writers import Writer, csv_writer, json_text, jsonl_writer, replacing
from tfnlp.saved_model import SAVED_MODELS, Model, answered, find_model, load

STDIN = "<stdin>"


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m tfnlp.predict",
        description="Ask a SavedModel about texts: given here, in a file, or on standard input.",
        epilog="""examples:
  python -m tfnlp.predict trec "Who wrote Hamlet?"
  python -m tfnlp.predict saved_models/pairs/1 "first text" "second text"
  python -m tfnlp.predict trec --input questions.csv --column text=question --output answers.csv
  cat questions.txt | python -m tfnlp.predict trec > answers.jsonl

The answer to a row is the row's own columns and the model's outputs. An output whose name the
file has as a column is written as predicted_<name>.""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "model",
        metavar="MODEL",
        help="SavedModel folder, folder of versions (the highest is taken), or a name in "
        f"{SAVED_MODELS}/",
    )
    add(
        "texts",
        metavar="text",
        nargs="*",
        help="texts to answer; if the model reads several inputs, each row takes that many texts, "
        "in alphabetical order of the inputs' names (text_a, text_b); put -- before a text that "
        "begins with -",
    )
    add(
        "--input",
        metavar="FILE",
        help="file with a row per answer: .csv, .tsv, .jsonl, .txt, .conll, .conllu, .json "
        "(SQuAD), also with .gz; - is standard input, the default if no text is given",
    )
    add(
        "--input-format",
        choices=FORMATS,
        help="format of the input; text is one text a line (default: by the file's suffix; "
        "standard input: text)",
    )
    add(
        "--column",
        metavar="INPUT=HEADER",
        type=_pair,
        action="append",
        default=[],
        help="the file's column for one of the model's inputs, such as text=review; may be "
        "repeated (default: the column that is named like the input)",
    )
    add(
        "--on-bad-row",
        choices=("error", "skip", "quarantine"),
        default="error",
        help="a row that cannot be used stops the run, is left out, or is left out and written to "
        "<input>.bad.jsonl (default: %(default)s)",
    )
    add(
        "--output",
        metavar="FILE",
        help="file for the answers, put in place when complete; - is standard output, the default",
    )
    add(
        "--format",
        choices=("jsonl", "csv", "tsv", "table"),
        help="format of the answers (default: by --output's suffix; table on a terminal; else "
        "jsonl)",
    )
    add(
        "--signature",
        metavar="NAME",
        default="serving_default",
        help="which of the model's signatures is asked, such as embed (default: %(default)s)",
    )
    add(
        "--batch-size",
        metavar="ROWS",
        type=_positive,
        default=32,
        help="texts the model is asked at a time [rows] (default: %(default)s)",
    )
    return parser


def _pair(text: str) -> tuple[str, str]:
    name, sign, header = text.partition("=")
    if not (name and sign and header):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form INPUT=HEADER")
    return name, header


def _positive(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value


@dataclass
class Tally:
    """How many rows were answered and left out, for the last line; constant in size."""

    answered: int = 0
    bad: int = 0
    first_bad: BadRow | None = None

    def leave_out(self, row: BadRow) -> None:
        """Count a bad row."""
        self.bad += 1
        self.first_bad = self.first_bad or row


def run(args: argparse.Namespace) -> None:
    """Answer what the command line asks; places are checked before the model is loaded."""
    if args.texts and args.input:
        raise UserError("texts and --input were both given (give one of them)")
    folder = find_model(args.model)
    form = _output_form(args)
    tally = Tally()
    with ExitStack() as stack:
        file = None if args.texts else stack.enter_context(_input(args.input))
        input_form = None if args.texts else _input_form(args)
        output = stack.enter_context(_output(args.output))
        model = load(folder, args.signature)
        records: Iterable[Record] = (
            _argument_records(args.texts, model)
            if file is None or input_form is None
            else _file_records(args, file, input_form, model, tally)
        )
        write = _writer(form, output, model)
        advance = stack.enter_context(_progress(file, args.output))
        names: dict[str, str] = {}
        for chunk in answered(records, model, args.batch_size):
            names = names or _output_names(chunk)
            if form == "table":
                write([{**record.values, **answer} for record, answer in chunk])
            else:
                write([_merged(record, answer, names) for record, answer in chunk])
            output.flush()
            tally.answered += len(chunk)
            advance(tally.answered)
    if tally.bad:
        kept = f"kept in {quarantine_path(_source(args))}, " * (args.on_bad_row == "quarantine")
        _say(f"bad rows left out: {tally.bad:,}, {kept}the first: {tally.first_bad}")
    if not tally.answered:
        _say("no rows to answer")


def _source(args: argparse.Namespace) -> str:
    return STDIN if args.input in (None, "-") else args.input


def _input_form(args: argparse.Namespace) -> Format:
    """Return the format of the input: as told, or by the file's suffix."""
    told: Format | None = args.input_format or ("text" if _source(args) == STDIN else None)
    return told or format_of(Path(args.input))


@contextmanager
def _input(path: str | None) -> Iterator[BinaryIO]:
    """Open the input file or standard input."""
    if path is None and sys.stdin.isatty():
        raise UserError("nothing to answer (give texts or --input FILE, or pipe texts in)")
    if path in (None, "-"):
        yield sys.stdin.buffer
    else:
        with opened(Path(str(path))) as file:
            yield file


@contextmanager
def _output(path: str | None) -> Iterator[TextIO]:
    """Open standard output, or a file that is put in place when complete."""
    if path in (None, "-"):
        sys.stdout.reconfigure(encoding="utf-8", newline="")  # type: ignore[union-attr]
        yield sys.stdout
    else:
        with replacing(Path(str(path))) as file:
            yield file


def _output_form(args: argparse.Namespace) -> str:
    """Return the format of the answers: as told, by the file's suffix, or a table to look at."""
    if args.output in (None, "-"):
        return args.format or ("table" if sys.stdout.isatty() else "jsonl")
    suffix = Path(args.output).suffix.lower().removeprefix(".")
    if suffix == "gz":
        raise UserError(f"cannot write {args.output} gzipped (pipe standard output into gzip)")
    return args.format or (suffix if suffix in ("csv", "tsv") else "jsonl")


def _argument_records(texts: Sequence[str], model: Model) -> Iterator[Record]:
    """Yield the command line's texts as rows, one text per input."""
    width = len(model.inputs)
    if len(texts) % width:
        inputs = ", ".join(model.inputs)
        raise UserError(f"{len(texts)} texts, but each row takes {width}, in this order: {inputs}")
    for i, text in enumerate(texts, 1):
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise UserError(f"text {i} on the command line is not UTF-8")
    for start in range(0, len(texts), width):
        given = dict(zip(model.inputs, texts[start : start + width], strict=True))
        keys = {name: name for name in model.inputs}
        try:
            values = {c.name: value_of(c, given, keys, "") for c in model.columns}
        except ValueError as error:
            raise UserError(f"row {start // width + 1} of the command line: {error}") from error
        yield Record(start // width + 1, values, given)


def _file_records(
    args: argparse.Namespace, file: BinaryIO, form: Format, model: Model, tally: Tally
) -> Iterator[Record]:
    """Return a file's rows, checked for the model's inputs."""
    names = dict(args.column)
    unknown = [name for name in names if name not in model.inputs]
    if unknown:
        inputs = ", ".join(model.inputs)
        raise UserError(f"--column names {unknown[0]!r}; the model's inputs are: {inputs}")
    if form == "text" and len(model.inputs) > 1:
        inputs = ", ".join(model.inputs)
        raise UserError(
            f"the model reads {inputs}, which lines of plain text cannot hold "
            "(use --input-format csv, tsv or jsonl)"
        )
    if form == "text":
        names = {model.inputs[0]: "text"}
    return stream(
        file,
        model.columns,
        source=_source(args),
        form=form,
        names=names,
        flag="--column {name}=HEADER",
        on_bad_row=args.on_bad_row,
        report=tally.leave_out,
    )


def _output_names(chunk: Sequence[tuple[Record, dict[str, Any]]]) -> dict[str, str]:
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


def _writer(form: str, output: TextIO, model: Model) -> Writer:
    """Return the function that writes rows of answers."""
    if form == "table":
        return _table_writer(output, model.inputs)
    if form == "jsonl":
        return jsonl_writer(output)
    return csv_writer(output, "\t" if form == "tsv" else ",")


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
            table.add_row(*(_table_cell(row[name]) for name in columns))
        with console.capture() as capture:  # on a broken pipe rich itself would exit
            console.print(table)
        output.write(capture.get())

    return write


def _table_cell(value: Any) -> Text:
    """Return a value for the eye: three digits, the three best of a mapping, nothing invisible."""
    if isinstance(value, dict):
        best = sorted(value.items(), key=lambda pair: pair[1], reverse=True)[:3]
        value = ", ".join(f"{label} {score:.3f}" for label, score in best)
    elif isinstance(value, float):
        value = f"{value:.3f}"
    elif not isinstance(value, str):
        value = json_text(value)
    cropped = value if len(value) <= 300 else f"{value[:299]}…"
    # A text may hold escape sequences, which a terminal would obey.
    return Text("".join(c if c.isprintable() else " " for c in cropped))


@contextmanager
def _progress(file: BinaryIO | None, output: str | None) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how far a file has been read, unless the answers go there themselves."""
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
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as progress:
        task = progress.add_task("", total=size or None, rows=0, speed=0.0)
        begin = time.monotonic()

        def advance(rows: int) -> None:
            if file is not None and shown:
                place = file.tell() if size else 0
                speed = rows / (time.monotonic() - begin)
                progress.update(task, completed=place, rows=rows, speed=speed)

        yield advance


def _say(message: str) -> None:
    print(message, file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    args = parser().parse_intermixed_args(argv)
    try:
        run(args)
    except UserError as error:
        _say(f"error: {error}")
        return 2
    except BrokenPipeError:
        # The reader has enough, as in | head. Nothing is left to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        _say(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        _say("interrupted; nothing was changed" if args.output else "interrupted")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
