"""FreeLB: the gradients of all steps of an attack on the embeddings are learned from."""

from __future__ import annotations

from dataclasses import dataclass

from tfnlp.extensions import Outcome, Strategy, Trainer
from tfnlp.options import option
from tfnlp.strategies import _perturbation, _robustness


@dataclass(frozen=True)
class Options(_robustness.Options):
    """How far, and in how many steps.

    Example::

        python -m tfnlp.train --train rows.csv --strategy freelb --freelb-steps 3
    """

    size: float = option(
        0.02,
        "the farthest that a row's embeddings are moved, as a share of their norm",
        minimum=1e-4,
        maximum=10.0,
    )
    steps: int = option(
        3, "passes, each moved farther against the model than the last", minimum=1, maximum=100
    )
    rate: float = option(
        0.01, "how far each step goes, as a share of that norm", minimum=1e-4, maximum=10.0
    )


def train(trainer: Trainer) -> Outcome:
    """Fit on each batch as moved at random and then against the model, from all passes.

    Example::

        train(trainer).report.metrics["freelb_attacked_accuracy"]

    Source: Zhu et al. 2020, "FreeLB: enhanced adversarial training for natural language
        understanding", algorithm 1 (https://arxiv.org/abs/1909.11764); section 3.3 on the masks.
    """
    own = trainer.options
    return _robustness.train(
        trainer,
        lambda: _perturbation.Perturbed(
            [True] * own.steps, step=own.rate, size=own.size, noise=True
        ),
    )


STRATEGY = Strategy(
    summary="learn from every step of an attack on the embeddings, with one dropout mask (FreeLB)",
    options=Options,
    train=train,
    fits=_perturbation.fits,
)
