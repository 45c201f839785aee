"""Supervised fine-tuning by ``model.fit``, resumable at any batch.

What decides the rest of a run is its *state*: the variables of model, optimizer, metrics and
random generators, and the place (epoch, batch), history and early-stopping counters. It is
saved at every epoch's end, every few minutes and on SIGTERM or SIGINT, and the order of the rows
is a function of (seed, epoch), so a run that was killed goes on as if nothing had happened.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.errors import UserError
from tfnlp import checkpoints
from tfnlp.task import Objective


class Interrupted(KeyboardInterrupt):
    """A signal stopped the run, after its state was saved.

    Attributes:
        signum: the signal's number.
    """

    def __init__(self, signum: int, place: str) -> None:
        name = signal.Signals(signum).name
        super().__init__(f"{name} at {place}; the same command with --resume goes on")
        self.signum = signum


@dataclass
class State:
    """Where a run stands.

    Attributes:
        epoch: the epoch being trained, the first being 0.
        step: its batches already trained.
        history: metrics of each finished epoch.
        wait: epochs since the best one.
        best: the best value of the monitored metric.
        best_epoch: the epoch it was reached in; its weights are in ``best-<epoch>``.
        stopped: whether early stopping has ended the run.
    """

    epoch: int = 0
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    wait: int = 0
    best: float | None = None
    best_epoch: int = 0
    stopped: bool = False


@dataclass(frozen=True)
class Feed:
    """What fit is fed with.

    Attributes:
        batches: (epochs, batches of the first one to leave out) -> training batches.
        steps: batches in an epoch.
        rows: (epoch, batch) -> the row numbers in that batch, for messages.
        validation: validation batches.
    """

    batches: Callable[[range, int], Any]
    steps: int
    rows: Callable[[int, int], list[int]]
    validation: Any


def fit(
    model: keras.Model,
    objective: Objective,
    feed: Feed,
    *,
    epochs: int,
    patience: int,
    folder: Path,
    minutes: float,
    resume: bool,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> State:
    """Train a compiled model until early stopping or the last epoch; it ends with its best weights.

    Args:
        model: compiled, its optimizer and metrics built.
        objective: says which metric decides and in which direction.
        feed: the batches.
        epochs: passes over the training rows, at most.
        patience: epochs without a better value before training stops.
        folder: where checkpoints are kept.
        minutes: time between checkpoints inside an epoch [min].
        resume: go on from the newest whole checkpoint in ``folder``, if there is one.
        callbacks: further Keras callbacks.

    Raises:
        Interrupted: SIGTERM or SIGINT came; the state was saved first.
        UserError: the loss became NaN or infinite, or a checkpoint cannot be written.
    """
    state = State()
    saver = Saver(folder, state, feed.steps, minutes)
    if resume:
        saver.load(model)
    stack = [
        FiniteLoss(feed, state, folder),
        EarlyStopping(objective, patience, state, folder),
        *callbacks,
        saver,
    ]
    with _signals(saver):
        # An epoch taken up in its middle is a fit of its own: Keras gives every epoch of one
        # call the same number of steps.
        if state.step and not state.stopped:
            _fit(model, feed, range(state.epoch, state.epoch + 1), state.step, stack)
        if state.epoch < epochs and not state.stopped:
            _fit(model, feed, range(state.epoch, epochs), 0, stack)
    if state.history:
        checkpoints.restore(folder / f"best-{state.best_epoch}", _values(model.variables))
    return state


def _fit(model: keras.Model, feed: Feed, epochs: range, start: int, callbacks: list) -> None:
    """Call ``model.fit`` on some epochs, the first without its ``start`` batches."""
    model.fit(
        feed.batches(epochs, start),
        validation_data=feed.validation,
        initial_epoch=epochs.start,
        epochs=epochs.stop,
        steps_per_epoch=feed.steps - start,
        callbacks=callbacks,
        shuffle=False,  # the batches come shuffled
        verbose=0,
    )


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Keras's early stopping, with its counters in the state and the best weights on disk."""

    def __init__(self, objective: Objective, patience: int, state: State, folder: Path) -> None:
        super().__init__(monitor=objective.monitor, mode=objective.mode, patience=patience)
        self.state = state
        self.folder = folder

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Take the counters up where the state has them."""
        super().on_train_begin(logs)
        self.wait, self.best = self.state.wait, self.state.best
        self.best_epoch = self.state.best_epoch

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Count; keep the weights of a new best epoch."""
        before = self.best
        super().on_epoch_end(epoch, logs)
        if self.best != before:
            values = _values(self.model.variables)
            checkpoints.write(self.folder / f"best-{epoch}", values, {"epoch": epoch})
        self.state.wait, self.state.best_epoch = self.wait, self.best_epoch
        self.state.best = None if self.best is None else float(self.best)
        self.state.stopped = self.model.stop_training


class FiniteLoss(keras.callbacks.Callback):
    """Stops a run whose loss is no number any more, naming the batch's rows."""

    def __init__(self, feed: Feed, state: State, folder: Path) -> None:
        super().__init__()
        self.feed = feed
        self.state = state
        self.folder = folder

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Look at the loss so far, in which one bad batch shows."""
        loss = float((logs or {})["loss"])
        if math.isfinite(loss):
            return
        numbers = ", ".join(map(str, self.feed.rows(self.state.epoch, self.state.step)))
        kept = checkpoints.newest(self.folder, "step-")
        raise UserError(
            f"the loss became {loss} in epoch {self.state.epoch + 1}, batch {self.state.step + 1} "
            f"(rows {numbers}); the last good checkpoint is {kept} (look at these rows, or lower "
            "--learning-rate)"
        )


class Saver(keras.callbacks.Callback):
    """Keeps the state: on disk, and between calls of fit. It must be the last callback."""

    def __init__(self, folder: Path, state: State, steps: int, minutes: float) -> None:
        super().__init__()
        self.folder = folder
        self.state = state
        self.steps = steps
        self.seconds = 60 * minutes
        self.saved_at = time.monotonic()
        self.signum = 0
        self.metrics: list[np.ndarray] | None = None

    def load(self, model: keras.Model) -> None:
        """Set model, optimizer, metrics and state from the newest whole checkpoint, if any."""
        newest = checkpoints.newest(self.folder, "step-")
        if newest is None:
            return
        checkpoints.restore(newest, _variables(model))
        for name, value in checkpoints.read_state(newest).items():
            setattr(self.state, name, value)
        # fit resets the metrics when an epoch begins; this one has begun already.
        self.metrics = [v.numpy() for v in model.metrics_variables] if self.state.step else None

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Give the metrics of an epoch taken up in its middle what they had counted."""
        if self.metrics is not None:
            for variable, value in zip(self.model.metrics_variables, self.metrics, strict=True):
                variable.assign(value)
            self.metrics = None

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Count the batch; save if it is time or a signal came."""
        self.state.step += 1
        if self.state.step == self.steps:
            return  # the epoch's end saves, after the validation
        if self.signum:
            self.save()
            place = f"epoch {self.state.epoch + 1}, batch {self.state.step}"
            raise Interrupted(self.signum, place)
        if time.monotonic() - self.saved_at >= self.seconds:
            self.save()

    def on_test_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Obey a signal during validation: the last checkpoint stands."""
        if self.signum:
            raise Interrupted(self.signum, f"the validation after epoch {self.state.epoch + 1}")

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Note the epoch's metrics and save."""
        self.state.history.append({name: float(value) for name, value in (logs or {}).items()})
        self.state.epoch, self.state.step = epoch + 1, 0
        self.save()

    def save(self) -> None:
        """Write a checkpoint, then drop those before the last two, and best weights not named."""
        for variable in self.model.trainable_variables:
            if not np.isfinite(variable.numpy()).all():
                raise UserError(
                    f"the weights {variable.path} became NaN or infinite in epoch "
                    f"{self.state.epoch + 1}; the last good checkpoint is "
                    f"{checkpoints.newest(self.folder, 'step-')} (lower --learning-rate)"
                )
        number = self.state.epoch * self.steps + self.state.step
        checkpoints.write(
            self.folder / f"step-{number}", _variables(self.model), asdict(self.state)
        )
        kept = checkpoints.listed(self.folder, "step-")[-2:]
        bests = {checkpoints.read_state(f)["best_epoch"] for f in kept if checkpoints.whole(f)}
        checkpoints.drop(self.folder, {f.name for f in kept} | {f"best-{b}" for b in bests})
        self.saved_at = time.monotonic()


def _variables(model: keras.Model) -> list[tf.Variable]:
    """Everything that decides how training goes on."""
    return _values([*model.variables, *model.optimizer.variables, *model.metrics_variables])


def _values(variables: Sequence[keras.Variable]) -> list[tf.Variable]:
    """The TensorFlow variables behind Keras's, each once, in order."""
    return list({id(v): v.value for v in variables}.values())


@contextmanager
def _signals(saver: Saver) -> Iterator[None]:
    """Let the first SIGTERM or SIGINT stop the run at the next batch; a second one kills it."""

    def note(signum: int, frame: FrameType | None) -> None:
        saver.signum = signum
        signal.signal(signum, before[signum])

    before = {s: signal.signal(s, note) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
