"""Mixup: the vectors of two rows are mixed, and their targets by the same share."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from tfnlp.config import Experiment
from tfnlp.extensions import Batch, Outcome, Step, Strategy, Trainer
from tfnlp.options import option
from tfnlp.strategies import _hidden, _perturbation, _robustness
from tfnlp.task import Task

if TYPE_CHECKING:
    import tensorflow as tf

_MIXED = (["label"], ["labels"], ["number"])  # kinds of targets of which there is something between


@dataclass(frozen=True)
class Options(_robustness.Options):
    """How much is mixed.

    Example::

        python -m tfnlp.train --train rows.csv --strategy mixup --mixup-alpha 0.4
    """

    alpha: float = option(
        0.4,
        "shares are drawn from Beta(alpha, alpha): below 1 most are near 0 or 1",
        minimum=0.01,
        maximum=10.0,
    )


def fits(task: Task, experiment: Experiment, options: Options) -> None:
    """Refuse a task whose rows have not one label, several, or a number each.

    Raises:
        UserError: the task's targets are something else.

    Example::

        fits(load("ner"), experiment, Options())  # raises
    """
    kinds = [column.kind for column in task.target_columns(experiment.options)]
    if kinds not in _MIXED or experiment.task == "ordinal":
        raise UserError(
            f"--strategy mixup mixes labels or numbers of whole texts, which rows of "
            f"{experiment.task} do not have (take --task classification, multi_label or regression)"
        )


def train(trainer: Trainer) -> Outcome:
    """Fit on the vectors and targets of rows that are mixed within a batch.

    Example::

        train(trainer).report.metrics["mixup_clean_accuracy"]

    Source: Verma et al. 2019, "Manifold mixup", section 2 (https://arxiv.org/abs/1806.05236), at
        the pooled vector, as sentence mixup of Guo et al. 2019, "Augmenting data with mixup for
        sentence classification", section 3 (https://arxiv.org/abs/1905.08941).
    """
    return _robustness.train(trainer, lambda: make(trainer.options))


def mixed(values: tf.Tensor, order: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """Return each row's values mixed with another's.

    Args:
        values: float (B, ...).
        order: int (B,), the place of each row's partner.
        share: of the row's own, a scalar.

    Example::

        mixed(tf.constant([[0.0], [1.0]]), tf.constant([1, 0]), tf.constant(0.75))  # [[.25], [.75]]
    """
    import tensorflow as tf

    share = tf.cast(share, values.dtype)
    return share * values + (1 - share) * tf.gather(values, order)


def make(own: Options) -> Step:
    """Return the step; it needs TensorFlow, which the options do not.

    Example::

        trainer.fit(make(Options()))
    """
    import keras
    import tensorflow as tf

    from tfnlp.training.network import trainable

    class Mixed(Step):
        """The task's loss of mixed vectors and targets; on replicas each mixes its own rows."""

        remedy = "lower --learning-rate"

        def build(self, network: Any, total_rows: int) -> None:
            """Cut the network where the head is given the rows' vectors."""
            self.both = trainable(_hidden.with_vector(network), divisible=network.divisible)
            with network.distribute_strategy.scope():
                self.head = keras.Model(self.both.output["vector"], network.output)
            self.random = _perturbation.Noise()
            self.variables = self.random.variables

        def gradients(self, network: Any, batch: Batch) -> tuple[tf.Tensor, Any, list[Any]]:
            """Return the loss of the mixed rows, the outputs of the rows, and the gradients."""
            self.both.streams, self.both.peft_step = network.streams, network.peft_step
            rows = tf.shape(batch.y)[0]
            order = tf.argsort(self.random.uniform([rows]))
            share = keras.random.beta([], own.alpha, own.alpha, seed=self.random.generator)
            weights = None if batch.weights is None else mixed(batch.weights, order, share)
            between = dataclasses.replace(batch, y=mixed(batch.y, order, share), weights=weights)
            with tf.GradientTape() as tape:
                found = self.both(batch.x, training=True)
                outputs = self.head(mixed(found["vector"], order, share), training=True)
                loss = self.loss(network, between, outputs)
            return loss, found["outputs"], network.gradients_of(tape, loss)

    return Mixed()


STRATEGY = Strategy(
    summary="mix the vectors of two rows, and their targets (mixup)",
    options=Options,
    train=train,
    fits=fits,
)
