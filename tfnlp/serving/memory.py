"""Memory that is free within the process, given back to the system."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Return freed memory to the system, where C's library (glibc) has a way; takes milliseconds.

    Example::

        del body
        give_back()
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)
