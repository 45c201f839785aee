"""Predict requests that are answered.

Source: api_rest.md, "Predict API"; util/json_tensor.cc and its test.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .cases import Case, floats, model, predict

LINE, ECHO, PAIR, MATRIX = map(model, ("line", "echo", "pair", "matrix"))
NAN, INF = float("nan"), float("inf")

_ONE = {"instances": [1.0]}
_VERSION_1, _VERSION_2 = {"predictions": [2.5]}, {"predictions": [3.5]}

_PAIRS = {"a": ["x", "长"], "b": ["x", "y"]}
_PAIR_ROWS = [{"a": "x", "b": "x"}, {"b": "y", "a": "长"}]
_JOINED = {"joined": ["xx", "长y"], "length": [2, 4], "same": [True, False]}
_JOINED_ROWS = [
    {"joined": "xx", "length": 2, "same": True},
    {"joined": "长y", "length": 4, "same": False},
]
_PAIR_CALL = predict(PAIR, **{name: np.array(texts) for name, texts in _PAIRS.items()})

# 2^53 + 1 is no float64: whole numbers stay whole.
_MATRIX = {"flags": [[True, False]], "ids": [[2**53 + 1, -1]], "weights": [[1.0, 0.2]]}
_HALVED = {"not": [[False, True]], "twice": [[2**54 + 2, -2]], "half": [[0.5, 0.1]]}
_MATRIX_ROWS = [{"flags": [True, False], "ids": [2**53 + 1, -1], "weights": [1, 0.2]}]
_HALVED_ROWS = [{"not": [False, True], "twice": [2**54 + 2, -2], "half": [0.5, 0.1]}]
_MATRIX_CALL = predict(MATRIX, **{name: np.array(rows) for name, rows in _MATRIX.items()})

_CODED = [{"b64": "aGk="}, {"b64": "bsOp"}]
_ECHOED = [{"text": "hi", "text_bytes": _CODED[0]}, {"text": "né", "text_bytes": _CODED[1]}]
_ESCAPED = '"\\\n\t\x00/'
_SIZES = [9e6, 3e-5, 16777215.0, 0.1, 1e-37, 0.669074059]


def texts(*values: str) -> np.ndarray:
    return np.array([value.encode() for value in values], object)


def by(signature: str, **values: Any) -> dict[str, Any]:
    return {"signature_name": signature, **values}


def shapes(signature: str, x: Any) -> Any:
    return predict(model("shapes", signature_name=signature), x=x)


def echo(signature: str, *values: str) -> Any:
    return predict(model("echo", signature_name=signature), text=texts(*values))


FORMATS = [
    Case(
        "rows of one input and one output: values without names",
        "line:predict",
        {"instances": [1.0, 2, 5.0]},
        {"predictions": [3.5, 4.0, 5.5]},
        predict(LINE, x=floats(1, 2, 5)),
    ),
    Case(
        "columns of one input and one output",
        "line:predict",
        {"inputs": [1.0, 2]},
        {"outputs": [3.5, 4.0]},
        predict(LINE, x=floats(1, 2)),
    ),
    Case("rows may name the input", "line:predict", {"instances": [{"x": 1}]}, _VERSION_2),
    Case("columns may name it", "line:predict", {"inputs": {"x": [1]}}, {"outputs": [3.5]}),
    Case(
        "rows of several inputs and outputs: objects",
        "pair:predict",
        {"instances": _PAIR_ROWS},
        {"predictions": _JOINED_ROWS},
        _PAIR_CALL,
    ),
    Case(
        "columns of several", "pair:predict", {"inputs": _PAIRS}, {"outputs": _JOINED}, _PAIR_CALL
    ),
    # FillTensorMapFromInputsMap looks for the signature's names only.
    Case("a column too many", "line:predict", {"inputs": {"x": [1], "z": 1}}, {"outputs": [3.5]}),
    Case("a key that means nothing", "line:predict", {**_ONE, "zz": {}}, _VERSION_2),
    Case(
        "columns of rank 2",
        "matrix:predict",
        {"inputs": _MATRIX},
        {"outputs": _HALVED},
        _MATRIX_CALL,
    ),
    Case(
        "rows of rank 1",
        "matrix:predict",
        {"instances": _MATRIX_ROWS},
        {"predictions": _HALVED_ROWS},
        _MATRIX_CALL,
    ),
    Case(
        "columns of no rows",
        "line:predict",
        {"inputs": []},
        {"outputs": []},
        predict(LINE, x=floats()),
    ),
    Case(
        "a scalar",
        "shapes:predict",
        by("scalar", inputs=2.5),
        {"outputs": 3.5},
        shapes("scalar", np.float32(2.5)),
    ),
    Case(
        "a scalar of a column",
        "shapes:predict",
        by("total", inputs=[1.0, 2.0]),
        {"outputs": 3.0},
        shapes("total", floats(1, 2)),
    ),
    Case(
        "columns of other lengths",
        "shapes:predict",
        by("uneven", inputs=[1.0]),
        {"outputs": {"once": [1.0], "twice": [1.0, 1.0]}},
        shapes("uneven", floats(1)),
    ),
    Case(
        "int32",
        "shapes:predict",
        by("next", instances=[1, -2]),
        {"predictions": [2, -1]},
        shapes("next", np.array([1, -2], np.int32)),
    ),
]

# server_core.cc, ServableRequestFromModelSpec; http_rest_api_util.cc.
MODELS = [
    Case("the newest version", "line:predict", _ONE, _VERSION_2, predict(LINE, x=floats(1))),
    Case(
        "a version",
        "line/versions/1:predict",
        _ONE,
        _VERSION_1,
        predict(model("line", 1), x=floats(1)),
    ),
    Case(
        "a label",
        "line/labels/stable:predict",
        _ONE,
        _VERSION_1,
        predict(model("line", version_label="stable"), x=floats(1)),
    ),
    Case(
        "another label",
        "line/labels/canary:predict",
        _ONE,
        _VERSION_2,
        predict(model("line", version_label="canary"), x=floats(1)),
    ),
    Case(
        "a signature",
        "line:predict",
        by("serving_default", **_ONE),
        _VERSION_2,
        predict(model("line", signature_name="serving_default"), x=floats(1)),
    ),
    Case("the default signature, named by nothing", "line:predict", by("", **_ONE), _VERSION_2),
    Case("a path in capitals", "/V1/MODELS/line:predict", _ONE, _VERSION_2),
    Case("a name in percents", "l%69ne:predict", _ONE, _VERSION_2),
]

# api_rest.md, "Encoding binary values" and "Output of binary values".
STRINGS = [
    Case(
        "base 64 comes in anywhere, and goes out by the name *_bytes",
        "echo:predict",
        {"instances": _CODED},
        {"predictions": _ECHOED},
        predict(ECHO, text=texts("hi", "né")),
    ),
    Case(
        "base 64 in columns",
        "echo:predict",
        {"inputs": ["hi", _CODED[1]]},
        {"outputs": {"text": ["hi", "né"], "text_bytes": _CODED}},
        predict(ECHO, text=texts("hi", "né")),
    ),
    Case(
        "bytes alone",
        "echo:predict",
        by("bytes", instances=["hi"]),
        {"predictions": _CODED[:1]},
        echo("bytes", "hi"),
    ),
    # absl/strings/escaping.h, Base64Unescape: padding may be left out.
    Case(
        "base 64 without padding",
        "echo:predict",
        by("string", instances=[{"b64": "aGk"}]),
        {"predictions": ["hi"]},
        echo("string", "hi"),
    ),
    Case(
        "strings that JSON escapes",
        "echo:predict",
        by("string", instances=[_ESCAPED, ""]),
        {"predictions": [_ESCAPED, ""]},
        echo("string", _ESCAPED, ""),
    ),
]

# api_rest.md, "JSON conformance"; json_tensor.cc, WriteDecimal.
FLOATS = [
    Case(
        "NaN and infinities, in and out",
        "line:predict",
        '{"instances": [NaN, Infinity, -Infinity]}',
        {"predictions": [NAN, INF, -INF]},
        predict(LINE, x=floats(NAN, INF, -INF)),
    ),
    Case(
        "infinities that are computed",
        "shapes:predict",
        by("inverse", instances=[0.0, -0.0, 3]),
        {"predictions": [INF, -INF, 1 / 3]},
        shapes("inverse", floats(0, -0.0, 3)),
    ),
    Case(
        "large and small",
        "shapes:predict",
        {"instances": [_SIZES]},
        {"predictions": [_SIZES]},
        shapes("", floats(_SIZES)),
    ),
]

PREDICTIONS = [*FORMATS, *MODELS, *STRINGS, *FLOATS]
