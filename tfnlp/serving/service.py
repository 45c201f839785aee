"""What both protocols share: who may ask, for how long, what is held, and what is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tfnlp.serving import memory
from tfnlp.serving.bodies import Hold, Room
from tfnlp.serving.failures import Code, RequestError
from tfnlp.serving.repository import Repository
from tfnlp.serving.rules import Rules
from tfnlp.serving.telemetry import Request, Telemetry
from tfnlp.serving.why import Explain

Found = TypeVar("Found")
_SMALL = 2**14  # bytes or values that are read or written in some milliseconds
_LARGE = 2**19  # bytes of a request that takes memory worth returning
_SOON = 0.5  # seconds after a large request, when more may come
_BODIES = 8  # of the largest size that may be held at once


@dataclass
class Service:
    """The models and the rules.

    Attributes:
        repository: the models.
        telemetry: counters and log.
        rules: who may ask.
        timeout: for an answer, at most [seconds].
        most: of a request's body, at most [bytes].
        rows: of a request, at most.
        folders: that models may be taken from without a token, by `HandleReloadConfigRequest`.
        explain: says why a model without a signature for it answers as it does, on the page.
        closing: the server ends; it is no longer ready.
        crowded: says whether there are as many connections as may be.
        room: for the requests that are being read and answered.

    Example::

        service = Service(repository, telemetry, Rules(token="secret"))
        async with service.admitted(request, "Bearer secret"):
            ...
    """

    repository: Repository
    telemetry: Telemetry
    rules: Rules = field(default_factory=Rules)
    timeout: float = 60.0
    most: int = 32 * 2**20
    rows: int = 16384
    folders: tuple[Path, ...] = ()
    explain: Explain | None = None
    closing: bool = False
    crowded: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self.room = Room(_BODIES * self.most)
        self._aside = ThreadPoolExecutor(2, "messages")
        self.explaining = ThreadPoolExecutor(2, "explanations")
        self._returning: asyncio.TimerHandle | None = None

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
            self.rules.check_token(shown)
            try:
                async with asyncio.timeout(limit):
                    yield request
            except TimeoutError as error:
                raise RequestError(
                    Code.DEADLINE_EXCEEDED,
                    f"no answer within {limit:g} s (send fewer rows at a time, or start the "
                    "server with a longer --timeout)",
                ) from error

    @contextmanager
    def kept(self) -> Iterator[Hold]:
        """Keep room for a request; after large ones, memory goes back to the system."""
        with self.room.kept() as hold:
            try:
                yield hold
            finally:
                if hold.size > _LARGE and not self._returning:
                    loop = asyncio.get_running_loop()
                    self._returning = loop.call_later(_SOON, self._give_back)

    def _give_back(self) -> None:
        self._returning = None
        self._aside.submit(memory.give_back)

    async def apart(self, size: int, function: Callable[..., Found], *given: object) -> Found:
        """Call a function that reads or writes a message: in a thread, if the message is large.

        Args:
            size: of the message [bytes or values].
            function: gives up Python's lock again and again.
            given: its arguments.

        Example::

            body = await service.apart(len(data), parsed, data)
        """
        if size <= _SMALL:
            return function(*given)
        return await asyncio.get_running_loop().run_in_executor(self._aside, function, *given)

    def close(self) -> None:
        """Let the threads go."""
        for threads in (self._aside, self.explaining):
            threads.shutdown(wait=False, cancel_futures=True)
        self.repository.close()
