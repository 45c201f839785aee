"""An experiment's steps: prepare, arrange, answer, fit and calibrate.

Dimensions: N rows, B batch, C classes.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfnlp.task import Objective
from tfnlp.training import distribution, loop, optimizers
from tfnlp.training.examples import Examples, batches, element
from tfnlp.training.model import TrainedModel
from tfnlp.training.network import used


def compile_model(model: TrainedModel, steps: int) -> Objective:
    """Compile the network for training; returns what it is trained for.

    Args:
        model: built by :func:`prepare`.
        steps: batches in the whole run.
    """
    objective = model.task.objective(model.context)
    with model.network.distribute_strategy.scope():
        optimizer = optimizers.adamw(model.experiment.optimizer, steps, model.blocks)
    model.network.compile(
        optimizer=optimizer,
        loss=objective.loss,
        metrics=objective.metrics,
        jit_compile=False,  # XLA would compile anew for each padded length
    )
    with model.network.distribute_strategy.scope():
        model.network.optimizer.build(model.network.trainable_variables)
    return objective


def fit(
    model: TrainedModel,
    train: Examples,
    validation: Examples,
    folder: Path,
    *,
    resume: bool,
    callbacks: list[keras.callbacks.Callback],
) -> loop.State:
    """Train; the model ends with the weights of its best epoch.

    Args:
        model: built by :func:`prepare`.
        train: shuffled rows.
        validation: rows in a fixed order.
        folder: the run's folder; checkpoints are kept in ``checkpoints`` below.
        resume: go on where the newest checkpoint stands.
        callbacks: further Keras callbacks.
    """
    training = model.experiment.training
    steps = len(train.plan)
    objective = compile_model(model, steps * training.epochs)

    def dealt(data: Examples, epochs: range, start: int = 0) -> Any:
        return distribution.dataset(
            model.network.distribute_strategy, partial(batches, model, data, epochs, start)
        )

    held = dealt(validation, range(1))

    def rows(epoch: int, batch: int) -> list[int]:
        return [train.rows.numbers[i] for i in train.plan.epoch(epoch)[0][batch]]

    feed = loop.Feed(partial(dealt, train), steps, rows, held, len(validation.plan))
    _make_metrics(model, validation)
    with used(model.network):
        return loop.fit(
            model.network,
            objective,
            feed,
            epochs=training.epochs,
            patience=training.patience,
            folder=folder / "checkpoints",
            minutes=training.checkpoint_minutes,
            resume=resume,
            callbacks=callbacks,
        )


def _make_metrics(model: TrainedModel, data: Examples) -> None:
    """Make the metrics' variables, as Keras does at the first batch: a checkpoint has them too."""
    row = {name: column[:1] for name, column in data.raw.items()}
    x, y, *weights = element(model, row, tf.constant(data.plan.widths[-1]))
    model.network.compute_metrics(x, y, model.network(x, training=False), *weights)
    model.network.reset_metrics()
