# ruff: noqa: N802  (the names of the methods are the protocol's)
"""TF Serving's gRPC services over the models: PredictionService and ModelService.

Source: tensorflow_serving/apis/prediction_service.proto, model_service.proto
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    input_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2,
    predict_pb2,
    prediction_service_pb2,
    regression_pb2,
)

from tfnlp.serving import about, bodies, configuration, inference, tensors
from tfnlp.serving.examples import check_size
from tfnlp.serving.failures import Code, RequestError, invalid
from tfnlp.serving.json_check import too_many_rows
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
    for described in (
        prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"],
        model_service_pb2.DESCRIPTOR.services_by_name["ModelService"],
    ):
        handlers = {
            # A stream of one message is read when we say, and by us: a message that is none is an
            # error of the call.
            method.name: grpc.stream_unary_rpc_method_handler(
                rpc.handler(method), response_serializer=lambda message: message.SerializeToString()
            )
            for method in described.methods
            if hasattr(rpc, method.name)
        }
        named = grpc.method_handlers_generic_handler(described.full_name, handlers)
        server.add_generic_rpc_handlers((named,))


class _Rpc:
    """The handlers; their names are those of the protocol.

    Args:
        service: the models and the rules.
    """

    def __init__(self, service: Service) -> None:
        self.service = service

    def handler(self, method: Any) -> Callable[[Any, Context], Awaitable[Message]]:
        """Return what reads a call's message and answers it."""
        kind, answer = GetMessageClass(method.input_type), getattr(self, method.name)

        async def handle(_: Any, context: Context) -> Message:
            async with self._admitted(method.name, context) as told:
                with self.service.kept() as hold:
                    data = await _received(context)
                    told.size = len(data)
                    hold(len(data))
                    await self.service.apart(len(data), tensors.check_parts, data, kind.DESCRIPTOR)
                    try:
                        request = await self.service.apart(len(data), kind.FromString, data)
                    except DecodeError as error:
                        raise invalid(f"the message is no {kind.DESCRIPTOR.name}") from error
                    del data
                    found: Message = await answer(request, told)
                    return found
            raise AssertionError("aborted")

        return handle

    @asynccontextmanager
    async def _admitted(self, method: str, context: Context) -> AsyncIterator[Told]:
        """Let a request in; a failure becomes the call's status."""
        told = Told("GRPC", method, context.peer())
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

    async def Predict(self, request: Any, told: Told) -> Message:
        """Ask a signature."""
        version, apart = self._version(request.model_spec, told), self.service.apart
        with version.used() as servable:
            if told.signature not in servable.signatures:
                message = f'Serving signature key "{told.signature}" not found.'
                raise RequestError(Code.FAILED_PRECONDITION, message)
            servable.signatures[told.signature].check_names(request.inputs)
            inputs = await apart(told.size, tensors.arrays, request.inputs, self.service.rows)
            wanted = list(request.output_filter)
            request.Clear()  # its values are there twice
            told.rows = max((len(a) for a in inputs.values() if a.ndim), default=None)
            outputs = await inference.predict(version, told.signature, inputs)
        size = sum(array.size for array in outputs.values())
        response = predict_pb2.PredictResponse(model_spec=_spec(version, told.signature))
        return await apart(size, tensors.fill, response, outputs, _filtered(outputs, wanted))

    async def Classify(self, request: Any, told: Told) -> Message:
        """Label examples."""
        version = self._version(request.model_spec, told)
        with version.used():
            examples = await self._examples(request.input, told)
            result = await self._classified(version, told, examples)
        spec = _spec(version, told.signature)
        return classification_pb2.ClassificationResponse(model_spec=spec, result=result)

    async def Regress(self, request: Any, told: Told) -> Message:
        """Measure examples."""
        version = self._version(request.model_spec, told)
        with version.used():
            examples = await self._examples(request.input, told)
            result = await self._regressed(version, told, examples)
        spec = _spec(version, told.signature)
        return regression_pb2.RegressionResponse(model_spec=spec, result=result)

    async def MultiInference(self, request: Any, told: Told) -> Message:
        """Label and measure the same examples."""
        examples = await self._examples(request.input, told)
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

    async def GetModelMetadata(self, request: Any, told: Told) -> Message:
        """Return a model's signatures."""
        version = self._version(request.model_spec, told)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        for field in set(request.metadata_field):
            if field != "signature_def":
                raise invalid(f"Metadata field {field} is not supported")
        response.model_spec.CopyFrom(_spec(version, ""))
        response.metadata["signature_def"].Pack(about.signatures(version))
        return response

    async def _examples(self, given: input_pb2.Input, told: Told) -> np.ndarray:
        service = self.service
        return await service.apart(told.size, _examples, given, service.rows, service.most)

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

    async def GetModelStatus(self, request: Any, told: Told) -> Message:
        """Return how the versions of a model stand."""
        spec = request.model_spec
        if not spec.name:
            raise invalid("ModelSpec has no name specified.")
        told.model = spec.name
        which = spec.WhichOneof("version_choice")
        number = spec.version.value if which == "version" else None
        label = spec.version_label if which == "version_label" else None
        return about.status(self.service.repository.states(spec.name, number, label))

    async def HandleReloadConfigRequest(self, request: Any, told: Told) -> Message:
        """Serve other models from now on; answers when they are loaded."""
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only "
                "ModelConfigList is currently supported"
            )
        wanted = await self.service.apart(told.size, self._wanted, request.config)
        repository = self.service.repository
        repository.replace(lambda: wanted)
        # Who asked may give up; a version must not be left half loaded for that.
        await asyncio.shield(asyncio.create_task(repository.refresh()))
        for model in wanted:
            repository.version(model.name)  # raises if none could be loaded
        response = model_management_pb2.ReloadConfigResponse()
        response.status.error_code = Code.OK
        return response

    def _wanted(self, config: Any) -> list[configuration.Wanted]:
        """Return the models of a configuration that may be loaded."""
        wanted = configuration.wanted(config)
        if not self.service.rules.token:
            configuration.check_below(wanted, self.service.folders)
        return wanted


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


def _filtered(outputs: Any, wanted: Any) -> list[str]:
    """Return the names of the outputs that a request wants."""
    for name in wanted:
        if name not in outputs:
            raise invalid(
                f"output tensor alias not found in signature: {name} Outputs expected to be in "
                f"the set {{{','.join(sorted(outputs))}}}."
            )
    for name, count in Counter(wanted).most_common(1):
        if count > 1:
            raise invalid(f"duplicate output tensor alias: {name}")
    return list(wanted) or sorted(outputs)


def _examples(given: input_pb2.Input, rows: int, most: int) -> np.ndarray:
    """Return serialized tf.Examples, object (B,); so many rows and bytes at most."""
    with_context = given.WhichOneof("kind") == "example_list_with_context"
    kept = given.example_list_with_context if with_context else given.example_list
    if not kept.examples:
        raise invalid("Input is empty.")
    if len(kept.examples) > rows:
        raise too_many_rows(len(kept.examples), rows)
    if with_context:
        check_size(kept.context.ByteSize() * len(kept.examples), most)
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


async def _received(context: Context) -> bytes:
    """Return the bytes of a call's message.

    Raises:
        RequestError: none comes, or not in its time.
    """
    try:
        async with asyncio.timeout(bodies.SECONDS):
            data = await context.read()
    except TimeoutError as error:
        message = f"the message did not come within {bodies.SECONDS:g} s"
        raise RequestError(Code.DEADLINE_EXCEEDED, message) from error
    if data is grpc.aio.EOF:
        raise invalid("the call has no message")
    return bytes(data)
