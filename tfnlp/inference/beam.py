"""Files of rows answered by as many machines as an Apache Beam runner has.

Needs apache-beam: ``pip install -e '.[beam]'``.

The pipeline reads each file as a whole, by the code that `tfnlp.predict` reads with, as only so are
the numbers of rows known and CSV, whose rows may hold line ends, is read right. The rows are then
dealt out: one large file is answered by all workers, though read by one.
"""

from __future__ import annotations

import gzip
import io
import json
import logging
import resource
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import apache_beam as beam
from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.ml.inference import base
from apache_beam.ml.inference.base import KeyedModelHandler, PredictionResult, RunInference
from apache_beam.ml.inference.tensorflow_inference import TFModelHandlerTensor
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineState

from pipelines.errors import UserError
from pipelines.files.formats import Format
from pipelines.files.layout import USUAL
from pipelines.files.writers import json_text
from pipelines.rows import BadRow, Column, Layout, Record, quarantine_path, stream
from tfnlp.inference import outputs, saved_model
from tfnlp.inference.beam_files import Output, opened, reachable
from tfnlp.inference.chunks import CHUNK, answered
from tfnlp.inference.saved_model import Answers, ServedModel

# Beam's DirectRunner first downloads another runner, Prism, and runs that; this is what it is where
# it cannot. Prism is available under its own name.
RUNNERS = {"DirectRunner": "FnApiRunner"}
BAD = "bad"  # the second output of a step, and a counter's name
_FAILED = "\0failed"  # the one output of a row that the model fails at

# Beam 2.77 believes that it is not there if torch is not, and warns at each model it loads.
base.resource = resource


# ------------------------------------------------------------------- Rows


@dataclass(frozen=True)
class Source:
    """How files become rows.

    Attributes:
        form: the files' format.
        columns: what the model reads.
        names: by the model's name of a column, the files' own, as in `pipelines.rows.read`.
        flag: what names a column, as in `pipelines.rows.stream`.
        layout: what is known of them besides their format.

    Example::

        Source("csv", (TEXT,), {"text": "question"}, COLUMN_FLAG).check("gs://bucket/rows.csv")
    """

    form: Format
    columns: tuple[Column, ...]
    names: Mapping[str, str]
    flag: str
    layout: Layout = USUAL

    def check(self, path: str) -> None:
        """Read a file's beginning; raises UserError if it lacks a column or is of another kind."""
        with opened(path) as file:
            next(iter(self.rows(file, path)), None)

    def rows(self, file: BinaryIO, path: str, **how: Any) -> Iterator[Record]:
        """Yield a file's rows; arguments and errors as of `pipelines.rows.stream`."""
        told: dict[str, Any] = {"on_bad_row": "skip", **how}
        yield from stream(
            file,
            self.columns,
            source=path,
            form=self.form,
            names=self.names,
            flag=self.flag,
            layout=self.layout,
            **told,
        )


def _bad(
    path: str, number: int | None, line: int | None, reason: str, raw: str
) -> beam.pvalue.TaggedOutput:
    """Return a row of the file of bad rows; without a number it stands for a whole file."""
    row = {"input_file": path, "number": number, "line": line, "reason": reason, "raw": raw}
    return beam.pvalue.TaggedOutput(BAD, json_text(row))


class Read(beam.DoFn):
    """From a path to its rows, each as (path, Record), and its bad rows as lines of JSON.

    Example::

        rows, bad = paths | beam.ParDo(Read(source)).with_outputs(BAD, main="rows")
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.bad = Metrics.counter(__name__, BAD)

    def process(self, element: str) -> Iterator[Any]:
        """Read a file; one that cannot be read, or not to its end, is reported as a bad row."""
        bad: list[BadRow] = []
        with tempfile.TemporaryDirectory(prefix="tfnlp-") as folder:
            how: dict[str, Any] = {
                "on_bad_row": "quarantine",
                "quarantine": Path(folder),
                "report": bad.append,
            }
            try:
                with opened(element) as file:
                    for record in self.source.rows(file, element, **how):
                        yield element, record
            except UserError as error:
                cause = error.__cause__
                if isinstance(cause, OSError) and not isinstance(cause, gzip.BadGzipFile):
                    raise  # of the disk or the network: Beam may try again
                # Nothing is kept in quarantine then.
                for b in bad:
                    yield self.leave_out(element, b.number, b.line, b.reason)
                yield self.leave_out(element, None, None, str(error))
                return
            place = quarantine_path(element, Path(folder))
            if place.exists():
                with place.open(encoding="utf-8", newline="\n") as lines:
                    for line in lines:
                        yield self.leave_out(element, **json.loads(line))

    def leave_out(
        self, path: str, number: int | None, line: int | None, reason: str, raw: str = ""
    ) -> beam.pvalue.TaggedOutput:
        """Count a bad row, or a whole file, and return it for the file of bad rows."""
        self.bad.inc()
        return _bad(path, number, line, reason, raw)


# ------------------------------------------------------------------- Answers


@dataclass(frozen=True)
class Question:
    """What each worker asks.

    Attributes:
        model: the SavedModel's folder, as workers see it, or its address.
        signature: which of its signatures is asked.
        settings: settings besides the rows.
        batch_size: rows it is asked at a time.

    Example::

        Question("gs://bucket/model", "serving_default", {}, 32)
    """

    model: str
    signature: str
    settings: Mapping[str, str]
    batch_size: int


class Handler(TFModelHandlerTensor):
    """What RunInference asks: a SavedModel with its names and strings, as `tfnlp.predict` does.

    Beam's own handler loads a model by Keras, which since Keras 3 reads no SavedModel, and stacks
    its examples into one tensor. An example is a Record here, an inference an answer by name.

    Beam collects as many rows as `answered` sorts by length, which asks the model for
    ``batch_size`` of them at a time; batches of a bundle's last rows are smaller.

    Example::

        answers = records | RunInference(KeyedModelHandler(Handler(question)))
    """

    def __init__(self, question: Question) -> None:
        rows = max(CHUNK, question.batch_size)
        super().__init__(question.model, min_batch_size=rows, max_batch_size=rows)
        self._question = question

    def load_model(self) -> ServedModel:
        """Load the model, once a process."""
        question = self._question
        with reachable(self._model_uri) as folder:
            saved = saved_model.opened(folder)
        return patient(saved.model(question.signature, question.settings))

    def run_inference(
        self,
        batch: Sequence[Record],
        model: ServedModel,
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[PredictionResult]:
        """Answer rows, in order."""
        for chunk in answered(batch, model, self._question.batch_size):
            for record, answer in chunk:
                yield PredictionResult(record, answer, self._model_uri)


def patient(model: ServedModel) -> ServedModel:
    """Return a model that answers rows one by one where it fails at several together.

    The answer to a row at which it fails even so is the reason, under a name no output has.

    Example::

        patient(saved_model.load(folder)).answer({"text": ["fine", "one that fails"]})
    """

    def answer(texts: Mapping[str, Sequence[Any]]) -> Answers:
        try:
            return model.answer(texts)
        except UserError as error:
            rows = len(next(iter(texts.values())))
            if rows == 1:
                return [{_FAILED: str(error)}]
        single = ({name: [values[i]] for name, values in texts.items()} for i in range(rows))
        return [answer(row)[0] for row in single]

    return ServedModel(model.columns, answer)


class Written(beam.DoFn):
    """From (path, PredictionResult) to a line of JSON, or to one for the file of bad rows.

    Example::

        lines = answers | beam.ParDo(Written()).with_outputs(BAD, main="lines")
    """

    def __init__(self) -> None:
        self.answered = Metrics.counter(__name__, "answered")
        self.bad = Metrics.counter(__name__, BAD)

    def process(self, element: tuple[str, PredictionResult]) -> Iterator[Any]:
        """Write a row as `tfnlp.predict` does, with the place it comes from."""
        path, result = element
        record: Record = result.example
        if why := result.inference.get(_FAILED):
            self.bad.inc()
            yield _bad(path, record.number, None, why, json_text(record.fields))
            return
        self.answered.inc()
        line = io.StringIO()
        # The place is among the outputs, as they make way for columns of the same name.
        answer = {"input_file": path, "input_row": record.number, **result.inference}
        outputs.writer("jsonl", line, ())([(record, answer)])
        yield line.getvalue().removesuffix("\n")


# ------------------------------------------------------------------- Pipeline


def build(
    pipeline: beam.Pipeline,
    files: Sequence[str],
    source: Source,
    question: Question,
    output: Output,
) -> None:
    """Add to a pipeline what answers files.

    Example::

        with beam.Pipeline() as pipeline:
            build(pipeline, files, source, question, output)
    """
    read = (
        pipeline
        | "Files" >> beam.Create(files)
        | "Deal out files" >> beam.Reshuffle()
        | "Read" >> beam.ParDo(Read(source)).with_outputs(BAD, main="rows")
    )
    written = (
        read.rows
        | "Deal out rows" >> beam.Reshuffle()
        | "Answer" >> RunInference(KeyedModelHandler(Handler(question)))
        | "Lines" >> beam.ParDo(Written()).with_outputs(BAD, main="lines")
    )
    written.lines | "Write" >> beam.io.WriteToText(
        output.prefix, output.suffix, num_shards=output.shards
    )
    if output.bad:
        bad = (read[BAD], written[BAD]) | "Bad rows" >> beam.Flatten()
        bad | "Write bad rows" >> beam.io.WriteToText(output.bad, shard_name_template="")


def run(
    files: Sequence[str],
    source: Source,
    question: Question,
    output: Output,
    runner: str,
    options: Sequence[str],
) -> None:
    """Answer files and say how many rows were.

    Args:
        files: paths or addresses, as workers see them.
        source: how they become rows.
        question: what is asked.
        output: where answers go.
        runner: its name, such as DirectRunner.
        options: its and Beam's own, such as ``--flink_master=host:8081``.

    Raises:
        UserError: the runner is unknown, the job fails, or no row could be answered.

    Example::

        run(["a.jsonl"], source, question, output, "DirectRunner", ["--direct_num_workers=2"])
    """
    before = output.files()
    # It warns of each file that it replaces.
    logging.getLogger("apache_beam.io.filebasedsink").setLevel(logging.ERROR)
    flags = [f"--runner={RUNNERS.get(runner, runner)}", *options]
    try:
        pipeline = beam.Pipeline(options=PipelineOptions(flags))
        build(pipeline, files, source, question, output)
        result = pipeline.run()
        state = result.wait_until_finish()
    except Exception as error:  # whatever a runner raises
        raise UserError(f"the job fails: {_cause(error)}") from error
    if state not in (None, PipelineState.DONE):
        raise UserError(f"the job ends as {state} (see the runner's log)")
    shards = output.tidy(before)
    _report(_counts(result), len(files), shards, output)


def _cause(error: BaseException) -> str:
    """Return the last line of an error that says something, which in a runner's is the cause."""
    said = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{said[-1] if said else type(error).__name__}"


def _counts(result: Any) -> dict[str, int] | None:
    """Return the pipeline's counters, or None if the runner does not report them."""
    try:
        found = result.metrics().query(MetricsFilter().with_namespace(__name__))
    except Exception:  # whatever a runner raises; the answers are there all the same
        return None
    counts: dict[str, int] = {}
    for counter in found["counters"]:
        name = counter.key.metric.name
        counts[name] = counts.get(name, 0) + counter.result
    return counts


def _report(
    counts: Mapping[str, int] | None, files: int, shards: Sequence[str], output: Output
) -> None:
    """Print what was done and what may come next.

    Raises:
        UserError: there were rows, and none could be answered.
    """
    counted = counts or {}
    good, bad = counted.get("answered", 0), counted.get(BAD, 0)
    kept = f", kept in {output.bad}" if output.bad and bad else ""
    if counts is None:
        print(f"rows of {files:,} files answered; the runner does not tell how many")
    else:
        print(f"rows answered: {good:,}, of {files:,} files; left out: {bad:,}{kept}")
    print(f"shards: {len(shards):,}, {output.prefix}-*{output.suffix}")
    if bad and not good:
        raise UserError(f"no row could be answered{kept}")
    if shards and (good or counts is None):
        print(f"next: head -n 3 {shards[0]}")
    else:
        print("warning: no rows to answer", file=sys.stderr)
