"""What a row of the table says, and the messages it is said with."""

from __future__ import annotations

import dataclasses
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import message
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    input_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

Code = grpc.StatusCode
INVALID, NOT_FOUND = Code.INVALID_ARGUMENT, Code.NOT_FOUND

# http_server.cc, ToHTTPStatusCode: those that the table meets.
HTTP = {Code.OK: 200, INVALID: 400, NOT_FOUND: 404, Code.FAILED_PRECONDITION: 400}
JSON = {"content-type": "application/json"}


@dataclasses.dataclass(frozen=True)
class Case:
    """A request, and what TF Serving answers.

    Attributes:
        name: says what is tried.
        path: below ``/v1/models/`` unless it starts with a slash; a colon makes it a POST.
        body: JSON, or text as it is sent.
        answer: the JSON of REST's response, which gRPC's says too.
        grpc: the same request; None where gRPC cannot be asked so.
        error: a regular expression that a part of REST's error matches.
        code: of an error, in gRPC's words; HTTP's status follows.
        grpc_code: gRPC's code where it is not `code`.
        grpc_error: a regular expression of gRPC's error where it is not `error`.
        verb: of HTTP, where path does not say.
        partly: the answer may hold more than `answer` does.
    """

    name: str
    path: str
    body: Any = None
    answer: Any = None
    grpc: message.Message | None = None
    error: str = ""
    code: Code = Code.OK
    grpc_code: Code | None = None
    grpc_error: str = ""
    verb: str = ""
    partly: bool = False

    @property
    def url(self) -> str:
        return self.path if self.path.startswith("/") else f"/v1/models/{self.path}"

    @property
    def method(self) -> str:
        return self.verb or ("POST" if ":" in self.path else "GET")


def refused(name: str, path: str, body: Any, error: str, call: Any = None, **more: Any) -> Case:
    """Return a case of a request that cannot be answered; `more` as of Case."""
    return Case(name, path, body, None, call, error, **{"code": INVALID} | more)


def model(name: str, version: int | None = None, **more: str) -> model_pb2.ModelSpec:
    """Return a ModelSpec.

    Args:
        name: the model's.
        version: its number.
        more: signature_name, version_label.
    """
    found = model_pb2.ModelSpec(name=name, **more)
    if version is not None:
        found.version.value = version
    return found


def predict(to: model_pb2.ModelSpec, *outputs: str, **inputs: Any) -> predict_pb2.PredictRequest:
    """Return a PredictRequest.

    Args:
        to: the model.
        outputs: wanted; none are all.
        inputs: arrays.
    """
    request = predict_pb2.PredictRequest(model_spec=to, output_filter=outputs)
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def floats(*values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def example(**features: Any) -> tf.train.Example:
    """Return a tf.Example of floats, whole numbers or bytes."""
    found = tf.train.Example()
    kinds = {float: "float_list", int: "int64_list", bytes: "bytes_list"}
    for name, value in features.items():
        getattr(found.features.feature[name], kinds[type(value)]).value.append(value)
    return found


def listed(*rows: tf.train.Example, context: tf.train.Example | None = None) -> input_pb2.Input:
    """Return an Input of examples."""
    found = input_pb2.Input()
    if context is None:
        found.example_list.examples.extend(rows)
    else:
        found.example_list_with_context.examples.extend(rows)
        found.example_list_with_context.context.CopyFrom(context)
    return found


def classify(to: model_pb2.ModelSpec, *rows: tf.train.Example, **more: Any) -> message.Message:
    return classification_pb2.ClassificationRequest(model_spec=to, input=listed(*rows, **more))


def regress(to: model_pb2.ModelSpec, *rows: tf.train.Example, **more: Any) -> message.Message:
    return regression_pb2.RegressionRequest(model_spec=to, input=listed(*rows, **more))


def infer(input_: input_pb2.Input, **methods: model_pb2.ModelSpec) -> message.Message:
    """Return a MultiInferenceRequest; `methods` are classify, regress."""
    request = inference_pb2.MultiInferenceRequest(input=input_)
    for method, to in methods.items():
        request.tasks.add(model_spec=to, method_name=f"tensorflow/serving/{method}")
    return request


def status(to: model_pb2.ModelSpec) -> message.Message:
    return get_model_status_pb2.GetModelStatusRequest(model_spec=to)


def metadata(to: model_pb2.ModelSpec, *fields: str) -> message.Message:
    """Return a GetModelMetadataRequest; without fields, what REST asks for."""
    return get_model_metadata_pb2.GetModelMetadataRequest(
        model_spec=to, metadata_field=fields or ["signature_def"]
    )


def available(*versions: int) -> dict:
    """Return the status of versions that answer."""
    fine = {"error_code": "OK", "error_message": ""}
    states = [{"version": str(v), "state": "AVAILABLE", "status": fine} for v in versions]
    return {"model_version_status": states}
