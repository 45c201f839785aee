"""One version of a model in memory: named arrays in, named arrays out.

Dimensions: B rows of a request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401  (registers the ops that exported models use)
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow.python.framework import ops  # its registry of gradients has no public door
from tensorflow_serving.apis import prediction_log_pb2

from pipelines import checksums
from pipelines.errors import reason
from tfnlp.runtime import precision
from tfnlp.serving import trust
from tfnlp.serving.failures import Code, RequestError, invalid

Arrays: TypeAlias = Mapping[str, np.ndarray]

WARMUP = Path("assets.extra") / "tf_serving_warmup_requests"
_MOST_WARMUPS = 1000  # TF Serving runs no more


@dataclass(frozen=True)
class Signature:
    """What a signature reads and returns.

    Attributes:
        name: its key.
        method: its method's name, such as ``tensorflow/serving/predict``.
        inputs: by name; every dimension that is not known is None.
        outputs: by name.

    Example::

        signature = servable.signatures["serving_default"]
        signature.check({"text": np.array([b"Hi"], object)})
    """

    name: str
    method: str
    inputs: Mapping[str, tf.TensorSpec]
    outputs: Mapping[str, tf.TensorSpec]

    @property
    def by_rows(self) -> bool:
        """Whether every input and output has a row for each row of a request.

        Such requests can be answered together.
        """
        specs = [*self.inputs.values(), *self.outputs.values()]
        ranked = all(spec.shape.rank for spec in specs)
        return bool(self.inputs) and ranked and all(spec.shape[0] is None for spec in specs)

    def check_names(self, given: Iterable[str]) -> None:
        """Raise a RequestError unless the inputs it reads have these names."""
        given = set(given)
        there, wanted = ",".join(sorted(given)), ",".join(sorted(self.inputs))
        extra = sorted(given - self.inputs.keys())
        missing = ",".join(sorted(self.inputs.keys() - given))
        if len(given) != len(self.inputs):
            raise invalid(
                f"input size does not match signature: {len(given)}!={len(self.inputs)} "
                f"len({{{there}}}) != len({{{wanted}}}). Sent extra: {{{','.join(extra)}}}. "
                f"Missing but required: {{{missing}}}."
            )
        if extra:
            raise invalid(
                f"input tensor alias not found in signature: {extra[0]}. Inputs expected to be "
                f"in the set {{{wanted}}}."
            )

    def check(self, given: Arrays) -> None:
        """Raise a RequestError unless these are the inputs it reads."""
        self.check_names(given)
        for place, name in enumerate(sorted(given)):
            array, spec = given[name], self.inputs[name]
            dtype = _dtype(array)
            if dtype != spec.dtype:
                raise invalid(
                    f"Expects arg[{place}] to be {_name(spec.dtype)} but {_name(dtype)} is provided"
                    f" ({name})"
                )
            if not spec.shape.is_compatible_with(array.shape):
                raise invalid(
                    f"Tensor {name}, shape {list(array.shape)}, does not fit the signature's "
                    f"{list(spec.shape) if spec.shape.rank is not None else 'any'}"
                )


def _name(dtype: tf.DType) -> str:
    """Name a dtype as TF Serving's errors do."""
    name: str = dtype.name
    return {"float32": "float", "float64": "double"}.get(name, name)


def _dtype(array: np.ndarray) -> tf.DType:
    return tf.string if array.dtype.kind in "OSU" else tf.as_dtype(array.dtype)


class Servable:
    """A SavedModel in memory.

    Args:
        folder: the SavedModel's.
        trusted: ops that it may have although they read or write files, or run Python.

    Raises:
        RequestError: it is not to be trusted.

    Attributes:
        signatures: what it can be asked, by key.
        definitions: the same as the SavedModel has them.

    Example::

        servable = Servable(Path("saved_models/trec/1"))
        servable.run("serving_default", {"text": np.array([b"Hi"], object)})["label"]
    """

    def __init__(self, folder: Path, trusted: Sequence[str] = ()) -> None:
        for link in trust.links_out(folder):
            raise invalid(f"the link {link} leads out of the version's folder; copy the file there")
        for path in trust.no_files(folder):
            raise invalid(f"{path} is no file (copy the SavedModel there again)")
        checksums.check(folder)
        graph = _graph(folder)
        for op in trust.risky_ops(graph, trusted):
            raise invalid(
                f"its graph has the op {op}, which reads or writes files, or runs Python; if you "
                f"trust the model, start the server with --trusted-ops {op}"
            )
        self.definitions: dict[str, meta_graph_pb2.SignatureDef] = dict(graph.signature_def)
        with _no_gradients():
            self._loaded: Any = tf.saved_model.load(str(folder))
        # Only what writes has settings: its answers must not change with their neighbours.
        writes = (folder / "settings.json").exists()
        self._precision: Callable[[], AbstractContextManager[None]] = (
            precision.exact if writes else nullcontext
        )
        there = self._loaded.signatures
        self.signatures = {
            key: Signature(
                key,
                definition.method_name,
                {n: _spec(info) for n, info in definition.inputs.items()},
                {n: _spec(info) for n, info in definition.outputs.items()},
            )
            for key, definition in self.definitions.items()
            if key in there
        }

    def run(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        """Ask a signature.

        Args:
            signature: its key.
            inputs: checked by `Signature.check`.

        Raises:
            RequestError: the model fails.
        """
        try:
            given = {name: tf.constant(array) for name, array in inputs.items()}
            with self._precision():
                outputs = self._loaded.signatures[signature](**given)
            return {name: tensor.numpy() for name, tensor in outputs.items()}
        except tf.errors.ResourceExhaustedError as error:
            raise RequestError(Code.RESOURCE_EXHAUSTED, reason(error)) from error
        except tf.errors.InvalidArgumentError as error:
            raise invalid(reason(error)) from error
        except (ValueError, TypeError) as error:
            raise invalid(reason(error)) from error
        except tf.errors.OpError as error:
            raise RequestError(Code.INTERNAL, reason(error)) from error

    def warm_up(self, folder: Path) -> int:
        """Run the requests that are stored with the model; returns how many there were.

        Raises:
            RequestError: one of them fails: so would traffic.
            OSError: they cannot be read.
        """
        path, count = folder / WARMUP, 0
        if not path.is_file():
            return 0
        for record in tf.data.TFRecordDataset(str(path)).take(_MOST_WARMUPS):
            log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
            if log.WhichOneof("log_type") != "predict_log":
                continue
            request = log.predict_log.request
            key = request.model_spec.signature_name or "serving_default"
            arrays = {n: tf.make_ndarray(proto) for n, proto in request.inputs.items()}
            if key not in self.signatures:
                raise invalid(f"a warm-up request asks for the signature {key!r}, which is none")
            self.signatures[key].check(arrays)
            self.run(key, arrays)
            count += 1
        return count


@contextmanager
def _no_gradients() -> Iterator[None]:
    """Take out of TensorFlow's registry the custom gradients that a load puts there.

    Answers need none, and each would keep its functions, and the model's weights, for good.
    """
    registered = ops.gradient_registry._registry
    before = set(registered)
    try:
        yield
    finally:
        for name in registered.keys() - before:
            if name.startswith("CustomGradient-"):
                del registered[name]


def _graph(folder: Path) -> meta_graph_pb2.MetaGraphDef:
    """Read a SavedModel's graph for serving."""
    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    graphs = [graph for graph in saved.meta_graphs if "serve" in graph.meta_info_def.tags]
    if not graphs:
        raise invalid(f"{folder} has no graph with the tag 'serve'")
    return graphs[0]


def _spec(info: meta_graph_pb2.TensorInfo) -> tf.TensorSpec:
    return tf.TensorSpec(tf.TensorShape(info.tensor_shape), tf.as_dtype(info.dtype))
