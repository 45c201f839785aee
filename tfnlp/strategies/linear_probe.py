"""A linear head on the backbone as it is: the model that every other one must beat."""

from __future__ import annotations

from dataclasses import dataclass

from tfnlp.config import Experiment
from tfnlp.extensions import Outcome, Strategy, Trainer
from tfnlp.strategies import _probe
from tfnlp.task import Task


@dataclass(frozen=True)
class Options:
    """None: the strength of regularisation is found by cross-validation.

    Example::

        python -m tfnlp.train --train rows.csv --strategy linear_probe
    """


def fits(task: Task, experiment: Experiment, options: Options) -> None:
    """Refuse a task without labels, and options about steps, of which there are none.

    Raises:
        UserError: as `tfnlp.strategies._probe.check`.

    Example::

        fits(load("ner"), experiment, Options())  # raises
    """
    _probe.check("linear_probe", task, experiment)


def train(trainer: Trainer) -> Outcome:
    """Fit logistic regression to the vectors of all training rows, and give the head its weights.

    Without rows for validation, probabilities are calibrated and the model is judged by the folds
    of the cross-validation.

    Example::

        train(trainer).validation.metrics["accuracy"]  # of rows held out in turn
    """
    rows = trainer.splits.train
    probe = _probe.kept(
        trainer, "probe", lambda: _probe.of(trainer, rows, _probe.vectors(trainer, rows))
    )
    _probe.put(trainer.model, probe)
    return _probe.judged(trainer, rows, probe)


STRATEGY = Strategy(
    summary="a linear head on the frozen backbone, by logistic regression",
    options=Options,
    train=train,
    fits=fits,
    defaults={"task": {"unit_vectors": True}},
    takes_all=True,
    head_only=True,
)
