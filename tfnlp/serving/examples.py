"""TF Serving's JSON for classify and regress: features by name -> serialized tf.Examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfnlp.serving.failures import invalid, too_large
from tfnlp.serving.payload import is_base64, shown, to_bytes, type_of


def examples_of(request: Mapping[str, Any], most: int = 2**25) -> np.ndarray:
    """Read a classify or regress request.

    Args:
        request: with ``examples``, a list of features by name, and perhaps ``context``, features
            of them all.
        most: bytes of all examples, each with the context.

    Returns:
        Serialized tf.Examples, object (B,).

    Raises:
        RequestError: it has no examples, features that are none, or too many.

    Example:
        >>> len(examples_of({"examples": [{"x": 1.0}, {"x": 2.0}]}))
        2
    """
    rows, context = request.get("examples"), request.get("context", {})
    if "examples" not in request:
        raise invalid(
            f"JSON Value: {shown(request)} When method is classify, key 'examples' is expected "
            "and was not found"
        )
    if not isinstance(rows, list):
        raise invalid(f"JSON Value: {shown(rows)} Expecting 'examples' value to be an list/array")
    if not rows:
        raise invalid(f"JSON Value: {shown(rows)} 'examples' value is an empty array")
    found, size = np.empty(len(rows), object), 0
    for place, row in enumerate(rows):
        for features in (row, context):
            if not isinstance(features, dict):
                raise invalid(f"Example must be JSON object but got JSON {type_of(features)}")
        example = tf.train.Example()
        for name, value in {**context, **row}.items():
            example.features.feature[name].CopyFrom(_feature(name, value))
        found[place] = example.SerializeToString()
        size += len(found[place])
        check_size(size, most)
    return found


def check_size(size: int, most: int) -> None:
    """Raise a RequestError where examples are too large, for a context counts in each of them."""
    if size > most:
        raise too_large(
            f"the examples, each with the context, are larger than {most} bytes (send fewer at a "
            "time, or start the server with a larger --max-body)"
        )


def _feature(name: str, value: Any) -> tf.train.Feature:
    """Turn a feature's value, or list of them, into what tf.Example has for it."""
    values = value if isinstance(value, list) else [value]
    kinds = [_kind(name, item) for item in values]
    for kind in kinds:
        if kind != kinds[0]:
            raise invalid(f"Unexpected element type in feature: {name} expecting type: {kinds[0]}")
    if not kinds:
        return tf.train.Feature()
    if kinds[0] == "string":
        texts = [to_bytes(item) for item in values]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=texts))
    if kinds[0] == "int64":
        return tf.train.Feature(int64_list=tf.train.Int64List(value=map(int, values)))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _kind(name: str, value: Any) -> str:
    """Name the kind of a feature's element."""
    if isinstance(value, str) or is_base64(value):
        return "string"
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise invalid(f"Feature: {name} has uint64 element. Only int64 is supported.")
        return "int64"
    if isinstance(value, float):
        return "float"
    raise invalid(f"Feature: {name} has element with unexpected JSON type: {type_of(value)}")
