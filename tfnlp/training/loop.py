"""``model.fit``, resumable at any batch.

What decides the rest of a run is its *state*: the variables of model, optimizer (with its
accumulated gradients and its loss scale), step, metrics and random generators, and the place
(epoch, batch), history and early-stopping counters. It is saved after every epoch, every few
minutes and on SIGTERM or SIGINT, and the order of the rows is a function of (seed, epoch), so a
run that was killed goes on as if nothing had happened: what it trained after its last checkpoint it
trains again, from the same state on the same rows.

With ``--deterministic``, on the same machine, the result then equals that of a run that was never
killed, bit for bit. Without it rows, their order, the dropout masks and the counters are the same
too, but TensorFlow may add up floating-point numbers in another order each time, so that weights
differ in their last digits, as they do between two runs that nobody killed.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from pipelines.errors import UserError
from tfnlp.extensions import Step
from tfnlp.runtime.signals import Interrupted, Signals, caught
from tfnlp.training import checkpoints, distribution

log = logging.getLogger(__name__)

GO_ON = "the same command with --resume goes on"


@dataclass
class State:
    """Where a run stands.

    Attributes:
        epoch: the epoch being trained, the first being 0.
        step: its batches already trained; all of them when only its validation is to be done.
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
        steps: epoch -> its batches.
        before: epoch -> the batches of all epochs before it.
        rows: (epoch, batch) -> the row numbers in that batch, for messages.
        validation: validation batches.
        validation_steps: how many.
        changing: whether epochs may differ in their number of batches.
    """

    batches: Callable[[range, int], Any]
    steps: Callable[[int], int]
    before: Callable[[int], int]
    rows: Callable[[int, int], list[int]]
    validation: Any
    validation_steps: int
    changing: bool = False


@dataclass(frozen=True)
class Watch:
    """What decides which epoch was best.

    Attributes:
        monitor: a name among the epoch's logs, such as ``val_accuracy``.
        mode: whether more or less is better.
        score: called after each epoch for further logs, if the best epoch is chosen by one.
    """

    monitor: str
    mode: Literal["min", "max"]
    score: Callable[[], Mapping[str, float]] | None = None


def fit(
    model: keras.Model,
    watch: Watch,
    feed: Feed,
    *,
    epochs: int,
    patience: int,
    folder: Path,
    minutes: float,
    resume: bool,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    extra: Sequence[Any] = (),
    remedy: str = Step.remedy,
) -> State:
    """Train a compiled model until early stopping or the last epoch; it ends with its best weights.

    Args:
        model: compiled, its optimizer and metrics built.
        watch: says which metric decides and in which direction.
        feed: the batches.
        epochs: passes over the training rows, at most.
        patience: epochs without a better value before training stops.
        folder: where checkpoints are kept; of several workers only the chief uses it.
        minutes: time between checkpoints inside an epoch [min].
        resume: go on from the newest whole checkpoint in ``folder``, if there is one.
        callbacks: further Keras callbacks; they are ended also when training is broken off.
        extra: variables of the step, saved with the model's.
        remedy: what a user may do if the loss becomes NaN or infinite.

    Raises:
        Interrupted: SIGTERM or SIGINT came; the state was saved first.
        UserError: the loss became NaN or infinite, or a checkpoint cannot be written.
    """
    state = State()
    with caught(f" after the last epoch; {GO_ON}") as signals, signals.held():
        saver = Saver(folder, state, feed, minutes, signals, extra)
        if resume:
            saver.load(model)
        stack = [
            FiniteLoss(feed, state, folder, remedy),
            *([Score(watch.score)] if watch.score else []),
            EarlyStopping(watch, patience, state, folder, extra),
            *callbacks,
            saver,
        ]
        try:
            _train(model, feed, state, epochs, stack)
            _take_best(model, state, folder, extra)
        except BaseException:
            for callback in callbacks:  # so that logs are whole and the terminal is as it was
                callback.on_train_end()
            raise
    return state


def _train(model: keras.Model, feed: Feed, state: State, epochs: int, stack: list) -> None:
    """Go through the rest of the epochs.

    An epoch taken up in its middle is a fit of its own, and so is each of epochs that differ: Keras
    gives every epoch of one call the same number of steps.
    """
    if state.stopped:
        return
    if state.step and state.step == feed.steps(state.epoch):
        _validate(model, feed, state.epoch, stack)
    elif state.step:
        _fit(model, feed, range(state.epoch, state.epoch + 1), state.step, stack)
    while state.epoch < epochs and not state.stopped:
        stop = state.epoch + 1 if feed.changing else epochs
        _fit(model, feed, range(state.epoch, stop), 0, stack)


def _fit(model: keras.Model, feed: Feed, epochs: range, start: int, callbacks: list) -> None:
    """Call ``model.fit`` on some epochs, the first without its ``start`` batches."""
    model.fit(
        feed.batches(epochs, start),
        validation_data=feed.validation,
        validation_steps=feed.validation_steps,
        initial_epoch=epochs.start,
        epochs=epochs.stop,
        steps_per_epoch=feed.steps(epochs.start) - start,
        callbacks=callbacks,
        shuffle=False,  # the batches come shuffled
        verbose=0,
    )


def _validate(model: keras.Model, feed: Feed, epoch: int, callbacks: list) -> None:
    """Do what ``model.fit`` does after the last batch of an epoch."""
    stack = keras.callbacks.CallbackList(callbacks, model=model, epochs=epoch + 1, steps=0)
    model.stop_training = False
    stack.on_train_begin()
    stack.on_epoch_begin(epoch)
    logs = dict(model.get_metrics_result())
    held = model.evaluate(
        feed.validation,
        steps=feed.validation_steps,
        callbacks=stack,
        return_dict=True,
        verbose=0,
    )
    logs.update({f"val_{name}": value for name, value in held.items()})
    stack.on_epoch_end(epoch, logs)
    stack.on_train_end(logs)


def _take_best(model: keras.Model, state: State, folder: Path, extra: Sequence[Any]) -> None:
    """Give the model the weights of its best epoch."""
    strategy = model.distribute_strategy
    values = _values([*model.variables, *extra])
    best = folder / f"best-{state.best_epoch}"
    if distribution.chief(strategy):
        if not checkpoints.whole(best):
            raise UserError(f"the best weights in {best} are damaged; {GO_ON} from before them")
        checkpoints.restore(best, values)
    distribution.broadcast(strategy, values)


class Score(keras.callbacks.Callback):
    """Adds what a score finds to the logs of an epoch."""

    def __init__(self, score: Callable[[], Mapping[str, float]]) -> None:
        super().__init__()
        self.score = score

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Add to the logs, which the callbacks after this one are given too."""
        if logs is not None:
            logs.update(self.score())


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Keras's early stopping, with its counters in the state and the best weights on disk."""

    def __init__(
        self, watch: Watch, patience: int, state: State, folder: Path, extra: Sequence[Any] = ()
    ) -> None:
        super().__init__(monitor=watch.monitor, mode=watch.mode, patience=patience)
        self.state = state
        self.folder = folder
        self.extra = extra

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Take the counters up where the state has them."""
        super().on_train_begin(logs)
        self.wait, self.best = self.state.wait, self.state.best
        self.best_epoch = self.state.best_epoch

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Count; keep the weights of a new best epoch."""
        if self.best is not None and math.isnan(self.best):
            self.best = None  # nothing is better than NaN, to Keras
        super().on_epoch_end(epoch, logs)
        # Of equally good epochs the last is kept: it was trained at a lower learning rate.
        equal = self.wait > 0 and (logs or {}).get(self.monitor) == self.best
        if equal:
            self.best_epoch = epoch
        if (equal or self.wait == 0) and distribution.chief(self.model.distribute_strategy):
            _check_finite(self.model, self.extra, self.state, self.folder)
            values = _values([*self.model.variables, *self.extra])
            checkpoints.write(self.folder / f"best-{epoch}", values, {"epoch": epoch})
        self.state.wait, self.state.best_epoch = self.wait, self.best_epoch
        self.state.best = None if self.best is None else float(self.best)
        self.state.stopped = self.model.stop_training


class FiniteLoss(keras.callbacks.Callback):
    """Stops a run whose loss is no number any more, naming the batch's rows."""

    def __init__(self, feed: Feed, state: State, folder: Path, remedy: str) -> None:
        super().__init__()
        self.remedy = remedy
        self.feed = feed
        self.state = state
        self.folder = folder

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Look at the loss so far, in which one bad batch shows."""
        loss = float((logs or {})["loss"])
        if math.isfinite(loss):
            return
        numbers = ", ".join(map(str, self.feed.rows(self.state.epoch, self.state.step)))
        raise UserError(
            f"the loss became {loss} in epoch {self.state.epoch + 1}, batch {self.state.step + 1} "
            f"(rows {numbers}); {_kept(self.folder)} ({self.remedy})"
        )


class Saver(keras.callbacks.Callback):
    """Keeps the state: on disk, and between calls of fit. It must be the last callback."""

    def __init__(
        self,
        folder: Path,
        state: State,
        feed: Feed,
        minutes: float,
        signals: Signals,
        extra: Sequence[Any] = (),
    ) -> None:
        super().__init__()
        self.folder = folder
        self.state = state
        self.feed = feed
        self.extra = extra
        self.seconds = 60 * minutes
        self.signals = signals
        self.saved_at = time.monotonic()
        self.metrics: list[np.ndarray] | None = None

    def load(self, model: keras.Model) -> None:
        """Set model, optimizer, metrics and state from the newest whole checkpoint, if any."""
        strategy = model.distribute_strategy
        found = self._newest() if distribution.chief(strategy) else None
        if found is not None:
            checkpoints.restore(found, self._variables(model))
        state = distribution.agree(strategy, checkpoints.read_state(found) if found else None)
        if state is None:
            return
        distribution.broadcast(strategy, self._variables(model))
        for name, value in state.items():
            setattr(self.state, name, value)
        # fit resets the metrics when an epoch begins; this one has begun already.
        self.metrics = _numbers(model.metrics_variables) if self.state.step else None

    def _newest(self) -> Path | None:
        """The newest checkpoint that is whole, its best weights too; later ones are dropped."""
        steps = checkpoints.listed(self.folder, "step-")
        for found in reversed(steps):
            if checkpoints.whole(found):
                state = checkpoints.read_state(found)
                best = self.folder / f"best-{state['best_epoch']}"
                if not state["history"] or checkpoints.whole(best):
                    return found
            log.warning("the checkpoint %s is damaged; the one before it is taken", found)
            checkpoints.drop(self.folder, {f.name for f in self.folder.iterdir()} - {found.name})
        return None

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Give the metrics of an epoch taken up in its middle what they had counted."""
        self._set_metrics()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Count the batch; save if it is time or a signal came."""
        self.state.step += 1
        # The validation will count in the same metrics.
        if self.state.step == self.feed.steps(self.state.epoch):
            self.metrics = _numbers(self.model.metrics_variables)
        if self.signals.noted:
            self.save()
            place = f"epoch {self.state.epoch + 1}, batch {self.state.step}"
            raise Interrupted(self.signals.noted, f" at {place}; {GO_ON}")
        if time.monotonic() - self.saved_at >= self.seconds:
            self.save()

    def on_test_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Obey a signal: the trained epoch is saved, the validation will be done again."""
        if self.signals.noted:
            self._set_metrics()
            self.save()
            place = f"the validation after epoch {self.state.epoch + 1}"
            raise Interrupted(self.signals.noted, f" at {place}; {GO_ON}")

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Note the epoch's metrics and save."""
        self.state.history.append({name: float(value) for name, value in (logs or {}).items()})
        self.state.epoch, self.state.step, self.metrics = epoch + 1, 0, None
        self.save()
        if self.signals.noted:
            raise Interrupted(self.signals.noted, f" after epoch {epoch + 1}; {GO_ON}")

    def _set_metrics(self) -> None:
        """Put back what the training metrics had counted."""
        if self.metrics is not None:
            for variable, value in zip(self.model.metrics_variables, self.metrics, strict=True):
                variable.assign(value)

    def _variables(self, model: keras.Model) -> list[tf.Variable]:
        """Everything that decides how training goes on."""
        own = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
        return _values([*own, *self.extra])

    def save(self) -> None:
        """Write a checkpoint, then drop those before the last two, and best weights not named."""
        self.saved_at = time.monotonic()
        if not distribution.chief(self.model.distribute_strategy):
            return
        _check_finite(self.model, self.extra, self.state, self.folder)
        # An epoch has one more place than batches: before and after its validation.
        number = self.feed.before(self.state.epoch) + self.state.epoch + self.state.step
        checkpoints.write(
            self.folder / f"step-{number}", self._variables(self.model), asdict(self.state)
        )
        kept = checkpoints.listed(self.folder, "step-")[-2:]
        bests = {checkpoints.read_state(f)["best_epoch"] for f in kept}
        checkpoints.drop(self.folder, {f.name for f in kept} | {f"best-{b}" for b in bests})
        self.saved_at = time.monotonic()


def _check_finite(model: keras.Model, extra: Sequence[Any], state: State, folder: Path) -> None:
    """Raise UserError rather than let weights that are no numbers replace good ones."""
    for variable in [*model.trainable_variables, *extra]:
        values = np.asarray(variable.numpy())
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise UserError(
                f"the weights {variable.path} became NaN or infinite in epoch {state.epoch + 1}; "
                f"{_kept(folder)} (lower --learning-rate)"
            )


def _kept(folder: Path) -> str:
    """Say which checkpoint is there to go back to."""
    newest = checkpoints.newest(folder, "step-")
    return f"the last good checkpoint is {newest}" if newest else "no checkpoint was written yet"


def _values(variables: Sequence[Any]) -> list[tf.Variable]:
    """The TensorFlow variables behind Keras's, each once, in order."""
    plain = [v.value if isinstance(v, keras.Variable) else v for v in variables]
    return list({id(v): v for v in plain}.values())


def _numbers(variables: Sequence[keras.Variable]) -> list[np.ndarray]:
    """Copy the variables' values."""
    return [np.array(variable.numpy()) for variable in variables]
