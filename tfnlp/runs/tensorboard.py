"""What TensorBoard shows of a run, written to the run's folder as it goes.

::

    <run>/train/              scalars of each batch and epoch, histograms on request
    <run>/validation/         scalars of each epoch
    <run>/<fit>/train/ ...    the same of a strategy's further fits
    <run>/report/             the configuration, the HParams entry, the graph
    <run>/report/validation/  the report, of the untrained model and the final one; the projector
    <run>/report/test/        the final report

TensorBoard takes every scalar in or below the folder of an HParams entry for a metric to compare
runs by; so the final scores stand there and the others do not.

Every step is the number of batches trained so far, for epochs too. What a killed run wrote after
its last checkpoint is taken out of its files when it is resumed, and a SessionLog.START tells a
TensorBoard that has read it already. tf.summary cannot write that, and costs several times as much
for each scalar; TensorBoard's EventFileWriter costs twenty times as much, as its checksums are in
Python. An event file is a TFRecord file of Event messages, so they are written as such.

Dimensions: N rows, B batch, H hidden.
"""

from __future__ import annotations

import functools
import itertools
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.summary import session_end_pb
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.util.tensor_util import make_tensor_proto

from pipelines.atomic import replacing_path
from pipelines.errors import UserError
from pipelines.rows import Rows
from tfnlp.report import four_places, png
from tfnlp.runs import compared, projector
from tfnlp.runs.tracking import Trackers
from tfnlp.training.model import longest_example

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tfnlp.report import Report, Table
    from tfnlp.training.model import TrainedModel
    from tfnlp.training.sources import Drawn

SINCE_EPOCH = "over the batches of the epoch so far"

_numbers = itertools.count()


class Log(keras.callbacks.Callback):
    """Writes the scalars and histograms of a fit.

    Args:
        model: built, before training.
        drawn: the training rows.
        folder: the run's, or one in it for a further fit.
        samples: called after each epoch for a table of texts that the model writes.
        trackers: are given the scalars of each epoch too.
        fit: the name of a further fit.

    Example::

        network.fit(data, callbacks=[Log(model, drawn, run)])
    """

    def __init__(
        self,
        model: TrainedModel,
        drawn: Drawn,
        folder: Path,
        samples: Callable[[], Table] | None = None,
        trackers: Trackers | None = None,
        fit: str = "",
    ) -> None:
        super().__init__()
        self.samples = samples
        self.trackers = trackers or Trackers()
        self.fit = f"{fit}/" if fit else ""
        self.drawn = drawn
        self.folder = folder
        # Sources and targets are padded each by itself: no single share describes both.
        self.two_sides = "decoder_ids" in model.network.input
        self.longest = longest_example(model.task, model.context.options, model.context.kind)
        self.histograms = model.experiment.logging.histograms
        self.writers: dict[str, tf.io.TFRecordWriter] = {}

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Look up the epoch's batches, of which some may have been trained before a kill."""
        data = self.drawn.of(epoch)
        rows, widths = data.plan.epoch(epoch)
        self.sizes = np.array([len(r) for r in rows])
        self.tokens = np.array([data.sizes.tokens[r].sum() for r in rows])
        windows = np.array([data.sizes.windows[r].max() for r in rows])
        self.cells = self.sizes * windows * np.minimum(-(-widths // windows), self.longest)
        self.place = self.start = len(rows) - self.params["steps"]
        self.step = self.drawn.before(epoch) + self.place
        self.seconds, self.total = 0.0, 0.0
        self.rate = float(self.model.optimizer.learning_rate)
        if not self.writers:
            for name in ("train", "validation"):
                _forget(self.folder / name, self.step, epoch_ended=not self.place)
                self.writers[name] = _open(self.folder / name, self.step + 1)

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Note what the batch starts from."""
        if self.place and self.place == self.start:  # resumed: the loss of what went before
            self.total = float(self.model.metrics[0].result()) * self.sizes[: self.place].sum()
        self.rate = float(self.model.optimizer.learning_rate)
        self.began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Write the batch's scalars."""
        values = {name: float(value) for name, value in (logs or {}).items()}
        seconds = time.perf_counter() - self.began
        size = self.sizes[self.place]
        before, self.total = self.total, values.pop("loss") * self.sizes[: self.place + 1].sum()
        scalars = [
            scalar_pb("batch/loss", (self.total - before) / size),
            scalar_pb("batch/learning_rate", self.rate),
            scalar_pb("batch/examples_per_second", size / seconds),
        ]
        if not self.two_sides:
            share = 1 - self.tokens[self.place] / self.cells[self.place]
            scalars.append(scalar_pb("batch/padding", share))
        scalars += [scalar_pb(f"batch/{n}", v, SINCE_EPOCH) for n, v in values.items()]
        self.seconds += seconds
        self.place += 1
        self.step += 1
        self._write("train", scalars)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Write the epoch's scalars, and histograms of the weights if asked for."""
        logs = logs or {}
        held = {n.removeprefix("val_"): v for n, v in logs.items() if n.startswith("val_")}
        train: dict[str, Any] = {n: v for n, v in logs.items() if not n.startswith("val_")}
        train["learning_rate"] = self.rate
        if not self.two_sides:
            train["padding"] = 1 - self.tokens.sum() / self.cells.sum()
        if self.seconds:
            train["examples_per_second"] = self.sizes[self.start :].sum() / self.seconds
        for name, scores in {"train": train, "validation": held}.items():
            self._write(name, [scalar_pb(f"epoch/{n}", float(v)) for n, v in scores.items()])
            self.trackers.scalars(f"{self.fit}{name}", scores, self.step)
        if self.samples:
            table = self.samples()
            self._write("validation", [text_pb(f"epoch/{table.title}", _cells(table))])
            self.trackers.table(f"{self.fit}validation/{table.title}", table)
        if self.histograms:
            for weight in self.model.weights:
                numbers = np.asarray(keras.ops.convert_to_numpy(weight))
                self._write("train", [histogram_pb(f"weights/{weight.path}", numbers)])

    def _write(self, name: str, summaries: list[Any]) -> None:
        """Write summaries of this step; they are on disk before the checkpoint of the step is."""
        try:
            self.writers[name].write(_event(self.step, *summaries).SerializeToString())
            self.writers[name].flush()
        except tf.errors.OpError as error:
            raise UserError(
                f"cannot write the TensorBoard log in {self.folder / name}: {error.message} (the "
                "last checkpoint is kept; free space there, then resume with --resume)"
            ) from error


def start(
    model: TrainedModel,
    run: Path,
    before: Mapping[str, float | None],
    trackers: Trackers | None = None,
) -> None:
    """Write what a run starts from, unless a run that was killed has done so.

    Args:
        model: built, before training.
        run: the run's folder.
        before: metrics of the untrained model on the validation rows; None of one that a single
            row, say, has no number of.
        trackers: are given the same.

    Example::

        start(model, run, {"accuracy": 0.15})
    """
    _once(run / "report", "start", lambda: _start(model, run))
    _once(run / "report" / "validation", "untrained", lambda: iter([_event(0, *_metrics(before))]))
    if trackers:
        trackers.text("experiment.yaml", (run / "experiment.yaml").read_text("utf-8"))
        trackers.scalars("report/validation", before, 0)


def finish(
    model: TrainedModel,
    run: Path,
    reports: Mapping[str, Report | None],
    validation: Rows,
    step: int,
    trackers: Trackers | None = None,
) -> None:
    """Write the final reports and the projector's files.

    Args:
        model: trained.
        run: the run's folder.
        reports: by split, ``validation`` and ``test``, None where there is no such split.
        validation: rows of which some are shown in the projector.
        step: batches trained.
        trackers: are given the reports too.

    Example::

        finish(model, run, {"validation": held, "test": None}, splits.validation, step=648)
    """
    for split, found in reports.items():
        if found is not None:
            _once(run / "report" / split, "final", functools.partial(_report, found, step))
            if trackers:
                trackers.report(f"report/{split}", found, step)
    projector.project(model, validation, run / "report" / "validation")
    # TensorBoard makes this one summary of TensorFlow's class instead of its own.
    ended = Summary.FromString(session_end_pb(api_pb2.STATUS_SUCCESS).SerializeToString())
    _once(run / "report", "end", lambda: iter([_event(step, ended)]))


def _path(folder: Path, part: str) -> Path:
    """Name an event file so that TensorBoard finds it and reads older files first."""
    folder.mkdir(parents=True, exist_ok=True)
    place = f"{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
    return folder / f"events.out.tfevents.{int(time.time()):010d}.{place}.{part}"


def _open(folder: Path, step: int) -> tf.io.TFRecordWriter:
    """Open an event file whose first batch is number ``step``; later ones of old files go."""
    writer = tf.io.TFRecordWriter(str(_path(folder, "fit")))
    session = Event(
        wall_time=time.time(), step=step, session_log=SessionLog(status=SessionLog.START)
    )
    for event in (_version(), session):
        writer.write(event.SerializeToString())
    writer.flush()
    return writer


def _forget(folder: Path, step: int, epoch_ended: bool) -> None:
    """Remove from a killed run's files what comes after the place where it is resumed.

    Args:
        folder: with the event files.
        step: the last batch that was trained.
        epoch_ended: whether the epoch's scalars that stand at this step are still right.
    """
    for path in sorted(folder.glob("*.tfevents.*.fit")):
        with replacing_path(path) as aside, tf.io.TFRecordWriter(str(aside)) as writer:
            # A kill may have cut the last record short.
            records = tf.data.TFRecordDataset(str(path)).ignore_errors()
            for record in records.as_numpy_iterator():
                event = Event.FromString(record)
                tags = [value.tag for value in event.summary.value]
                at_step = epoch_ended or all(tag.startswith("batch/") for tag in tags)
                if event.step < step or (event.step == step and at_step):
                    writer.write(record)


def _once(folder: Path, part: str, events: Callable[[], Iterator[Event]]) -> None:
    """Write an event file whole, unless a run that was killed has done so."""
    if any(folder.glob(f"*.tfevents.*.{part}")):
        return
    path = _path(folder, part)
    with replacing_path(path) as aside, tf.io.TFRecordWriter(str(aside)) as writer:
        for event in itertools.chain([_version()], events()):
            writer.write(event.SerializeToString())


def _version() -> Event:
    """The first event of every file."""
    return Event(wall_time=time.time(), file_version="brain.Event:2")


def _event(step: int, *summaries: Any) -> Event:
    """Put summaries into one event."""
    values = [value for summary in summaries for value in summary.value]
    return Event(wall_time=time.time(), step=step, summary=Summary(value=values))


def _start(model: TrainedModel, run: Path) -> Iterator[Event]:
    """Describe what a run starts from."""
    text = (run / "experiment.yaml").read_text("utf-8")
    yield _event(
        0,
        text_pb("experiment.yaml", f"```yaml\n{text}\n```"),
        hparams.hparams_pb(compared.options(model.experiment), trial_id=str(run.name)),
    )
    network = model.network
    forward = tf.function(lambda inputs: network(inputs, training=False), autograph=False)
    shapes = {n: tf.TensorSpec(x.shape, x.dtype, n) for n, x in network.input.items()}
    graph = forward.get_concrete_function(shapes).graph.as_graph_def()
    yield Event(wall_time=time.time(), graph_def=graph.SerializeToString())


def _metrics(values: Mapping[str, float | None]) -> Iterable[Any]:
    """Turn a report's metrics into scalars, but for those that have no number."""
    known = {name: value for name, value in values.items() if value is not None}
    return [scalar_pb(f"report/{name}", value) for name, value in known.items()]


def _report(found: Report, step: int) -> Iterator[Event]:
    """Turn a report into scalars, text and images."""
    yield _event(step, *_metrics(found.metrics))
    values = [(name, four_places(value)) for name, value in found.metrics.items()]
    yield _event(step, text_pb("report/metrics", [("**metric**", "**value**"), *values]))
    for table in found.tables:
        yield _event(step, text_pb(f"report/{table.title}", _cells(table)))
    if found.warnings:
        yield _event(step, text_pb("report/warnings", found.warnings))
    for name, draw in found.figures.items():
        yield _event(step, _image(f"report/{name}", draw()))


def _cells(table: Table) -> list[list[str]]:
    """Return a table as TensorBoard draws one, a header in bold first."""
    return [[f"**{h}**" for h in table.header], *([str(c) for c in row] for row in table.rows)]


def _image(tag: str, figure: Figure) -> Any:
    """Draw a figure as a PNG summary."""
    drawn = png(figure, figure.dpi)
    width, height = figure.canvas.get_width_height()
    tensor = make_tensor_proto([str(width).encode(), str(height).encode(), drawn], dtype=tf.string)
    value = Summary.Value(
        tag=tag,
        tensor=tensor,
        metadata=image_metadata.create_summary_metadata(display_name=None, description=None),
    )
    return Summary(value=[value])
