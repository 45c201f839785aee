"""RecAdam: weights are pulled back to where they began, ever less as training goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from tfnlp.config import Experiment
from tfnlp.extensions import Batch, Outcome, Step, Strategy, Trainer
from tfnlp.options import option
from tfnlp.strategies import _earlier
from tfnlp.task import Task

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class Options(_earlier.Options):
    """How strong the pull is, and when it ends.

    Example::

        python -m tfnlp.train --train may.csv --start-from RUN --strategy recadam
    """

    pull: float = option(
        5000.0,
        "what the learning rate is multiplied by for the share of the way back that each step goes",
        minimum=0.0,
    )
    middle: float = option(
        0.3,
        "share of training after which the pull and the labels count the same",
        minimum=0.0,
        maximum=1.0,
    )
    steepness: float = option(
        20.0, "how fast the pull gives way; over the whole training", minimum=0.0, maximum=1e4
    )


def fits(task: Task, experiment: Experiment, options: Options) -> None:
    """Refuse gradients that are accumulated, of which each batch is no step.

    Raises:
        UserError: they are.

    Example::

        fits(load("classification"), experiment, Options())
    """
    if experiment.optimizer.accumulate > 1:
        raise UserError(
            "--strategy recadam pulls after each batch, and --accumulate lets several make one "
            "step (leave out --accumulate)"
        )


def train(trainer: Trainer) -> Outcome:
    """Fit with the pull on the backbone, or on all that an earlier run has trained.

    Without ``--start-from`` it is towards the pretrained weights, as in the paper. It is for new
    domains; a head with new labels is not pulled.

    Example::

        train(trainer).report.metrics["recadam_new_accuracy"]

    Source: Chen et al. 2020, "Recall and learn: fine-tuning deep pretrained language models with
        less forgetting", section 3 and algorithm 1 (https://arxiv.org/abs/2004.12651).
    """
    experiment = trainer.experiment
    step = make(trainer.options, pulled(trainer), experiment.training.batch_size)
    return _earlier.compared(trainer, lambda: trainer.fit(step))


def pulled(trainer: Trainer) -> list[Any]:
    """Return the weights that are pulled: those that are trained and were trained before.

    Example::

        [weight.path for weight in pulled(trainer)]
    """
    if trainer.origin is None:
        layers = [layer for block in trainer.model.blocks for layer in block]
        before = {w.path: tuple(w.shape) for layer in layers for w in layer.weights}
    else:
        before = {w.path: tuple(w.shape) for w in trainer.origin.model.network.weights}
    own = trainer.model.network.trainable_weights
    return [weight for weight in own if before.get(weight.path) == tuple(weight.shape)]


def share(done: Any, middle: float, steepness: float) -> Any:
    """Return how much the labels count, from 0 to 1; the rest is the pull's.

    Args:
        done: share of training that is done.
        middle: where both count the same.
        steepness: of the change there.

    Example::

        share(0.3, 0.3, 20.0)  # 0.5
    """
    import tensorflow as tf

    return tf.sigmoid(steepness * (tf.cast(done, tf.float32) - middle))


def make(own: Options, weights: Sequence[Any], batch_size: int) -> Step:
    """Return the step; it needs TensorFlow, which the options do not.

    Args:
        own: the pull.
        weights: that are pulled to where they are when the fit begins.
        batch_size: rows of a batch.

    Example::

        trainer.fit(make(Options(), pulled(trainer), 32))
    """
    import keras
    import tensorflow as tf

    from tfnlp.training import optimizers

    starts = [weight.numpy() for weight in weights]

    class Recalled(Step):
        """The task's loss; of each update a share stays, and weights go a part of the way back."""

        remedy = "lower --recadam-pull or --learning-rate"

        def build(self, network: Any, total_rows: int) -> None:
            """Hold where weights began, and where they were before an update."""
            self.batches = max(total_rows / batch_size, 1.0)
            self.starts = [keras.Variable(v, trainable=False, dtype="float32") for v in starts]
            self.before = [keras.Variable(v, trainable=False, dtype="float32") for v in starts]

        def gradients(self, network: Any, batch: Batch) -> tuple[tf.Tensor, Any, list[Any]]:
            """Return the loss, the outputs and the gradients, and note where weights are."""
            for held, weight in zip(self.before, weights, strict=True):
                held.assign(weight)
            found: tuple[tf.Tensor, Any, list[Any]] = super().gradients(network, batch)
            return found

        def updated(self, network: Any, batch: Batch) -> None:
            """Take back a part of the update, and pull."""
            optimizer = optimizers.inner(network.optimizer)
            done = tf.cast(optimizer.iterations, tf.float32) / self.batches
            labels = share(done, own.middle, own.steepness)
            rate = tf.cast(optimizer.learning_rate, tf.float32)
            back = tf.minimum(own.pull * rate * (1 - labels), 1.0)  # not beyond where it began
            for weight, before, start in zip(weights, self.before, self.starts, strict=True):
                was, now = (tf.convert_to_tensor(one) for one in (before, weight))
                now = was + labels * (now - was)
                weight.assign(now + back * (tf.convert_to_tensor(start) - now))

    return Recalled()


STRATEGY = Strategy(
    summary="pull weights back to where they began, ever less (RecAdam), for new domains",
    options=Options,
    train=train,
    fits=fits,
)
