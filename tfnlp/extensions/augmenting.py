"""How further training rows are made of those that are there."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines import discover
from pipelines.augmentation import Edit, Span
from pipelines.columns import Column
from pipelines.errors import UserError
from pipelines.rows import Rows
from tfnlp.config import Entry
from tfnlp.extensions.analysis import Subject
from tfnlp.extensions.training import accept
from tfnlp.task import Task


@dataclass(frozen=True)
class Material:
    """What an augmenter is opened with.

    Attributes:
        rows: the training rows.
        inputs: the columns whose texts are edited.
        targets: the columns that are kept.
        load: returns another model by the name of its run, SavedModel or server; raises UserError.
    """

    rows: Rows
    inputs: Sequence[Column]
    targets: Sequence[Column]
    load: Callable[[str], Subject]

    def texts(self) -> list[str]:
        """Return the texts of the rows, of all inputs; of turns each."""
        found: list[str] = []
        for column in self.inputs:
            for value in self.rows.columns[column.name]:
                found.extend([value] if isinstance(value, str) else value)
        return found


def as_given(material: Material, options: Any) -> Any:
    """Return the options: an augmenter that needs nothing else works with these."""
    return options


@dataclass(frozen=True)
class Augmenter:
    """How texts are changed so that their labels stay right.

    Attributes:
        summary: one line, shown by ``--help``.
        options: dataclass; each field is a flag that bears the augmenter's name.
        edit: (text, its spans, random, opened) -> edits, none where the text cannot be changed.
            An edit lies outside of all spans, or replaces all of one that has a label;
            `pipelines.augmentation` applies them and moves the targets. ``opened`` is what ``open``
            returned, the options if there is none.
        edit_all: in place of ``edit``, of one that asks a model and so wants many texts at once:
            (texts, the spans of each, a random generator for each, opened) -> the edits of each.
        open: (material, options) -> what is needed once, such as a lexicon or a model.
        fits: (task, its options, options) -> None; raises UserError in one sentence, before
            anything is read, for a task or setting that the augmenter is not for.
    """

    summary: str
    options: type
    edit: Callable[[str, Sequence[Span], random.Random, Any], Sequence[Edit]] | None = None
    edit_all: (
        Callable[
            [Sequence[str], Sequence[Sequence[Span]], Sequence[random.Random], Any],
            Sequence[Sequence[Edit]],
        ]
        | None
    ) = None
    open: Callable[[Material, Any], Any] = field(default=as_given)
    fits: Callable[[Task, Any, Any], None] = accept


def check(name: str, task: Task, settings: Any, entries: Sequence[Entry]) -> None:
    """Raise UserError if augmenters are not for a task.

    Args:
        name: the task's.
        task: its record.
        settings: its options.
        entries: the augmenters.

    Example::

        check("ner", load("ner"), settings, experiment.augment)
    """
    if entries and all(column.optional for column in task.target_columns(settings)):
        # Texts that are joined into blocks, or told apart from one another, as similarity does: a
        # changed copy would be one more text that a text must differ from.
        raise UserError(
            f"--augment {entries[0].name} makes texts for the targets that rows have, and those of "
            f"--task {name} have none with these options (leave out --augment)"
        )
    for entry in entries:
        discover.entry("tfnlp.augmenters", entry.name, Augmenter).fits(
            task, settings, entry.options
        )
