"""The address that an HTTP server listens on."""

from __future__ import annotations

import socket

from pipelines.errors import UserError, reason


def listen(host: str, port: int, remedy: str) -> socket.socket:
    """Listen on an address; where it is taken, Uvicorn itself would end the process.

    Args:
        host: a name or an address, of IPv4 or IPv6.
        port: 0 is any that is free.
        remedy: the flags that choose another address, for the error.

    Raises:
        UserError: the address is taken, or is not one of this machine's.

    Example::

        sock = listen("127.0.0.1", 8501, "--host, --port")
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named so that asyncio sets TCP_NODELAY on what it accepts: head and body of a
    # response are written apart, and would else wait 40 ms for one another.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen()  # who reads the address that is printed may connect at once
    except OSError as error:
        sock.close()
        raise UserError(
            f"cannot listen on {address(host, port)}: {reason(error)} (use {remedy})"
        ) from error
    return sock


def address(host: str, port: int) -> str:
    """Return host and port as a URL holds them.

    Example:
        >>> address("::1", 8501)
        '[::1]:8501'
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
