"""A folder that one process at a time may use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pipelines.errors import UserError


@contextmanager
def held(folder: Path, taken: str) -> Iterator[None]:
    """Keep other processes out of a folder, which is there; a kill leaves no lock behind.

    A file system without locks keeps nobody out.

    Args:
        folder: holds the lock's file.
        taken: what is said where another process has it.

    Raises:
        UserError: another process has it.

    Example::

        with held(run, f"{run} is being trained by another process (wait until it ends)"):
            train()
    """
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(taken) from None
    except (OSError, NotImplementedError):  # a file system without locks
        yield
        return
    try:
        yield
    finally:
        lock.release()
