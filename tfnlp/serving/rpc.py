# ruff: noqa: N802  (the names of the methods are the protocol's)
"""TF Serving's gRPC services over the models: PredictionService and ModelService.

Source: tensorflow_serving/apis/prediction_service.proto, model_service.proto
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import Message
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    input_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tfnlp.serving import about, configuration, inference
from tfnlp.serving.failures import Code, RequestError, invalid
from tfnlp.serving.repository import Version
from tfnlp.serving.service import Service
from tfnlp.serving.telemetry import Request as Told

_LONGEST = 1024  # characters of an error, as TF Serving has it
Context: TypeAlias = Any  # grpc.aio.ServicerContext, which has no types


def register(server: grpc.aio.Server, service: Service) -> None:
    """Put both services on a server.

    Example::

        server = grpc.aio.server()
        register(server, service)
    """
    rpc = _Rpc(service)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(rpc, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(rpc, server)


class _Rpc:
    """The handlers; their names are those of the protocol.

    Args:
        service: the models and the rules.
    """

    def __init__(self, service: Service) -> None:
        self.service = service

    @asynccontextmanager
    async def _admitted(self, method: str, request: Any, context: Context) -> AsyncIterator[Told]:
        """Let a request in; a failure becomes the call's status."""
        told = Told("GRPC", method, context.peer(), size=request.ByteSize())
        shown = dict(context.invocation_metadata() or ()).get("authorization")
        try:
            async with self.service.admitted(told, shown, context.time_remaining()):
                yield told
        except RequestError as failure:
            await context.abort(grpc.StatusCode[failure.code.name], failure.message[:_LONGEST])

    def _version(self, spec: model_pb2.ModelSpec, told: Told) -> Version:
        """Return the version that a request asks for."""
        if not spec.name:
            raise invalid("ModelSpec has no name specified.")
        told.model, told.signature = spec.name, spec.signature_name or "serving_default"
        which = spec.WhichOneof("version_choice")
        number = spec.version.value if which == "version" else None
        label = spec.version_label if which == "version_label" else None
        version = self.service.repository.version(spec.name, number, label or None)
        told.version = version.number
        return version

    # ------------------------------------------------------------------- PredictionService

    async def Predict(self, request: Any, context: Context) -> Message:
        """Ask a signature."""
        async with self._admitted("Predict", request, context) as told:
            version = self._version(request.model_spec, told)
            if version.servable and told.signature not in version.servable.signatures:
                message = f'Serving signature key "{told.signature}" not found.'
                raise RequestError(Code.FAILED_PRECONDITION, message)
            inputs = {name: _array(name, proto) for name, proto in request.inputs.items()}
            told.rows = max((len(a) for a in inputs.values() if a.ndim), default=None)
            outputs = await inference.predict(version, told.signature, inputs)
            response = predict_pb2.PredictResponse(model_spec=_spec(version, told.signature))
            for name in _filtered(outputs, request.output_filter):
                response.outputs[name].CopyFrom(_proto(outputs[name]))
            return response
        raise AssertionError("aborted")

    async def Classify(self, request: Any, context: Context) -> Message:
        """Label examples."""
        async with self._admitted("Classify", request, context) as told:
            version = self._version(request.model_spec, told)
            result = await self._classified(version, told, _examples(request.input))
            spec = _spec(version, told.signature)
            return classification_pb2.ClassificationResponse(model_spec=spec, result=result)
        raise AssertionError("aborted")

    async def Regress(self, request: Any, context: Context) -> Message:
        """Measure examples."""
        async with self._admitted("Regress", request, context) as told:
            version = self._version(request.model_spec, told)
            result = await self._regressed(version, told, _examples(request.input))
            spec = _spec(version, told.signature)
            return regression_pb2.RegressionResponse(model_spec=spec, result=result)
        raise AssertionError("aborted")

    async def MultiInference(self, request: Any, context: Context) -> Message:
        """Label and measure the same examples."""
        async with self._admitted("MultiInference", request, context) as told:
            examples = _examples(request.input)
            response = inference_pb2.MultiInferenceResponse()
            if not request.tasks:
                raise invalid("Inference request does not contain any tasks")
            names = {task.model_spec.name for task in request.tasks}
            if "" in names:
                raise invalid("Found ModelSpec with an empty model name.")
            if len(names) > 1:
                raise invalid(
                    "All ModelSpecs in a MultiInferenceRequest must access the same model name."
                )
            read: set[str] = set()
            asked: set[str] = set()
            for task in request.tasks:
                version = self._version(task.model_spec, told)
                _check_task(version, told.signature, asked, read)
                found = response.results.add(model_spec=_spec(version, told.signature))
                if task.method_name == inference.CLASSIFY:
                    result = await self._classified(version, told, examples)
                    found.classification_result.CopyFrom(result)
                elif task.method_name == inference.REGRESS:
                    result = await self._regressed(version, told, examples)
                    found.regression_result.CopyFrom(result)
                else:
                    raise RequestError(
                        Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}"
                    )
            return response
        raise AssertionError("aborted")

    async def GetModelMetadata(self, request: Any, context: Context) -> Message:
        """Return a model's signatures."""
        async with self._admitted("GetModelMetadata", request, context) as told:
            version = self._version(request.model_spec, told)
            if not request.metadata_field:
                raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            for field in request.metadata_field:
                if field != "signature_def":
                    raise invalid(f"Metadata field {field} is not supported")
            response.model_spec.CopyFrom(_spec(version, ""))
            response.metadata["signature_def"].Pack(about.signatures(version))
            return response
        raise AssertionError("aborted")

    async def _classified(self, version: Version, told: Told, examples: np.ndarray) -> Message:
        told.rows = len(examples)
        result = classification_pb2.ClassificationResult()
        for row in await inference.classify(version, told.signature, examples):
            classes = result.classifications.add().classes
            for label, score in row:
                classes.add(label=label.decode("utf-8", "replace"), score=score)
        return result

    async def _regressed(self, version: Version, told: Told, examples: np.ndarray) -> Message:
        told.rows = len(examples)
        result = regression_pb2.RegressionResult()
        for value in await inference.regress(version, told.signature, examples):
            result.regressions.add(value=value)
        return result

    # ------------------------------------------------------------------- ModelService

    async def GetModelStatus(self, request: Any, context: Context) -> Message:
        """Return how the versions of a model stand."""
        async with self._admitted("GetModelStatus", request, context) as told:
            spec = request.model_spec
            if not spec.name:
                raise invalid("ModelSpec has no name specified.")
            told.model = spec.name
            which = spec.WhichOneof("version_choice")
            number = spec.version.value if which == "version" else None
            label = spec.version_label if which == "version_label" else None
            return about.status(self.service.repository.states(spec.name, number, label))
        raise AssertionError("aborted")

    async def HandleReloadConfigRequest(self, request: Any, context: Context) -> Message:
        """Serve other models from now on; answers when they are loaded."""
        async with self._admitted("HandleReloadConfigRequest", request, context):
            if request.config.WhichOneof("config") != "model_config_list":
                raise invalid(
                    "ServerModelConfig type not supported by HandleReloadConfigRequest. Only "
                    "ModelConfigList is currently supported"
                )
            wanted = configuration.wanted(request.config)
            repository = self.service.repository
            repository.replace(lambda: wanted)
            # Who asked may give up; a version must not be left half loaded for that.
            await asyncio.shield(asyncio.create_task(repository.refresh()))
            for model in wanted:
                repository.version(model.name)  # raises if none could be loaded
            response = model_management_pb2.ReloadConfigResponse()
            response.status.error_code = Code.OK
            return response
        raise AssertionError("aborted")


def _check_task(version: Version, signature: str, asked: set[str], read: set[str]) -> None:
    """Raise a RequestError where TF Serving would; notes what is asked, and the tensors read."""
    assert version.servable is not None
    definitions = version.servable.definitions
    if signature in asked:
        raise invalid(f"Duplicate evaluation of signature: {signature}")
    if signature not in definitions:
        raise invalid(f"Requested signature not found in model graph: {signature}")
    asked.add(signature)
    read.update(info.name for info in definitions[signature].inputs.values())
    if len(read) > 1:  # signatures of TensorFlow 2 have each its own
        raise invalid("Input tensor must be the same for all Signatures.")


def _spec(version: Version, signature: str) -> model_pb2.ModelSpec:
    """Return the spec of what answered."""
    spec = model_pb2.ModelSpec(name=version.model, signature_name=signature)
    spec.version.value = version.number
    return spec


def _array(name: str, proto: Any) -> np.ndarray:
    """Read a tensor."""
    try:
        array: np.ndarray = tf.make_ndarray(proto)
    except (ValueError, TypeError, KeyError) as error:
        raise invalid(f"tensor parsing error: {name}") from error
    return array


def _proto(array: np.ndarray) -> Any:
    """Write a tensor."""
    return tf.make_tensor_proto(array)


def _filtered(outputs: Any, wanted: Any) -> list[str]:
    """Return the names of the outputs that a request wants."""
    for name in wanted:
        if name not in outputs:
            raise invalid(
                f"output tensor alias not found in signature: {name} Outputs expected to be in "
                f"the set {{{','.join(sorted(outputs))}}}."
            )
    if len(set(wanted)) < len(wanted):
        raise invalid(f"duplicate output tensor alias: {max(wanted, key=list(wanted).count)}")
    return list(wanted) or sorted(outputs)


def _examples(given: input_pb2.Input) -> np.ndarray:
    """Return serialized tf.Examples, object (B,)."""
    with_context = given.WhichOneof("kind") == "example_list_with_context"
    kept = given.example_list_with_context if with_context else given.example_list
    if not kept.examples:
        raise invalid("Input is empty.")
    found = np.empty(len(kept.examples), object)
    for place, example in enumerate(kept.examples):
        if not with_context:
            found[place] = example.SerializeToString()
            continue
        merged = tf.train.Example()
        merged.CopyFrom(kept.context)
        for name, feature in example.features.feature.items():
            merged.features.feature[name].CopyFrom(feature)
        found[place] = merged.SerializeToString()
    return found
