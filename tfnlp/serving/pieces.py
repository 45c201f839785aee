"""A request cut into pieces of a batch's rows, and the answers to them put together again.

Dimensions: B rows of a request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfnlp.serving.failures import invalid
from tfnlp.serving.servable import Arrays


def cut(inputs: Arrays, rows: int) -> list[np.ndarray]:
    """Return which rows go together: those of similar length, so that few are padded.

    Args:
        inputs: arrays of B rows each.
        rows: of a piece, at most.

    Returns:
        The places of the rows of each piece, int (rows,).

    Example:
        >>> text = np.array([b"Who wrote Hamlet?", b"Hi", b"Yes"], object)
        >>> [place.tolist() for place in cut({"text": text}, 2)]
        [[1, 2], [0]]
    """
    count = len(next(iter(inputs.values())))
    lengths = np.zeros(count, np.int64)
    for array in inputs.values():
        if array.dtype == object:
            texts = array.reshape(count, -1)
            lengths += [max(map(len, row), default=0) for row in texts]
    order = np.argsort(lengths, kind="stable")
    return [order[start : start + rows] for start in range(0, count, rows)]


def joined(
    found: Sequence[Arrays], places: Sequence[np.ndarray], rows: int
) -> dict[str, np.ndarray]:
    """Put answers together in the order of the request.

    Where answers are as wide as the widest row of a piece, the others are padded as within one,
    with zeros and empty strings.

    Args:
        found: the answers to the pieces, by output.
        places: what `cut` returned.
        rows: B.

    Raises:
        RequestError: an output has not a row for each row that was asked.

    Example:
        >>> found = [{"y": np.array([1, 2])}, {"y": np.array([3])}]
        >>> joined(found, [np.array([1, 2]), np.array([0])], 3)["y"].tolist()
        [3, 1, 2]
    """
    whole = {}
    for name in found[0]:
        parts = [answer[name] for answer in found]
        for part, place in zip(parts, places, strict=True):
            if part.shape[:1] != place.shape or part.ndim != parts[0].ndim:
                raise invalid(
                    f"the output {name} has not a row for each row, so that the request cannot be "
                    f"answered in pieces; send at most {len(places[0])} rows"
                )
        widest = tuple(
            max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True)
        )
        array = np.full((rows, *widest), b"" if parts[0].dtype == object else 0, parts[0].dtype)
        for part, place in zip(parts, places, strict=True):
            within: tuple[Any, ...] = (place, *(slice(size) for size in part.shape[1:]))
            array[within] = part
        whole[name] = array
    return whole
