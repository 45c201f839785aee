"""``model.fit``, resumable at any batch.

What decides the rest of a run is its *state*: the variables of model, optimizer (with its
accumulated gradients and its loss scale), step, metrics and random generators, and the place
(epoch, batch), history and early-stopping counters. It is saved after every epoch, every few
minutes and on SIGTERM or SIGINT, and the order of the rows is a function of (seed, epoch), so a
run that was killed resumes as if nothing had happened: what it trained after its last checkpoint it
trains again, from the same state on the same rows.

With ``--deterministic``, on the same machine, the result then equals that of a run that was never
killed, bit for bit. Without it rows, their order, the dropout masks and the counters are the same
too, but TensorFlow may add up floating-point numbers in another order each time, so that weights
differ in their last digits, as they do between two runs that nobody killed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from pipelines.errors import UserError
from tfnlp.extensions import Step
from tfnlp.runtime.signals import caught
from tfnlp.training import checkpoints, distribution
from tfnlp.training.callbacks import (
    EarlyStopping,
    FiniteLoss,
    Leftover,
    Saver,
    Score,
    saved,
    values_of,
)
from tfnlp.training.state import RESUME, Feed, State, Watch


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
    logs: Callable[[], Mapping[str, float]] | None = None,
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
        resume: continue from the newest whole checkpoint in ``folder``, if there is one.
        callbacks: further Keras callbacks; they are ended also when training is broken off.
        logs: called after each epoch for further figures to log.
        extra: variables of the step, saved with the model's.
        remedy: what a user may do if the loss becomes NaN or infinite.

    Raises:
        Interrupted: SIGTERM or SIGINT came; the state was saved first.
        UserError: the loss became NaN or infinite, or a checkpoint cannot be written.

    Example::

        state = fit(network, Watch("val_loss", "min"), feed, epochs=4, patience=2,
                    folder=run / "checkpoints", minutes=5.0, resume=True)
        state.history[-1]["val_loss"]
    """
    state = State()
    with caught(f" after the last epoch; {RESUME}") as signals, signals.held():
        saver = Saver(folder, state, feed, minutes, signals, extra)
        if resume:
            saver.load(model)
        stack = [
            FiniteLoss(feed, state, folder, remedy),
            Leftover(feed, state),
            *(Score(own) for own in (watch.score, logs) if own),
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
    if state.step > feed.steps(state.epoch):  # a run of 0.1.0, which kept no digest of its data
        raise UserError(
            f"the checkpoint was made after batch {state.step} of an epoch that has "
            f"{feed.steps(state.epoch)} now: the data are others (start again without --resume)"
        )
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
    best = folder / f"best-{state.best_epoch}"
    if distribution.chief(strategy):
        if not checkpoints.whole(best):
            raise UserError(f"the best weights in {best} are damaged; {RESUME} from before them")
        held = saved(model, checkpoints.read_state(best))
        checkpoints.restore(best, values_of([*held, *extra]))
    distribution.broadcast(strategy, values_of([*model.variables, *extra]))
