"""Arrays -> TF Serving's JSON for predict.

Source: https://www.tensorflow.org/tfx/serving/api_rest and
    tensorflow_serving/util/json_tensor.cc, whose sentences the errors are
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfnlp.serving.failures import invalid
from tfnlp.serving.servable import Arrays

_PIECE = 8192  # values written in one go, some milliseconds


def written(outputs: Arrays, by_rows: bool) -> bytes:
    """Write a predict response, by rows or by columns as the request was.

    Large ones are written in pieces, for writing JSON keeps Python's lock.

    Args:
        outputs: by name.
        by_rows: the request had ``instances``.

    Raises:
        RequestError: by rows, if outputs have not as many rows as one another.

    Example:
        >>> written({"label": np.array([b"LOC"], object)}, by_rows=True)
        b'{"predictions": ["LOC"]}'
    """
    outputs = dict(sorted(outputs.items()))
    if by_rows:
        _check_rows(outputs)
        return b'{"predictions": [' + b", ".join(_rows(outputs)) + b"]}"
    columns = {name: _column(name, array) for name, array in outputs.items()}
    if len(columns) == 1:
        return b'{"outputs": ' + next(iter(columns.values())) + b"}"
    named = (to_json(name) + b": " + column for name, column in columns.items())
    return b'{"outputs": {' + b", ".join(named) + b"}}"


def classes(found: list[list[tuple]]) -> bytes:
    """Write a classify response; of many rows in pieces.

    Args:
        found: what `inference.classify` returns.

    Example:
        >>> classes([[(b"LOC", 0.5)]])
        b'{"results": [[["LOC", 0.5]]]}'
    """
    rows = (
        to_json([[label.decode("utf-8", "replace"), score] for label, score in row])
        for row in found
    )
    return b'{"results": [' + b", ".join(rows) + b"]}"


def to_json(content: Any) -> bytes:
    """Write what a response says; NaN and Infinity are written so, as TF Serving does.

    Example:
        >>> to_json({"error": "no instances"})
        b'{"error": "no instances"}'
    """
    return json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")


def _check_rows(outputs: Arrays) -> None:
    """Raise a RequestError unless outputs have the same number of rows."""
    wanted = None
    for name, array in outputs.items():
        if not array.ndim:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if not len(array):
            raise invalid(f"Tensor name: {name} has invalid batch size: 0")
        wanted = len(array) if wanted is None else wanted
        if len(array) != wanted:
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {wanted}"
            )


def _rows(outputs: Arrays) -> Iterator[bytes]:
    """Write rows, some at a time: values of the only output, or objects of named ones."""
    for piece in _cut(outputs):
        columns = {name: _values(name, array) for name, array in piece.items()}
        rows = list(zip(*columns.values(), strict=True))
        if len(columns) == 1:
            yield to_json([value for (value,) in rows])[1:-1]
        else:
            yield to_json([dict(zip(columns, row, strict=True)) for row in rows])[1:-1]


def _column(name: str, array: np.ndarray) -> bytes:
    if not array.ndim:
        return to_json(_values(name, array))
    pieces = (to_json(_values(name, piece[name]))[1:-1] for piece in _cut({name: array}))
    return b"[" + b", ".join(pieces) + b"]"


def _cut(arrays: Arrays) -> Iterator[Arrays]:
    """Cut arrays of as many rows each into pieces of few values."""
    count = len(next(iter(arrays.values())))
    a_row = sum(array.size for array in arrays.values()) // max(count, 1)
    step = max(_PIECE // max(a_row, 1), 1)
    for start in range(0, count, step):
        yield {name: array[start : start + step] for name, array in arrays.items()}


def _values(name: str, array: np.ndarray) -> Any:
    """Write an array as nested lists."""
    if array.dtype.kind in "OS":
        coded = name.endswith("_bytes")
        texts = np.empty(array.shape, object)
        for place, item in np.ndenumerate(array):
            text = base64.b64encode(item) if coded else item
            texts[place] = text.decode("utf-8", "replace")
            if coded:
                texts[place] = {"b64": texts[place]}
        return texts.tolist()
    if array.dtype == np.float32:
        # float32 0.1 is 0.1 again, not 0.10000000149011612.
        return array.astype(str).astype(float).tolist()
    if array.dtype.kind not in "fiub":
        raise invalid(f"Failed to write JSON value for tensor type: {array.dtype.name}")
    return array.tolist()
