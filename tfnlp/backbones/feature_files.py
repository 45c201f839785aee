"""What frozen layers return for texts, kept in the cache; no TensorFlow here.

Each set of texts is a folder, named by a hash of what decides its values. The whole is kept below a
size: what was not used for longest goes first.

Dimensions: N rows, T tokens of all rows, H hidden.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines import atomic
from pipelines.errors import UserError
from pipelines.registry.packages import cache_root

if TYPE_CHECKING:
    import numpy as np

LIMIT = "TFNLP_FEATURES_GB"  # the environment's name for the most that is kept
_DEFAULT_GB = 4.0
_STATES, _ENDS = "states.npy", "ends.npy"


@dataclass(frozen=True)
class Features:
    """What frozen layers return for N rows, mapped from a file.

    Attributes:
        states: of all rows' tokens one after the other, float32 (T, H).
        ends: where each row's begin, and where the last one's end, int64 (N + 1,). With one state a
            row, its vector, they are 0 to N.

    Example::

        found.states[found.ends[3] : found.ends[4]]  # those of the fourth row
    """

    states: np.ndarray
    ends: np.ndarray


def folder() -> Path:
    """Return where they are kept.

    Example::

        sorted(folder().iterdir())
    """
    return cache_root() / "features"


def limit() -> int:
    """Return the most that is kept [bytes]: 4 GB, or what $TFNLP_FEATURES_GB says.

    Raises:
        UserError: it says no number.

    Example::

        limit()  # 4000000000
    """
    said = os.environ.get(LIMIT, "")
    try:
        found = float(said) if said else _DEFAULT_GB
    except ValueError:
        found = -1.0
    if not 0 <= found < 1e9:
        raise UserError(f"{LIMIT} is {said!r}; it must be a number of gigabytes, such as 4")
    return int(found * 1e9)


def kept(
    key: str, ends: np.ndarray, width: int, fill: Callable[[np.ndarray], None]
) -> Features | None:
    """Return the features of this key, made if they are not there.

    Args:
        key: names them, a hash.
        ends: as of `Features`.
        width: H.
        fill: writes all states into an array of zeros, float32 (T, H).

    Returns:
        The features; None if they are more than the limit, or the disk is full.

    Raises:
        UserError: $TFNLP_FEATURES_GB says no number.

    Example::

        kept("9f86d0", np.array([0, 3, 5]), 384, lambda states: states.fill(1.0))
    """
    import numpy as np

    place = folder() / key
    found = _read(place, ends, width)
    if found is not None:
        return found
    size = 4 * int(ends[-1]) * width
    if size > limit():
        return None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _make_room(size)
        with atomic.replacing_path(place) as aside:
            aside.mkdir()
            shape = (int(ends[-1]), width)
            states = np.lib.format.open_memmap(aside / _STATES, "w+", np.float32, shape)
            fill(states)
            states.flush()
            np.save(aside / _ENDS, ends)
    except OSError:
        return None
    return _read(place, ends, width)


def _read(place: Path, ends: np.ndarray, width: int) -> Features | None:
    """Return what a folder holds; None if that is not there or not whole."""
    import numpy as np

    try:
        states = np.load(place / _STATES, mmap_mode="r")
        there = np.load(place / _ENDS)
        os.utime(place)
    except (OSError, ValueError, EOFError):
        return None
    whole = states.shape == (ends[-1], width) and np.array_equal(there, ends)
    return Features(states, there) if whole else None


def size(place: Path | None = None) -> int:
    """Return what all that is kept takes, or one folder of it [bytes].

    Example::

        size()  # 230423552
    """
    files = (place or folder()).rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def _make_room(wanted: int) -> None:
    """Delete what was not used for longest until so many bytes more are within the limit."""
    there = sorted(folder().glob("[!.]*"), key=lambda place: place.stat().st_mtime)
    sizes = [size(place) for place in there]
    total = sum(sizes)
    for place, one in zip(there, sizes, strict=True):
        if total + wanted <= limit():
            return
        shutil.rmtree(place, ignore_errors=True)  # who has it mapped keeps what is mapped
        total -= one


def empty() -> int:
    """Delete all that is kept; returns how much that was [bytes].

    Raises:
        UserError: a file cannot be deleted.

    Example::

        empty()  # 230423552
    """
    freed = size() if folder().exists() else 0
    try:
        atomic.remove(folder())
    except OSError as error:
        raise UserError(
            f"cannot delete {folder()}: {error.strerror or error} (delete it by hand)"
        ) from error
    return freed
