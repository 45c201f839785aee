"""Texts without targets, read as the training file is."""

from __future__ import annotations

from pipelines import splits
from pipelines.rows import Rows
from tfnlp import task as tasks
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
