"""VAT: answers shall stay the same in the direction that changes them most; no labels needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfnlp.extensions import Batch, Outcome, Source, Step, Strategy, Trainer
from tfnlp.options import option
from tfnlp.strategies import _perturbation, _robustness, _unlabelled

if TYPE_CHECKING:
    import tensorflow as tf

_TRIED = 0.01  # how far a random direction is tried, as a share of the size


@dataclass(frozen=True)
class Options(_robustness.Options):
    """How far, how much it counts, and on which texts.

    Example::

        python -m tfnlp.train --train rows.csv --strategy vat --vat-unlabelled more.txt
    """

    weight: float = option(
        1.0, "what the divergence between both answers is multiplied by", minimum=0.0
    )
    size: float = option(
        0.02,
        "how far a row's embeddings are moved, as a share of their norm",
        minimum=1e-4,
        maximum=10.0,
    )
    unlabelled: str | None = option(
        None,
        "a file of further texts, with the columns of the training file but for its targets",
        metavar="FILE",
    )


def train(trainer: Trainer) -> Outcome:
    """Fit with the local distributional smoothness of labelled and unlabelled rows.

    Example::

        train(trainer).report.metrics["vat_attacked_accuracy"]

    Source: Miyato et al. 2017, "Adversarial training methods for semi-supervised text
        classification", equations 6 and 7 (https://arxiv.org/abs/1605.07725), with one step of
        power iteration (Miyato et al. 2018, algorithm 1, https://arxiv.org/abs/1704.03976).
    """
    more = _unlabelled.read(trainer, trainer.options.unlabelled)
    beside = {"more": Source(more, targets=False)} if more else None
    return _robustness.train(trainer, lambda: make(trainer.options), beside=beside)


def make(own: Options) -> Step:
    """Return the step; it needs TensorFlow, which the options do not.

    Example::

        trainer.fit(make(Options()))
    """
    import tensorflow as tf

    class Virtual(Step):
        """The task's loss, and how far answers are from those nearby."""

        remedy = "lower --vat-weight or --learning-rate"

        def build(self, network: Any, total_rows: int) -> None:
            """Make what directions are drawn from."""
            self.noise = _perturbation.Noise()
            self.variables = self.noise.variables

        def gradients(self, network: Any, batch: Batch) -> tuple[tf.Tensor, Any, list[Any]]:
            """Return the loss with the term, the outputs, and the gradients."""
            seeds = _perturbation.Seeds(network)
            with tf.GradientTape() as tape:
                outputs = network(batch.x, training=True)
                loss = self.loss(network, batch, outputs)
                terms = [self._term(network, batch.x, outputs, seeds, tape)]
                for other in batch.beside.values():
                    seeds = _perturbation.Seeds(network)
                    answers = network(other.x, training=True)
                    terms.append(self._term(network, other.x, answers, seeds, tape))
                mean = tf.add_n(terms) / len(terms)
                loss += own.weight * tf.cast(mean, loss.dtype) / network.replicas
            return loss, outputs, network.gradients_of(tape, loss)

        def _term(self, network: Any, x: Any, outputs: Any, seeds: Any, tape: Any) -> tf.Tensor:
            """Return how far answers are from those where they differ most."""
            from tfnlp.backbones import embeddings
            from tfnlp.heads import agreement

            still = tf.nest.map_structure(tf.stop_gradient, outputs)
            sizes = own.size * _perturbation.norms(network, x)
            with tape.stop_recording():
                drawn = self.noise.normal(tf.shape(embeddings.zeros(network, x)))
                added = _perturbation.scaled(drawn, x, _TRIED * sizes)
                seeds.put_back()
                with tf.GradientTape() as inner:
                    inner.watch(added)
                    others = network(x, training=True, added=added)
                    apart = agreement.divergence(network.loss, x, still, others)
                gradient = tf.convert_to_tensor(inner.gradient(apart, added))
                added = _perturbation.scaled(gradient, x, sizes)
            seeds.put_back()
            others = network(x, training=True, added=added)
            return tf.cast(agreement.divergence(network.loss, x, still, others), tf.float32)

    return Virtual()


STRATEGY = Strategy(
    summary="keep answers the same where they change most, of texts without targets too (VAT)",
    options=Options,
    train=train,
    fits=_perturbation.fits,
)
