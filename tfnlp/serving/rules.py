"""Who may ask: by the host that a request names, the page that sends it, and a token."""

from __future__ import annotations

import hmac
import re
import socket
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from tfnlp.serving.failures import Code, RequestError

_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::\d*)?")
_LOCAL = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class Rules:
    """Who may ask.

    A browser sends to 127.0.0.1 what a page on the web wants, and after the page's name has been
    bound to 127.0.0.1 (DNS rebinding) shows it the answers: the name in the request tells.

    Attributes:
        token: what a request must show.
        address: that the server listens on.
        hosts: that requests may name too; off loopback, if any are given, only these.
        origins: pages elsewhere that may send POST requests, such as ``https://example.org``.
        open_metrics: the counters are shown without the token.

    Example:
        >>> Rules().check_host("localhost:8501")
        >>> Rules().check_origin("POST", "http://localhost:8501", "localhost:8501")
    """

    token: str | None = None
    address: str = "127.0.0.1"
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    open_metrics: bool = False

    def check_host(self, header: str) -> None:
        """Raise a RequestError unless a request may name this host; with or without a port."""
        local = is_loopback(self.address)
        if not self.hosts and (self.token or not local):
            return
        allowed = {_name(host) for host in self.hosts}
        if local:
            allowed.update((*_LOCAL, _name(bracketed(self.address))))
        if _name(header) not in allowed:
            raise RequestError(
                Code.PERMISSION_DENIED,
                f"the host {header[:200]!r} is not answered here (ask by another, or start the "
                "server with --allow-host)",
            )

    def check_origin(self, method: str, origin: str | None, host: str) -> None:
        """Raise a RequestError for a POST that a page of another origin sends."""
        if method != "POST" or origin is None:
            return
        try:
            same = urlsplit(origin).netloc.lower() == host.lower() != ""
        except ValueError:
            same = False
        if not same and origin.lower() not in {each.lower().rstrip("/") for each in self.origins}:
            raise RequestError(
                Code.PERMISSION_DENIED,
                f"pages of {origin[:200]!r} may not ask here (start the server with "
                "--allow-origin to let them)",
            )

    def check_token(self, shown: str | None) -> None:
        """Raise a RequestError unless the header ``authorization`` has the token, if there is one.

        It is compared in a time that tells nothing.
        """
        if not self.token:
            return
        scheme, _, rest = (shown or "").partition(" ")
        same = hmac.compare_digest(rest.strip().encode("utf-8", "replace"), self.token.encode())
        if scheme.lower() != "bearer" or not same:
            raise RequestError(
                Code.UNAUTHENTICATED,
                "a bearer token is wanted, or another one (send the header 'Authorization: Bearer "
                "TOKEN')",
            )


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address.

    Example:
        >>> is_loopback("127.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
        (True, True, False)
    """
    if host.lower() == "localhost":
        return True
    try:  # 127.1 is an address too
        return ip_address(socket.inet_ntoa(socket.inet_aton(host))).is_loopback
    except OSError:
        pass
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def bracketed(host: str) -> str:
    """Return a host as a URL has it.

    Example:
        >>> bracketed("::1")
        '[::1]'
    """
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _name(header: str) -> str:
    """Return the host of a header without its port; of one that is none, a name of nothing."""
    found = _HOST.fullmatch(header.strip().lower())
    return found[1].removesuffix(".") if found else "?"
