"""Callbacks that count, keep and check: the best weights, the state, the loss."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.errors import UserError
from tfnlp.runtime import keras_patches
from tfnlp.runtime.signals import Interrupted, Signals
from tfnlp.training import checkpoints, distribution, optimizers
from tfnlp.training.state import RESUME, Feed, State, Watch

log = logging.getLogger(__name__)


class Score(keras.callbacks.Callback):
    """Adds what a score finds to the logs of an epoch.

    Example::

        network.fit(data, callbacks=[Score(lambda: {"score": score()}), early_stopping])
    """

    def __init__(self, score: Callable[[], Mapping[str, float]]) -> None:
        super().__init__()
        self.score = score

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Add to the logs, which the callbacks after this one are given too."""
        if logs is not None:
            logs.update(self.score())


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Keras's early stopping, with its counters in the state and the best weights on disk.

    Example::

        EarlyStopping(Watch("val_accuracy", "max"), 2, state, run / "checkpoints")
    """

    def __init__(
        self, watch: Watch, patience: int, state: State, folder: Path, extra: Sequence[Any] = ()
    ) -> None:
        super().__init__(monitor=watch.monitor, mode=watch.mode, patience=patience)
        self.least = watch.least
        self.state = state
        self.folder = folder
        self.extra = extra

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Restore the counters from the state."""
        super().on_train_begin(logs)
        self.wait, self.best = self.state.wait, self.state.best
        self.best_epoch = self.state.best_epoch

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Count; keep the weights of a new best epoch."""
        if self.best is not None and math.isnan(self.best):
            self.best = None  # nothing is better than NaN, to Keras
        super().on_epoch_end(epoch, logs)
        if self._is_equal(logs or {}):
            self.best_epoch, self.wait = epoch, 0
            self.model.stop_training = False
        if epoch + 1 in self.least and not self._is_at_least(self.least[epoch + 1]):
            self.model.stop_training = True
        if self.wait == 0 and distribution.chief(self.model.distribute_strategy):
            _check_finite(self.model, self.extra, self.state, self.folder)
            about = {"epoch": epoch, "frozen": None}  # left out; a step's state has its checksum
            values = values_of([*saved(self.model, about), *self.extra])
            checkpoints.write(self.folder / f"best-{epoch}", values, about)
        self.state.wait, self.state.best_epoch = self.wait, self.best_epoch
        self.state.best = None if self.best is None else float(self.best)
        self.state.stopped = self.model.stop_training

    def _is_at_least(self, value: float) -> bool:
        """Return whether the best epoch so far is as good as this."""
        found = self.best
        return found is not None and (found == value or bool(self.monitor_op(found, value)))

    def _is_equal(self, logs: dict) -> bool:
        """Return whether an epoch is as good as the best one, and its loss is lower.

        On few validation rows many epochs are equally good, and the loss tells them apart: while
        it falls, training goes on.
        """
        if self.wait == 0 or logs.get(self.monitor) != self.best:
            return False
        best = self.state.history[self.best_epoch]
        return bool(logs.get("val_loss", 0.0) < best.get("val_loss", 0.0))


class FiniteLoss(keras.callbacks.Callback):
    """Stops a run whose loss is no longer finite, naming the batch's rows.

    Example::

        FiniteLoss(feed, state, run / "checkpoints", "lower --learning-rate")
    """

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

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Look at the loss on validation rows: finite weights can give answers that are none."""
        if math.isnan((logs or {}).get("val_loss", 0.0)):
            raise UserError(
                f"the loss on validation rows became nan in epoch {epoch + 1}; "
                f"{_kept(self.folder)} ({self.remedy})"
            )


class Leftover(keras.callbacks.Callback):
    """Ends an epoch by an update where accumulated gradients wait for batches that it has not.

    Example::

        Leftover(feed, state)
    """

    def __init__(self, feed: Feed, state: State) -> None:
        super().__init__()
        self.feed = feed
        self.state = state

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Update after the last batch, before its state is saved."""
        optimizer = optimizers.inner(self.model.optimizer)
        if optimizer.held is not None and self.state.step + 1 == self.feed.steps(self.state.epoch):
            optimizer.update_leftover()


class Saver(keras.callbacks.Callback):
    """Keeps the state: on disk, and between calls of fit. It must be the last callback.

    Example::

        saver = Saver(run / "checkpoints", state, feed, minutes=5.0, signals=signals)
        saver.load(network)  # to resume
    """

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
        self.saved_at = self.counted_to = time.monotonic()
        self.metrics: list[np.ndarray] | None = None
        self.frozen: str | None = None  # the checksum of what is frozen, found once

    def load(self, model: keras.Model) -> None:
        """Set model, optimizer, metrics and state from the newest whole checkpoint, if any."""
        strategy = model.distribute_strategy
        found = self._newest() if distribution.chief(strategy) else None
        if found is not None:
            self._restore(found, model)
        state = distribution.agree(strategy, checkpoints.read_state(found) if found else None)
        if state is None:
            return
        distribution.broadcast(strategy, self._variables(model, state))
        for field in fields(self.state):  # of which earlier versions had fewer
            if field.name in state:
                setattr(self.state, field.name, state[field.name])
        # fit resets the metrics when an epoch begins; this one has begun already.
        self.metrics = _numbers(model.metrics_variables) if self.state.step else None

    def _restore(self, folder: Path, model: keras.Model) -> None:
        """Set everything from a checkpoint.

        One of 0.1.0 has the frozen weights too, and no count of accumulated rows.

        Raises:
            UserError: what is frozen is not what it was trained with.
        """
        state = checkpoints.read_state(folder)
        if "frozen" in state and state["frozen"] != self._frozen(model):
            raise UserError(
                f"the weights that are not trained differ from those of {folder}: the backbone is "
                "another one than before (put that one back, or start again without --resume)"
            )
        variables = self._variables(model, state)
        optimizer = optimizers.inner(model.optimizer)
        if optimizer.held is None or checkpoints.count(folder) == len(variables):
            checkpoints.restore(folder, variables)
            return
        held = optimizer.held.value
        checkpoints.restore(folder, [v for v in variables if v is not held])
        optimizer.weigh_as(len(self.feed.rows(0, 0)))

    def _frozen(self, model: keras.Model) -> str:
        """Return the checksum of the frozen weights, which no step changes."""
        if self.frozen is None:
            self.frozen = checkpoints.checksum(frozen(model))
        return self.frozen

    def _newest(self) -> Path | None:
        """Return the newest checkpoint that is whole with its best weights; drop later ones."""
        steps = checkpoints.listed(self.folder, "step-")
        for found in reversed(steps):
            if checkpoints.whole(found):
                state = checkpoints.read_state(found)
                best = self.folder / f"best-{state['best_epoch']}"
                if not state["history"] or checkpoints.whole(best):
                    return found
            then = "the one before it is taken" if found != steps[0] else "training begins anew"
            log.warning("the checkpoint %s is damaged; %s", found, then)
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
            raise Interrupted(self.signals.noted, f" at {place}; {RESUME}")
        if time.monotonic() - self.saved_at >= self.seconds:
            self.save()

    def on_test_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Act on a signal: the trained epoch is saved, the validation will be done again."""
        if self.signals.noted:
            self._set_metrics()
            self.save()
            place = f"the validation after epoch {self.state.epoch + 1}"
            raise Interrupted(self.signals.noted, f" at {place}; {RESUME}")

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Note the epoch's metrics and save."""
        self.state.history.append({name: float(value) for name, value in (logs or {}).items()})
        self.state.epoch, self.state.step, self.metrics = epoch + 1, 0, None
        self.save()
        if self.signals.noted:
            raise Interrupted(self.signals.noted, f" after epoch {epoch + 1}; {RESUME}")

    def _set_metrics(self) -> None:
        """Put back what the training metrics had counted."""
        if self.metrics is not None:
            for variable, value in zip(self.model.metrics_variables, self.metrics, strict=True):
                variable.assign(value)

    def _variables(self, model: keras.Model, state: Mapping[str, Any]) -> list[tf.Variable]:
        """Return everything that decides how training continues and that a state comes with."""
        own = [*saved(model, state), *model.optimizer.variables, *model.metrics_variables]
        return values_of([*own, *self.extra])

    def save(self) -> None:
        """Write a checkpoint, then drop those before the last two, and best weights not named."""
        self.saved_at = time.monotonic()
        self.state.seconds += self.saved_at - self.counted_to
        self.counted_to = self.saved_at
        if not distribution.chief(self.model.distribute_strategy):
            return
        _check_finite(self.model, self.extra, self.state, self.folder)
        # An epoch has one more place than batches: before and after its validation.
        number = self.feed.before(self.state.epoch) + self.state.epoch + self.state.step
        state = {**asdict(self.state), "frozen": self._frozen(self.model)}
        variables = self._variables(self.model, state)
        checkpoints.write(self.folder / f"step-{number}", variables, state)
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
    """Return a sentence on which checkpoint there is to go back to."""
    newest = checkpoints.newest(folder, "step-")
    return f"the last good checkpoint is {newest}" if newest else "no checkpoint was written yet"


def frozen(model: keras.Model) -> list[keras.Variable]:
    """Return the weights that could be trained and are not, which training leaves as they are.

    Example::

        frozen(network)  # with --peft bitfit the kernels of the backbone, among others
    """
    own = [v for layer in keras_patches.layers_of(model) for v in layer._trainable_variables]
    return list({id(v): v for v in own if not v.trainable}.values())


def saved(model: keras.Model, state: Mapping[str, Any]) -> list[keras.Variable]:
    """Return the variables of a model that a checkpoint holds; up to 0.1.0 it held the frozen too.

    Args:
        model: the model.
        state: the checkpoint's; it has ``frozen`` if it leaves them out.

    Example::

        saved(network, {"epoch": 3, "frozen": "8f2a00c1"})
    """
    left = {id(v) for v in frozen(model)} if "frozen" in state else set()
    return [v for v in model.variables if id(v) not in left]


def values_of(variables: Sequence[Any]) -> list[tf.Variable]:
    """Return the TensorFlow variables under Keras's, each once, in order.

    Example::

        checkpoints.write(folder, values_of(network.variables), {"epoch": 3})
    """
    plain = [v.value if isinstance(v, keras.Variable) else v for v in variables]
    return list({id(v): v for v in plain}.values())


def _numbers(variables: Sequence[keras.Variable]) -> list[np.ndarray]:
    """Copy the variables' values."""
    return [np.array(variable.numpy()) for variable in variables]
