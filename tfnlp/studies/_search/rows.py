"""What a search must know of its rows before its first trial."""

from __future__ import annotations

from functools import cache

from pipelines import sources
from tfnlp.config import Data


def has_test(data: Data) -> bool:
    """Return whether there are test rows besides those of train.

    Raises:
        UserError: there is no such data set, or it cannot be fetched, prepared or written.

    Example::

        has_test(Data(dataset="trec"))  # True
    """
    return bool(data.test or (not data.train and "test" in _sizes(str(data.dataset))))


@cache  # a data set's sizes are asked for twice, and TFDS takes seconds to start
def _sizes(dataset: str) -> dict[str, int]:
    """Return how many rows each split of a data set has."""
    return sources.split_sizes(dataset)
