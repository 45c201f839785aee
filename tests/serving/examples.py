"""Classify and regress, status and metadata.

Source: api_rest.md; util/json_tensor.cc; servables/tensorflow/classifier.cc, regressor.cc, util.cc;
model_servers/get_model_status_impl.cc, http_rest_api_util.cc.
"""

from __future__ import annotations

from typing import Any

from .cases import (
    NOT_FOUND,
    Case,
    available,
    classify,
    example,
    metadata,
    model,
    refused,
    regress,
    status,
)
from .models import CLASSIFY, REGRESS

_X = {"examples": [{"x": 0.25}]}
_HIGH, _LOW = example(x=0.75), example(x=0.25)
_SCORED = {"results": [[["low", 0.25], ["high", 0.75]], [["low", 0.75], ["high", 0.25]]]}
_CLASSIFY, _SCORES, _REGRESS = "classify", "scores", "regress"


def to(signature: str) -> Any:
    return model("examples", signature_name=signature)


def body(signature: str, *rows: Any, **more: Any) -> dict:
    return {"signature_name": signature, "examples": list(rows), **more}


ANSWERS = [
    Case(
        "classify: pairs of label and score",
        "examples:classify",
        body(_CLASSIFY, {"x": 0.75}, {"x": [0.25]}),
        _SCORED,
        classify(to(_CLASSIFY), _HIGH, _LOW),
    ),
    Case(
        "classify by a version",
        "examples/versions/1:classify",
        body(_CLASSIFY, {"x": 0.75}, {"x": [0.25]}),
        _SCORED,
        classify(model("examples", 1, signature_name=_CLASSIFY), _HIGH, _LOW),
    ),
    Case(
        "scores without classes: no labels",
        "examples:classify",
        body(_SCORES, {"x": 0.75}),
        {"results": [[["", 0.25], ["", 0.75]]]},
        classify(to(_SCORES), _HIGH),
    ),
    Case(
        "regress: a number an example",
        "examples:regress",
        body(_REGRESS, {"x": 0.75}, {"x": 0.5}),
        {"results": [1.5, 1.0]},
        regress(to(_REGRESS), _HIGH, example(x=0.5)),
    ),
    Case(
        "a context that all share",
        "examples:regress",
        body(_REGRESS, {}, {"other": 1}, context={"x": 0.75}),
        {"results": [1.5, 1.5]},
        regress(to(_REGRESS), example(), example(other=1), context=_HIGH),
    ),
    Case(
        "features that are not asked for",
        "examples:regress",
        body(_REGRESS, {"x": 0.75, "s": ["a", {"b64": "aGk="}], "i": [1, True], "f": [0.5, 1.0]}),
        {"results": [1.5]},
        regress(to(_REGRESS), example(x=0.75, s=b"a", i=1)),
    ),
]

_WAS = r"signature method_name to be {}\. Was: {}"
_NO_SIGNATURE = "No signature was found with the name: nope"

REFUSED = [
    refused(
        "no examples",
        "examples:regress",
        {"signature_name": _REGRESS},
        "When method is classify, key 'examples' is expected and was not found",
        regress(to(_REGRESS)),
        grpc_error="Input is empty",
    ),
    refused(
        "an empty list",
        "examples:classify",
        body(_CLASSIFY),
        "'examples' value is an empty array",
        classify(to(_CLASSIFY)),
        grpc_error="Input is empty",
    ),
    refused(
        "no list", "examples:classify", {"examples": {}}, "'examples' value to be an list/array"
    ),
    refused(
        "no object", "examples:regress", {"examples": [[1.0]]}, "JSON object but got JSON Array"
    ),
    refused(
        "no context", "examples:regress", {**_X, "context": 1}, "JSON object but got JSON Number"
    ),
    refused(
        "null",
        "examples:regress",
        body(_REGRESS, {"x": [None]}),
        "Feature: x has element with unexpected JSON type: Null",
    ),
    # The first element says what the feature holds, and the error names that.
    refused(
        "whole numbers and others",
        "examples:regress",
        body(_REGRESS, {"x": [1, 1.5]}),
        "Unexpected element type in feature: x expecting type: int64",
    ),
    refused(
        "an integer for a float",
        "examples:regress",
        body(_REGRESS, {"x": 1}),
        "x.*(Data types don't match|int64)",
        regress(to(_REGRESS), example(x=1)),
    ),
    refused(
        "classify by a signature that predicts",
        "examples:classify",
        _X,
        "classification " + _WAS.format(CLASSIFY, "tensorflow/serving/predict"),
        classify(model("examples"), _LOW),
    ),
    refused(
        "regress by one that classifies",
        "examples:regress",
        body(_CLASSIFY, {"x": 0.25}),
        "regression " + _WAS.format(REGRESS, CLASSIFY),
        regress(to(_CLASSIFY), _LOW),
    ),
    refused(
        "classify by none",
        "examples:classify",
        body("nope", {"x": 0.25}),
        _NO_SIGNATURE,
        classify(to("nope"), _LOW),
    ),
    refused(
        "regress by none",
        "examples:regress",
        body("nope", {"x": 0.25}),
        _NO_SIGNATURE,
        regress(to("nope"), _LOW),
    ),
    refused(
        "regress by no model",
        "nope:regress",
        _X,
        r"Servable not found for request: Latest\(nope\)",
        regress(model("nope"), _LOW),
        code=NOT_FOUND,
    ),
    refused("examples are read before the model is sought", "nope:regress", {}, "key 'examples'"),
]


def tensor(dtype: str, *sizes: int) -> dict:
    """Return a TensorInfo in JSON: 64-bit integers are strings, all fields are there."""
    dims = [{"size": str(size), "name": ""} for size in sizes]
    return {"dtype": dtype, "tensor_shape": {"dim": dims, "unknown_rank": False}}


def told(version: int, **signature: Any) -> dict:
    return {
        "model_spec": {"name": "line", "version": str(version), "signature_name": ""},
        "metadata": {"signature_def": {"signature_def": {"serving_default": signature}}},
    }


_LINE = {
    "inputs": {"x": tensor("DT_FLOAT", -1)},
    "outputs": {"y": tensor("DT_FLOAT", -1)},
    "method_name": "tensorflow/serving/predict",
}

# servable_state_monitor.h keeps versions from the highest to the lowest.
ABOUT = [
    Case("every version's status", "line", None, available(2, 1), status(model("line"))),
    Case("a version's status", "line/versions/1", None, available(1), status(model("line", 1))),
    Case(
        "metadata of the newest version",
        "line/metadata",
        None,
        told(2, **_LINE),
        metadata(model("line")),
        partly=True,
    ),
    Case(
        "metadata of a label",
        "line/labels/stable/metadata",
        None,
        told(1, **_LINE),
        metadata(model("line", version_label="stable")),
        partly=True,
    ),
]

EXAMPLES = [*ANSWERS, *REFUSED, *ABOUT]
