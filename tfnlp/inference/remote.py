"""A model on a server, TF Serving's or `tfnlp.serve`'s, asked as one in a folder is."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pipelines.errors import UserError
from tfnlp.inference.saved_model import Saved
from tfnlp.inference.settings import Settings
from tfnlp.runtime.startup import quiet_start

if TYPE_CHECKING:
    import requests
    import tensorflow as tf

TOKEN = "TFNLP_TOKEN"
_TIMEOUT = 120.0  # of a request [s]
_ATTEMPTS = 5
_WAIT = 0.5  # before the second attempt, and twice as long before each further one [s]
_REST = re.compile(
    r"https?://[^/]+/v1/models/(?P<name>[^/:?#]+)(?P<which>/(versions|labels)/[^/:]+)?"
)
_GRPC = re.compile(
    r"(?P<scheme>grpcs?)://(?P<host>[^/]+)/(?P<name>[^/]+)(/versions/(?P<version>\d+))?"
)

Asked = Mapping[str, "tf.Tensor"]


def is_address(model: str) -> bool:
    """Return whether a model is on a server.

    Example:
        >>> is_address("grpc://localhost:8500/trec"), is_address("saved_models/trec")
        (True, False)
    """
    return "://" in model


def opened(address: str) -> Saved:
    """Reach a model on a server.

    Args:
        address: ``http://HOST:PORT/v1/models/NAME``, perhaps with ``/versions/V`` or
            ``/labels/L``, or ``grpc://HOST:PORT/NAME``, perhaps with ``/versions/V``; https and
            grpcs are over TLS. A bearer token is taken from TFNLP_TOKEN.

    Raises:
        UserError: it is no such address, the server cannot be reached, or has no such model.

    Example::

        saved = opened("http://localhost:8501/v1/models/trec")
        saved.model("serving_default").answer({"text": ["Who wrote Hamlet?"]})
    """
    parts = _GRPC.fullmatch(address)
    if not parts and not _REST.fullmatch(address):
        raise UserError(
            f"{address} is not a model's address (http://HOST:8501/v1/models/NAME or "
            "grpc://HOST:8500/NAME)"
        )
    with quiet_start():
        import tensorflow  # noqa: F401

    return _over_grpc(address, parts) if parts else _over_rest(address)


def _definitions_to(
    address: str, definitions: Mapping[str, Any], call: Callable, **known: Any
) -> Saved:
    """Return a model with the signatures of a SavedModel's definitions."""
    import tensorflow as tf

    specs = {
        key: {
            name: tf.TensorSpec(tf.TensorShape(info.tensor_shape), tf.as_dtype(info.dtype), name)
            for name, info in definition.inputs.items()
        }
        for key, definition in definitions.items()
        if definition.method_name == "tensorflow/serving/predict"
    }
    return Saved(address, specs, known.get("settings", Settings({})), known.get("kinds", {}), call)


# ------------------------------------------------------------------- REST


def _over_rest(address: str) -> Saved:
    """Reach a model by REST."""
    from google.protobuf import json_format
    from tensorflow.core.protobuf import meta_graph_pb2

    session = _session()
    told = _get(session, f"{address}/metadata")
    try:
        written = told["metadata"]["signature_def"]["signature_def"]
    except (KeyError, TypeError) as error:
        raise UserError(f"{address} is not a model of TF Serving: it has no signatures") from error
    definitions = {
        key: json_format.ParseDict(value, meta_graph_pb2.SignatureDef(), ignore_unknown_fields=True)
        for key, value in written.items()
    }
    # What has no form in JSON cannot be handed on from step to step.
    definitions = {k: d for k, d in definitions.items() if k not in ("start", "advance")}
    outputs = {key: definition.outputs for key, definition in definitions.items()}

    def call(signature: str, inputs: Asked) -> dict[str, tf.Tensor]:
        columns = {name: _written(tensor) for name, tensor in inputs.items()}
        body = {"signature_name": signature, "inputs": columns}
        answer = _send(
            lambda: session.post(f"{address}:predict", json=body, timeout=_TIMEOUT), address
        )
        found = answer.get("outputs")
        if len(outputs[signature]) == 1:
            found = {next(iter(outputs[signature])): found}
        return {n: _read(found[n], info.dtype) for n, info in outputs[signature].items()}

    beside = _beside(session, address)
    settings = Settings.of(beside.get("settings", {}))
    return _definitions_to(
        address, definitions, call, settings=settings, kinds=beside.get("kinds", {})
    )


def _session() -> requests.Session:
    """Return a session that asks again when a server is away or full."""
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    again = Retry(
        total=_ATTEMPTS - 1,
        backoff_factor=_WAIT,
        status_forcelist=(429, 502, 503, 504),
        allowed_methods=None,  # an answer changes nothing: any request may be sent again
        raise_on_status=False,
    )
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=again, pool_maxsize=64))
    if token := os.environ.get(TOKEN):
        session.headers["Authorization"] = f"Bearer {token}"
    return session


def _get(session: requests.Session, url: str) -> Any:
    return _send(lambda: session.get(url, timeout=_TIMEOUT), url)


def _send(send: Callable[[], requests.Response], url: str) -> Any:
    """Return the JSON that a server answers.

    Raises:
        UserError: it cannot be reached, or refuses.
    """
    import requests

    try:
        response = send()
        answer = response.json()
    except requests.exceptions.JSONDecodeError as error:
        raise UserError(f"{url} answers {response.status_code} without JSON") from error
    except requests.exceptions.RequestException as error:
        raise UserError(f"cannot reach {url}: {_cause(error)} (is the server running?)") from error
    if response.status_code != 200:
        said = answer.get("error", answer) if isinstance(answer, dict) else answer
        raise UserError(f"{url} answers {response.status_code}: {said}")
    return answer


def _cause(error: Exception) -> str:
    """Return in a few words why a server could not be reached."""
    text = str(error)
    for known in ("Connection refused", "Name or service not known", "timed out", "CERTIFICATE"):
        if known in text:
            return known.lower()
    return text.partition("\n")[0][:200]


def _beside(session: requests.Session, address: str) -> dict[str, Any]:
    """Return what else `tfnlp.serve` reports about a model; TF Serving reports nothing."""
    host, _, name = address.partition("/v1/models/")
    try:
        response = session.get(f"{host}/page/models/{quote(name.split('/')[0])}", timeout=_TIMEOUT)
        found = response.json() if response.status_code == 200 else {}
    except (ValueError, OSError):
        return {}
    return found if isinstance(found, dict) else {}


def _written(tensor: tf.Tensor) -> Any:
    """Write a tensor as JSON has it."""
    array = tensor.numpy()
    if tensor.dtype.name != "string":
        return array.tolist()
    return [{"b64": base64.b64encode(text).decode()} for text in array]


def _read(value: Any, dtype: int) -> tf.Tensor:
    """Read a tensor out of JSON."""
    import tensorflow as tf

    kind = tf.as_dtype(dtype)
    return tf.constant(_strings(value) if kind == tf.string else value, kind)


def _strings(value: Any) -> Any:
    if isinstance(value, list):
        return [_strings(item) for item in value]
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value


# ------------------------------------------------------------------- gRPC


@dataclass(frozen=True)
class _Channel:
    """A way to a model by gRPC."""

    address: str
    stub: Any
    name: str
    version: int | None

    def spec(self, signature: str = "") -> Any:
        from tensorflow_serving.apis import model_pb2

        spec = model_pb2.ModelSpec(name=self.name, signature_name=signature)
        if self.version is not None:
            spec.version.value = self.version
        return spec

    def ask(self, method: str, request: Any) -> Any:
        import grpc

        token = os.environ.get(TOKEN)
        metadata = [("authorization", f"Bearer {token}")] if token else None
        try:
            return getattr(self.stub, method)(request, timeout=_TIMEOUT, metadata=metadata)
        except grpc.RpcError as error:
            code = error.code().name
            if code == "UNAVAILABLE":
                raise UserError(f"cannot reach {self.address} (is the server running?)") from error
            raise UserError(f"{self.address} answers {code}: {error.details()}") from error


def _over_grpc(address: str, parts: re.Match) -> Saved:
    """Reach a model by gRPC."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        predict_pb2,
        prediction_service_pb2_grpc,
    )

    options = [
        ("grpc.service_config", json.dumps(_again())),
        ("grpc.max_receive_message_length", -1),
    ]
    secure = parts["scheme"] == "grpcs"
    channel = (
        grpc.secure_channel(parts["host"], grpc.ssl_channel_credentials(), options)
        if secure
        else grpc.insecure_channel(parts["host"], options)
    )
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    version = int(parts["version"]) if parts["version"] else None
    server = _Channel(address, stub, parts["name"], version)
    request = get_model_metadata_pb2.GetModelMetadataRequest(
        model_spec=server.spec(), metadata_field=["signature_def"]
    )
    found = get_model_metadata_pb2.SignatureDefMap()
    server.ask("GetModelMetadata", request).metadata["signature_def"].Unpack(found)

    def call(signature: str, inputs: Asked) -> dict[str, tf.Tensor]:
        asked = predict_pb2.PredictRequest(model_spec=server.spec(signature))
        for name, tensor in inputs.items():
            asked.inputs[name].CopyFrom(tf.make_tensor_proto(tensor))
        outputs = server.ask("Predict", asked).outputs
        return {name: tf.constant(tf.make_ndarray(proto)) for name, proto in outputs.items()}

    return _definitions_to(address, found.signature_def, call)


def _again() -> dict[str, Any]:
    """Return when a request is sent again."""
    policy = {
        "maxAttempts": _ATTEMPTS,
        "initialBackoff": f"{_WAIT}s",
        "maxBackoff": "10s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
    }
    return {"methodConfig": [{"name": [{}], "retryPolicy": policy}]}
