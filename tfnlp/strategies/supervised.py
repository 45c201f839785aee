"""Supervised fine-tuning: one fit on the training rows."""

from __future__ import annotations

from dataclasses import dataclass

from tfnlp.extensions import Outcome, Strategy, Trainer


@dataclass(frozen=True)
class Options:
    """Supervised training has no options of its own.

    Example::

        python -m tfnlp.train --strategy supervised  # the default
    """


def train(trainer: Trainer) -> Outcome:
    """Fit once.

    Example::

        outcome = train(trainer)
        trainer.histories["fit"][-1]["val_loss"]
    """
    trainer.fit()
    return Outcome()


STRATEGY = Strategy(summary="learn the targets of the training rows", options=Options, train=train)
