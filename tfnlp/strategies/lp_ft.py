"""LP-FT: the head is trained first, on the backbone as it is, and then everything."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.errors import UserError
from tfnlp.config import Experiment
from tfnlp.extensions import Outcome, Strategy, Trainer
from tfnlp.options import option
from tfnlp.task import Task

HEAD = "head"  # the name of the first fit


@dataclass(frozen=True)
class Options:
    """How the head is trained.

    Example::

        python -m tfnlp.train --train rows.csv --strategy lp_ft --lp-ft-head-rate 3e-3
    """

    head_rate: float = option(
        1e-2, "the highest learning rate while only the head is trained", minimum=1e-8, maximum=1.0
    )


def fits(task: Task, experiment: Experiment, options: Options) -> None:
    """Refuse a task that adds nothing to the backbone.

    Raises:
        UserError: the task is trained by the backbone's own head.

    Example::

        fits(load("classification"), experiment, Options())
    """
    if task.writing is not None or not task.rowwise or experiment.task == "similarity":
        raise UserError(
            f"--strategy lp_ft is for tasks that add a head to the backbone, not for "
            f"{experiment.task} (take classification, ner or another one that does)"
        )


def train(trainer: Trainer) -> Outcome:
    """Fit the head, then all that is trained otherwise.

    Example::

        train(trainer)
        len(trainer.histories["head"])  # epochs

    Source: Kumar et al. 2022, "Fine-tuning can distort pretrained features and underperform
        out-of-distribution", section 2 (https://arxiv.org/abs/2202.10054).
    """
    layers = [layer for block in trainer.model.blocks for layer in block]
    opened = [w for layer in layers for w in layer.trainable_weights]
    for weight in opened:
        weight.trainable = False
    trainer.fit(name=HEAD, settings={"optimizer": {"learning_rate": trainer.options.head_rate}})
    for weight in opened:
        weight.trainable = True
    trainer.fit()
    return Outcome()


STRATEGY = Strategy(
    summary="train the head first, then everything (LP-FT)",
    options=Options,
    train=train,
    fits=fits,
)
