"""MMD: vectors of source and target texts shall be distributed alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tfnlp.extensions import Outcome, Step, Strategy, Trainer
from tfnlp.options import option
from tfnlp.strategies import _domains

if TYPE_CHECKING:
    import tensorflow as tf

_WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the kernels, times the mean squared distance


@dataclass(frozen=True)
class Options(_domains.Options):
    """How much the distance of the distributions counts.

    Example::

        python -m tfnlp.train --train films.csv --strategy mmd --target shoes.txt
    """

    weight: float = option(
        0.3, "what the distance of both domains' vectors is multiplied by", minimum=0.0
    )


def train(trainer: Trainer) -> Outcome:
    """Fit with the maximum mean discrepancy of both domains' vectors added to the loss.

    Example::

        train(trainer).report.metrics["mmd_test_accuracy"]

    Source: Long et al. 2015, "Learning transferable features with deep adaptation networks",
        section 3 (https://arxiv.org/abs/1502.02791), of one layer and with equal kernel weights.
    """
    return _domains.train(trainer, lambda: make(trainer.options))


def discrepancy(source: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Return the squared maximum mean discrepancy of two samples, a scalar, 0 or more.

    Args:
        source: float32 (B, H).
        target: float32 (C, H).

    Returns:
        The biased estimate, averaged over Gaussian kernels of five widths around the mean squared
        distance of the sample.

    Example::

        discrepancy(vectors, vectors)  # 0.0

    Source: Gretton et al. 2012, "A kernel two-sample test", equation 5
        (https://jmlr.org/papers/v13/gretton12a.html).
    """
    import tensorflow as tf

    both = tf.concat([source, target], 0)
    squares = tf.reduce_sum(both**2, 1)
    between = squares[:, None] - 2 * tf.matmul(both, both, transpose_b=True) + squares[None]
    between = tf.maximum(between, 0.0)
    width = tf.stop_gradient(tf.reduce_mean(between)) + 1e-12
    kernel = tf.add_n([tf.exp(-between / (times * width)) for times in _WIDTHS]) / len(_WIDTHS)
    count = tf.shape(source)[0]
    within = tf.reduce_mean(kernel[:count, :count]) + tf.reduce_mean(kernel[count:, count:])
    return within - 2 * tf.reduce_mean(kernel[:count, count:])


def make(own: Options) -> Step:
    """Return the step; it needs TensorFlow, which the options do not.

    Example::

        trainer.fit(make(Options()), beside={"target": Source(rows, targets=False)})
    """
    import keras

    class Alike(_domains.Aligned):
        """The task's loss, and the discrepancy of both domains' vectors."""

        remedy = "lower --mmd-weight or --learning-rate"

        def build(self, network: object, total_rows: int) -> None:
            """Make what is logged."""
            super().build(network, total_rows)
            self.found = keras.metrics.Mean(name="discrepancy")
            self.metrics = [self.found]

        def away(self, source: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
            """Return the weighted discrepancy."""
            apart = discrepancy(source, target)
            self.found.update_state(apart)
            return own.weight * apart

    return Alike()


STRATEGY = Strategy(
    summary="vectors of texts of both domains are distributed alike, with a target domain (MMD)",
    options=Options,
    train=train,
    fits=_domains.fits,
)
