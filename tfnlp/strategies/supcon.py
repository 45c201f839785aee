"""SupCon: vectors of rows with one label are drawn together, beside the task's own loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from tfnlp.config import Experiment
from tfnlp.extensions import Batch, Outcome, Source, Step, Strategy, Trainer
from tfnlp.options import option
from tfnlp.strategies import _hidden, _robustness
from tfnlp.task import Task

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class Options(_robustness.Options):
    """How much it counts.

    Example::

        python -m tfnlp.train --train rows.csv --strategy supcon --supcon-weight 0.5
    """

    weight: float = option(
        0.3, "share of the contrastive loss; the rest is the task's", minimum=0.0, maximum=1.0
    )
    temperature: float = option(0.3, "what the cosines are divided by", minimum=0.01)


def fits(task: Task, experiment: Experiment, options: Options) -> None:
    """Refuse a task whose rows have no label each.

    Raises:
        UserError: the task's targets are something else.

    Example::

        fits(load("ner"), experiment, Options())  # raises
    """
    if [column.kind for column in task.target_columns(experiment.options)] != ["label"]:
        raise UserError(
            f"--strategy supcon needs rows with one label each, which those of {experiment.task} "
            "do not have (take --task classification)"
        )


def train(trainer: Trainer) -> Outcome:
    """Fit on batches with rows of all lengths, so that any two rows of a label may meet.

    Example::

        train(trainer).report.metrics["supcon_clean_accuracy"]

    Source: Gunel et al. 2021, "Supervised contrastive learning for pre-trained language model
        fine-tuning", equations 1 to 3 (https://arxiv.org/abs/2011.01403).
    """
    source = Source(trainer.rows or trainer.splits.train, mixed=True)
    return _robustness.train(trainer, lambda: make(trainer.options), train=source)


def contrast(vectors: tf.Tensor, targets: tf.Tensor, temperature: float) -> tf.Tensor:
    """Return the supervised contrastive loss of a batch, a scalar [nats].

    Args:
        vectors: (B, H), of any norm.
        targets: (B, C); rows with equal ones belong together.
        temperature: what the cosines are divided by.

    Returns:
        The mean over the rows that have a partner; 0 if none has one.

    Example::

        contrast(tf.eye(2), tf.constant([[1.0], [1.0]]), 0.3)
    """
    import tensorflow as tf

    unit = tf.math.l2_normalize(tf.cast(vectors, tf.float32), -1)
    others = 1.0 - tf.eye(tf.shape(unit)[0])
    logits = tf.matmul(unit, unit, transpose_b=True) / temperature
    logits = tf.where(others > 0, logits, -1e9)  # a row is no partner of itself
    same = others * tf.cast(tf.reduce_all(targets[:, None] == targets[None], -1), tf.float32)
    partners = tf.reduce_sum(same, 1)
    each = -tf.reduce_sum(same * tf.nn.log_softmax(logits), 1) / tf.maximum(partners, 1.0)
    return tf.reduce_sum(each) / tf.maximum(tf.reduce_sum(tf.cast(partners > 0, tf.float32)), 1.0)


def make(own: Options) -> Step:
    """Return the step; it needs TensorFlow, which the options do not.

    Example::

        trainer.fit(make(Options()))
    """
    import tensorflow as tf

    from tfnlp.training.network import trainable

    class Contrasted(Step):
        """Shares of the task's loss and of the contrastive one; on replicas each has its own."""

        remedy = "lower --supcon-weight or --learning-rate"

        def build(self, network: Any, total_rows: int) -> None:
            """Make a network of the same layers that returns rows' vectors too."""
            self.both = trainable(_hidden.with_vector(network), divisible=network.divisible)

        def gradients(self, network: Any, batch: Batch) -> tuple[tf.Tensor, Any, list[Any]]:
            """Return the loss, the outputs, and the gradients."""
            self.both.streams, self.both.peft_step = network.streams, network.peft_step
            with tf.GradientTape() as tape:
                found = self.both(batch.x, training=True)
                loss = self.loss(network, batch, found["outputs"])
                other = contrast(found["vector"], batch.y, own.temperature) / network.replicas
                loss = (1 - own.weight) * loss + own.weight * tf.cast(other, loss.dtype)
            return loss, found["outputs"], network.gradients_of(tape, loss)

    return Contrasted()


STRATEGY = Strategy(
    summary="draw the vectors of rows of one label together, beside the task's loss (SupCon)",
    options=Options,
    train=train,
    fits=fits,
)
