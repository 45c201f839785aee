"""A request's body: read as it comes, unpacked and looked at, no further than it may go."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect, Request

from tfnlp.serving.failures import Code, RequestError, invalid, too_large
from tfnlp.serving.json_check import JsonCheck

SECONDS = 30.0  # for a body to come
_DRAINED = 5.0  # seconds for the rest of a body that is refused
_PIECE = 2**16  # bytes unpacked in one go
_PACKED = ("gzip", "x-gzip")


@dataclass
class Room:
    """Bytes of requests that are held at once.

    Attributes:
        most: bytes.
        held: bytes now.

    Example::

        with room.kept() as hold:
            hold(2**20)
    """

    most: int
    held: int = field(default=0, init=False)

    @contextmanager
    def kept(self) -> Iterator[Hold]:
        """Keep room for a request, until it is answered."""
        hold = Hold(self)
        try:
            yield hold
        finally:
            self.held -= hold.size


class Hold:
    """What a request takes of a `Room`.

    Attributes:
        size: bytes so far.
    """

    def __init__(self, room: Room) -> None:
        self._room, self.size = room, 0

    def __call__(self, size: int) -> None:
        """Take more of it.

        Raises:
            RequestError: others have taken it.
        """
        if self._room.held + size > self._room.most:
            raise RequestError(
                Code.RESOURCE_EXHAUSTED,
                f"requests of {self._room.held} bytes are held already, of {self._room.most} that "
                "may be; try again, or send fewer rows at a time",
            )
        self._room.held += size
        self.size += size


async def read(request: Request, most: int, check: JsonCheck, hold: Hold) -> bytes:
    """Read a body.

    Args:
        request: whose.
        most: bytes, unpacked.
        check: is fed with it.
        hold: keeps room for it.

    Raises:
        RequestError: it is too large, too slow, or not packed as it says.
        ClientDisconnect: its sender is gone.
    """
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(SECONDS):
            announced = request.headers.get("content-length", "0")
            if announced.isdecimal() and int(announced[:20]) > most:
                raise _larger(most)
            async for part in _unpacked(request):
                size += len(part)
                if size > most:
                    raise _larger(most)
                hold(len(part))
                check.feed(part)
                parts.append(part)
    except TimeoutError as error:
        message = f"the body did not come within {SECONDS:g} s"
        raise RequestError(Code.DEADLINE_EXCEEDED, message, 408) from error
    except RequestError:
        await _drain(request)
        raise
    return b"".join(parts)


def _larger(most: int) -> RequestError:
    return too_large(
        f"the body is larger than {most} bytes (send fewer rows at a time, or start the server "
        "with a larger --max-body)"
    )


async def _drain(request: Request) -> None:
    """Throw away what still comes: a client that is cut off while it sends reads no answer."""
    with suppress(TimeoutError, ClientDisconnect, RuntimeError):
        async with asyncio.timeout(_DRAINED):
            async for _ in request.stream():
                pass


async def _unpacked(request: Request) -> AsyncIterator[bytes]:
    """Read a body's bytes as its content-encoding says."""
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity", *_PACKED):
        message = f"the content-encoding {coding!r} is not read here (send gzip, or none)"
        raise RequestError(Code.INVALID_ARGUMENT, message, 415)
    if coding not in _PACKED:
        async for part in request.stream():
            yield part
        return
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        async for part in request.stream():
            while part:
                yield inflate.decompress(part, _PIECE)
                part = inflate.unconsumed_tail
                await asyncio.sleep(0)  # a little can become a lot
            if inflate.unused_data:
                raise invalid("the body goes on after its gzip ends")
    except zlib.error as error:
        raise invalid("the body is not gzip, as its content-encoding says") from error
    yield inflate.flush()
    if not inflate.eof:
        raise invalid("the body's gzip is cut short")
