"""FGM: each batch is learned again with its embeddings moved the way that raises the loss most."""

from __future__ import annotations

from dataclasses import dataclass

from tfnlp.extensions import Outcome, Strategy, Trainer
from tfnlp.options import option
from tfnlp.strategies import _perturbation, _robustness


@dataclass(frozen=True)
class Options(_robustness.Options):
    """How far.

    Example::

        python -m tfnlp.train --train rows.csv --strategy fgm --fgm-size 0.05
    """

    size: float = option(
        0.02,
        "how far a row's embeddings are moved, as a share of their norm",
        minimum=1e-4,
        maximum=10.0,
    )


def train(trainer: Trainer) -> Outcome:
    """Fit on each batch as it is and as moved, with the mean of both gradients.

    Example::

        train(trainer).report.metrics["fgm_attacked_accuracy"]

    Source: Miyato et al. 2017, "Adversarial training methods for semi-supervised text
        classification", equation 5 (https://arxiv.org/abs/1605.07725).
    """
    size = trainer.options.size
    return _robustness.train(
        trainer, lambda: _perturbation.Perturbed([True, True], step=size, size=size)
    )


STRATEGY = Strategy(
    summary="learn each batch again with its embeddings moved against the model, once (FGM)",
    options=Options,
    train=train,
    fits=_perturbation.fits,
)
