"""python -m tfnlp.explain: show what each word of a text did for a model's answer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import SimpleNamespace
from typing import BinaryIO, Literal, TextIO

from rich.console import Console
from rich.text import Text

from pipelines.errors import UserError
from pipelines.files.writers import jsonl_writer
from pipelines.rows import Record
from tfnlp import extensions, needs
from tfnlp.api.explaining import DEFAULT, values
from tfnlp.cli import entries
from tfnlp.config_data import FileLayout
from tfnlp.extensions import Attribution, Explanation, Subject, consent
from tfnlp.inference import input_rows, outputs
from tfnlp.inference.saved_model import SAVED_MODELS
from tfnlp.inference.tally import Tally
from tfnlp.options import Parser, add_flags, make, option, values_of
from tfnlp.runtime import exit_status, signals


@dataclass(frozen=True)
class Options(FileLayout):
    """What is explained, how, and where it goes.

    Example::

        python -m tfnlp.explain trec-classification --input rows.csv --output why.jsonl
    """

    by: str = option(
        DEFAULT,
        f"the method: {', '.join(extensions.names(Explanation))}, or your own module such as "
        "mypackage.mymethod",
    )
    input: str | None = option(
        None, "file with a row per line, of any format that predict reads; - is standard input"
    )
    columns: dict[str, str] = option(
        {},
        "the file's column for one of the model's inputs, such as text=review",
        flag="--column",
        needs=input_rows.OF_FILES,
    )
    on_bad_row: Literal["error", "skip", "quarantine"] = option(
        "error",
        "a row that cannot be used stops the command, is left out, or is kept aside",
        needs=input_rows.OF_FILES,
    )
    output: str | None = option(
        None, "file of JSON lines, put in place when complete; - is standard output, the default"
    )
    batch_size: int = option(32, "texts the model is asked at a time [rows]", minimum=1)


def main(argv: list[str]) -> int:
    """Explain the answers that the arguments ask for."""
    parser = Parser(
        prog="python -m tfnlp.explain",
        description="Show what each word of a text did for a model's answer: the words in colour "
        "on a terminal,\nelse a JSON line for each answer.",
    )
    parser.add_argument(
        "subject",
        metavar="SUBJECT",
        help=f"a run's folder, a SavedModel's folder or its name in {SAVED_MODELS}/, or a server's "
        "http://HOST:8501/v1/models/NAME",
    )
    parser.add_argument("texts", metavar="text", nargs="*", help="texts, one for each input a row")
    consent.add_flag(parser)
    add_flags(parser, "options", Options, "rows and method")
    (entry,) = entries.add(parser, Explanation, entries.named(argv, "--by")[-1:] or [DEFAULT])
    flags = vars(parser.parse(argv))
    options = make(Options, values_of(flags, "options"), "the command line")
    if flags["texts"] and options.input:
        raise UserError("texts and --input were both given (give one of them)")
    needs.check(options, SimpleNamespace(texts=flags["texts"]))
    with signals.caught("") as caught, ExitStack() as stack:
        file = None
        if not flags["texts"]:
            file = stack.enter_context(input_rows.open_input(options.input))
            options.layout().check([input_rows.format_told(options.input)])
        output = stack.enter_context(outputs.opened(options.output))
        from tfnlp.runs import subject as subjects

        subject = subjects.load(flags["subject"], options.batch_size, caught.holding)
        tally = Tally()
        records = _records(subject, flags["texts"], file, options, tally)
        advance = stack.enter_context(outputs.progress(file, options.output))
        write = _writer(output, options.output)
        for found in entry.record.explain(subject, records, entries.options(entry, flags)):
            write(found)
            tally.answered += 1
            advance(found.row)
    for said in tally.said(options.input, options.on_bad_row == "quarantine"):
        print(f"warning: {said}", file=sys.stderr)
    return 0


def _records(
    subject: Subject,
    texts: Sequence[str],
    file: BinaryIO | None,
    options: Options,
    tally: Tally,
) -> Iterable[Record]:
    """Return the rows that are asked about."""
    if file is None:
        return input_rows.from_arguments(texts, subject.inputs)
    return input_rows.from_file(
        file,
        subject.inputs,
        path=options.input,
        form=input_rows.format_told(options.input),
        layout=options.layout(),
        headers=options.columns,
        on_bad_row=options.on_bad_row,
        report=tally.leave_out,
        notice=tally.notes.append,
    )


def _writer(output: TextIO, path: str | None) -> Callable[[Attribution], None]:
    """Return what writes an attribution: in colour on a terminal, else as a JSON line."""
    if path is None and sys.stdout.isatty():
        console = Console(file=output, highlight=False)
        return lambda found: console.print(*_coloured(found), sep="\n", soft_wrap=True)
    write = jsonl_writer(output)

    def line(found: Attribution) -> None:
        write([values(found)])
        output.flush()

    return line


def _coloured(found: Attribution) -> Iterator[Text]:
    """Yield the lines that a person sees: the answer, and each input with its pieces coloured.

    Green pieces speak for the answer, red ones against it, the deeper the more.
    """
    yield Text(f"{found.row}  {outputs.printable(found.label)}  {found.score:z.3f}", style="bold")
    top = max((abs(piece.weight) for piece in found.pieces), default=0.0)
    for name, text in found.inputs.items():
        line = Text(outputs.printable(text))
        for piece in found.pieces:
            share = abs(piece.weight) / top if top else 0.0
            if piece.input == name and share >= 0.05:
                line.stylize(_style(piece.weight, share), piece.start, piece.end)
        yield Text(f"{name}: ", style="dim") + line if len(found.inputs) > 1 else line
    for flag in found.flags:
        yield Text(f"({flag})", style="dim")
    yield Text("")


def _style(weight: float, share: float) -> str:
    """Return the colours of a piece, by its share of the heaviest weight."""
    pale = int(225 * (1 - share))
    red, green = (pale, 225) if weight > 0 else (225, pale)
    return f"#000000 on #{red:02x}{green:02x}{pale:02x}"


if __name__ == "__main__":
    sys.exit(exit_status.run(main))
