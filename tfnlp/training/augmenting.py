"""Training rows with those that augmenters make of them: a function of the seed and the epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from pipelines import augmentation
from pipelines.augmentation import Editor, Together
from pipelines.rows import Rows
from pipelines.splits import Splits
from tfnlp import extensions
from tfnlp import task as tasks
from tfnlp.config import Entry, Experiment
from tfnlp.extensions import Augmenter, Material, Subject


def epochs(
    experiment: Experiment, splits: Splits, load: Callable[[str], Subject]
) -> Callable[[int], Rows] | None:
    """Return what gives the training rows of an epoch; None if all epochs have the same.

    No row that is made equals one for validation or testing.

    Args:
        experiment: names the augmenters and says how many rows they make.
        splits: the rows.
        load: returns another model by its name.

    Raises:
        UserError: an augmenter cannot work on these rows, or a model or lexicon is not there.

    Example::

        rows = epochs(experiment, splits, load)
        len(rows(0)), len(rows(1))
    """
    if not experiment.augment:
        return None
    task = tasks.load(experiment.task)
    rows, options = splits.train, experiment.options
    inputs, targets = task.input_columns(options), task.target_columns(options)
    inputs = tuple(column for column in inputs if column.name in rows.columns)
    targets = tuple(column for column in targets if column.name in rows.columns)
    material = Material(rows, inputs, targets, load)
    made = editors(experiment.augment, material)
    held_out = [part for part in (splits.validation, splits.test) if part is not None]
    times, seed = experiment.data.augment_times, experiment.seed

    # A fit asks for an epoch's rows to count them, and again to train on them.
    @lru_cache(2)
    def of(epoch: int) -> Rows:
        return augmentation.augmented(rows, inputs, targets, made, times, (seed, epoch), held_out)

    return of


def editors(entries: Sequence[Entry], material: Material) -> list[Editor | Together]:
    """Return how augmenters edit texts, opened for these rows with their options.

    Example::

        editors(experiment.augment, material)
    """
    return [_editor(entry, material) for entry in entries]


def _editor(entry: Entry, material: Material) -> Editor | Together:
    record = extensions.load(Augmenter, entry.name)
    opened = record.open(material, entry.options)
    if record.edit_all is not None:
        several = record.edit_all
        return Together(lambda texts, spans, randoms: several(texts, spans, randoms, opened))
    if record.edit is None:
        raise ValueError(f"the augmenter {entry.name} has neither edit nor edit_all")
    one = record.edit
    return lambda text, spans, random: one(text, spans, random, opened)
