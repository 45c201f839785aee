"""Pseudo-rehearsal: the earlier model's answers to unlabelled texts stand for old rows."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.errors import UserError
from tfnlp.config import Experiment
from tfnlp.extensions import Outcome, Strategy, Trainer
from tfnlp.options import option
from tfnlp.strategies import _earlier, _rehearsal, _unlabelled
from tfnlp.task import Task


@dataclass(frozen=True)
class Options(_earlier.Options):
    """On which texts, and how much they count.

    Example::

        python -m tfnlp.train --train may.csv --start-from RUN --strategy pseudo_rehearsal \
            --pseudo-rehearsal-unlabelled texts.csv
    """

    unlabelled: str | None = option(
        None,
        "a file of texts such as earlier runs learned from, with the columns of the training file "
        "but for its targets",
        metavar="FILE",
    )
    weight: float = option(1.0, "of the earlier model's answers in the loss", minimum=0.0)
    temperature: float = option(
        1.0, "that softens the probabilities of both", minimum=0.01, maximum=100.0
    )


def fits(task: Task, experiment: Experiment, options: Options) -> None:
    """Refuse a training without an earlier run or without texts for it to answer.

    Raises:
        UserError: none is named, or the task's answers are too many.

    Example::

        fits(load("classification"), experiment, Options(unlabelled="texts.csv"))
    """
    _earlier.answerable(task, experiment, options)
    if options.unlabelled is None:
        raise UserError(
            "--strategy pseudo_rehearsal needs --pseudo-rehearsal-unlabelled FILE, texts for the "
            "earlier model to answer (without any take --strategy lwf)"
        )


def train(trainer: Trainer) -> Outcome:
    """Fit on new rows, and on unlabelled texts towards what the earlier model answers.

    Example::

        train(trainer).report.metrics["pseudo_rehearsal_old_accuracy"]

    Source: Robins 1995, "Catastrophic forgetting, rehearsal and pseudorehearsal", section 4
        (https://doi.org/10.1080/09540099550039318), with texts in place of random inputs.
    """
    own = trainer.options
    texts = _unlabelled.read(trainer, own.unlabelled)
    assert texts is not None  # `fits` wants a file
    beside = {
        "texts": _rehearsal.answered(trainer, "answers_texts", texts, targets=False, new=True)
    }
    step = _rehearsal.make(0.0, own.weight, own.temperature)
    return _earlier.compared(trainer, lambda: trainer.fit(step, beside=beside))


STRATEGY = Strategy(
    summary="learn the earlier model's answers to unlabelled texts, where old rows are gone",
    options=Options,
    train=train,
    fits=fits,
)
