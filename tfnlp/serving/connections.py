"""How many connections there may be, and how long one may take to say what it wants."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import resource
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h11
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipelines.errors import UserError
from tfnlp.serving.telemetry import seldom

HEADERS = 10.0  # seconds until a request's headers must be there
READ = 30.0  # seconds in which a client must take something of an answer
_AHEAD = 2**16  # bytes of the next requests that are read while one is answered
ACCEPTED = 16  # connections in one go, before what they say is read
_BACKLOG = 128
_KEPT = 40  # descriptors for the files of models, and for what is being refused
_FEWEST, _MOST = 12, 4096
_PROBES = 4  # connections above the limit, on which /healthz and /readyz are answered
_NEW = 0.02  # seconds in which a connection is not taken for idle
_LINGERING, _LINGER = 16, 0.5  # connections that are refused, and seconds that they have to read it
_SAID = json.dumps({"error": "the server has as many connections as it may; try again"}).encode()
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\nretry-after: 1\r\nconnection: close\r\n\r\n%b"
) % (len(_SAID), _SAID)

log = logging.getLogger("tfnlp.serve")


def allowed() -> tuple[int, int]:
    """Return how many connections REST and gRPC may have, by the limit of open files.

    Raises:
        UserError: it is too small.

    Example::

        rest, grpc = allowed()  # (4096, 4096) with a limit of 20,000
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    left = limit - len(list(Path("/dev/fd").iterdir())) - _KEPT
    if left < _FEWEST:
        raise UserError(
            f"the limit of open files is {limit}, too few to serve (raise it: ulimit -n 1024)"
        )
    return min(left * 2 // 3, _MOST), min(left // 3, _MOST)


class _Connection(socket.socket):
    """A connection that tells its listener when it is closed."""

    listener: Listener
    peer: Any
    since: float  # that it waits
    timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Close it."""
        if self.fileno() >= 0:
            self.listener.forget(self)
        super().close()


class Listener(socket.socket):
    """A listening socket that has no more connections than it may.

    Where there are too many, the one that has waited longest with nothing to be answered makes
    room; where all are being answered, the new one is refused.

    Args:
        sock: listens already; taken over.
        most: connections.
        secured: they begin with TLS.

    Example::

        listener = Listener(sockets.listen("127.0.0.1", 8501, "--rest-port"), 100, False)
    """

    def __init__(self, sock: socket.socket, most: int, secured: bool) -> None:
        super().__init__(sock.family, sock.type, sock.proto, fileno=sock.detach())
        self._most, self._secured = most, secured
        self._connected: set[_Connection] = set()
        self._refused: set[_Connection] = set()
        self._waiting: dict[Any, _Connection] = {}  # by address, the longest first
        self._answered: dict[Any, _Connection] = {}
        self._spare = os.open(os.devnull, os.O_RDONLY)

    def crowded(self) -> bool:
        """Return whether there are more connections than may be, and none is idle."""
        if len(self._connected) > self._most:
            self._make_room()
        return len(self._connected) > self._most

    def listen(self, backlog: int = _BACKLOG) -> None:
        """Listen; more may wait in the system than asyncio accepts in one go."""
        super().listen(max(backlog, _BACKLOG))

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection.

        Raises:
            BlockingIOError: there is none, or it was refused.
        """
        try:
            plain, peer = super().accept()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            self._turn_away()
            raise BlockingIOError from error
        connection = _Connection(self.family, self.type, self.proto, fileno=plain.detach())
        connection.listener, connection.peer = self, peer
        self._connected.add(connection)
        self._waits(connection)
        if len(self._connected) > self._most:
            seldom(log.warning, "as many connections as may be (%d): idle ones end", self._most)
            self._make_room()
        if len(self._connected) > self._most + _PROBES:
            self._refuse(connection)
            raise BlockingIOError
        return connection, peer

    def _make_room(self) -> None:
        """End those that have waited longest, and have sent nothing that is still unread."""
        for connection in list(self._waiting.values()):
            new = time.monotonic() - connection.since < _NEW
            if new or len(self._connected) <= self._most:
                return
            with suppress(OSError):
                if _is_silent(connection):
                    self.forget(connection)
                    connection.shutdown(socket.SHUT_RDWR)  # the loop reads its end, and closes it

    def _refuse(self, connection: _Connection) -> None:
        """Say so, and let the client read it: what it has sent unread would cut it off."""
        self.forget(connection)
        connection.setblocking(False)
        with suppress(OSError):
            if not self._secured:
                connection.send(_REFUSAL)
            connection.shutdown(socket.SHUT_WR)
        if len(self._refused) < _LINGERING:
            self._refused.add(connection)
            asyncio.get_running_loop().call_later(_LINGER, self._end, connection)
        else:
            connection.close()

    def _end(self, connection: _Connection) -> None:
        self._refused.discard(connection)
        with suppress(OSError):
            connection.recv(2**16)
        connection.close()

    def _turn_away(self) -> None:
        """Take a connection that there is no descriptor for off the queue."""
        seldom(log.error, "no descriptor is left for a connection (raise it: ulimit -n)")
        os.close(self._spare)
        with suppress(OSError):
            super().accept()[0].close()
        self._spare = os.open(os.devnull, os.O_RDONLY)

    def _waits(self, connection: _Connection) -> None:
        self._answered.pop(connection.peer, None)
        self._waiting[connection.peer] = connection
        connection.since = time.monotonic()
        if not connection.timer:
            connection.timer = asyncio.get_running_loop().call_later(
                HEADERS, self._late, connection
            )

    def _late(self, connection: _Connection) -> None:
        """End a connection that has not asked in its time."""
        connection.timer = None
        if connection.fileno() >= 0:
            connection.shutdown(socket.SHUT_RDWR)

    def heard(self, peer: Any, asked: bool, whole: bool) -> None:
        """Note how far a connection is.

        Args:
            peer: its address.
            asked: a request's headers are there.
            whole: its body too.
        """
        connection = self._waiting.get(peer) or self._answered.get(peer)
        if not connection:
            return
        if asked and connection.timer:
            connection.timer.cancel()
            connection.timer = None
        if whole and peer in self._waiting:
            self._answered[peer] = self._waiting.pop(peer)
        elif not asked:
            self._waits(connection)

    def forget(self, connection: _Connection) -> None:
        """Note that a connection is closed, or is refused."""
        if connection in self._connected:
            self._connected.discard(connection)
            for known in (self._waiting, self._answered):
                if known.get(connection.peer) is connection:
                    del known[connection.peer]
        if connection.timer:
            connection.timer.cancel()
            connection.timer = None


def _is_silent(connection: socket.socket) -> bool:
    """Return whether nothing has come that is not read yet."""
    try:
        connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return True
    return False


class _Flow(FlowControl):
    """Reads no further while a request is answered and the next ones are there.

    Args:
        transport: of the connection.
        full: says that they are.
    """

    def __init__(self, transport: asyncio.Transport, full: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._full = full

    def resume_reading(self) -> None:
        """Read on, if there is room."""
        if not self._full():
            super().resume_reading()


class Protocol(H11Protocol):
    """Uvicorn's HTTP, which tells the listener how far a connection is.

    `of` makes the class for a listener. A client that sends the next requests before it has its
    answer, or that does not read it, takes no more memory than its connection may have, and no
    connection for good.
    """

    listener: Listener
    _unread: asyncio.TimerHandle | None = None

    @classmethod
    def of(cls, listener: Listener) -> type[Protocol]:
        """Return the protocol of a listener's connections.

        Example::

            uvicorn.Config(app, http=Protocol.of(listener))
        """
        return type("Protocol", (cls,), {"listener": listener})

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self._is_ahead)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Take what a client sends."""
        super().data_received(data)
        self._tell()

    def send_400_response(self, msg: str) -> None:
        """Say that what came is no HTTP; an answer that is being made has nowhere to go."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._watch(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Write on."""
        super().resume_writing()
        if self._unread:
            self._unread.cancel()
            self._unread = None

    def _watch(self, size: int) -> None:
        self._unread = self.loop.call_later(READ, self._check_read, size)

    def _check_read(self, before: int) -> None:
        """End a connection whose client has read nothing since there were so many bytes."""
        size = self.transport.get_write_buffer_size()
        if size < before:
            self._watch(size)
        else:
            self.transport.abort()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self.flow.resume_reading()
        self._tell()

    def _is_ahead(self) -> bool:
        whole = self.conn.their_state is h11.DONE
        return whole and len(self.conn.trailing_data[0]) > _AHEAD

    def _tell(self) -> None:
        asked = self.cycle is not None and not self.cycle.response_complete
        whole = asked and not self.cycle.more_body
        self.listener.heard(self.transport.get_extra_info("peername"), asked, whole)
