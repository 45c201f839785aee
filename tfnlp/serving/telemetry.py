"""What is recorded of every request: a line of JSON, and counters for Prometheus."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from starlette.requests import ClientDisconnect

from tfnlp.serving.failures import Code, RequestError

log = logging.getLogger("tfnlp.access")

# Names of TF Serving's, so that its dashboards show this server too.
_PREFIX = ":tensorflow:serving:"
_MICROSECONDS = [10.0 * 1.8**i for i in range(33)]  # TF Serving's buckets
_ROWS = [2.0**i for i in range(11)]


@dataclass
class Request:
    """What is recorded of a request.

    Attributes:
        protocol: REST or GRPC.
        method: what is asked for: Predict, Classify, GetModelStatus, ...
        client: who asks.
        model, version, signature, rows, size: as they are found out.
        code: how it ended.
        error: why, if not well.

    Example::

        Request("REST", "Predict", "127.0.0.1", model="trec", rows=2)
    """

    protocol: str
    method: str
    client: str
    model: str = ""
    version: int | None = None
    signature: str = ""
    rows: int | None = None
    size: int = 0  # bytes of the request's body
    code: Code = Code.OK
    error: str = ""
    begun: float = field(default_factory=time.perf_counter)


class Telemetry:
    """Counters and the access log.

    Args:
        quiet: nothing is logged.

    Example::

        telemetry = Telemetry(quiet=True)
        telemetry.batch("trec", rows=8, requests=3, waited=0.002)
        telemetry.exposition()
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self.active = 0  # requests in progress
        self._registry = CollectorRegistry()
        disable_created_metrics()  # type: ignore[no-untyped-call]
        of_request = ["model_name", "API", "entrypoint"]
        self._count = self._counter("request_count", "Requests.", ["model_name", "status"])
        self._latency = self._histogram(
            "request_latency", "Time to answer [us].", of_request, _MICROSECONDS
        )
        self._rows = self._histogram(
            "batching_session:processed_batch_size", "Rows of a batch.", ["model_name"], _ROWS
        )
        self._merged = self._histogram(
            "batching_session:requests", "Requests of a batch.", ["model_name"], _ROWS
        )
        self._waited = self._histogram(
            "batching_session:queuing_latency",
            "Time the oldest request of a batch waited [us].",
            ["model_name"],
            _MICROSECONDS,
        )
        self._active = Gauge(
            _PREFIX + "active_requests", "Requests in progress.", registry=self._registry
        )

    def _counter(self, name: str, text: str, labels: list[str]) -> Counter:
        return Counter(_PREFIX + name, text, labels, registry=self._registry)

    def _histogram(
        self, name: str, text: str, labels: list[str], buckets: list[float]
    ) -> Histogram:
        return Histogram(_PREFIX + name, text, labels, registry=self._registry, buckets=buckets)

    def batch(self, model: str, rows: int, requests: int, waited: float) -> None:
        """Note a batch; ``waited`` is in seconds."""
        self._rows.labels(model).observe(rows)
        self._merged.labels(model).observe(requests)
        self._waited.labels(model).observe(waited * 1e6)

    @asynccontextmanager
    async def told(self, request: Request) -> AsyncIterator[Request]:
        """Note a request when it ends, well or not."""
        self._active.inc()
        self.active += 1
        try:
            yield request
        except RequestError as failure:
            request.code, request.error = failure.code, failure.message
            raise
        except grpc.aio.AbortError:
            raise
        except BaseException as error:
            gone = isinstance(error, asyncio.CancelledError | ClientDisconnect)
            request.code = Code.CANCELLED if gone else Code.INTERNAL
            request.error = type(error).__name__
            raise
        finally:
            self._active.dec()
            self.active -= 1
            self._note(request)

    def _note(self, request: Request) -> None:
        seconds = time.perf_counter() - request.begun
        # Names that no model has are not counted apart: anyone could make up more.
        model = request.model if request.version is not None else ""
        self._count.labels(model, request.code.name).inc()
        self._latency.labels(model, request.method, request.protocol).observe(seconds * 1e6)
        if self._quiet:
            return
        told = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "protocol": request.protocol,
            "method": request.method,
            "client": request.client,
            "model": request.model[:200],
            "version": request.version,
            "signature": request.signature[:200],
            "rows": request.rows,
            "bytes": request.size,
            "status": request.code.name,
            "ms": round(seconds * 1e3, 2),
        }
        if request.error:
            told["error"] = request.error[:500]
        log.info(json.dumps({k: v for k, v in told.items() if v not in (None, "")}))

    def exposition(self) -> bytes:
        """Return all counters in Prometheus's text format."""
        text: bytes = generate_latest(self._registry)
        # The library ends names of counters so; TF Serving does not.
        return text.replace(b"request_count_total", b"request_count")


_SELDOM = 60.0  # seconds between lines that say the same
_last: dict[str, float] = {}


def seldom(say: Callable[..., None], message: str, *given: object) -> None:
    """Log a line, unless the same was logged within the last minute.

    Example::

        seldom(log.warning, "as many connections as may be (%d)", 100)
    """
    now = time.monotonic()
    if now - _last.get(message, -_SELDOM) >= _SELDOM:
        _last[message] = now
        say(message, *given)
