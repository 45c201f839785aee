"""TF Serving's JSON for predict: a request's values -> arrays.

Source: https://www.tensorflow.org/tfx/serving/api_rest and
    tensorflow_serving/util/json_tensor.cc, whose sentences the errors are
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfnlp.serving.failures import RequestError, invalid
from tfnlp.serving.servable import Signature

# Whole numbers up to which a float holds each one.
_WHOLE = {tf.float32: 2**24 - 1, tf.float64: 2**53 - 1}


def parsed(body: bytes, values: int = 0) -> dict[str, Any]:
    """Read the body of a request.

    Args:
        body: JSON in UTF-8.
        values: about as many as it has; many are parsed in Python, for C would keep the lock.

    Raises:
        RequestError: it is not a JSON object.

    Example:
        >>> parsed(b'{"instances": ["Hi"]}')
        {'instances': ['Hi']}
    """
    if not body.strip():
        raise invalid("JSON Parse error: The document is empty")
    try:
        text = body.decode("utf-8-sig")
        found = (_SLOW if values > _MANY else _FAST).decode(text)
        if _HALF.search(text):
            _check_halves(found)
    except json.JSONDecodeError as error:
        said = error.msg.replace("Expecting value", "Invalid value.")  # as TF Serving's parser does
        raise invalid(f"JSON Parse error: {said} at offset: {error.pos}") from error
    except UnicodeDecodeError as error:
        raise invalid(f"JSON Parse error: not UTF-8 at offset: {error.start}") from error
    except (RecursionError, ValueError) as error:  # a number of too many digits
        raise invalid(f"JSON Parse error: {str(error) or 'nested too deeply'}") from error
    if not isinstance(found, dict):
        raise invalid(f"JSON Value: {shown(found)} Is not object")
    return found


def _in_python() -> json.JSONDecoder:
    """Return a decoder that gives up Python's lock between values."""
    decoder = json.JSONDecoder()
    decoder.scan_once = json.scanner.py_make_scanner(decoder)  # type: ignore[attr-defined]
    return decoder


_FAST, _SLOW = json.JSONDecoder(), _in_python()
_MANY = 30_000  # values, parsed in some 10 ms
_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # of a pair of surrogates


def _check_halves(found: Any) -> None:
    """Raise a RequestError for half a pair of surrogates: no text has it, and UTF-8 no bytes."""
    try:
        for piece in json.JSONEncoder(ensure_ascii=False).iterencode(found):
            piece.encode()
    except UnicodeEncodeError as error:
        raise invalid("JSON Parse error: The surrogate pair in string is invalid.") from error


def shown(value: Any) -> str:
    """Write a value for an error, as far as one would read.

    Example:
        >>> shown({"text": "naïve"})
        '{"text": "naïve"}'
    """
    text = ""
    for piece in json.JSONEncoder(ensure_ascii=False).iterencode(value):
        text += piece
        if len(text) > 200:  # all of it may be long
            return f"{text[:200]}..."
    return text


def type_of(value: Any) -> str:
    """Name a JSON value's type as TF Serving does.

    Example:
        >>> type_of([1, 2]), type_of(None)
        ('Array', 'Null')
    """
    if value is None or isinstance(value, bool):
        return {None: "Null", True: "True", False: "False"}[value]
    names = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
    return names[type(value)]


def is_base64(value: Any) -> bool:
    """Return whether a value is bytes in base 64.

    Example:
        >>> is_base64({"b64": "SGk="})
        True
    """
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def to_bytes(value: Any) -> bytes:
    """Read a string, or bytes in base 64.

    Example:
        >>> to_bytes({"b64": "SGk="}), to_bytes("Hi")
        (b'Hi', b'Hi')
    """
    if isinstance(value, str):
        return value.encode()
    if is_base64(value):
        text = "".join(value["b64"].split())
        try:
            # Padding may be left out.
            return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError) as error:
            raise invalid("Unable to base64 decode") from error
    raise unexpected(value, "string")


def unexpected(value: Any, wanted: str) -> RequestError:
    """Return the error about a value of another type.

    Example:
        >>> unexpected(1, "string").http
        400
    """
    return invalid(
        f"JSON Value: {shown(value)} Type: {type_of(value)} is not of expected type: {wanted}"
    )


def signature_name(request: Mapping[str, Any]) -> str:
    """Return the signature that a request asks for.

    Raises:
        RequestError: its name is no string.

    Example:
        >>> signature_name({"instances": []})
        'serving_default'
    """
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {shown(request)} not formatted correctly. 'signature_name' key must be "
            "a string value."
        )
    return name or "serving_default"


# ------------------------------------------------------------------- a request


def inputs_of(request: Mapping[str, Any], signature: Signature) -> tuple[dict, bool]:
    """Read a predict request.

    Args:
        request: with ``instances``, a list of rows, or ``inputs``, columns.
        signature: the one asked for.

    Returns:
        Arrays by name, and whether they came by rows.

    Raises:
        RequestError: it has neither or both, or values that do not fit the signature.

    Example::

        inputs, by_rows = inputs_of({"instances": [{"text": "Hi"}]}, signature)
    """
    by_rows = "instances" in request
    if by_rows and "inputs" in request:
        raise invalid(
            f"JSON Value: {shown(request)} Not formatted correctly expecting only one of 'inputs' "
            "or 'instances' keys to exist "
        )
    if not by_rows and "inputs" not in request:
        raise invalid("Missing 'inputs' or 'instances' key")
    if by_rows:
        return _from_rows(request["instances"], signature.inputs), True
    return _from_columns(request["inputs"], signature.inputs), False


def _from_rows(rows: Any, specs: Mapping[str, tf.TensorSpec]) -> dict[str, np.ndarray]:
    """Read rows: values of the only input, or objects of named ones."""
    if not isinstance(rows, list):
        raise invalid(f"JSON Value: {shown(rows)} Excepting 'instances' to be an list/array")
    if not rows:
        raise invalid(f"JSON Value: {shown(rows)} No values in 'instances' array")
    if not isinstance(rows[0], dict) and len(specs) != 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    if not isinstance(rows[0], dict) or is_base64(rows[0]):
        for place, row in enumerate(rows):
            if isinstance(row, dict) and not is_base64(row):
                raise invalid(f"Expecting value/list but got object at item {place} of input list")
        name, spec = next(iter(specs.items()))
        return {name: _stacked(rows, spec, lambda place: f"{place} of 'instances' list.")}
    for place, row in enumerate(rows):
        _check_names(place, row, specs)
    return {
        name: _stacked(
            [row[name] for row in rows],
            spec,
            lambda place, name=name: f"{place} key: {name} of 'instances' list.",  # type: ignore[misc]
        )
        for name, spec in specs.items()
    }


def _check_names(place: int, row: Any, specs: Mapping[str, tf.TensorSpec]) -> None:
    """Raise a RequestError unless a row has the signature's inputs."""
    if not isinstance(row, dict):
        raise invalid(f"Expecting object but got list at item {place} of input list")
    for name in row:
        if name not in specs:
            raise invalid(
                f"Failed to process element: {place} key: {name} of 'instances' list. Error: "
                f"INVALID_ARGUMENT: JSON object: does not have named input: {name}"
            )
    if row.keys() != specs.keys():
        raise invalid(
            f"Failed to process element: {place} of 'instances' list. JSON object: {shown(row)} "
            f"must only have keys: {','.join(sorted(specs))}"
        )


def _from_columns(columns: Any, specs: Mapping[str, tf.TensorSpec]) -> dict[str, np.ndarray]:
    """Read columns: the value of the only input, or an object of named ones."""
    if not isinstance(columns, dict) or is_base64(columns):
        if len(specs) != 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        columns = dict.fromkeys(specs, columns)
    found = {}
    for name, spec in specs.items():
        if name not in columns:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        shape, leaves = _unnested(columns[name], spec.dtype)
        found[name] = _array(leaves, spec.dtype).reshape(shape)
    return found


def _stacked(values: list, spec: tf.TensorSpec, place_of: Callable[[int], str]) -> np.ndarray:
    """Read values of the same shape as rows of one array."""
    all_leaves: list[Any] = []
    first: tuple[int, ...] | None = None
    for place, value in enumerate(values):
        try:
            shape, leaves = _unnested(value, spec.dtype)
            first = shape if first is None else first
            _check_shape(shape, first)
        except RequestError as error:
            raise invalid(
                f"Failed to process element: {place_of(place)} Error: INVALID_ARGUMENT: "
                f"{error.message}"
            ) from error
        all_leaves += leaves
    return _array(all_leaves, spec.dtype).reshape((len(values), *(first or ())))


def _check_shape(shape: tuple[int, ...], first: tuple[int, ...]) -> None:
    """Raise a RequestError unless a row's shape is the first one's."""
    if shape != first:
        size, wanted = int(np.prod(shape)), int(np.prod(first))
        if size != wanted:
            raise invalid(f"Expecting tensor size: {wanted} but got: {size}")
        raise invalid(f"Expecting shape {_brackets(first)} but got: {_brackets(shape)}")


def _brackets(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _array(leaves: list, dtype: tf.DType) -> np.ndarray:
    """Put values into a flat array."""
    if dtype == tf.string:
        array = np.empty(len(leaves), object)
        array[:] = leaves
        return array
    return np.array(leaves, dtype.as_numpy_dtype)


def _unnested(value: Any, dtype: tf.DType) -> tuple[tuple[int, ...], list]:
    """Return the shape of nested lists, and their leaves as values of a dtype."""
    if not isinstance(value, list):
        return (), [_leaf(value, dtype)]
    shape: list[int] = []
    inner: Any = value
    while isinstance(inner, list):
        shape.append(len(inner))
        inner = inner[0] if inner else None
    leaves: list[Any] = []
    _gather(value, tuple(shape), 0, dtype, leaves)
    return tuple(shape), leaves


def _gather(value: Any, shape: tuple[int, ...], level: int, dtype: tf.DType, leaves: list) -> None:
    """Collect the leaves of nested lists that must have the shape of the first ones."""
    if not isinstance(value, list):
        if level < len(shape):
            raise invalid(
                f"JSON Value: {shown(value)} found at incorrect level: {level + 1} in the JSON "
                f"DOM. Expected at level: {len(shape)}"
            )
        leaves.append(_leaf(value, dtype))
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: "
            f"{shape[level]}"
        )
    for item in value:
        _gather(item, shape, level + 1, dtype, leaves)


def _leaf(value: Any, dtype: tf.DType) -> Any:
    """Return a JSON value as one of a dtype."""
    if dtype == tf.string:
        return to_bytes(value)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if dtype == tf.bool:
        if not isinstance(value, bool):
            raise unexpected(value, dtype.name)
    elif dtype.is_integer:
        if not (number and isinstance(value, int) and dtype.min <= value <= dtype.max):
            raise unexpected(value, dtype.name)
    elif not number:
        raise unexpected(value, "float" if dtype == tf.float32 else dtype.name)
    elif _is_lossy(value, dtype):
        kind = {tf.float32: "float", tf.float64: "double"}.get(dtype, dtype.name)
        raise invalid(f"Cannot convert JSON value: {value} to {kind} without loss of precision.")
    return value


def _is_lossy(value: float, dtype: tf.DType) -> bool:
    """Return whether a dtype cannot represent a number: not every integer, or too large."""
    if isinstance(value, int):
        return abs(value) > _WHOLE.get(dtype, 2**53 - 1)
    return math.isfinite(value) and abs(value) > dtype.max
