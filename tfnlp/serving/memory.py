"""Memory that is free within the process, given back to the system."""

from __future__ import annotations

import ctypes
import gc


def settle() -> None:
    """Leave what is there now out of every later collection of garbage.

    TensorFlow's modules are 400,000 objects, which a collection looks at for .2 s while no other
    thread runs. To be called before models are loaded, whose garbage is to be found.

    Example::

        settle()  # once, when all is imported
    """
    gc.collect()
    gc.freeze()


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
