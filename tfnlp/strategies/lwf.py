"""LwF: what the earlier model answers to the new rows is learned beside their labels."""

from __future__ import annotations

from dataclasses import dataclass

from tfnlp.extensions import Outcome, Strategy, Trainer
from tfnlp.options import option
from tfnlp.strategies import _earlier, _rehearsal


@dataclass(frozen=True)
class Options(_rehearsal.Buffered):
    """How much the earlier answers count; with ``--old`` old rows are learned again too.

    Example::

        python -m tfnlp.train --train may.csv --start-from RUN --strategy lwf --old april.csv
    """

    weight: float = option(1.0, "of the earlier model's answers in the loss", minimum=0.0)
    temperature: float = option(
        2.0, "that softens the probabilities of both", minimum=0.01, maximum=100.0
    )


def train(trainer: Trainer) -> Outcome:
    """Fit on the labels of new rows and what the earlier model answers to them.

    Where labels are new, answers are compared among the earlier labels only; of old rows they are
    compared among all.

    Example::

        train(trainer).report.metrics["lwf_old_accuracy"]

    Source: Li and Hoiem 2016, "Learning without forgetting", section 3 and equation 2
        (https://arxiv.org/abs/1606.09282).
    """
    own = trainer.options
    rows = trainer.splits.train
    source = _rehearsal.answered(trainer, "answers_train", rows, targets=True, new=False)
    old = _rehearsal.buffer(trainer) if own.old else None
    beside = {}
    if old is not None:
        beside["old"] = _rehearsal.answered(trainer, "answers_old", old, targets=True, new=True)
    step = _rehearsal.make(_rehearsal.share(trainer, old), own.weight, own.temperature)
    return _earlier.compared(trainer, lambda: trainer.fit(step, train=source, beside=beside))


STRATEGY = Strategy(
    summary="learn the earlier model's answers to new rows beside their labels (LwF)",
    options=Options,
    train=train,
    fits=_earlier.answerable,
)
