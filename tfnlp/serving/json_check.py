"""How large a JSON document would become, read off its bytes while they come, before it is parsed.

Parsing in C keeps Python's lock, and with it the event loop, and a byte can become a hundred.
"""

from __future__ import annotations

import re

import numpy as np

from tfnlp.serving.failures import RequestError, invalid, too_large

DEEPEST = 64  # levels: as many dimensions as an array may have
MOST_VALUES = 2**20  # some 100 MB of Python's objects
_LONGEST = 512  # characters of a number: reading one takes their square, with Python's lock
_PIECE = 2**16  # bytes looked at in one go, a millisecond
_ROWS = 2  # the level of a request's rows: in the list that the outer object has

_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_STEP = np.zeros(256, np.int8)
_STEP[list(b"[{")] = 1
_STEP[list(b"]}")] = -1
_MARK = _STEP != 0
_MARK[ord(",")] = True
_END = _MARK.copy()  # of a number
_END[list(b' \t\r\n:"')] = True


class JsonCheck:
    """Counts of a document of which the bytes come in parts.

    What takes time is counted: strings and their escapes, lists, objects and commas. Of what is no
    JSON the counts may be wrong from its first mistake on, where a parser stops.

    Args:
        rows: elements of a list in the outer object, at most.

    Attributes:
        values: about as many values, keys and escapes as there were so far.

    Example:
        >>> check = JsonCheck(rows=100)
        >>> check.feed(b'{"instances": ["a", "b')
        >>> check.feed(b'c"]}')
        >>> check.values
        6
    """

    def __init__(self, rows: int) -> None:
        self.values = 0
        self._most_rows = rows
        self._rows = self._depth = 0
        self._open = 0  # characters of a number that may go on
        self._in_string = False
        self._unread = b""  # a backslash whose character is to come

    def feed(self, part: bytes) -> None:
        """Take the next bytes.

        Raises:
            RequestError: too many rows or values, lists too deep, or a number too long.
        """
        for start in range(0, len(part), _PIECE):
            self._outside(self._without_strings(part[start : start + _PIECE]))

    def _without_strings(self, data: bytes) -> bytes:
        """Return what stands outside of strings, a quotation mark for each."""
        data, self._unread = self._unread + data, b""
        if b"\\" in data:
            if (len(data) - len(data.rstrip(b"\\"))) % 2:
                data, self._unread = data[:-1], b"\\"
            data, escapes = _ESCAPE.subn(b"", data)
            self.values += escapes
        parts = data.split(b'"')
        outside = b'"'.join(parts[self._in_string :: 2])
        self.values += (len(parts) - self._in_string) // 2
        self._in_string ^= len(parts) % 2 == 0
        return outside

    def _outside(self, data: bytes) -> None:
        found = np.frombuffer(data, np.uint8)
        ends = np.flatnonzero(_END[found])
        if np.diff(ends, prepend=-1 - self._open, append=len(data)).max() > _LONGEST:
            raise invalid(f"JSON Parse error: a number has {_LONGEST} characters or more")
        self._open = len(data) - 1 - int(ends[-1]) if len(ends) else self._open + len(data)
        marks = found[_MARK[found]]
        steps = _STEP[marks]
        depths = self._depth + np.cumsum(steps, dtype=np.int64)
        if len(depths):
            self._depth = int(depths[-1])
            if depths.max() > DEEPEST:
                raise invalid(f"JSON Parse error: nested deeper than {DEEPEST} levels")
        commas = steps == 0
        self._rows += int(np.count_nonzero(commas & (depths == _ROWS)))
        self.values += len(marks) - int(np.count_nonzero(steps < 0))
        if self._rows >= self._most_rows:
            raise too_many_rows(self._rows + 1, self._most_rows)
        if self.values > MOST_VALUES:
            raise too_large(
                f"the body has more than {MOST_VALUES} values (send fewer rows at a time, or ask "
                "by gRPC, which takes arrays as they are)"
            )


def too_many_rows(rows: int, most: int) -> RequestError:
    """Return the error about a request of more rows than one may have.

    Example:
        >>> too_many_rows(20000, 16384).http
        413
    """
    return too_large(
        f"the request has {rows} rows or more, of {most} that one may have (send fewer rows at a "
        "time, or start the server with a larger --max-rows)"
    )
