"""Why a request can fail, as gRPC and HTTP name it."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """gRPC's status codes (https://grpc.github.io/grpc/core/md_doc_statuscodes.html).

    Example:
        >>> int(Code.NOT_FOUND)
        5
    """

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


# What TF Serving answers over HTTP (tensorflow_serving/model_servers/http_server.cc,
# ToHTTPStatusCode).
_HTTP = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.UNAUTHENTICATED: 401,
}


class RequestError(Exception):
    """A request that is not answered.

    Args:
        code: gRPC's status code.
        message: why, for who sent the request.
        status: of the HTTP response, where TF Serving has none for this or another.

    Attributes:
        code: gRPC's status code.
        message: why, for who sent the request.

    Example:
        >>> RequestError(Code.NOT_FOUND, "there is no such model").http
        404
    """

    def __init__(self, code: Code, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self._status = code, message, status

    @property
    def http(self) -> int:
        """The status of an HTTP response."""
        return self._status or _HTTP[self.code]


def invalid(message: str) -> RequestError:
    """Return a failure of a request that no model would answer.

    Example:
        >>> invalid("no instances").http
        400
    """
    return RequestError(Code.INVALID_ARGUMENT, message)


def too_large(message: str) -> RequestError:
    """Return a failure of a request that asks for more than one may.

    Not RESOURCE_EXHAUSTED: clients send that again, and it would fail again.

    Example:
        >>> too_large("send fewer rows").http
        413
    """
    return RequestError(Code.INVALID_ARGUMENT, message, 413)
