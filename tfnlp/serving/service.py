"""What both protocols share: who may ask, for how long, and what is recorded of it."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tfnlp.serving.failures import Code, RequestError
from tfnlp.serving.repository import Repository
from tfnlp.serving.telemetry import Request, Telemetry


@dataclass
class Service:
    """The models and the rules.

    Attributes:
        repository: the models.
        telemetry: counters and log.
        token: what a request must show, if anything.
        timeout: for an answer, at most [seconds].
        most: of a request's body, at most [bytes].
        closing: the server ends; it is no longer ready.

    Example::

        service = Service(repository, telemetry, token="secret")
        async with service.admitted(request, "Bearer secret"):
            ...
    """

    repository: Repository
    telemetry: Telemetry
    token: str | None = None
    timeout: float = 60.0
    most: int = 32 * 2**20
    closing: bool = False

    @asynccontextmanager
    async def admitted(
        self, request: Request, shown: str | None, seconds: float | None = None
    ) -> AsyncIterator[Request]:
        """Let a request in, for its time.

        Args:
            request: recorded when it ends.
            shown: the header ``authorization``.
            seconds: how long its sender waits.

        Raises:
            RequestError: it may not ask, or its time is over.
        """
        limit = self.timeout if seconds is None else min(seconds, self.timeout)
        async with self.telemetry.told(request):
            if self.token and not _same(shown or "", f"Bearer {self.token}"):
                raise RequestError(Code.UNAUTHENTICATED, "a bearer token is wanted, or another one")
            try:
                async with asyncio.timeout(limit):
                    yield request
            except TimeoutError as error:
                message = f"no answer within {limit:g} s"
                raise RequestError(Code.DEADLINE_EXCEEDED, message) from error


def _same(shown: str, wanted: str) -> bool:
    """Compare in a time that tells nothing."""
    return hmac.compare_digest(shown.encode("utf-8", "replace"), wanted.encode())
