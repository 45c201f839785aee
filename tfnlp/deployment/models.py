"""A SavedModel as it lies in its folder: versions, signatures, sizes, and a request to ask it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError, reason
from tfnlp.deployment import warmup
from tfnlp.deployment.filling import plain
from tfnlp.inference import saved_model, serving_ops
from tfnlp.runtime.startup import quiet_start

if TYPE_CHECKING:
    from tensorflow.core.protobuf import meta_graph_pb2

STRING = 7  # DT_STRING
INIT = "__saved_model_init_op"  # of the loader, among the signatures


@dataclass(frozen=True)
class Tensor:
    """An input or output of a signature.

    Attributes:
        dtype: TensorFlow's number of it.
        shape: its dimensions, -1 where one varies; None if even their number is not known.

    Example:
        >>> Tensor(STRING, (-1,)).by_rows
        True
    """

    dtype: int
    shape: tuple[int, ...] | None

    @property
    def by_rows(self) -> bool:
        """Whether its first dimension is the rows of a request, as many as there are."""
        return bool(self.shape) and self.shape is not None and self.shape[0] == -1


@dataclass(frozen=True)
class Signature:
    """A way to ask a model.

    Attributes:
        method: TF Serving's, such as ``tensorflow/serving/predict``.
        inputs: by name.
        outputs: by name.

    Example::

        Signature("tensorflow/serving/predict", {"text": Tensor(STRING, (-1,))}, outputs)
    """

    method: str
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


@dataclass(frozen=True)
class Served:
    """A model that is to be served.

    Attributes:
        name: in requests.
        folder: of its versions.
        version: the number of the one that was looked at.
        pinned: that one was asked for, not the highest.
        path: its folder.
        graph: its graph and signatures, as written.
        signatures: by name.
        settings: by signature the settings of requests, with their values where none are given.
        weights: size of its variables [bytes].
        graph_size: size of saved_model.pb [bytes].
        warmup: its warm-up requests.
        texts: by input a text to ask it with.

    Example::

        read("trec").example()  # {"text": "Who wrote Hamlet?"}
    """

    name: str
    folder: Path
    version: int
    pinned: bool
    path: Path
    graph: meta_graph_pb2.MetaGraphDef = field(repr=False)
    signatures: Mapping[str, Signature]
    settings: Mapping[str, Mapping[str, Any]]
    weights: int
    graph_size: int
    warmup: warmup.Requests
    texts: Mapping[str, str]

    @property
    def writes(self) -> bool:
        """Whether it writes text, step by step."""
        return bool(self.settings)

    def example(self, signature: str = "serving_default") -> dict[str, Any]:
        """Return an instance of a request, settings as they are."""
        told = self.settings.get(signature, {})
        inputs = self.signatures[signature].inputs
        texts = {name: told.get(name, self.texts.get(name, "a text")) for name in inputs}
        return dict(sorted(texts.items(), key=lambda pair: (pair[0] in told, pair[0])))


def read(model: str) -> Served:
    """Look at a SavedModel.

    Args:
        model: its folder, a folder of versions, or such a folder's name in saved_models.

    Raises:
        UserError: there is none; TF Serving would not find it there; or it cannot be read.

    Example::

        read("saved_models/trec").version  # 1
    """
    path = plain(saved_model.find_model(model))
    if not (path.name.isascii() and path.name.isdecimal()):
        raise UserError(
            f"{path} is not a version: TF Serving serves folders whose name is a whole number "
            f"(mkdir {path}/1 and move what is in it there)"
        )
    name = path.parent.name
    if not name.isprintable() or not name or set(name) & set("/:%?#\\"):
        raise UserError(
            f"the model's name {name!r} cannot stand in a request's address; rename its folder"
        )
    with quiet_start():
        import tensorflow as tf

        tf.constant("")  # looks for devices
    try:
        saved = serving_ops.read(path)
        size = (path / "saved_model.pb").stat().st_size
        weights = sum(file.stat().st_size for file in (path / "variables").glob("*"))
        settings = dict(saved_model.settings_of(path).ways)
    except (OSError, ValueError, AttributeError, _decode_error()) as error:
        raise UserError(f"cannot read the SavedModel in {path}: {reason(error)}") from error
    graph = next((g for g in saved.meta_graphs if "serve" in g.meta_info_def.tags), None)
    if graph is None:
        raise UserError(f"{path}/saved_model.pb has no graph for serving (tag 'serve')")
    _check_variables(path)
    requests = warmup.read(path)
    given = Path(model) if Path(model).exists() else saved_model.SAVED_MODELS / model
    return Served(
        name=name,
        folder=path.parent,
        version=int(path.name),
        pinned=(given / "saved_model.pb").is_file(),
        path=path,
        graph=graph,
        signatures=_signatures(graph),
        settings=settings,
        weights=weights,
        graph_size=size,
        warmup=requests,
        texts=_texts(path) or requests.texts,
    )


def body(instance: Mapping[str, Any], signature: str = "serving_default") -> str:
    """Return the JSON of a REST request.

    Example:
        >>> body({"text": "Who wrote Hamlet?"})
        '{"instances": [{"text": "Who wrote Hamlet?"}]}'
    """
    named = {} if signature == "serving_default" else {"signature_name": signature}
    return json.dumps({**named, "instances": [instance]}, ensure_ascii=False)


def _texts(path: Path) -> dict[str, str]:
    """Return the texts of the request in a model card; those of warm-ups are cut and repeated."""
    try:
        asked = re.search(r"^curl -d '(.*)' http", (path / "README.md").read_text("utf-8"), re.M)
        instance = json.loads(asked[1])["instances"][0] if asked else {}
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    if not isinstance(instance, dict):
        return {}
    return {name: text for name, text in instance.items() if isinstance(text, str)}


def _check_variables(path: Path) -> None:
    """Raise UserError if variables are only half there, as in a folder that is being copied."""
    names = [file.name for file in (path / "variables").glob("*")]
    if any(".data-" in name for name in names) != ("variables.index" in names):
        raise UserError(f"{path}/variables is not complete: copy the version's folder again")


def _signatures(graph: meta_graph_pb2.MetaGraphDef) -> dict[str, Signature]:
    """Read the signatures of a graph."""

    def tensors(named: Mapping[str, Any]) -> dict[str, Tensor]:
        return {name: _tensor(info) for name, info in sorted(named.items())}

    return {
        key: Signature(signature.method_name, tensors(signature.inputs), tensors(signature.outputs))
        for key, signature in sorted(graph.signature_def.items())
        if key != INIT
    }


def _tensor(info: Any) -> Tensor:
    """Read what a signature says of a tensor."""
    shape = info.tensor_shape
    return Tensor(info.dtype, None if shape.unknown_rank else tuple(d.size for d in shape.dim))


def _decode_error() -> type[Exception]:
    """Return what protobuf raises for bytes that are no message."""
    from google.protobuf.message import DecodeError

    error: type[Exception] = DecodeError
    return error
