"""Two fits one after the other: some rows at a high rate, then all."""

from dataclasses import dataclass

from tfnlp.extensions import Outcome, Strategy


@dataclass(frozen=True)
class Options:
    """None."""


def train(trainer):
    rows = trainer.splits.train
    some = rows.take(list(range(0, len(rows), 2)))
    first = {"optimizer": {"learning_rate": 3e-3}, "training": {"epochs": 2}}
    trainer.fit(train=some, settings=first)
    trainer.fit(name="all")
    return Outcome()


STRATEGY = Strategy("learns some rows first", Options, train)
