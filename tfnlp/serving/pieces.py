"""A request cut into pieces of a batch's rows, and the answers to them put together again.

Dimensions: B rows of a request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfnlp.serving.failures import invalid
from tfnlp.serving.servable import Arrays


def sizes(inputs: Arrays) -> np.ndarray:
    """Return how many bytes the texts of each row have, int64 (B,).

    Args:
        inputs: arrays of B rows each.

    Example:
        >>> sizes({"text": np.array([b"Who wrote Hamlet?", b"Hi"], object)}).tolist()
        [17, 2]
    """
    count = len(next(iter(inputs.values())))
    found = np.zeros(count, np.int64)
    for array in inputs.values():
        if array.dtype == object and array.size:
            found += [sum(map(len, row)) for row in array.reshape(count, -1)]
    return found


def size(inputs: Arrays) -> int:
    """Return how many bytes the texts of arrays of any shape have.

    Example:
        >>> size({"text": np.array(b"Hi", object)})
        2
    """
    return sum(sum(map(len, array.flat)) for array in inputs.values() if array.dtype == object)


def cut(sizes: np.ndarray, rows: int, size: int) -> list[np.ndarray]:
    """Return which rows go together: those of similar size, so that few are padded.

    Args:
        sizes: of the rows [bytes], int (B,).
        rows: of a piece, at most.
        size: of a piece, at most, unless it is one row's [bytes].

    Returns:
        The places of the rows of each piece, int (rows,).

    Example:
        >>> [place.tolist() for place in cut(np.array([17, 2, 3]), 2, 100)]
        [[1, 2], [0]]
    """
    order = np.argsort(sizes, kind="stable")
    found: list[list[int]] = []
    filled = 0
    for place in order.tolist():
        if not found or len(found[-1]) == rows or filled + int(sizes[place]) > size:
            found.append([])
            filled = 0
        found[-1].append(place)
        filled += int(sizes[place])
    return [np.array(piece) for piece in found]


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
                    f"answered in pieces; send at most {max(map(len, places))} rows"
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
