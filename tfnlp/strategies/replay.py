"""Replay: a few rows a label of what earlier runs learned are learned again beside the new ones."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.errors import UserError
from tfnlp.config import Experiment
from tfnlp.extensions import Outcome, Source, Strategy, Trainer
from tfnlp.strategies import _earlier, _rehearsal
from tfnlp.task import Task


@dataclass(frozen=True)
class Options(_rehearsal.Buffered):
    """Which old rows, and how much they count.

    Example::

        python -m tfnlp.train --train may.csv --start-from RUN --strategy replay --old april.csv
    """


def fits(task: Task, experiment: Experiment, options: Options) -> None:
    """Refuse a training without an earlier run or without old rows.

    Raises:
        UserError: none is named.

    Example::

        fits(load("classification"), experiment, Options(old=("april.csv",)))
    """
    _earlier.fits(task, experiment, options)
    if not options.old:
        raise UserError(
            "--strategy replay needs --old FILE, rows that earlier runs were trained on (where "
            "they are gone take --strategy pseudo_rehearsal)"
        )


def train(trainer: Trainer) -> Outcome:
    """Fit on batches of new rows, each with a batch of old ones beside it.

    Example::

        train(trainer).report.metrics["replay_old_accuracy"]

    Source: Chaudhry et al. 2019, "On tiny episodic memories in continual learning", section 4
        (https://arxiv.org/abs/1902.10486), with a buffer of as many rows of each label.
    """
    old = _rehearsal.buffer(trainer)
    step = _rehearsal.make(_rehearsal.share(trainer, old))
    return _earlier.compared(trainer, lambda: trainer.fit(step, beside={"old": Source(old)}))


STRATEGY = Strategy(
    summary="learn some old rows of each label again beside the new ones",
    options=Options,
    train=train,
    fits=fits,
)
