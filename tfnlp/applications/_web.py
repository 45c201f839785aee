"""An application behind HTTP: its own routes, and ``POST /events``."""

from __future__ import annotations

from collections.abc import Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from pipelines.files.writers import json_text
from tfnlp.application import Conversation
from tfnlp.applications import _events
from tfnlp.serving import sockets

LARGEST = 32 * 2**20  # of a request's body [bytes]
GRACE = 30  # for requests in progress when the server ends [s]


def application(conversation: Conversation, routes: Sequence[BaseRoute]) -> Starlette:
    """Return the ASGI application: the given routes, and ``POST /events``.

    The body of ``POST /events`` is lines as :func:`tfnlp.applications._events.answers` reads
    them; the answers come as JSONL, with status 200 even where one of them is an error.

    Example::

        app = application(conversation, APPLICATION.routes(conversation))
    """

    async def events(request: Request) -> Response:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > LARGEST:
                raise HTTPException(413, f"the body is larger than {LARGEST} bytes (send less)")
        lines = await run_in_threadpool(_answered, conversation, bytes(body))
        return Response(lines, media_type="application/x-ndjson")

    return Starlette(
        routes=[Route("/events", events, methods=["POST"]), *routes],
        exception_handlers={HTTPException: _refused},
    )


def _answered(conversation: Conversation, body: bytes) -> str:
    """Return the answers to all lines of a body as JSONL."""
    return "".join(
        f"{json_text(answer)}\n"
        for number, line in enumerate(body.splitlines(), 1)
        for answer in _events.answers(conversation, number, line)
    )


async def _refused(request: Request, error: Exception) -> Response:
    """Return as JSON what Starlette, or a route, refuses."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def serve(app: Starlette, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM, then answer what was asked; the signal is raised again.

    Args:
        app: what answers.
        host: the address to listen on.
        port: 0 is any that is free.

    Raises:
        UserError: the address is taken, or is not one of this machine's.

    Example::

        serve(application(conversation, ()), "127.0.0.1", 8080)
    """
    sock = sockets.listen(host, port, "--host, --port")
    url = f"http://{sockets.address(host, sock.getsockname()[1])}"
    print(url)
    for route in app.routes:
        if isinstance(route, Route):
            print(f"    {'POST' if 'POST' in (route.methods or ()) else 'GET'} {url}{route.path}")
    print(flush=True)
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=GRACE,
    )
    uvicorn.Server(config).run([sock])
