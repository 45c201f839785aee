"""Rows that are new each epoch, and not as many."""

import random
from dataclasses import dataclass

from tfnlp.extensions import Outcome, Source, Strategy


@dataclass(frozen=True)
class Options:
    """None."""


def train(trainer):
    rows, seed = trainer.splits.train, trainer.experiment.seed

    def drawn(epoch):
        count = len(rows) - 5 * (epoch % 3)
        return rows.take(random.Random(f"{seed} {epoch}").sample(range(len(rows)), count))

    trainer.fit(train=Source(drawn))
    return Outcome()


STRATEGY = Strategy("draws other rows each epoch", Options, train)
