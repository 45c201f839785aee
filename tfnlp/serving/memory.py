"""Memory that is free within the process, given back to the system."""

from __future__ import annotations

import ctypes
import gc


def give_back() -> None:
    """Return freed memory to the system, where C's library (glibc) has a way; takes milliseconds.

    A refused request is held by its error, and both by one another, until garbage is collected.

    Example::

        del body
        give_back()
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)
