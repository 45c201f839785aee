"""What a search must know of its rows before its first trial."""

from __future__ import annotations

import math
from functools import cache
from itertools import islice
from pathlib import Path

from pipelines import sources
from pipelines.errors import UserError
from pipelines.files.formats import opened
from pipelines.rows import stream
from tfnlp import task
from tfnlp.config import Experiment
from tfnlp.config_data import Data

_FEW = 1000  # training rows below which settings are judged by cross-validation
_FOLDS = 5


def has_test(data: Data) -> bool:
    """Return whether there are test rows besides those of train.

    Raises:
        UserError: there is no such data set, or it cannot be fetched, prepared or written.

    Example::

        has_test(Data(dataset="trec"))  # True
    """
    return bool(data.test or (not data.train and "test" in _sizes(str(data.dataset))))


def folds(base: Experiment, wanted: int | None, set_aside: float) -> int:
    """Return into how many folds the training rows are divided; 1 is no cross-validation.

    Rows of a file are read until it is known whether there are fewer than 1,000; of a data set
    TFDS knows their number.

    Args:
        base: what is searched for.
        wanted: as many, if that was said.
        set_aside: share of the rows that is not for training.

    Raises:
        UserError: folds are wanted where the rows for validation are given, or the rows cannot be
            used.

    Example::

        folds(experiment, None, 0.2)  # 5
    """
    data = base.data
    given = _validation(data)
    if given and wanted and wanted > 1:
        raise UserError(
            f"--search-folds {wanted} divides the training rows for validation, and there is "
            f"{given} (leave one out)"
        )
    if given or wanted:
        return 1 if given else wanted or 1
    if data.limit and data.limit < _FEW:
        return _FOLDS
    enough = math.ceil(_FEW / (1 - set_aside)) + 1
    rows = _rows_of_file(base, enough) if data.train else _sizes(str(data.dataset))["train"]
    return _FOLDS if rows - round(set_aside * rows) < _FEW else 1


def _validation(data: Data) -> str:
    """Return what says which rows are for validation, "" if nothing does."""
    if not data.train and "validation" in _sizes(str(data.dataset)):
        return "a validation split in the data set"
    flags = ("validation", "validation_share", "fold")
    return next((f"--{n.replace('_', '-')}" for n in flags if getattr(data, n) is not None), "")


def _rows_of_file(base: Experiment, most: int) -> int:
    """Return how many rows a training file has that can be used, or that it has so many."""
    chosen, data = task.load(base.task), base.data
    columns = (*chosen.input_columns(base.options), *chosen.target_columns(base.options))
    with opened(Path(str(data.train))) as file:
        records = stream(
            file,
            columns,
            source=str(data.train),
            names=data.columns,
            on_bad_row="error" if data.on_bad_row == "error" else "skip",
            label_separator=data.label_separator,
            layout=data.layout(),
            empty_text=False,
        )
        return sum(1 for _ in islice(records, most))


@cache  # a data set's sizes are asked for twice, and TFDS takes seconds to start
def _sizes(dataset: str) -> dict[str, int]:
    """Return how many rows each split of a data set has."""
    return sources.split_sizes(dataset)
