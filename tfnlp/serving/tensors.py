"""Tensors of a gRPC message -> arrays, and back, once their size is known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from tfnlp.serving.failures import invalid, too_large
from tfnlp.serving.json_check import DEEPEST, MOST_VALUES, too_many_rows
from tfnlp.serving.servable import Arrays

# The fields that values of some type may stand in.
_VALUES = (
    *("half_val", "float_val", "double_val", "int_val", "string_val", "scomplex_val"),
    *("int64_val", "bool_val", "dcomplex_val", "uint32_val", "uint64_val"),
)


def arrays(protos: Mapping[str, Any], rows: int) -> dict[str, np.ndarray]:
    """Read tensors.

    A tensor of one value may declare any shape, and is as large as it declares once it is read: so
    its shape is looked at before.

    Args:
        protos: TensorProto by name.
        rows: of a tensor, at most.

    Raises:
        RequestError: one is none, or too large.

    Example:
        >>> arrays({"x": tf.make_tensor_proto([1.0, 2.0])}, rows=100)["x"].tolist()
        [1.0, 2.0]
    """
    return {name: _array(name, proto, rows) for name, proto in protos.items()}


def _array(name: str, proto: Any, rows: int) -> np.ndarray:
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_shape.unknown_rank or len(shape) > DEEPEST or any(size < 0 for size in shape):
        raise invalid(f"tensor parsing error: {name}")
    if shape and shape[0] > rows:
        raise too_many_rows(shape[0], rows)
    values = max(len(getattr(proto, field)) for field in _VALUES)
    if values > MOST_VALUES:
        raise too_large(
            f"the tensor {name} has {values} values one by one, of {MOST_VALUES} that it may have "
            "(send fewer rows at a time, or numbers as tensor_content)"
        )
    given = max(len(proto.tensor_content), values)
    if math.prod(shape) > max(given, MOST_VALUES):
        raise too_large(
            f"the tensor {name} declares the shape {shape}, of more than {MOST_VALUES} values, and "
            "does not hold them"
        )
    try:
        array: np.ndarray = tf.make_ndarray(proto)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise invalid(f"tensor parsing error: {name}") from error
    return array


def fill(response: Message, outputs: Arrays, names: Sequence[str]) -> Message:
    """Write arrays into a PredictResponse, and return it.

    Example::

        fill(PredictResponse(), {"y": np.array([1.0])}, ["y"]).outputs["y"]
    """
    for name in names:
        response.outputs[name].CopyFrom(tf.make_tensor_proto(outputs[name]))  # type: ignore[attr-defined]
    return response


def check_parts(data: bytes, kind: Descriptor) -> None:
    """Raise a RequestError for a message of more parts than `MOST_VALUES`, before it is parsed.

    Two bytes make an empty string in a list, and protobuf keeps Python's lock while it reads.

    Args:
        data: the message's bytes; of what is no message, as far as they are one.
        kind: the message's type.

    Example:
        >>> from tensorflow_serving.apis import predict_pb2
        >>> request = predict_pb2.PredictRequest(output_filter=["a", "b"])
        >>> check_parts(request.SerializeToString(), predict_pb2.PredictRequest.DESCRIPTOR)
    """
    waiting, count = [(0, len(data), kind)], 0
    while waiting:
        place, end, kind = waiting.pop()
        while place < end:
            count += 1
            if count > MOST_VALUES:
                raise too_large(
                    f"the message has more than {MOST_VALUES} parts (send fewer rows at a time)"
                )
            tag, place = _varint(data, place, end)
            if tag & 7 == _LENGTH:
                size, place = _varint(data, place, end)
                field = kind.fields_by_number.get(tag >> 3)
                if field and field.message_type:
                    waiting.append((place, min(place + size, end), field.message_type))
                place += size
            elif tag & 7 in _FIXED:
                place += _FIXED[tag & 7]
            elif tag & 7 == 0:
                _, place = _varint(data, place, end)
            else:
                return  # of no message here; the parser says so


_LENGTH, _FIXED = 2, {1: 8, 5: 4}  # wire types, and the bytes of those of fixed size


def _varint(data: bytes, place: int, end: int) -> tuple[int, int]:
    """Return a number and the place after it."""
    number = shift = 0
    while place < end:
        byte = data[place]
        place += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128 or shift > 63:
            break
    return number, place
