"""R-Drop: each batch goes through the network twice, and both answers shall agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from tfnlp.extensions import Batch, Outcome, Step, Strategy, Trainer
from tfnlp.options import option
from tfnlp.strategies import _perturbation, _robustness

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class Options(_robustness.Options):
    """How much agreement counts.

    Example::

        python -m tfnlp.train --train rows.csv --strategy r_drop --r-drop-weight 3
    """

    weight: float = option(
        1.0, "what the divergence between both answers is multiplied by", minimum=0.0
    )


def train(trainer: Trainer) -> Outcome:
    """Fit on doubled batches; a step costs two passes.

    Example::

        train(trainer).report.metrics["r_drop_clean_accuracy"]

    Source: Liang et al. 2021, "R-Drop: regularized dropout for neural networks", equations 2 and 4
        (https://arxiv.org/abs/2106.14448).
    """
    return _robustness.train(trainer, lambda: make(trainer.options))


def make(own: Options) -> Step:
    """Return the step; it needs TensorFlow, which the options do not.

    Example::

        trainer.fit(make(Options()))
    """
    import tensorflow as tf

    class Twice(Step):
        """The task's loss of both passes, and how far their answers are apart."""

        remedy = "lower --r-drop-weight or --learning-rate"

        def build(self, network: Any, total_rows: int) -> None:
            """Refuse a network without dropout, whose answers always agree."""
            import keras

            from tfnlp.runtime import keras_patches

            layers = keras_patches.layers_of(network)
            if not any(layer.rate for layer in layers if isinstance(layer, keras.layers.Dropout)):
                raise UserError(
                    "--strategy r_drop compares answers under other dropout, and the network has "
                    "none (give --dropout 0.1)"
                )

        def gradients(self, network: Any, batch: Batch) -> tuple[tf.Tensor, Any, list[Any]]:
            """Return the mean loss with the term, the first outputs, and the gradients."""
            from tfnlp.heads import agreement

            both = tf.nest.map_structure(lambda x: tf.concat([x, x], 0), batch.x)
            with tf.GradientTape() as tape:
                outputs = network(both, training=True)
                halves = [
                    tf.nest.map_structure(lambda o, i=i: tf.split(o, 2)[i], outputs) for i in (0, 1)
                ]
                loss = sum(self.loss(network, batch, half) for half in halves) / 2
                apart = agreement.distance(network.loss, batch.x, *halves)
                loss += own.weight * tf.cast(apart, loss.dtype) / network.replicas
            return loss, halves[0], network.gradients_of(tape, loss)

    return Twice()


STRATEGY = Strategy(
    summary="pass each batch twice under other dropout, and have both answers agree (R-Drop)",
    options=Options,
    train=train,
    fits=_perturbation.fits,
)
