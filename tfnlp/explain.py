"""python -m tfnlp.explain: show what each word of a text did for a model's answer."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO, Literal

from pipelines.errors import UserError
from pipelines.rows import Record
from tfnlp import extensions, needs
from tfnlp.api.explaining import DEFAULT, values
from tfnlp.cli import entries, explained
from tfnlp.config_data import FileLayout
from tfnlp.extensions import Explanation, Subject, Wanted, consent
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
    unit: Literal["words", "sentences", "tokens", "characters"] = option(
        "words",
        "what gets a weight; a word is a character of scripts without spaces, and tokens are the "
        "network's own",
    )
    target_label: str | None = option(
        None,
        "explain this answer, whatever the model answers (a label; of questions a part of "
        "the text)",
        metavar="LABEL",
    )
    rather_than: str | None = option(
        None, "explain why the answer is given rather than this one", metavar="LABEL"
    )
    output: str | None = option(
        None,
        "file of JSON lines, or a page by its suffix .html, put in place when complete; - is "
        "standard output, the default",
    )
    words: str | None = option(
        None,
        "also write which words count most for each label, over all rows, with an interval: a "
        "page to filter (.html), or a table (.csv)",
        metavar="FILE",
    )
    errors: str | None = option(
        None,
        "write a page of a run's errors in place of explained rows: why, the nearest training "
        "rows, and groups of like errors; on the rows that it was tested on, or --input with the "
        "right answers",
        metavar="FILE.html",
    )
    tensorboard: bool = option(
        False, "also show the first 100 answers, and the words, as text in the run's TensorBoard"
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
    if options.errors:
        return _errors(flags["subject"], flags["texts"], options)
    with signals.caught("") as caught, ExitStack() as stack:
        file = None
        if not flags["texts"]:
            file = stack.enter_context(input_rows.open_input(options.input))
            options.layout().check([input_rows.format_told(options.input)])
        board = _board(flags["subject"]) if options.tensorboard else None
        about = {"model": flags["subject"], "method": f"{entry.name}: {entry.record.summary}"}
        write = stack.enter_context(explained.opened(options.output, options.words, board, about))
        from tfnlp.runs import subject as subjects

        subject = subjects.load(flags["subject"], options.batch_size, caught.holding)
        tally = Tally()
        records = _records(subject, flags["texts"], file, options, tally)
        advance = stack.enter_context(outputs.progress(file, options.output))
        wanted = Wanted(options.unit, options.target_label, options.rather_than)
        own = entries.options(entry, flags)
        for found in entry.record.explain(subject, records, own, wanted):
            write(values(found))
            tally.answered += 1
            advance(found.row)
    for said in tally.said(options.input, options.on_bad_row == "quarantine"):
        print(f"warning: {said}", file=sys.stderr)
    return 0


def _errors(source: str, texts: Sequence[str], options: Options) -> int:
    """Write the page of a run's errors."""
    other = ("output", "words", "tensorboard", "target_label", "rather_than")
    given = [name for name in other if getattr(options, name)]
    if texts or given:
        told = "texts" if texts else f"--{given[0].replace('_', '-')}"
        raise UserError(f"{told} cannot be given with --errors (leave it out)")
    if Path(str(options.errors)).suffix.lower() != ".html":
        raise UserError(f"--errors {options.errors}: it is a page (give a name in .html)")
    from tfnlp.api import errors, evaluating
    from tfnlp.runs import subject as subjects

    kept = evaluating.kept(source)
    asked = evaluating.Options(
        delimiter=options.delimiter,
        quoting=options.quoting,
        encoding=options.encoding,
        test=options.input,
        columns=options.columns,
        on_bad_row=options.on_bad_row,
    )
    rows = evaluating.read_rows(kept, evaluating.with_data(asked, kept))
    subject = subjects.load(source, options.batch_size)
    found = errors.find(subject, rows, options.by)
    found.write(str(options.errors), {"model": source, "data": rows.source, "method": options.by})
    print(f"{found.wrong} of {found.rows} rows are answered wrongly: {options.errors}")
    return 0


def _board(subject: str) -> Path:
    """Return the folder of a run, for its TensorBoard."""
    folder = Path(subject)
    if not (folder / "experiment.yaml").exists() or (folder / "saved_model.pb").exists():
        raise UserError(f"--tensorboard needs a run, and {subject} is none (leave it out)")
    return folder


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


if __name__ == "__main__":
    sys.exit(exit_status.run(main))
