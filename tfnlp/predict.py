"""python -m tfnlp.predict: ask a SavedModel about texts; knows nothing of how it was trained."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from pipelines.columns import value_of
from pipelines.errors import UserError
from pipelines.files.formats import Format, format_of, opened
from pipelines.rows import BadRow, Record, quarantine_path, stream
from tfnlp.inference import outputs, remote, saved_model, streaming
from tfnlp.inference.saved_model import (
    SETTINGS,
    Saved,
    ServedModel,
    answered,
    find_model,
    settings_of,
)
from tfnlp.inference.settings import DEFAULT, Settings
from tfnlp.predict_options import parser
from tfnlp.runtime.precision import Precision
from tfnlp.runtime.signals import caught
from tfnlp.runtime.startup import quiet_start

STDIN = "<stdin>"
_AT_ONCE = 2  # batches: while one waits for its slowest thread, the other has work for the rest
COLUMN_FLAG = "--column {name}=HEADER"


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
    if args.runner or args.shards or args.runner_option:
        _at_scale(args)
        return
    args.on_bad_row = args.on_bad_row or "error"
    form = outputs.form_of(args.output, args.format)
    place, known, load = _place(args.model, args.precision)
    way, told = _way(args, place, known)
    live = _live(args, way, told, known)
    tally = Tally()
    with ExitStack() as stack:
        signals = stack.enter_context(caught(""))
        file = None if args.texts else stack.enter_context(_input(args.input))
        input_form = None if args.texts else _input_form(args)
        output = stack.enter_context(outputs.opened(args.output))
        saved = load()
        model = saved.model(way, told) if args.signature or args.set else saved.model()
        if not remote.is_address(args.model):
            saved = replace(saved, call=signals.holding(saved.call))
            model = replace(model, answer=signals.holding(model.answer))
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
            at_once = args.requests if remote.is_address(args.model) else _AT_ONCE
            for chunk in answered(records, model, args.batch_size, at_once):
                write(chunk)
                output.flush()
                tally.answered += len(chunk)
                advance(tally.answered)
    if tally.bad:
        kept = f"kept in {quarantine_path(_source(args))}, " * (args.on_bad_row == "quarantine")
        _say(f"bad rows left out: {tally.bad:,}, {kept}the first: {tally.first_bad}")
    if not tally.answered:
        _say("no rows to answer")


def _place(model: str, kind: Precision) -> tuple[str, Settings, Callable[[], Saved]]:
    """Return where a model is, what it may be told, and what makes it ready."""
    if remote.is_address(model):
        saved = remote.opened(model)
        return model, saved.settings, lambda: saved
    folder = find_model(model)
    return str(folder), settings_of(folder), lambda: saved_model.opened(folder, kind)


def _way(args: argparse.Namespace, place: str, known: Settings) -> tuple[str, dict[str, str]]:
    """Return the signature that is asked, or would be if it took settings, and the settings."""
    given = dict(args.set)
    if given and not known.ways:
        raise UserError(
            f"{place} has no settings (--set is for models that write, which have a {SETTINGS})"
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


def _argument_records(texts: Sequence[str], model: ServedModel) -> Iterator[Record]:
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
    args: argparse.Namespace, file: BinaryIO, form: Format, model: ServedModel, tally: Tally
) -> Iterator[Record]:
    """Return a file's rows, checked for the model's inputs."""
    return stream(
        file,
        model.columns,
        source=_source(args),
        form=form,
        names=_names(args, form, model),
        flag=COLUMN_FLAG,
        on_bad_row=args.on_bad_row,
        report=tally.leave_out,
    )


def _names(args: argparse.Namespace, form: Format, model: ServedModel) -> dict[str, str]:
    """Return the file's column for each of the model's inputs that has one of another name."""
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
    return names


def _at_scale(args: argparse.Namespace) -> None:
    """Have Apache Beam answer files; what it would trip over is looked for first."""
    if not args.runner:
        raise UserError("--shards and --runner-option are for --runner, such as DirectRunner")
    try:
        with quiet_start():
            from tfnlp.inference import beam, beam_files
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("apache_beam", "tensorflow_hub"):
            raise
        raise UserError("--runner needs apache-beam (pip install 'tfnlp[beam]')") from error
    output = beam_files.Output.of(args)
    files = beam_files.files_of(args.input, output)
    output.make_room()
    form = beam_files.form_of(files[0], args.input_format)
    with beam_files.reachable(args.model) as folder:
        way, told = _way(args, args.model, settings_of(folder))
        asked = (way, told) if args.signature or args.set else (DEFAULT, {})
        model = saved_model.opened(folder).model(*asked)
        address = args.model if beam_files.remote(args.model) else str(folder.resolve())
    source = beam.Source(form, model.columns, _names(args, form, model), COLUMN_FLAG)
    source.check(files[0])
    question = beam.Question(address, *asked, args.batch_size)
    beam.run(files, source, question, output, args.runner, args.runner_option)


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
    except KeyboardInterrupt as stop:
        _say("interrupted; nothing was changed" if args.output else "interrupted")
        return 128 + getattr(stop, "signum", signal.SIGINT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
