"""What a person sees in the terminal: the plan, the progress, the result, the next commands."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from tfnlp import task as tasks
from tfnlp.cli import console
from tfnlp.cli.console import err as err
from tfnlp.cli.console import line as line
from tfnlp.cli.console import out as out
from tfnlp.cli.console import tables as tables
from tfnlp.cli.console import warn as warn
from tfnlp.report import four_places, results
from tfnlp.runtime.commands import command, quoted
from tfnlp.training import cutting, examples, language

if TYPE_CHECKING:
    from pipelines.splits import Splits
    from tfnlp.config import Experiment
    from tfnlp.report import Report
    from tfnlp.training.examples import Examples
    from tfnlp.training.model import TrainedModel


def plan(model: TrainedModel, splits: Splits, train: Examples, run: Path) -> None:
    """Print what is about to be trained on what.

    Example::

        plan(model, splits, train, Path("tensorboard_logs/reviews/1"))
    """
    sizes = f"{len(splits.train)} rows to train, {len(splits.validation)} to validate"
    sizes += f", {len(splits.test)} to test" if splits.test else ", none to test"
    experiment = model.experiment
    if experiment.data.test_share:
        sizes += ", set aside from the training rows"
    if experiment.augment:
        names = ", ".join(entry.name for entry in experiment.augment)
        sizes += f"; {len(train.rows) - len(splits.train)} more each epoch by {names}"
    line(f"{experiment.name}: {sizes}")
    for remark in model.task.remarks(splits.train, model.context.facts):
        line(remark)
    lengths = train.sizes.tokens
    both = "decoder_ids" in model.network.input  # sources and targets, padded each by itself
    how = ", both sides together; in groups up to " if both else "; padded to one of "
    line(
        f"tokens a row: median {int(np.median(lengths))}, 95% below "
        f"{int(np.quantile(lengths, 0.95))}, longest {lengths.max()}{how}"
        f"{', '.join(map(str, train.plan.widths))}"
    )
    total = model.network.count_params()
    trained = sum(int(np.prod(w.shape)) for w in model.network.trainable_weights)
    line(f"{experiment.backbone.name}: {total:,} parameters, {trained:,} of them trained")
    line(f"run: {run}")
    if cut := cutting.told(model, train.sizes):
        warn(cut)
    for text in splits.warnings:
        warn(text)
    found = [
        *examples.unlearnable(model, splits.train),
        *examples.unlearnable(model, splits.validation),
        *language.unreadable(model, splits.train, most=1000),
    ]
    for said, bad in found:
        warn(f"{said}, the first: {bad[0]}")


class Progress(keras.callbacks.Callback):
    """A progress bar for each epoch on a terminal and in a notebook; one line an epoch everywhere.

    Example::

        network.fit(data, callbacks=[Progress(lambda epoch: 100, epochs=3)])
    """

    def __init__(self, steps: Callable[[int], int], epochs: int) -> None:
        super().__init__()
        self.steps = steps
        self.epochs = epochs
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[shown]}"),
            console=err,
            transient=True,
            disable=not err.is_terminal,
        )
        self.shown = console.NotebookLine()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Begin a bar, further on if the epoch is resumed in its middle."""
        self.started = time.monotonic()
        steps = self.steps(epoch)
        done = steps - (self.params.get("steps") or steps)
        self.bar.start()
        self.shown = console.NotebookLine()
        self.task = self.bar.add_task(
            f"epoch {epoch + 1}/{self.epochs}", total=steps, completed=done, shown=""
        )

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Advance."""
        if not self.bar.disable or console.IN_NOTEBOOK:
            self.bar.update(self.task, advance=1, shown=numbers(logs or {}))
        if console.IN_NOTEBOOK and self.shown.is_due():
            with out.capture() as drawn:
                out.print(self.bar.get_renderable())
            self.shown.show(drawn.get().strip())

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Print the epoch's metrics; in a notebook in place of its bar."""
        self.bar.remove_task(self.task)
        self.bar.stop()
        seconds = time.monotonic() - self.started
        text = f"epoch {epoch + 1}/{self.epochs}  {seconds:.0f} s  {numbers(logs or {})}"
        (self.shown.show if self.shown.is_shown else line)(text)

    def on_train_end(self, logs: dict | None = None) -> None:
        """Leave the terminal as it was."""
        self.bar.stop()


def numbers(values: Mapping[str, Any]) -> str:
    """Return metrics in one line.

    Example::

        numbers({"loss": 0.25, "f1": 0.9})  # "loss 0.2500  f1 0.9000"
    """
    return "  ".join(f"{name} {four_places(value)}" for name, value in values.items())


def report(metrics: Mapping[str, Any], found: Report) -> None:
    """Print what the evaluation found, next to the untrained head's scores and the baseline's.

    Example::

        report({"validation": {"f1": 0.9}}, found)
    """
    tables(dataclasses.replace(found, tables=[results(metrics), *found.tables]))


def next_steps(
    run: Path, metrics: Mapping[str, Any], experiment: Experiment, example: Sequence[str]
) -> None:
    """Print where everything is and the commands that come next.

    Args:
        run: its folder.
        metrics: what is in its metrics.json.
        experiment: what was run.
        example: a text for every input of the model.

    Example::

        next_steps(run, metrics, experiment, ["A masterpiece."])
    """
    line(f"TensorBoard log: {run}")
    line(f"    tensorboard --logdir {quoted(run.parent.parent)}")
    saved = metrics.get("saved_model")
    if saved is None:
        line(f"    {command('tfnlp.export', run)}")
        return
    model = Path(saved)
    texts = [text if len(text) <= 200 else f"{text[:199]}…" for text in example]
    end = ["--"] if any(text.startswith("-") for text in texts) else []
    line(f"SavedModel: {model}")
    line(f"    {command('tfnlp.predict', model.parent, *end, *texts)}")
    line(f"    {command('tfnlp.serve', model.parent.parent)}")
    backbone = run / "model" / "backbone"
    writes = tasks.load(experiment.task).writing is not None
    if writes or not backbone.is_dir():  # else the backbone is what is wanted
        line(f"    {command('tfnlp.evaluate', model.parent, '--test', 'FILE')}")
    if backbone.is_dir():
        line(f"Backbone: {backbone}")
        again = ["--task", experiment.task] if writes else []  # it serves no other kind of task
        flags = [*again, "--train", "FILE", "--backbone", backbone]
        line(f"    {command('tfnlp.train', *flags)}")
    place, name = quoted(model.parent), quoted(model.parent.name)
    line(
        f'    docker run -p 8501:8501 -v "$PWD"/{place}:/models/{name} -e MODEL_NAME={name} '
        "tensorflow/serving"
        if not model.is_absolute()
        else f"    tensorflow_model_server --rest_api_port=8501 --model_name={name} "
        f"--model_base_path={place}"
    )
