"""SMART: answers shall stay the same when embeddings are moved where they change most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfnlp.extensions import Batch, Outcome, Step, Strategy, Trainer
from tfnlp.options import option
from tfnlp.strategies import _perturbation, _robustness

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class Options(_robustness.Options):
    """How far, and how much it counts.

    Example::

        python -m tfnlp.train --train rows.csv --strategy smart --smart-weight 3
    """

    weight: float = option(
        1.0, "what the difference between both answers is multiplied by", minimum=0.0
    )
    size: float = option(
        0.02,
        "the farthest that a number of an embedding is moved, as a share of their root mean square",
        minimum=1e-4,
        maximum=10.0,
    )
    noise: float = option(
        0.01, "the deviation of what is moved at first, as such a share", minimum=1e-6, maximum=10.0
    )


def train(trainer: Trainer) -> Outcome:
    """Fit with the smoothness-inducing term; the proximal point method is left out.

    Example::

        train(trainer).report.metrics["smart_attacked_accuracy"]

    Source: Jiang et al. 2020, "SMART: robust and efficient fine-tuning", sections 2.1 and 2.3
        (https://arxiv.org/abs/1911.03437); namisan/mt-dnn, mt_dnn/perturbation.py, which has that
        term alone too. Sizes there are those of the embeddings of BERT.
    """
    return _robustness.train(trainer, lambda: make(trainer.options))


def make(own: Options) -> Step:
    """Return the step; it needs TensorFlow, which the options do not.

    Example::

        trainer.fit(make(Options()))
    """
    import tensorflow as tf

    class Smooth(Step):
        """The task's loss, and how far answers move."""

        remedy = "lower --smart-weight or --learning-rate"

        def build(self, network: Any, total_rows: int) -> None:
            """Make what noise is drawn from."""
            self.noise = _perturbation.Noise()
            self.variables = self.noise.variables

        def gradients(self, network: Any, batch: Batch) -> tuple[tf.Tensor, Any, list[Any]]:
            """Return the loss with the term, the outputs, and the gradients."""
            from tfnlp.heads import agreement

            seeds = _perturbation.Seeds(network)
            bound = own.size * scales(network, batch.x)
            with tf.GradientTape() as tape:
                outputs = network(batch.x, training=True)
                still = tf.nest.map_structure(tf.stop_gradient, outputs)
                with tape.stop_recording():
                    moved = self._moved(network, batch, still, seeds, bound)
                seeds.put_back()
                others = network(batch.x, training=True, added=moved)
                apart = agreement.distance(network.loss, batch.x, outputs, others)
                loss = self.loss(network, batch, outputs)
                loss += own.weight * tf.cast(apart, loss.dtype) / network.replicas
            return loss, outputs, network.gradients_of(tape, loss)

        def _moved(
            self, network: Any, batch: Batch, outputs: Any, seeds: Any, bound: tf.Tensor
        ) -> tf.Tensor:
            """Return where answers move most: a step from noise, no number over the bound."""
            from tfnlp.backbones import embeddings
            from tfnlp.heads import agreement

            real = tf.cast(batch.x["padding_mask"], tf.float32)[..., None]
            nothing = embeddings.zeros(network, batch.x)
            added = self.noise.normal(tf.shape(nothing)) * real * bound * own.noise / own.size
            seeds.put_back()
            with tf.GradientTape() as tape:
                tape.watch(added)
                others = network(batch.x, training=True, added=added)
                apart = agreement.distance(network.loss, batch.x, outputs, others)
            up = real * tf.cast(tf.convert_to_tensor(tape.gradient(apart, added)), tf.float32)
            axes = list(range(1, up.shape.rank))
            up /= tf.maximum(tf.reduce_max(tf.abs(up), axes, keepdims=True), 1e-30)
            return tf.clip_by_value(added + up * bound, -bound, bound)

    return Smooth()


def scales(network: Any, x: Any) -> tf.Tensor:
    """Return the root mean square of each row's embeddings, float32 (B, 1, ...), to multiply with.

    Example::

        noise * scales(network, batch.x)
    """
    import tensorflow as tf

    from tfnlp.backbones import embeddings

    mask = tf.cast(x["padding_mask"], tf.float32)
    count = tf.reduce_sum(mask, list(range(1, mask.shape.rank)))
    hidden = embeddings.embedding(network).output.shape[-1]
    found = _perturbation.norms(network, x) / tf.sqrt(tf.maximum(count, 1.0) * hidden)
    return tf.reshape(found, [-1, *[1] * mask.shape.rank])


STRATEGY = Strategy(
    summary="keep answers the same where embeddings are moved a little (SMART)",
    options=Options,
    train=train,
    fits=_perturbation.fits,
)
