"""What a model reports about itself: the state of its versions, its signatures, its card."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import json_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    status_pb2,
)

from tfnlp.serving.failures import Code
from tfnlp.serving.repository import Version

_STATES = get_model_status_pb2.ModelVersionStatus.State


def status(versions: Iterable[Version]) -> get_model_status_pb2.GetModelStatusResponse:
    """Return the states of versions.

    Example::

        status(repository.states("trec")).model_version_status[0].state
    """
    response = get_model_status_pb2.GetModelStatusResponse()
    for version in versions:
        told = response.model_version_status.add()
        told.version, told.state = version.number, _STATES.Value(version.state)
        if version.failure:
            told.status.CopyFrom(
                status_pb2.StatusProto(
                    error_code=version.failure.code, error_message=version.failure.message
                )
            )
        else:
            told.status.error_code = Code.OK
    return response


def status_json(versions: Iterable[Version]) -> Any:
    """Return the same as REST has it.

    Example::

        status_json(repository.states("trec"))["model_version_status"][0]["state"]  # "AVAILABLE"
    """
    return _json(status(versions))


def signatures(version: Version) -> get_model_metadata_pb2.SignatureDefMap:
    """Return the signatures of a version.

    Example::

        signatures(version).signature_def["serving_default"].inputs["text"]
    """
    found = get_model_metadata_pb2.SignatureDefMap()
    assert version.servable is not None
    for key, definition in version.servable.definitions.items():
        found.signature_def[key].CopyFrom(definition)
    return found


def metadata_json(version: Version) -> Any:
    """Return a model's signatures as REST has them.

    Example::

        metadata_json(version)["model_spec"]  # {"name": "trec", "version": "1", ...}
    """
    spec = {"name": version.model, "signature_name": "", "version": str(version.number)}
    return {"model_spec": spec, "metadata": {"signature_def": _json(signatures(version))}}


def _json(message: Any) -> Any:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def card(version: Version) -> dict[str, Any]:
    """Return what the page shows of a model: what tfnlp writes next to a SavedModel, if present.

    Returns:
        ``version``, int; ``signatures``: by key the names of ``inputs`` with their dtypes and the
        names of ``outputs``; ``kinds`` of the inputs; ``settings`` by signature; ``card``,
        Markdown.

    Example::

        card(version)["signatures"]["serving_default"]["inputs"]  # {"text": "string"}
    """
    assert version.servable is not None
    signatures = {
        key: {
            "inputs": {n: spec.dtype.name for n, spec in signature.inputs.items()},
            "outputs": sorted(signature.outputs),
            "method": signature.method,
        }
        for key, signature in sorted(version.servable.signatures.items())
    }
    return {
        "version": version.number,
        "signatures": signatures,
        "kinds": kinds(version),
        "settings": _beside(version, "settings.json"),
        "card": _text(version, "README.md"),
    }


def kinds(version: Version) -> Mapping[str, Any]:
    """Return the kinds of the inputs of a model that tfnlp wrote, by name.

    Example::

        kinds(version)  # {"text": "turns"}
    """
    return _beside(version, "inputs.json")


def _beside(version: Version, name: str) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = json.loads(_text(version, name) or "{}")
    except ValueError:
        return {}
    return found


def _text(version: Version, name: str) -> str:
    try:
        return (version.folder / name).read_text("utf-8", "replace")[:100_000]
    except OSError:
        return ""
