"""Options of an experiment that would have no effect, by what their declarations say they need."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from pipelines.rows import Column, Rows
from tfnlp import extensions, needs
from tfnlp import task as tasks
from tfnlp.config import SECTIONS, Entry, Experiment
from tfnlp.extensions import Augmenter, Peft, Strategy
from tfnlp.task import Task

if TYPE_CHECKING:
    from tfnlp.training.model import TrainedModel


@dataclass(frozen=True)
class Known:
    """What is known of a run before it is trained; an option's `tfnlp.needs.Need` is asked of it.

    Attributes:
        experiment: what decides the run.
        rows: by split, as training takes them; None before they are read.
        model: not trained yet; None before it is built.

    Example::

        Known(experiment).options.windows  # 1
    """

    experiment: Experiment
    rows: Mapping[str, Rows] | None = None
    model: TrainedModel | None = None

    @property
    def options(self) -> Any:
        """The task's."""
        return self.experiment.options

    @property
    def task(self) -> Task:
        """The record of functions."""
        return tasks.load(self.experiment.task)

    @property
    def columns(self) -> tuple[Column, ...]:
        """What the rows have."""
        return self.task.input_columns(self.options) + self.targets

    @property
    def targets(self) -> tuple[Column, ...]:
        """What training files have and requests have not."""
        return self.task.target_columns(self.options)

    @property
    def divides(self) -> bool:
        """Whether train is divided to have rows for validation, as far as is known."""
        return self._taken_for("validation")

    @property
    def sets_aside(self) -> bool:
        """Whether test rows would be taken out of train, as far as is known."""
        return self._taken_for("test")

    def _taken_for(self, split: str) -> bool:
        """Return whether a split has no rows but those of train, as far as is known."""
        if getattr(self.experiment.data, split):
            return False
        sources = {name: rows.source for name, rows in (self.rows or {}).items()}
        return sources.get(split) == sources.get("train") or split not in sources

    @property
    def from_scratch(self) -> bool:
        """Whether the backbone has random weights, and a vocabulary that is learned."""
        return self.experiment.backbone.name.partition(":")[0] == "scratch"

    @property
    def reads(self) -> Collection[str]:
        """What options of data the strategy reads besides those of all."""
        found: Strategy = extensions.load(Strategy, self.experiment.strategy.name)
        return found.reads

    @property
    def facts(self) -> Mapping[str, Any] | None:
        """What the task learned; None before."""
        return self.model.context.facts if self.model else None

    @property
    def kind(self) -> str | None:
        """What the backbone is; None before it is loaded."""
        return self.model.context.kind if self.model else None

    @property
    def projected(self) -> bool:
        """Whether a row has one vector to show, as far as is known."""
        from tfnlp.runs import projector

        return self.model is None or projector.projected(self.model)

    @property
    def layers_learn(self) -> bool:
        """Whether any of the backbone's weights are trained, as far as is known."""
        blocks = self.model.blocks if self.model else ()
        return self.model is None or any(
            layer.trainable_weights for block in blocks for layer in block
        )

    @property
    def fewest_rows(self) -> int:
        """The rows that a batch must have for the loss to teach anything, as far as is known."""
        if self.model is None:
            return 1
        return getattr(self.task.objective(self.model.context).loss, "fewest_rows", 1)


def check(known: Known) -> None:
    """Raise UserError for the first option that would have no effect.

    A run that has begun is not checked again: it may be of a version that did not check it.

    Example::

        check(Known(experiment))
    """
    for sentence in without(known):
        raise UserError(sentence)


def without(known: Known) -> Iterator[str]:
    """Yield a sentence for each option that would have no effect.

    Example::

        list(without(Known(experiment)))
        # ["--overlap 64 has no effect with --windows 1 (raise --windows, or leave out --overlap)"]
    """
    experiment = known.experiment
    plugged: list[tuple[type, Entry | None]] = [
        (Strategy, experiment.strategy),
        (Peft, experiment.peft),
        *((Augmenter, one) for one in experiment.augment),
    ]
    entries: list[tuple[Any, Entry]] = [
        (extensions.load(kind, one.name), one) for kind, one in plugged if one
    ]
    defaults: dict[str, dict[str, Any]] = {}
    for record in (known.task, *(record for record, _ in entries)):
        for section, values in getattr(record, "defaults", {}).items():
            defaults.setdefault(section, {}).update(values)
    yield from needs.unmet(experiment.options, known, defaults.get("task"))
    for section in SECTIONS:
        yield from needs.unmet(getattr(experiment, section), known, defaults.get(section))
    for _, one in entries:
        prefix = one.name.rpartition(".")[2].replace("_", "-") + "-"
        yield from needs.unmet(one.options, known, prefix=prefix)
