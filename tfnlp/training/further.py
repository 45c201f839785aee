"""A further model on the backbone of one that is trained: a head of its own, for another task."""

from __future__ import annotations

from typing import Any

from pipelines.errors import UserError
from pipelines.rows import Rows
from tfnlp import task as tasks
from tfnlp.config import Experiment
from tfnlp.training.model import TrainedModel, context_of, misfits
from tfnlp.training.network import trainable


def beside(
    model: TrainedModel, experiment: Experiment, train: Rows, facts: dict[str, Any] | None = None
) -> TrainedModel:
    """Build a model of another task on the backbone of one that was built, not compiled yet.

    Args:
        model: that has the backbone.
        experiment: of the other task; its backbone and its peft method are the first one's.
        train: its training rows.
        facts: in place of those that are learned from the rows.

    Raises:
        UserError: the rows cannot be learned from, or the backbone does not fit the task.

    Example::

        other = beside(model, experiment, rows)
        other.blocks is model.blocks  # True
    """
    backbone = model.backbone
    if backbone is None:
        raise ValueError("a loaded model has no backbone for another head")
    task = tasks.load(experiment.task)
    facts = task.learn(train, experiment.options) if facts is None else facts
    if backbone.kind not in task.backbones or task.writing is not None:
        raise UserError(
            f"{experiment.task} cannot stand on the backbone {backbone.name!r} beside "
            f"{model.experiment.task} (take a task that labels or compares texts)"
        )
    for misfit in misfits(experiment, task, backbone):
        raise UserError(misfit)
    context = context_of(experiment, backbone, None, facts)
    with model.network.distribute_strategy.scope():
        network = trainable(
            task.build(context, backbone.model), divisible=task.rowwise and not task.pack
        )
    return TrainedModel(experiment, task, context, network, backbone.blocks, backbone=backbone)
