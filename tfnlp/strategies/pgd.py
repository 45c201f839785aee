"""PGD: each batch is learned again with its embeddings moved against the model in several steps."""

from __future__ import annotations

from dataclasses import dataclass

from tfnlp.extensions import Outcome, Strategy, Trainer
from tfnlp.options import option
from tfnlp.strategies import _perturbation, _robustness


@dataclass(frozen=True)
class Options(_robustness.Options):
    """How far, and in how many steps.

    Example::

        python -m tfnlp.train --train rows.csv --strategy pgd --pgd-steps 5
    """

    size: float = option(
        0.02,
        "the farthest that a row's embeddings are moved, as a share of their norm",
        minimum=1e-4,
        maximum=10.0,
    )
    steps: int = option(3, "of gradient ascent, a pass each", minimum=1, maximum=100)
    rate: float = option(
        0.01, "how far each step goes, as a share of that norm", minimum=1e-4, maximum=10.0
    )


def train(trainer: Trainer) -> Outcome:
    """Fit on each batch as it is and as moved by the last step, with the mean of both gradients.

    Example::

        train(trainer).report.metrics["pgd_attacked_accuracy"]

    Source: Madry et al. 2018, "Towards deep learning models resistant to adversarial attacks",
        section 2.1 (https://arxiv.org/abs/1706.06083), beside the clean loss as FGM.
    """
    own = trainer.options
    return _robustness.train(
        trainer,
        lambda: _perturbation.Perturbed(
            [True, *[False] * (own.steps - 1), True], step=own.rate, size=own.size
        ),
    )


STRATEGY = Strategy(
    summary="learn each batch again with its embeddings moved against the model in steps (PGD)",
    options=Options,
    train=train,
    fits=_perturbation.fits,
)
