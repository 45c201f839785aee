"""What every REST request passes before it is routed: hosts, origins, and room for connections."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tfnlp.serving.answers import to_json
from tfnlp.serving.failures import Code, RequestError
from tfnlp.serving.rules import Rules
from tfnlp.serving.service import Service
from tfnlp.serving.telemetry import Request as Told

_PROBES = ("/healthz", "/readyz")


def refused(failure: RequestError) -> Response:
    """Return the response to a request that is not answered.

    Example:
        >>> refused(RequestError(Code.UNAUTHENTICATED, "a token is wanted")).status_code
        401
    """
    body = to_json({"error": failure.message})
    headers = {"www-authenticate": "Bearer"} if failure.http == 401 else {}
    if failure.http in (429, 503):
        headers["retry-after"] = "1"
    if failure.http == 503:
        headers["connection"] = "close"
    return Response(body, failure.http, headers, "application/json")


def across(rules: Rules) -> list[Middleware]:
    """Return what lets pages of other origins read answers, if any may ask."""
    if not rules.origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=[origin.rstrip("/") for origin in rules.origins],
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
        )
    ]


class Door:
    """Refuses what may not ask, and says of each response that it is what it says it is.

    Args:
        app: what comes after.
        service: the rules.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""

        async def said(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-content-type-options"] = "nosniff"
            await send(message)

        try:
            await self._admit(scope)
        except RequestError as failure:
            await refused(failure)(scope, receive, said)
            return
        await self._app(scope, receive, said)

    async def _admit(self, scope: Scope) -> None:
        """Raise a RequestError, and note it, unless the request may be routed."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        client = scope["client"][0] if scope.get("client") else ""
        try:
            self._service.rules.check_host(host)
            self._service.rules.check_origin(scope["method"], headers.get("origin"), host)
            if self._service.crowded() and scope["path"] not in _PROBES:
                raise RequestError(
                    Code.UNAVAILABLE,
                    "the server has as many connections as it may; try again, or raise its limit "
                    "of open files (ulimit -n)",
                )
        except RequestError:
            async with self._service.telemetry.told(Told("REST", "Refused", client)):
                raise
