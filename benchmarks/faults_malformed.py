"""Malformed requests for `faults.py`, drawn at random: bytes, JSON, headers, URLs, messages."""

from __future__ import annotations

import gzip
import json
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc as rpc
import requests
from faults_server import Server
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    model_management_pb2,
    predict_pb2,
)

Call = Callable[[str, bytes], Any]
_METHODS = (":predict", ":classify", ":regress", "", "/metadata", ":PREDICT", "/labels/x:predict")
_NAMES = ("adds", "nope", "", "a" * 3000, "%00", "..", "ädds", "adds/versions/" + "9" * 5000)
_ATOMS = (
    *(None, True, 0, -1, 2**63, 2**1000, 1e308, float("nan"), float("inf"), "", "a", "\ud800"),
    *("😀", {"b64": "*"}, {"b64": "aGk="}, "\0", "a" * 10000),
)


def value(draw: random.Random, depth: int = 0) -> Any:
    """Return a JSON value."""
    kind = draw.random()
    if depth > 5 or kind < 0.5:
        return draw.choice(_ATOMS)
    size = draw.choice((0, 1, 1, 2, 3, 40))
    if kind < 0.8:
        return [value(draw, depth + 1) for _ in range(size)]
    names = ("x", "text", "b64", "", "inputs")
    return {draw.choice(names): value(draw, depth + 1) for _ in range(size)}


def body(draw: random.Random) -> bytes:
    """Return a request's body."""
    kind = draw.randrange(8)
    if kind == 0:
        return draw.randbytes(draw.randrange(300))
    if kind == 1:
        deep = draw.randrange(1, 400)
        return b'{"instances": ' + b"[" * deep + b"]" * draw.choice((deep, 0)) + b"}"
    if kind == 2:
        size = draw.choice((1, 100, 20_000, 300_000))
        return b'{"instances": [' + b",".join([draw.choice((b"[]", b'""', b"1", b"{}"))] * size)
    if kind == 3:
        return b'{"signature_name": %b, "inputs": %b}' % (_json(value(draw)), _json(value(draw)))
    keys = draw.sample(("instances", "inputs", "examples", "context"), draw.randrange(1, 3))
    data = _json({key: value(draw) for key in keys})
    if kind == 4:
        data = data[: draw.randrange(len(data) + 1)]
    if kind == 5 and data:
        changed = bytearray(data)
        changed[draw.randrange(len(data))] = draw.randrange(256)
        data = bytes(changed)
    return data


def _json(content: Any) -> bytes:
    return json.dumps(content).encode()


def rest(session: requests.Session, server: Server, draw: random.Random) -> tuple[int, str]:
    """Send a malformed request by HTTP; returns the status and text of the response."""
    if draw.random() < 0.05:
        return _raw(server, draw)
    headers = {}
    data = body(draw)
    coding = draw.choice((*[None] * 20, "gzip", "x-gzip", "br", "", "gzip, gzip"))
    if coding is not None:
        headers["content-encoding"] = coding
        packed = gzip.compress(data)
        data = draw.choice((packed, packed[:-3], packed + b"more", data))
    if draw.random() < 0.02:
        headers["origin"] = "http://evil.example"
    if draw.random() < 0.02:
        headers["host"] = "evil.example"
    verb = draw.choice(("POST",) * 12 + ("GET", "PUT", "OPTIONS", "HEAD"))
    path = f"/v1/models/{draw.choice(('adds',) * 20 + _NAMES)}{draw.choice(_METHODS)}"
    response = session.request(
        verb, server.url + path, data=data, headers=headers, timeout=60, allow_redirects=False
    )
    return response.status_code, response.text


def _raw(server: Server, draw: random.Random) -> tuple[int, str]:
    """Send what is hardly HTTP; returns 400 where the connection is closed without a word."""
    begun = draw.choice((b"", b"POST /v1/models/adds:predict HTTP/1.1\r\nHost: localhost\r\n"))
    with socket.create_connection(server.address, timeout=30) as connection:
        try:
            connection.sendall(begun + draw.randbytes(draw.randrange(1, 300)) + b"\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(2**16)
        except OSError:
            return 400, ""
    status = answer.split(b" ", 2)[1:2] if answer.startswith(b"HTTP/") else []
    return int(status[0]) if status else 400, answer.decode("latin-1")


@contextmanager
def channel(server: Server) -> Iterator[Call]:
    """Open what sends bytes to a method of gRPC."""
    with rpc.insecure_channel(server.grpc) as opened:
        yield lambda method, data: opened.unary_unary(f"/tensorflow.serving.{method}")(
            data, timeout=60
        )


_KINDS = (
    ("PredictionService/Predict", predict_pb2.PredictRequest),
    ("PredictionService/Classify", classification_pb2.ClassificationRequest),
    ("PredictionService/GetModelMetadata", get_model_metadata_pb2.GetModelMetadataRequest),
    ("ModelService/HandleReloadConfigRequest", model_management_pb2.ReloadConfigRequest),
)


def grpc(call: Call, draw: random.Random) -> str:
    """Send a malformed message; returns what it counts as."""
    method, kind = draw.choice(_KINDS)
    data = _message(draw) if kind is predict_pb2.PredictRequest else draw.randbytes(40)
    return answered(call, method, data)


def answered(call: Call, method: str, data: bytes) -> str:
    """Send a message; returns what the call counts as."""
    try:
        call(method, data)
    except rpc.RpcError as error:
        failed = error.code() in (rpc.StatusCode.INTERNAL, rpc.StatusCode.UNKNOWN)
        return "5xx" if failed else "refused"
    return "right"


def declared(rows: int) -> bytes:
    """Return a PredictRequest of one value that declares so many rows."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "adds"
    request.inputs["x"].dtype = 1
    request.inputs["x"].float_val.append(1.0)
    request.inputs["x"].tensor_shape.dim.add(size=rows)
    return bytes(request.SerializeToString())


def monsters() -> Iterator[bytes]:
    """Return bodies of up to 30 MB, each of which would become far more."""
    begin, size = b'{"instances": [', 30_000_000
    for part in (b"[],", b'"",', b"[", b"{},", b"1" * 300 + b",", b'"', b"\\\\"):
        yield begin + part * (size // len(part)) + b"1]}"
    yield begin + b'"' + b"\\n" * (size // 2) + b'"]}'
    yield begin + b"[" + b"[]," * (size // 3) + b"[]]]}"


def _message(draw: random.Random) -> bytes:
    """Return a PredictRequest that declares more than it holds, or is damaged."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = draw.choice(("adds", "adds", "adds", "nope", ""))
    request.model_spec.version.value = draw.choice((1, 0, -1, 2**62))
    tensor = request.inputs[draw.choice(("x", "x", "y"))]
    tensor.dtype = draw.choice((1, 1, 1, 7, 3, 0, 14))
    for _ in range(draw.randrange(4)):
        tensor.tensor_shape.dim.add(size=draw.choice((0, 1, 3, -1, 200_000_000, 2**62)))
    tensor.float_val.extend([1.0] * draw.randrange(4))
    tensor.tensor_content = draw.randbytes(draw.choice((0, 0, 4, 12)))
    data = bytearray(request.SerializeToString())
    for _ in range(draw.choice((0, 0, 1, 5))):
        data[draw.randrange(len(data))] = draw.randrange(256)
    return bytes(data[: draw.choice((len(data), len(data), len(data) // 2))])
