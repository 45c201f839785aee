"""Rows answered by a SavedModel: from a command line, a file or standard input, to any output."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Literal, TextIO

from pipelines.errors import UserError
from pipelines.files.formats import Format
from pipelines.rows import Column, Record, read
from tfnlp import needs
from tfnlp.config_data import FileLayout
from tfnlp.inference import input_rows, outputs, remote, saved_model, streaming
from tfnlp.inference.chunks import answered
from tfnlp.inference.input_rows import OF_FILES
from tfnlp.inference.saved_model import (
    SETTINGS,
    Saved,
    ServedModel,
    find_model,
    settings_of,
)
from tfnlp.inference.settings import DEFAULT, Settings
from tfnlp.inference.tally import Tally
from tfnlp.needs import Need
from tfnlp.options import option
from tfnlp.runtime.precision import Precision
from tfnlp.runtime.signals import Signals, caught
from tfnlp.runtime.startup import quiet_start

_AT_ONCE = 2  # batches: while one waits for its slowest thread, the other has work for the rest


@dataclass(frozen=True)
class Options(FileLayout):
    """Which rows are answered, how the model is asked, and where the answers go.

    Example::

        python -m tfnlp.predict MODEL --input rows.csv --column text=question --set top_p=0.9
    """

    input: str | None = option(
        None,
        "file with a row per answer: .csv, .tsv, .jsonl, .txt, .conll, .conllu, .json (SQuAD), "
        "also with .gz; - is standard input, the default if no text is given",
        metavar="FILE",
    )
    input_format: Format | None = option(
        None,
        "format of the input; text is one text a line (default: by the file's suffix; standard "
        "input: text)",
        needs=OF_FILES,
    )
    columns: dict[str, str] = option(
        {},
        "the file's column for one of the model's inputs, such as text=review; may be repeated "
        "(default: the column that is named like the input)",
        flag="--column",
        metavar="INPUT=HEADER",
        needs=OF_FILES,
    )
    on_bad_row: Literal["error", "skip", "quarantine"] | None = option(
        None,
        "a row that cannot be used stops the run, is left out, or is left out and written to "
        "<input>.bad.jsonl (default: error; with --runner, which it never stops: quarantine)",
        needs=OF_FILES,
    )
    output: str | None = option(
        None,
        "file for the answers, put in place when complete; - is standard output, the default",
        metavar="FILE",
    )
    format: Literal["jsonl", "csv", "tsv", "table"] | None = option(
        None,
        "format of the answers (default: by --output's suffix; table on a terminal; else jsonl)",
    )
    signature: str | None = option(
        None,
        "which of the model's signatures is asked, such as embed (default: serving_default, or "
        "the one that has all that --set names)",
        metavar="NAME",
    )
    settings: dict[str, str] = option(
        {},
        "how a model that writes does so, such as temperature=0.7; may be repeated",
        flag="--set",
    )
    labels: str | None = option(
        None,
        "a file with a label a line, for a zero-shot model to choose from in place of its own",
        metavar="FILE",
        needs=Need(
            lambda known: "labels" not in known.options.settings,
            "says what --set labels says too",
        ),
    )
    stream: bool | None = option(
        None,
        "show each answer as it is written, without a table or JSON (default: for a single text "
        "on a terminal)",
    )
    batch_size: int = option(
        32, "texts the model is asked at a time [rows]", minimum=1, metavar="ROWS"
    )
    precision: Literal["auto", "float32"] = option(
        "auto",
        "float32, or auto: with products in bfloat16 where the processor has them",
        needs=Need(
            lambda known: not (remote.is_address(known.model) or known.options.runner),
            "has no effect on a model that another process runs",
        ),
    )
    requests: int = option(
        4,
        "requests that a server is sent at a time",
        minimum=1,
        metavar="N",
        needs=Need(
            lambda known: remote.is_address(known.model) and not known.options.runner,
            "has no effect on a model that is not on a server",
        ),
    )
    runner: str | None = option(
        None,
        "have Apache Beam answer files: DirectRunner (this machine), FlinkRunner, "
        "DataflowRunner, ...; needs pip install -e '.[beam]'",
        metavar="RUNNER",
    )
    runner_option: tuple[str, ...] = option(
        (),
        "an option of the runner or of Beam, such as flink_master=host:8081; may be repeated",
        metavar="KEY=VALUE",
    )
    shards: int | None = option(
        None,
        "files the answers are divided among with --runner (default: the runner's choice)",
        minimum=1,
        metavar="N",
    )


@dataclass(frozen=True)
class Target:
    """A model that is not loaded yet.

    Attributes:
        name: its folder or address, for messages.
        settings: the settings that its signatures take besides texts.
        load: loads it, or reaches its server.

    Example::

        Target.of("trec-classification", "auto").load()
    """

    name: str
    settings: Settings
    load: Callable[[], Saved]

    @classmethod
    def of(cls, model: str, precision: Precision) -> Target:
        """Find a model; raises UserError if there is none."""
        if remote.is_address(model):
            saved = remote.opened(model)
            return cls(model, saved.settings, lambda: saved)
        folder = find_model(model)
        return cls(str(folder), settings_of(folder), lambda: saved_model.opened(folder, precision))


def run(model: str, texts: Sequence[str], options: Options) -> None:
    """Answer rows; what the options say is checked before the model is loaded.

    Args:
        model: a SavedModel's folder, name or address.
        texts: rows on the command line, as many texts each as the model has inputs.
        options: everything else.

    Raises:
        UserError: the options contradict one another, or a file, a row or the model cannot be used.

    Example::

        run("trec-classification", ["Who wrote Hamlet?"], Options(format="jsonl"))
    """
    if texts and options.input:
        raise UserError("texts and --input were both given (give one of them)")
    needs.check(options, SimpleNamespace(model=model, texts=texts, options=options))
    options = _with_labels(options)
    if options.runner or options.shards or options.runner_option:
        _at_scale(model, texts, options)
        return
    form = outputs.form_of(options.output, options.format)
    target = Target.of(model, options.precision)
    signature, settings = _signature(options, target)
    shown = _shown_settings(options, signature, settings, target.settings)
    tally = Tally()
    with ExitStack() as stack:
        signals = stack.enter_context(caught("; nothing was changed" * bool(options.output)))
        file = None if texts else stack.enter_context(input_rows.open_input(options.input))
        input_form = None if texts else input_rows.format_told(options.input, options.input_format)
        options.layout().check([input_form] if input_form else [])
        output = stack.enter_context(outputs.opened(options.output))
        own_way = not (options.signature or options.settings)
        saved, asked = _opened(target, (DEFAULT, {}) if own_way else (signature, settings), signals)
        if file is None or input_form is None:
            records: Iterable[Record] = input_rows.from_arguments(texts, asked.columns)
        else:
            records = input_rows.from_file(
                file,
                asked.columns,
                path=options.input,
                form=input_form,
                layout=options.layout(),
                headers=options.columns,
                on_bad_row=options.on_bad_row or "error",
                report=tally.leave_out,
                notice=tally.notes.append,
            )
        single = len(texts) == len(asked.inputs) and streaming.possible(saved)
        if shown is not None and (options.stream or single):
            _stream(streaming.Stream(saved, shown), records, output, tally)
        else:
            at_once = options.requests if remote.is_address(model) else _AT_ONCE
            write = outputs.writer(form, output, asked.inputs)
            advance = stack.enter_context(outputs.progress(file, options.output))
            for chunk in answered(records, asked, options.batch_size, at_once):
                write(chunk)
                output.flush()
                tally.answered += len(chunk)
                advance(tally.answered)
    for said in tally.said(options.input, options.on_bad_row == "quarantine"):
        _warn(said)


def _with_labels(options: Options) -> Options:
    """Return options whose labels are a setting as any other."""
    if options.labels is None:
        return options
    label = Column("label", "text", "a label", ("text", "name"))
    names = read(options.labels, (label,), layout=options.layout()).columns["label"]
    settings = {**options.settings, "labels": "\n".join(names) + "\n"}
    return replace(options, settings=settings, labels=None)


def _opened(
    target: Target, question: tuple[str, Mapping[str, str]], signals: Signals
) -> tuple[Saved, ServedModel]:
    """Load a model, and return what answers by a signature with its settings.

    A signal waits for the end of a call of TensorFlow in this process.
    """
    saved = target.load()
    asked = saved.model(*question)
    if remote.is_address(target.name):
        return saved, asked
    return (
        replace(saved, call=signals.holding(saved.call)),
        replace(asked, answer=signals.holding(asked.answer)),
    )


def _stream(
    stream: streaming.Stream, records: Iterable[Record], output: TextIO, tally: Tally
) -> None:
    """Show the answers one after another, each as it is written."""
    for record in records:
        stream.show(record.values, output)
        tally.answered += 1


def _signature(options: Options, target: Target) -> tuple[str, dict[str, str]]:
    """Return the signature that is asked, or would be if it took settings, and the settings."""
    if options.settings and not target.settings.ways:
        raise UserError(
            f"{target.name} has no settings (--set is for models that write, and --labels for "
            f"zero-shot models, which have a {SETTINGS})"
        )
    if options.signature:
        return options.signature, options.settings
    return target.settings.choose(options.settings)


def _shown_settings(
    options: Options, signature: str, settings: dict[str, str], known: Settings
) -> dict[str, str] | None:
    """Return the settings for answers shown as they are written, or None if they need not be."""
    samples = signature in ("sample", "start")
    bare = options.output in (None, "-") and not options.format
    if not options.stream:
        automatic = options.stream is None and samples and bare and sys.stdout.isatty()
        return settings if automatic else None
    if not bare:
        raise UserError(
            "--stream shows answers as they are, on standard output (leave out --output and "
            "--format)"
        )
    if samples or not signature:
        return settings
    if options.signature:
        raise UserError(
            f"--stream writes by the signature sample, not {signature} (leave out one of them)"
        )
    has = known.ways.get("sample", {})
    lacking = [name for name in options.settings if name not in has]
    if lacking:
        raise UserError(
            f"--stream writes by the signature sample, which has no setting {lacking[0]!r}; it "
            f"has: {', '.join(has)}"
        )
    sampled = known.greedily(options.settings)
    how = "sampled" if sampled == options.settings else "written greedily"
    _warn(f"{signature} search shows nothing before its end; this is {how} instead")
    return sampled


def _at_scale(model: str, texts: Sequence[str], options: Options) -> None:
    """Have Apache Beam answer files; what would make it fail is checked first."""
    _check_scale(texts, options)
    try:
        with quiet_start():
            from tfnlp.inference import beam, beam_files
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("apache_beam", "tensorflow_hub"):
            raise
        raise UserError("--runner needs apache-beam (pip install -e '.[beam]')") from error
    kept = options.on_bad_row != "skip"
    output = beam_files.Output.of(str(options.output), options.format, options.shards, kept)
    files = beam_files.files_of(str(options.input), output)
    output.make_room()
    form = beam_files.form_of(files[0], options.input_format)
    options.layout().check([form])
    with beam_files.reachable(model) as folder:
        target = Target(model, settings_of(folder), lambda: saved_model.opened(folder))
        chosen = _signature(options, target)
        question = chosen if options.signature or options.settings else (DEFAULT, {})
        asked = target.load().model(*question)
        address = model if beam_files.remote(model) else str(folder.resolve())
    headers = input_rows.headers_of(options.columns, form, asked.inputs)
    source = beam.Source(form, asked.columns, headers, input_rows.COLUMN_FLAG, options.layout())
    source.check(files[0])
    flags = [f"--{text}" for text in options.runner_option]
    shared = beam.Question(address, *question, options.batch_size)
    beam.run(files, source, shared, output, str(options.runner), flags)


def _check_scale(texts: Sequence[str], options: Options) -> None:
    """Raise UserError for options that make no sense with Beam, or only with it."""
    if not options.runner:
        raise UserError("--shards and --runner-option are for --runner, such as DirectRunner")
    for text in options.runner_option:
        if not text.partition("=")[0].isidentifier():
            raise UserError(f"--runner-option {text!r} is not of the form KEY=VALUE")
    if texts or options.input in (None, "-") or options.output in (None, "-"):
        raise UserError(
            "--runner answers files into files (give --input 'texts-*.jsonl' --output PREFIX)"
        )
    if options.stream:
        raise UserError("--stream shows answers here, which --runner does not (leave out one)")
    if options.on_bad_row == "error":
        raise UserError("with --runner no bad row stops the run (--on-bad-row quarantine|skip)")


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)
