"""Requests that cannot be answered.

Source: the files named above the rows, below tensorflow_serving/; where its versions word an error
differently the regular expression takes each.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .cases import (
    NOT_FOUND,
    Case,
    Code,
    floats,
    metadata,
    model,
    predict,
    refused,
    status,
)
from .predictions import LINE, PAIR, by, shapes, texts

_ONE = {"instances": [1.0]}
_TWO = {"a": "x", "b": "y"}
# AddInstanceItem's errors, told with their place (Status::ToString, older and newer).
_AT = r"Failed to process element: {} of 'instances' list\. Error: I\w+.\w+: "
_AT_KEY = r"Failed to process element: {} key: {} of 'instances' list\. Error: I\w+.\w+: "
_PLAIN = "expecting .* as multiple input tensors required as per tensorinfo_map"


def column(*values: object) -> dict:
    return {"inputs": list(values)}


def row(*values: object) -> dict:
    return {"instances": list(values)}


# util/json_tensor.cc, ParseJson, FillSignature, FillPredictRequestFromJson.
BODIES = [
    refused("no body", "line:predict", "", "JSON Parse error: The document is empty"),
    refused("no JSON", "line:predict", "instances = [1]", "JSON Parse error: Invalid value"),
    refused("JSON cut short", "line:predict", '{"instances": [1.0', "JSON Parse error: "),
    refused("JSON and more", "line:predict", '{"instances": [1]} 2', "JSON Parse error: "),
    refused("no object", "line:predict", [1.0], "Is not object"),
    refused("JSON is read before the model is sought", "nope:predict", "{", "JSON Parse error: "),
    refused("neither key", "line:predict", {}, "Missing 'inputs' or 'instances' key"),
    refused(
        "both keys",
        "line:predict",
        {**_ONE, **column(1.0)},
        "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist",
    ),
    refused(
        "a signature that is no string",
        "line:predict",
        {"signature_name": 1, **_ONE},
        "not formatted correctly. 'signature_name' key must be a string value",
    ),
    # "Excepting" is theirs.
    refused("rows that are no list", "line:predict", {"instances": 1}, "to be an list/array"),
    refused("no rows", "line:predict", {"instances": []}, "No values in 'instances' array"),
]

# json_tensor.cc, AddValueToTensor, AddInstanceItem, FillTensorProto.
VALUES = [
    refused(
        "a string for a float",
        "line:predict",
        row(1.0, "a"),
        _AT.format(1) + 'JSON Value: "a" Type: String is not of expected type: float',
        predict(LINE, x=texts("1.0", "a")),
        grpc_error="float.*string",
    ),
    refused(
        "an int64 tensor for a float; gRPC converts nothing",
        "line:predict",
        row(True),
        "JSON Value: true Type: True is not of expected type: float",
        predict(LINE, x=np.array([1, 2])),
        grpc_error="float.*int64",
    ),
    refused(
        "a string in a column",
        "line:predict",
        column(1.0, "a"),
        '^JSON Value: "a" Type: String is not of expected type: float',
    ),
    refused("null", "line:predict", row(None), "Type: Null is not of expected type: float"),
    refused(
        "a number for a string", "echo:predict", row(1), "Number is not of expected type: string"
    ),
    refused(
        "1.0 for an int64",
        "matrix:predict",
        {"inputs": {"ids": [[1.0]], "flags": [[True]], "weights": [[1.0]]}},
        "JSON Value: 1.0 Type: Number is not of expected type: int64",
    ),
    refused(
        "1 for a bool",
        "matrix:predict",
        {"inputs": {"ids": [[1]], "flags": [[1]], "weights": [[1.0]]}},
        "JSON Value: 1 Type: Number is not of expected type: bool",
    ),
    refused(
        "2^31 for an int32",
        "shapes:predict",
        by("next", instances=[2**31]),
        "JSON Value: 2147483648 Type: Number is not of expected type: int32",
    ),
    refused(
        "2^24 + 1 for a float",
        "line:predict",
        row(2**24 + 1),
        "Cannot convert JSON value: 16777217 to float without loss of precision",
    ),
    refused("1e39 for a float", "line:predict", row(1e39), "to float without loss of precision"),
    refused("no base 64", "echo:predict", row({"b64": "*"}), "Unable to base64 decode"),
    refused(
        "base 64 for a float",
        "line:predict",
        column({"b64": "aGk="}),
        "Type: Object is not of expected type: float",
    ),
    refused(
        "rows of other lengths",
        "shapes:predict",
        row([1, 2], [3]),
        _AT.format(1) + "Expecting tensor size: 2 but got: 1",
    ),
    refused(
        "rows of other shapes",
        "shapes:predict",
        row([1, 2], [[3, 4]]),
        _AT.format(1) + r"Expecting shape \[2\] but got: \[1,2\]",
    ),
    refused(
        "a ragged column",
        "shapes:predict",
        column([1, 2], [3]),
        "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
    ),
    refused(
        "a list among numbers",
        "line:predict",
        column(1, [2]),
        "Encountered list at unexpected level: 1 expected < 1",
    ),
    refused(
        "a number among lists",
        "shapes:predict",
        column([1], 2),
        "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
    ),
]

# json_tensor.cc, FillTensorMapFromInstancesList and ...FromInputsMap; predict_util.cc.
NAMES = [
    refused("rows of values for several inputs", "pair:predict", row("x"), _PLAIN),
    refused("a column for several inputs", "pair:predict", column("x"), _PLAIN),
    refused(
        "a row without an input",
        "pair:predict",
        row(_TWO, {"a": "x"}),
        r"Failed to process element: 1 of 'instances' list\. .* must only have keys: a,b",
    ),
    refused(
        "columns without an input",
        "pair:predict",
        {"inputs": {"a": ["x"]}},
        "Missing named input: b in 'inputs' object",
        predict(PAIR, a=texts("x")),
        grpc_error=r"input size does not match signature: 1!=2 len\({a}\) != len\({a,b}\)\. "
        r"Sent extra: {}\. Missing but required: {b}\.",
    ),
    refused(
        "an input that is none",
        "pair:predict",
        row({"a": "x", "c": "y"}),
        _AT_KEY.format(0, "c") + "JSON object: does not have named input: c",
        predict(PAIR, a=texts("x"), c=texts("y")),
        grpc_error="input tensor alias not found in signature: c|Signature input alias: b",
    ),
    refused(
        "an input too many",
        "pair:predict",
        row({**_TWO, "c": "z"}),
        _AT_KEY.format(0, "c") + "JSON object: does not have named input: c",
        predict(PAIR, a=texts("x"), b=texts("y"), c=texts("z")),
        grpc_error="input size does not match signature: 3!=2 .* Sent extra: {c}",
    ),
    refused(
        "a value after objects",
        "pair:predict",
        row(_TWO, "x"),
        "Expecting object but got list at item 1 of input list",
    ),
    refused(
        "an object after values",
        "line:predict",
        row(1.0, {"x": 1.0}),
        "Expecting value/list but got object at item 1 of input list",
    ),
]

# json_tensor.cc, MakeRowFormatJsonFromTensors.
OUTPUTS = [
    refused(
        "rows of a scalar output",
        "shapes:predict",
        by("total", instances=[1.0]),
        "Tensor name: y has no shape information",
    ),
    refused(
        "rows of no output",
        "shapes:predict",
        by("none", instances=[1.0]),
        "Tensor name: y has invalid batch size: 0",
    ),
    refused(
        "rows of uneven outputs",
        "shapes:predict",
        by("uneven", instances=[1.0]),
        r"Tensor name: \w+ has inconsistent batch size: \d expecting: \d",
    ),
    refused(
        "a model that fails",
        "shapes:predict",
        by("fails", instances=[1.0]),
        "x is too large",
        shapes("fails", floats(1)),
    ),
]

_CALL = {"x": floats(1)}
_LATEST = r"Servable not found for request: Latest\(nope\)"
_NINTH = r"Servable not found for request: Specific\(line, 9\)"
_LABEL = "Unrecognized servable version label: nope"
_THERE_IS_NONE = {"code": NOT_FOUND}

# core/basic_manager.cc, model_servers/server_core.cc, get_model_status_impl.cc.
MODELS = [
    refused(
        "a model", "nope:predict", _ONE, _LATEST, predict(model("nope"), **_CALL), **_THERE_IS_NONE
    ),
    refused(
        "a version",
        "line/versions/9:predict",
        _ONE,
        _NINTH,
        predict(model("line", 9), **_CALL),
        **_THERE_IS_NONE,
    ),
    refused(
        "a label",
        "line/labels/nope:predict",
        _ONE,
        _LABEL,
        predict(model("line", version_label="nope"), **_CALL),
    ),
    # http_rest_api_handler.cc, GetInfoMap; predict_util.cc, RunPredict.
    refused(
        "a signature",
        "line:predict",
        by("nope", **_ONE),
        'Serving signature name: "nope" not found in signature def',
        predict(model("line", signature_name="nope"), **_CALL),
        grpc_code=Code.FAILED_PRECONDITION,
        grpc_error='Serving signature key "nope" not found',
    ),
    refused(
        "the model of metadata",
        "nope/metadata",
        None,
        _LATEST,
        metadata(model("nope")),
        **_THERE_IS_NONE,
    ),
    refused(
        "the version of metadata",
        "line/versions/9/metadata",
        None,
        _NINTH,
        metadata(model("line", 9)),
        **_THERE_IS_NONE,
    ),
    refused(
        "the model of a status",
        "nope",
        None,
        "Could not find any versions of model nope",
        status(model("nope")),
        **_THERE_IS_NONE,
    ),
    refused(
        "the version of a status",
        "line/versions/9",
        None,
        "Could not find version 9 of model line",
        status(model("line", 9)),
        **_THERE_IS_NONE,
    ),
]


def malformed(name: str, path: str, verb: str) -> Case:
    return refused(name, path, {}, f"Malformed request: {verb} /v1/", verb=verb)


# http_rest_api_handler.cc, ProcessRequest: any verb and path below /v1/ that mean nothing.
URLS = [
    malformed("another path", "/v1/nope", "GET"),
    malformed("a POST to another path", "/v1/models/line", "POST"),
    malformed("a GET of predict", "line:predict", "GET"),
    malformed("a PUT", "line:predict", "PUT"),
    malformed("a DELETE", "line", "DELETE"),
    malformed("a POST to metadata", "line/metadata", "POST"),
    malformed("a method that is none", "line:nope", "POST"),
    malformed("a method in capitals", "line:PREDICT", "POST"),
    malformed("a version that is no number", "line/versions/one:predict", "POST"),
    malformed("a version and a label", "line/versions/1/labels/stable:predict", "POST"),
    # evhttp_request.cc: what is matched is the path with its query.
    malformed("a query", "line:predict?x=1", "POST"),
    refused("no model", "/v1/models", None, "Missing model name in request"),
    # ParseModelInfo fails before an error is written; a real server sends no body at all.
    refused("a version too large", f"line/versions/{2**64}:predict", _ONE, ""),
]


def alone(name: str, call: Any, error: str) -> Case:
    return refused(name, "", None, error, call)


# What only gRPC can ask: predict_impl.cc, server_core.cc, predict_util.cc,
# get_model_metadata_impl.cc.
GRPC_ONLY = [
    alone("no model's name", predict(model(""), **_CALL), "ModelSpec has no name specified"),
    alone(
        "an output that is none",
        predict(PAIR, "zz", a=texts("x"), b=texts("y")),
        "output tensor alias not found in signature: zz Outputs expected to be in the set "
        "{joined,length,same}",
    ),
    alone(
        "an output twice",
        predict(PAIR, "same", "same", a=texts("x"), b=texts("y")),
        "duplicate output tensor alias: same",
    ),
    alone("other metadata", metadata(LINE, "zz"), "Metadata field .* is not supported"),
]

REFUSALS = [*BODIES, *VALUES, *NAMES, *OUTPUTS, *MODELS, *URLS]
