"""The requests that TF Serving runs before a version takes traffic.

Source: https://www.tensorflow.org/tfx/serving/saved_model_warmup and
    tensorflow_serving/servables/tensorflow/saved_model_warmup_util.cc: a record that cannot be
    read, a request that fails, or more than 1000 of them, and the version is not served.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.errors import reason
from tfnlp.runtime.startup import quiet_start

FILE = Path("assets.extra") / "tf_serving_warmup_requests"
MOST = 1000
_LOGS = {
    "predict_log": "predict",
    "classify_log": "classify",
    "regress_log": "regress",
    "multi_inference_log": "multi-inference",
}


@dataclass(frozen=True)
class Request:
    """A warm-up request.

    Attributes:
        kind: ``predict``, ``classify``, ``regress`` or ``multi-inference``.
        model: the name of the model it is for.
        signature: which it asks.
        inputs: of a predict request, by name the dtype's number and the shape.

    Example::

        Request("predict", "trec", "serving_default", {"text": (7, (1,))})
    """

    kind: str
    model: str
    signature: str
    inputs: Mapping[str, tuple[int, tuple[int, ...]]]


@dataclass(frozen=True)
class Requests:
    """The warm-up requests of a version.

    Attributes:
        there: whether the file exists.
        requests: those that could be read, up to one more than TF Serving takes.
        fault: why the next one could not be; "" if all could.
        texts: by input the text of the first predict request of serving_default.

    Example:
        >>> Requests().there
        False
    """

    there: bool = False
    requests: tuple[Request, ...] = ()
    fault: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)


def read(version: Path) -> Requests:
    """Read the warm-up requests in a version's folder; what is wrong with them is noted.

    Example::

        read(Path("saved_models/trec/1")).texts  # {"text": "Who wrote Hamlet?"}
    """
    path = version / FILE
    if not path.is_file():
        return Requests()
    with quiet_start():
        import tensorflow as tf
        from google.protobuf.message import DecodeError
        from tensorflow_serving.apis import prediction_log_pb2

    found: list[Request] = []
    texts: dict[str, str] = {}
    fault = ""
    try:
        for record in tf.data.TFRecordDataset(str(path)).take(MOST + 1).as_numpy_iterator():
            log = prediction_log_pb2.PredictionLog.FromString(record)
            request = _request(log)
            found.append(request)
            if not texts and (request.kind, request.signature) == ("predict", "serving_default"):
                texts = _texts(log.predict_log.request)
    except DecodeError:
        fault = f"record {len(found) + 1} is not a PredictionLog"
    except ValueError as error:
        fault = f"record {len(found) + 1} {error}"
    except tf.errors.OpError as error:
        fault = f"it is not a TFRecord file, or was cut: {reason(error)}"
    return Requests(True, tuple(found), fault, texts)


def _request(log: Any) -> Request:
    """Read a record; raises ValueError if it holds no request that warms up."""
    which = log.WhichOneof("log_type")
    if which not in _LOGS:
        raise ValueError("holds no request that TF Serving warms up with")
    request = getattr(log, which).request
    if which == "multi_inference_log":
        return Request(_LOGS[which], "", "", {})
    inputs = {}
    if which == "predict_log":
        inputs = {
            name: (proto.dtype, tuple(dim.size for dim in proto.tensor_shape.dim))
            for name, proto in request.inputs.items()
        }
    spec = request.model_spec
    return Request(_LOGS[which], spec.name, spec.signature_name or "serving_default", inputs)


def _texts(request: Any) -> dict[str, str]:
    """Return the first row of the strings of a request."""
    firsts = {name: list(proto.string_val)[:1] for name, proto in request.inputs.items()}
    return {name: first[0].decode("utf-8", "replace") for name, first in firsts.items() if first}
