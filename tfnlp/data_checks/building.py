"""The model that training would build: whether it can be, and whether the rows can be packed."""

from __future__ import annotations

from functools import partial
from typing import Any

from pipelines.rows import Rows
from tfnlp.backbones.loading import Backbone
from tfnlp.config import Experiment
from tfnlp.data_checks import effects
from tfnlp.data_checks.findings import Findings
from tfnlp.task import Task
from tfnlp.training import examples
from tfnlp.training.model import TrainedModel, backbone_of, build, context_of, misfits


def built(
    rows: dict[str, Rows],
    chosen: Task,
    experiment: Experiment,
    facts: dict[str, Any] | None,
    found: Findings,
) -> tuple[Backbone, TrainedModel] | None:
    """Build the model by the steps of training, and pack the rows where the task does.

    Args:
        rows: by split, none empty.
        chosen: the task.
        experiment: its options and backbone.
        facts: what the task learned from the rows; None if it could not.
        found: errors are added to it.

    Returns:
        The backbone, and the model or, if it cannot be built, one that at least cuts texts as it
        would; None if there is no backbone.

    Example::

        built(rows, chosen, experiment, facts, found)
    """
    train = next(iter(rows.values()))
    both = found.attempt(lambda: backbone_of(experiment, chosen, train))
    if both is None:
        return None
    backbone, target = both
    faults = list(misfits(experiment, chosen, backbone))
    for fault in faults:
        found.error(fault)
    context = context_of(experiment, backbone, target, facts or {})
    if facts is not None and not faults:
        model = found.attempt(lambda: build(experiment, chosen, context, backbone))
        if model is not None:
            found.add(effects.without(effects.Known(experiment, rows, model)))
            _pack(rows, model, found)
            return backbone, model
    return backbone, TrainedModel(experiment, chosen, context, backbone.model)


def _pack(rows: dict[str, Rows], model: TrainedModel, found: Findings) -> None:
    """Make the examples that training goes through, if those are not the rows themselves."""
    for split in ("train", "validation"):
        if model.task.pack and split in rows:
            found.attempt(partial(examples.examples, model, rows[split]))
