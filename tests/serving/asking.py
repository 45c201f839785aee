"""Sends the table's requests, and says gRPC's responses in REST's JSON."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from typing import Any

import grpc
import numpy as np
import requests
import tensorflow as tf
from google.protobuf import json_format, message
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from .cases import JSON, Case

TIMEOUT = 60


@dataclasses.dataclass(frozen=True)
class Server:
    """A server's addresses.

    Attributes:
        rest: a URL without a path.
        grpc: host and port.
    """

    rest: str
    grpc: str

    def ask_rest(self, case: Case) -> requests.Response:
        body = case.body if isinstance(case.body, str) else json.dumps(case.body)
        return requests.request(
            case.method,
            self.rest + case.url,
            data=body.encode() if case.method == "POST" else None,
            headers=JSON,
            timeout=TIMEOUT,
        )

    def ask_grpc(self, request: message.Message) -> message.Message:
        """Ask the method that takes such a message; raises grpc.RpcError."""
        with grpc.insecure_channel(self.grpc) as channel:
            predictions = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            models = model_service_pb2_grpc.ModelServiceStub(channel)
            method = {
                "PredictRequest": predictions.Predict,
                "ClassificationRequest": predictions.Classify,
                "RegressionRequest": predictions.Regress,
                "MultiInferenceRequest": predictions.MultiInference,
                "GetModelMetadataRequest": predictions.GetModelMetadata,
                "GetModelStatusRequest": models.GetModelStatus,
            }[request.DESCRIPTOR.name]
            return method(request, timeout=TIMEOUT)


def values(name: str, tensor: Any) -> Any:
    """Return a tensor as nested lists, strings of ``*_bytes`` in base 64."""
    array = tf.make_ndarray(tensor)
    if array.dtype != object:
        return array.tolist()
    texts = np.empty(array.shape, object)
    for place, item in np.ndenumerate(array):
        coded = {"b64": base64.b64encode(item).decode()}
        texts[place] = coded if name.endswith("_bytes") else item.decode()
    return texts.tolist()


def predicted(response: message.Message, by_rows: bool) -> dict[str, Any]:
    """Return a PredictResponse as REST writes it."""
    columns = {name: values(name, tensor) for name, tensor in response.outputs.items()}
    if len(columns) == 1:
        return {"predictions" if by_rows else "outputs": next(iter(columns.values()))}
    if not by_rows:
        return {"outputs": columns}
    rows = zip(*columns.values(), strict=True)
    return {"predictions": [dict(zip(columns, row, strict=True)) for row in rows]}


def results(result: message.Message) -> dict[str, Any]:
    """Return a ClassificationResult or RegressionResult as REST writes it."""
    if result.DESCRIPTOR.name == "RegressionResult":
        return {"results": [each.value for each in result.regressions]}
    return {
        "results": [[[c.label, c.score] for c in row.classes] for row in result.classifications]
    }


def _dict(found: message.Message) -> dict[str, Any]:
    return json_format.MessageToDict(
        found, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def as_json(response: message.Message, by_rows: bool) -> dict[str, Any]:
    """Return gRPC's response as REST writes it."""
    match response.DESCRIPTOR.name:
        case "PredictResponse":
            return predicted(response, by_rows)
        case "ClassificationResponse" | "RegressionResponse":
            return results(response.result)
        case "GetModelMetadataResponse":
            signatures = get_model_metadata_pb2.SignatureDefMap()
            assert response.metadata["signature_def"].Unpack(signatures)
            told = {"signature_def": _dict(signatures)}
            return {"model_spec": _dict(response.model_spec), "metadata": told}
    return _dict(response)


def same(found: Any, wanted: Any, partly: bool = False) -> bool:
    """Return whether JSON is the same: 1 is not 1.0, floats as close as float32.

    Args:
        found: what a server said.
        wanted: what it should say.
        partly: objects of `found` may hold more.
    """
    if type(found) is not type(wanted):
        return False
    if isinstance(wanted, dict):
        there = wanted.keys() <= found.keys() if partly else wanted.keys() == found.keys()
        return there and all(same(found[key], wanted[key], partly) for key in wanted)
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(
            same(*both, partly) for both in zip(found, wanted, strict=True)
        )
    if isinstance(wanted, float):
        nan = math.isnan(found) and math.isnan(wanted)
        return nan or math.isclose(found, wanted, rel_tol=1e-6)
    return bool(found == wanted)
