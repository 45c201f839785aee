"""Supervised fine-tuning: one fit on the training rows."""

from __future__ import annotations

from dataclasses import dataclass

from tfnlp.extensions import Outcome, Strategy, Trainer
from tfnlp.strategies import _gain


@dataclass(frozen=True)
class Options:
    """Supervised training has no options of its own.

    Example::

        python -m tfnlp.train --strategy supervised  # the default
    """


def train(trainer: Trainer) -> Outcome:
    """Fit once; with ``--augment-compare`` also without augmentation.

    Example::

        outcome = train(trainer)
        trainer.histories["fit"][-1]["val_loss"]
    """
    if trainer.experiment.data.augment_compare:
        return _gain.train(trainer)
    trainer.fit()
    return Outcome()


STRATEGY = Strategy(summary="learn the targets of the training rows", options=Options, train=train)
