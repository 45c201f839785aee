"""Texts without targets, read as the training file is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

from pipelines import splits
from pipelines.errors import UserError
from pipelines.rows import Rows, duplicates
from tfnlp import task as tasks
from tfnlp.config import Experiment
from tfnlp.extensions import Trainer


def read(trainer: Trainer, file: str | None) -> Rows | None:
    """Return the rows of a file whose targets are unknown; None if none is named.

    Raises:
        UserError: it cannot be read, or holds no usable row.

    Example::

        read(trainer, "more.txt")
    """
    if file is None:
        return None
    experiment = trainer.experiment
    data = experiment.data
    inputs = tasks.load(experiment.task).input_columns(experiment.options)
    wanted = {column.name for column in inputs}
    names = {name: header for name, header in data.columns.items() if name in wanted}
    return splits.from_files(
        {"train": file}, inputs, names, data.on_bad_row, data.label_separator, data.layout()
    )["train"]


REST = "rest"  # stands for the training rows that --rows-per-label leaves out


def needed(name: str, experiment: Experiment) -> None:
    """Refuse a training without unlabelled texts.

    Raises:
        UserError: none are named.

    Example::

        needed("uda", experiment)
    """
    data = experiment.data
    if data.unlabelled is None:
        raise UserError(
            f"--strategy {name} needs --unlabelled FILE (or --unlabelled {REST}, which are the "
            "training rows that --rows-per-label leaves out)"
        )
    if data.unlabelled == REST and data.rows_per_label is None:
        raise UserError(
            f"--unlabelled {REST} are the training rows that --rows-per-label leaves out (give "
            "that, or name a file)"
        )


def texts(trainer: Trainer) -> Rows:
    """Return the rows that ``--unlabelled`` names, with their labels too if they have any.

    Raises:
        UserError: the file cannot be read, or no row is left.

    Example::

        texts(trainer).columns.get("label")  # None, or labels for the report alone
    """
    experiment = trainer.experiment
    data, task = experiment.data, tasks.load(experiment.task)
    if data.unlabelled == REST:
        from tfnlp.training import examples

        whole = examples.read(experiment, task, wanted=["train"])["train"]
        taken = set(trainer.splits.train.numbers) | set(
            trainer.splits.validation.numbers
            if trainer.splits.validation.source == whole.source
            else ()
        )
        left = [i for i, number in enumerate(whole.numbers) if number not in taken]
        if not left:
            raise UserError(f"{whole.source} has no rows besides those that are trained on")
        return whole.take(left)
    columns = task.input_columns(experiment.options)
    targets = task.target_columns(experiment.options)
    optional = tuple(replace(column, optional=True) for column in targets)
    try:
        return splits.from_files(
            {"train": str(data.unlabelled)},
            columns + optional,
            data.columns,
            data.on_bad_row,
            data.label_separator,
            data.layout(),
        )["train"]
    except UserError:  # labels of some rows only, or other columns
        found = read(trainer, data.unlabelled)
        assert found is not None
        return found


def doubts(trainer: Trainer, rows: Rows) -> Iterator[str]:
    """Yield sentences on unlabelled texts that are judged on too, or in another language.

    Example::

        list(doubts(trainer, texts(trainer)))
    """
    from tfnlp.training import language
    from tfnlp.training import model as models

    model = cast(models.TrainedModel, trainer.model)
    names = [column.name for column in model.task.input_columns(model.context.options)]
    for split in (trainer.splits.test, trainer.splits.validation):
        if split is None or split is trainer.splits.train or split.source == rows.source:
            continue
        if pairs := duplicates(rows, split, names):
            yield (
                f"{len(pairs)} of the unlabelled texts of {rows.source} also stand in "
                f"{split.source}, which judges (the first: row {pairs[0][0]} is row {pairs[0][1]} "
                "there): the score may be better than on new texts"
            )
    for said, _ in language.unreadable(model, rows, 1000):
        yield f"unlabelled texts: {said}"
