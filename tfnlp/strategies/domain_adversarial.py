"""DANN: vectors shall not tell which domain a text is of, by a reversed gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfnlp.extensions import Batch, Outcome, Step, Strategy, Trainer
from tfnlp.options import option
from tfnlp.strategies import _domains

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class Options(_domains.Options):
    """How strongly domains are mixed up.

    Example::

        python -m tfnlp.train --train films.csv --strategy domain_adversarial --target shoes.txt
    """

    weight: float = option(
        0.1, "what the reversed gradient is multiplied by at the end of training", minimum=0.0
    )
    hidden: int = option(100, "units of the domain classifier's hidden layer", minimum=1)


def train(trainer: Trainer) -> Outcome:
    """Fit against a classifier of domains that learns from the same vectors.

    Example::

        train(trainer).report.metrics["domain_adversarial_test_accuracy"]

    Source: Ganin et al. 2016, "Domain-adversarial training of neural networks", sections 4 and 5.2
        (https://arxiv.org/abs/1505.07818).
    """
    return _domains.train(trainer, lambda: make(trainer.options))


def reversed_gradient(x: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Return a tensor as it is, whose gradient is multiplied by ``-scale``.

    Example::

        reversed_gradient(vectors, 0.5)

    Source: Ganin et al. 2016, section 4.2, equations 13 and 14.
    """
    import tensorflow as tf

    return (1.0 + scale) * tf.stop_gradient(x) - scale * x


def schedule(progress: tf.Tensor) -> tf.Tensor:
    """Return how much of the reversed gradient is let through, from 0 to 1.

    Args:
        progress: share of the training that is over.

    Example::

        schedule(tf.constant(0.5))  # 0.987

    Source: Ganin et al. 2016, section 5.2.2, with gamma = 10.
    """
    import tensorflow as tf

    return 2.0 / (1.0 + tf.exp(-10.0 * progress)) - 1.0


def make(own: Options) -> Step:
    """Return the step; it needs TensorFlow, which the options do not.

    Example::

        trainer.fit(make(Options()), beside={"target": Source(rows, targets=False)})
    """
    import keras
    import tensorflow as tf

    class Adversarial(_domains.Aligned):
        """The task's loss, and that of a classifier of domains behind a reversed gradient."""

        remedy = "lower --domain-adversarial-weight or --learning-rate"

        def build(self, network: Any, total_rows: int) -> None:
            """Make the classifier of domains, and a count of the rows that were learned from."""
            super().build(network, total_rows)
            width = self.both.output["vector"].shape[-1]
            self.domain = keras.Sequential(
                [
                    keras.Input((width,)),
                    keras.layers.Dense(own.hidden, activation="relu", dtype="float32"),
                    keras.layers.Dense(1, dtype="float32"),
                ],
                name="domain",
            )
            self.total = float(max(total_rows, 1))
            self.seen = keras.Variable(0.0, dtype="float32", trainable=False, name="rows_seen")
            self.trainable = self.domain.trainable_weights
            self.variables = [self.seen]
            self.accuracy = keras.metrics.Mean(name="domain_accuracy")
            self.scale = keras.metrics.Mean(name="reversal")
            self.metrics = [self.accuracy, self.scale]

        def away(self, source: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
            """Return the cross-entropy of the domains, whose gradient is reversed for vectors."""
            progress = tf.minimum(tf.convert_to_tensor(self.seen) / self.total, 1.0)
            scale = own.weight * schedule(progress)
            losses, right = [], []
            for vectors, of_target in ((source, 0.0), (target, 1.0)):
                logits = self.domain(reversed_gradient(vectors, scale))[:, 0]
                wanted = tf.fill(tf.shape(logits), of_target)
                each = tf.nn.sigmoid_cross_entropy_with_logits(labels=wanted, logits=logits)
                losses.append(tf.reduce_mean(each))
                right.append(tf.reduce_mean(tf.cast((logits > 0) == (wanted > 0), tf.float32)))
            self.accuracy.update_state((right[0] + right[1]) / 2)
            self.scale.update_state(scale)
            return (losses[0] + losses[1]) / 2

        def updated(self, network: Any, batch: Batch) -> None:
            """Count the rows."""
            rows = tf.shape(tf.nest.flatten(batch.x)[0])[0] * network.replicas
            self.seen.assign_add(tf.cast(rows, tf.float32))

    return Adversarial()


STRATEGY = Strategy(
    summary="vectors that do not tell the domain, with texts of a target domain (DANN)",
    options=Options,
    train=train,
    fits=_domains.fits,
)
