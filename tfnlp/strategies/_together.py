"""Rows and models of further tasks on the backbone of the one that is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pipelines.errors import UserError
from tfnlp import task as tasks
from tfnlp.config import Experiment
from tfnlp.extensions import SUPERVISED, Trainer

if TYPE_CHECKING:
    from tfnlp.training.model import TrainedModel

# What one run decides for all of its tasks.
_SHARED = ("backbone", "peft", "optimizer", "training", "logging", "export")


@dataclass
class Member:
    """A task among those that are trained together.

    Attributes:
        name: that its experiment is filed under.
        trainer: fits it alone.
    """

    name: str
    trainer: Trainer

    @property
    def model(self) -> TrainedModel:
        """Its model, on the backbone of all."""
        return cast("TrainedModel", self.trainer.model)

    def score(self, split: str = "validation") -> tuple[str, float]:
        """Return the task's first metric, by name, of its validation rows or of those to judge."""
        from tfnlp.training import answering

        splits = self.trainer.splits
        rows = splits.validation if split == "validation" else splits.test or splits.validation
        # Its functions are traced once, not after each epoch; weights are looked up each time.
        return next(iter(answering.evaluate(self.model, rows).metrics.items()))


def experiments(trainer: Trainer, files: Sequence[str]) -> list[Experiment]:
    """Return what files describe, to be trained by the settings of this run.

    Raises:
        UserError: a file describes no experiment, one that this run cannot train, or two have the
            same name.

    Example::

        experiments(trainer, ["topics.yaml"])[0].task
    """
    own = trainer.experiment
    found, names = [], {own.name}
    for file in files:
        other = trainer.read(file)
        if other.name in names:
            raise UserError(
                f"{file} is named {other.name!r}, as another of the tasks is (say `name: NAME` in "
                "it, which names its signature)"
            )
        if other.augment or other.earlier.start_from or other.strategy.name != SUPERVISED:
            raise UserError(
                f"{file} says augment, start_from or strategy, which --strategy "
                f"{own.strategy.name} takes of the command line alone (leave them out of it)"
            )
        _check_shared(own, other, file)
        names.add(other.name)
        shared = {section: getattr(own, section) for section in _SHARED}
        found.append(dataclasses.replace(other, strategy=own.strategy, **shared))
    return found


def _check_shared(own: Experiment, other: Experiment, file: str) -> None:
    """Refuse settings in a file that would have no effect, being others than the run's."""
    defaults = tasks.load(other.task).defaults
    for section in _SHARED:
        theirs, mine = getattr(other, section), getattr(own, section)
        usual = None if section == "peft" else type(theirs)(**defaults.get(section, {}))
        if theirs not in (usual, mine):
            raise UserError(
                f"{file} has a section {section} that differs from this run's, which decides for "
                "all of its tasks (leave it out of the file)"
            )


def members(trainer: Trainer, files: Sequence[str]) -> list[Member]:
    """Return the tasks of files with this run's own, that being the first.

    Raises:
        UserError: of `experiments`; or rows cannot be read or learned from.

    Example::

        [one.name for one in members(trainer, ["topics.yaml"])]  # ["reviews", "topics"]
    """
    from tfnlp.training import examples

    found = [Member(trainer.experiment.name, trainer)]
    for file, other in zip(files, experiments(trainer, files), strict=True):
        try:
            splits = examples.read_splits(other, tasks.load(other.task))
            found.append(Member(other.name, trainer.beside(other, splits)))
        except UserError as error:
            raise UserError(f"{file}: {error}") from error
    return found


def own_weights(model: TrainedModel, others: Sequence[Any]) -> list[Any]:
    """Return the variables of a model that none of some networks has.

    Example::

        own_weights(model, [trainer.model.network])  # the head's
    """
    known = {id(variable) for network in others for variable in network.variables}
    return [variable for variable in model.network.variables if id(variable) not in known]


def every_variable(members: Sequence[Member]) -> list[Any]:
    """Return the variables of all models, each once.

    Example::

        before = [np.array(variable) for variable in every_variable(members)]
    """
    found: Mapping[int, Any] = {
        id(variable): variable for one in members for variable in one.model.network.variables
    }
    return list(found.values())
