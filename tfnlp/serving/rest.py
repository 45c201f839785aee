"""TF Serving's REST API over the models, and the page for people.

Source: https://www.tensorflow.org/tfx/serving/api_rest and
    tensorflow_serving/model_servers/http_rest_api_handler.cc
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from tfnlp.serving import about, answers, bodies, examples, inference, payload, why
from tfnlp.serving.doors import Door, across, refused
from tfnlp.serving.failures import RequestError, invalid
from tfnlp.serving.json_check import JsonCheck
from tfnlp.serving.repository import Version
from tfnlp.serving.service import Service
from tfnlp.serving.telemetry import Request as Told

_WHICH = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_ASK = re.compile(
    rf"/v1/models/(?P<model>[^/:]+){_WHICH}:(?P<method>classify|regress|predict)", re.IGNORECASE
)
_TELL = re.compile(
    rf"/v1/models(?:/(?P<model>[^/:]+))?{_WHICH}(?P<metadata>/metadata)?", re.IGNORECASE
)
_VERBS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
_NOTHING = re.compile(r"(?!)")
_METHODS = ("classify", "regress", "predict")
_Which: TypeAlias = tuple[str, int | None, str | None]  # model, version, label
_PAGE = Path(__file__).parent / "page"
_VALUE = 64  # bytes of a JSON value in memory


def application(service: Service) -> Starlette:
    """Return the REST API as an ASGI application.

    Example::

        await uvicorn.Server(uvicorn.Config(application(service))).serve()
    """
    rest = _Rest(service)
    routes = [
        Route("/", rest.page, methods=["GET"]),
        Route("/page/models", rest.models, methods=["GET"]),
        Route("/page/models/{model}", rest.card, methods=["GET"]),
        Route("/page/models/{model}/explain", rest.explain, methods=["POST"]),
        Route("/page/{file}", rest.page, methods=["GET"]),
        Route("/healthz", rest.health, methods=["GET"]),
        Route("/readyz", rest.ready, methods=["GET"]),
        Route("/monitoring/prometheus/metrics", rest.metrics, methods=["GET"]),
        Route("/{path:path}", rest.api, methods=_VERBS),
    ]
    middleware = [Middleware(Door, service=service), *across(service.rules)]
    handlers = {HTTPException: _not_there}
    return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)


async def _not_there(request: Request, error: Exception) -> Response:
    """Return what Starlette refuses in the API's own form."""
    assert isinstance(error, HTTPException)
    return _json({"error": error.detail}, error.status_code)


def _json(content: Any, status: int = 200) -> Response:
    return _written(answers.to_json(content), status)


def _written(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json")


@asynccontextmanager
async def _while_there(request: Request) -> AsyncIterator[None]:
    """Give up the work for a request whose body is read when its sender is gone.

    Raises:
        ClientDisconnect: it is.
    """
    task, gone = asyncio.current_task(), False
    assert task

    async def watch() -> None:
        nonlocal gone
        await request.receive()  # nothing comes any more but the end
        gone = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if gone and not task.uncancel():
            raise ClientDisconnect from None
        raise
    finally:
        watcher.cancel()


class _Rest:
    """The handlers.

    Args:
        service: the models and the rules.
    """

    def __init__(self, service: Service) -> None:
        self.service = service

    # ------------------------------------------------------------------- TF Serving's

    async def api(self, request: Request) -> Response:
        """Answer a request to a model."""
        if not request.url.path.lower().startswith("/v1/"):
            return _json({"error": f"there is no {request.url.path}"}, 404)
        told = self._begun(request, request.method)
        shown = request.headers.get("authorization")
        try:
            async with self.service.admitted(told, shown):
                return _written(await self._api(request, told))
        except RequestError as failure:
            return refused(failure)
        except ClientDisconnect:
            return Response(status_code=499)

    async def _api(self, request: Request, told: Told) -> bytes:
        # TF Serving matches what stands in the request line, before it decodes.
        path = request.scope["raw_path"].decode("latin-1")
        query = request.scope["query_string"].decode("latin-1")
        line = f"{path}?{query}" if query else path
        found = {"POST": _ASK, "GET": _TELL}.get(request.method, _NOTHING).fullmatch(line)
        if not found or found.groupdict().get("method", "predict") not in _METHODS:
            raise invalid(f"Malformed request: {request.method} {line}")
        if not found["model"]:
            raise invalid("Missing model name in request.")
        label = unquote(found["label"]) if found["label"] else None
        which = (unquote(found["model"]), _number(found["version"]), label)
        told.model = which[0]
        if request.method == "POST":
            told.method = found["method"].title()
            return await self._ask(request, which, told)
        if found["metadata"]:
            told.method = "GetModelMetadata"
            return answers.to_json(about.metadata_json(self._version(which, told)))
        told.method = "GetModelStatus"
        return answers.to_json(about.status_json(self.service.repository.states(*which)))

    def _version(self, which: _Which, told: Told) -> Version:
        """Return the version that answers a request."""
        version = self.service.repository.version(*which)
        told.version = version.number
        return version

    async def _ask(self, request: Request, which: _Which, told: Told) -> bytes:
        """Ask a model what a body says."""
        check = JsonCheck(self.service.rows)
        with self.service.kept() as hold:
            try:
                body = await bodies.read(request, self.service.most, check, hold)
            finally:
                told.size = hold.size
            hold(_VALUE * check.values)
            async with _while_there(request):
                parsed = await self.service.apart(len(body), payload.parsed, body, check.values)
                told.signature = payload.signature_name(parsed)
                ask = self._predict if told.method == "Predict" else self._examples
                return await ask(which, parsed, told)

    async def _predict(self, which: _Which, parsed: dict, told: Told) -> bytes:
        version, apart = self._version(which, told), self.service.apart
        signature = inference.signature_of(version, told.signature)
        with version.used():
            inputs, by_rows = await apart(told.size, payload.inputs_of, parsed, signature)
            parsed.clear()  # its values are larger than the arrays
            told.rows = max((len(a) for a in inputs.values() if a.ndim), default=None)
            outputs = await inference.predict(version, told.signature, inputs)
        size = sum(array.size for array in outputs.values())
        return await apart(size, answers.written, outputs, by_rows)

    async def _examples(self, which: _Which, parsed: dict, told: Told) -> bytes:
        """Classify or regress."""
        service = self.service
        rows = await service.apart(told.size, examples.examples_of, parsed, service.most)
        told.rows = len(rows)
        version = self._version(which, told)
        if told.method == "Regress":
            return answers.to_json(
                {"results": await inference.regress(version, told.signature, rows)}
            )
        found = await inference.classify(version, told.signature, rows)
        return await service.apart(sum(map(len, found)), answers.classes, found)

    # ------------------------------------------------------------------- for operators

    async def health(self, request: Request) -> Response:
        """Return that the process answers."""
        return _json({"status": "alive"})

    async def ready(self, request: Request) -> Response:
        """Return whether every model answers."""
        ready = self.service.repository.ready() and not self.service.closing
        return _json({"status": "ready" if ready else "not ready"}, 200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        """Show the counters."""
        rules = self.service.rules
        try:
            if not rules.open_metrics:
                rules.check_token(request.headers.get("authorization"))
        except RequestError as failure:
            return refused(failure)
        text = self.service.telemetry.exposition()
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    # ------------------------------------------------------------------- for people

    async def page(self, request: Request) -> Response:
        """Send a file of the page."""
        name = request.path_params.get("file", "index.html")
        there = {path.name: path for path in _PAGE.iterdir()}
        if name not in there:
            return _json({"error": f"there is no {name}"}, 404)
        headers = {
            # Nothing from elsewhere, and the page in no other's frame.
            "content-security-policy": "default-src 'self'; frame-ancestors 'none'; "
            "base-uri 'none'; form-action 'none'",
            "cache-control": "no-cache",
        }
        return FileResponse(there[name], headers=headers)

    async def models(self, request: Request) -> Response:
        """List the models."""
        return await self._told(request, "ListModels", lambda: self.service.repository.models())

    async def card(self, request: Request) -> Response:
        """Return what the page wants to know of a model."""
        name = request.path_params["model"]

        def found() -> dict[str, Any]:
            version = self.service.repository.version(name)
            return {**about.card(version), "explains": why.way(version, self.service.explain)}

        return await self._told(request, "Card", found)

    async def explain(self, request: Request) -> Response:
        """Say why a model answers a row as it does, if the server was given what explains."""
        told, service = self._begun(request, "Explain"), self.service
        told.model, explain = request.path_params["model"], service.explain
        if explain is None:
            return _json({"error": "this server explains no answers"}, 404)
        try:
            async with service.admitted(told, request.headers.get("authorization")):
                check = JsonCheck(service.rows)
                with service.kept() as hold:
                    body = await bodies.read(request, service.most, check, hold)
                    version = self._version((told.model, None, None), told)
                    async with _while_there(request):
                        texts = payload.parsed(body, check.values)
                        found = await why.why(version, texts, explain, service.explaining)
                return _json(found)
        except RequestError as failure:
            return refused(failure)
        except ClientDisconnect:
            return Response(status_code=499)

    @staticmethod
    def _begun(request: Request, method: str) -> Told:
        """Return what is recorded of a request."""
        return Told("REST", method, request.client.host if request.client else "")

    async def _told(self, request: Request, method: str, find: Any) -> Response:
        try:
            shown = request.headers.get("authorization")
            async with self.service.admitted(self._begun(request, method), shown):
                return _json(find())
        except RequestError as failure:
            return refused(failure)


def _number(digits: str | None) -> int | None:
    """Read a version of a URL."""
    if digits is None:
        return None
    if len(digits) > 100 or int(digits) >= 2**63:  # int() takes no more than some thousand
        raise invalid(f"Failed to convert version: {digits[:100]} to numeric.")
    return int(digits)
