"""Both protocols in one event loop, from the first version loaded to the last answer."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import uvicorn

from pipelines.errors import UserError
from tfnlp.runtime.commands import quoted
from tfnlp.serving import connections, inference, rest, rpc, sockets
from tfnlp.serving.batching import Limits
from tfnlp.serving.configuration import Wanted
from tfnlp.serving.failures import RequestError
from tfnlp.serving.repository import Repository
from tfnlp.serving.rules import Rules
from tfnlp.serving.service import Service
from tfnlp.serving.telemetry import Telemetry
from tfnlp.serving.why import Explain

log = logging.getLogger("tfnlp.serve")

_STREAMS, _CALLS = 100, 2000  # of gRPC at once: of a connection, of all
_IDLE = 60  # seconds until a gRPC connection ends on which nothing is asked


@dataclass(frozen=True)
class Options:
    """How the server listens and what it allows.

    Attributes:
        host: address it binds to.
        rest_port, grpc_port: 0 is any that is free.
        limits: how requests are batched.
        poll: between looks for new versions [seconds].
        timeout: for an answer, at most [seconds].
        grace: for the requests in progress when the server ends [seconds].
        most: of a request's body [bytes].
        rules: who may ask.
        folders: that models may be taken from without a token, when a client asks for others.
        trusted: ops that a SavedModel may have although they read or write files, or run Python.
        certificate, key: PEM files for TLS.
        quiet: no access log.
        explain: says why a model answers as it does; see `tfnlp.serving.why`.

    Example::

        Options(rest_port=0, grpc_port=0, limits=Limits(rows=8))
    """

    host: str = "127.0.0.1"
    rest_port: int = 8501
    grpc_port: int = 8500
    limits: Limits = field(default_factory=Limits)
    poll: float = 1.0
    timeout: float = 60.0
    grace: float = 30.0
    most: int = 32 * 2**20
    rules: Rules = field(default_factory=Rules)
    folders: tuple[Path, ...] = ()
    trusted: tuple[str, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    quiet: bool = False
    explain: Explain | None = None


class _Web(uvicorn.Server):
    """Uvicorn without signal handlers of its own: both protocols end together."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(find: Callable[[], list[Wanted]], options: Options) -> None:
    """Serve until SIGINT or SIGTERM, then answer what was asked and end.

    Args:
        find: says which models are wanted; asked again every ``options.poll`` seconds.
        options: how.

    Raises:
        UserError: an address cannot be bound to, or no model can be loaded at the start.

    Example::

        asyncio.run(serve(lambda: find(Path("saved_models")), Options()))
    """
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, ending.set)
    telemetry = Telemetry(options.quiet)
    repository = Repository(find, options.limits, telemetry.batch, options.trusted)
    service = Service(
        repository,
        telemetry,
        options.rules,
        options.timeout,
        options.most,
        options.limits.most,
        options.folders,
        options.explain,
    )
    most_web, most_grpc = connections.allowed()
    plain = sockets.listen(options.host, options.rest_port, "--host, --rest-port")
    sock = connections.Listener(plain, most_web, bool(options.certificate))
    service.crowded = sock.crowded
    server = _grpc_server(service, options, most_grpc)
    try:
        web = _web_server(service, options, sock)
    except OSError as error:  # ssl.SSLError is one
        raise UserError(
            f"cannot use {options.certificate} and {options.key} for TLS: {error}"
        ) from error
    running = asyncio.create_task(web.serve([sock]))
    polling = None
    try:
        grpc_port = await _listening(server, options)
        gc.freeze()  # what is imported stays; collecting what a version leaves is quick then
        await _until(repository.refresh(), ending)
        scheme = "https" if options.certificate else "http"
        url = f"{scheme}://{sockets.address(options.host, sock.getsockname()[1])}"
        print(f"REST {url}")
        print(f"gRPC {sockets.address(options.host, grpc_port)}", flush=True)
        print(_next_step(repository, url))
        sys.stdout.flush()
        polling = asyncio.create_task(_poll(repository, options.poll))
        await ending.wait()
        log.info("ending: no new requests; those in progress are answered")
    finally:
        service.closing = True
        if polling:
            polling.cancel()
        web.should_exit = True
        # Both protocols refuse what is new at once, and wait for what they have.
        stopping = asyncio.gather(server.stop(options.grace), running, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(options.grace):
                while telemetry.active or web.server_state.tasks:
                    await asyncio.sleep(0.05)
        web.force_exit = True  # clients that are idle need not be waited for
        await stopping
        service.close()


def _next_step(repository: Repository, url: str) -> str:
    """Print what to do now."""
    if not repository.models():
        return "there is no model yet: one that is put there is served within seconds"
    step = f"    open {url} in a browser"
    for name in repository.models():
        with contextlib.suppress(RequestError):
            inputs = inference.signature_of(repository.version(name), "serving_default").inputs
            if inputs and all(spec.dtype.name == "string" for spec in inputs.values()):
                body = json.dumps({"instances": [dict.fromkeys(sorted(inputs), "some text")]})
                asked = f"{url}/v1/models/{quote(name)}:predict"
                return f"{step}, or\n    curl -d {quoted(body)} {quoted(asked)}"
    return step


async def _until(work: Coroutine[Any, Any, None], ending: asyncio.Event) -> None:
    """Wait for some work, or for the end."""
    task = asyncio.create_task(work)
    stop = asyncio.create_task(ending.wait())
    await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if task.done():
        task.result()


def _grpc_server(service: Service, options: Options, most: int) -> grpc.aio.Server:
    """Make the gRPC server, of so many connections."""
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", options.most),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),  # a port that is taken is an error
            ("grpc.max_allowed_incoming_connections", most),
            ("grpc.max_concurrent_streams", _STREAMS),  # of a connection; clients wait then
            ("grpc.server_handshake_timeout_ms", int(connections.HEADERS * 1000)),
            ("grpc.max_connection_idle_ms", _IDLE * 1000),
            ("grpc.keepalive_time_ms", _IDLE * 1000),  # ends those whose client is gone
        ],
        maximum_concurrent_rpcs=_CALLS,
    )
    rpc.register(server, service)
    return server


def _web_server(service: Service, options: Options, sock: connections.Listener) -> _Web:
    """Make the HTTP server."""
    config = uvicorn.Config(
        rest.application(service),
        http=connections.Protocol.of(sock),
        ws="none",
        backlog=connections.ACCEPTED,
        log_config=None,
        log_level="error",  # of what is no HTTP, its sender is told
        access_log=False,
        server_header=False,
        lifespan="off",
        ssl_certfile=options.certificate,
        ssl_keyfile=options.key,
        timeout_graceful_shutdown=int(options.grace),
    )
    config.load()  # reads the certificate
    return _Web(config)


async def _listening(server: grpc.aio.Server, options: Options) -> int:
    """Start the gRPC server; returns its port.

    Raises:
        UserError: the address is taken, or the certificate is none.
    """
    address = sockets.address(options.host, options.grpc_port)
    try:
        if options.certificate and options.key:
            pair = (options.key.read_bytes(), options.certificate.read_bytes())
            port = server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
        else:
            port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise UserError(f"cannot listen on {address} for gRPC (use --grpc-port)") from error
    await server.start()
    return int(port)


async def _poll(repository: Repository, seconds: float) -> None:
    """Look for new versions again and again."""
    before = ""
    while True:
        await asyncio.sleep(seconds)
        said = ""
        try:
            await repository.refresh()
        except (UserError, OSError) as error:  # the folder is away: what is loaded keeps serving
            said = str(error)
        if said and said != before:  # once, not with each look
            log.error("%s", said)
        before = said
