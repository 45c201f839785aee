"""python -m tfnlp.predict: ask a SavedModel about texts; knows nothing of how it was trained."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipelines.errors import UserError
from pipelines.formats import FORMATS, Format, format_of, opened
from pipelines.kinds import value_of
from pipelines.rows import BadRow, Record, quarantine_path, stream
from tfnlp import outputs, saved_model, streaming
from tfnlp.saved_model import SAVED_MODELS, SETTINGS, Model, answered, find_model, settings_of
from tfnlp.settings import Settings

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
  python -m tfnlp.predict story "Once upon a time" --set temperature=0.7 --set top_p=0.9
  python -m tfnlp.predict german --input english.txt --set beams=8 --set length_penalty=0.8

The answer to a row is the row's own columns and the model's outputs. An output whose name the
file has as a column is written as predicted_<name>.

A model that writes takes settings (--set). Which, and with what values otherwise, stands in its
settings.json; what chooses tokens follows from them: temperature and top_p sample, beams asks for
a beam search, alpha for a contrastive one. On a terminal the answer to a single text is shown as
it is written, unless it is searched for as a whole, as by beams; --stream asks for it anywhere.""",
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
        help="which of the model's signatures is asked, such as embed (default: serving_default, "
        "or the one that has all that --set names)",
    )
    add(
        "--set",
        metavar="NAME=VALUE",
        type=_setting,
        action="append",
        default=[],
        help="how a model that writes does so, such as temperature=0.7; may be repeated",
    )
    add(
        "--stream",
        action="store_true",
        help="show each answer as it is written, without a table or JSON (default: for a single "
        "text on a terminal)",
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


def _setting(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return name, value


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
    form = outputs.form_of(args.output, args.format)
    known = settings_of(folder)
    way, told = _way(args, folder, known)
    live = _live(args, way, told, known)
    tally = Tally()
    with ExitStack() as stack:
        file = None if args.texts else stack.enter_context(_input(args.input))
        input_form = None if args.texts else _input_form(args)
        output = stack.enter_context(outputs.opened(args.output))
        saved = saved_model.opened(folder)
        model = saved.model(way, told) if args.signature or args.set else saved.model()
        records: Iterable[Record] = (
            _argument_records(args.texts, model)
            if file is None or input_form is None
            else _file_records(args, file, input_form, model, tally)
        )
        single = len(args.texts) == len(model.inputs) and streaming.possible(saved)
        if live is not None and (args.stream or single):
            stream = streaming.Stream(saved, live)
            for record in records:
                stream.show(record.values, output)
                tally.answered += 1
        else:
            advance = stack.enter_context(outputs.progress(file, args.output))
            write = outputs.writer(form, output, model.inputs)
            for chunk in answered(records, model, args.batch_size):
                write(chunk)
                output.flush()
                tally.answered += len(chunk)
                advance(tally.answered)
    if tally.bad:
        kept = f"kept in {quarantine_path(_source(args))}, " * (args.on_bad_row == "quarantine")
        _say(f"bad rows left out: {tally.bad:,}, {kept}the first: {tally.first_bad}")
    if not tally.answered:
        _say("no rows to answer")


def _way(args: argparse.Namespace, folder: Path, known: Settings) -> tuple[str, dict[str, str]]:
    """Return the signature that is asked, or would be if it took settings, and the settings."""
    given = dict(args.set)
    if given and not known.ways:
        raise UserError(
            f"{folder} has no settings (--set is for models that write, which have a {SETTINGS})"
        )
    return (args.signature, given) if args.signature else known.choose(given)


def _live(
    args: argparse.Namespace, way: str, told: dict[str, str], known: Settings
) -> dict[str, str] | None:
    """Return the settings for answers shown as they are written, or None if they need not be."""
    samples = way in ("sample", "start")
    bare = args.output in (None, "-") and not args.format
    if not args.stream:
        return told if samples and bare and sys.stdout.isatty() else None
    if not bare:
        raise UserError(
            "--stream shows answers as they are, on standard output (leave out --output and "
            "--format)"
        )
    if samples or not way:
        return told
    if args.signature:
        raise UserError(
            f"--stream writes by the signature sample, not {args.signature} (leave out one of them)"
        )
    given = dict(args.set)
    there = known.ways.get("sample", {})
    lacking = [name for name in given if name not in there]
    if lacking:
        raise UserError(
            f"--stream writes by the signature sample, which has no setting {lacking[0]!r}; it "
            f"has: {', '.join(there)}"
        )
    told = known.greedily(given)
    how = "greedily" if told != given else "by chance"
    _say(f"{way} search shows nothing before its end: this is written {how} instead")
    return told


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
