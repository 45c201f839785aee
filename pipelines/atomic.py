"""Files and folders that are replaced as a whole: written under a hidden name, then renamed.

An exception leaves what was there before. So does a kill, but between the two renames that replace
a folder: then the next writer in the same parent puts the old folder back. What a killed process
left is removed by the next writer there.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TextIO

from pipelines.errors import UserError

_numbers = itertools.count()
_in_use: set[str] = set()  # hidden names that this process writes under
_OF_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
_TAKEN = {errno.ENOTEMPTY, errno.EEXIST}  # another folder stands in its place


class _EnoughError(Exception):
    """Ends a write, so that the old file stays."""


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """Open a UTF-8 text file that takes the place of ``path`` once it is written to the end.

    Devices and pipes, which nothing may replace, are written to directly.

    Raises:
        UserError: nothing can be written there.
    """
    with ExitStack() as stack:
        try:
            if path.is_dir():
                raise IsADirectoryError(None, "it is a folder")
            aside = stack.enter_context(replacing_path(path))
            file = stack.enter_context(aside.open("w", encoding="utf-8", newline=""))
        except OSError as error:
            place = os.path.realpath(path)
            raise UserError(
                f"cannot write {place}: {error.strerror} (choose another place)"
            ) from error
        yield file


@contextmanager
def replacing_path(path: Path, *, sync: bool = False) -> Iterator[Path]:
    """Yield a free name at which to write a file or a folder that then takes the place of ``path``.

    A link stays a link: what it points to is replaced. A new file has the mode of the old one. Of
    a device or pipe the name is its own. A folder that is replaced stays until the new one is
    complete.

    Args:
        path: a file or folder that is there, or not yet; its parent is there when the body ends.
        sync: have the disk hold the new one before it takes its place.

    Raises:
        OSError: the new one cannot take its place.
    """
    path = Path(os.path.realpath(path))
    if _is_special(path):
        yield path
        return
    with hidden(path.parent) as aside:
        with _named(aside, path):
            yield aside
        if sync:
            for written in [*aside.rglob("*"), aside]:
                _sync(written)
        _place(aside, path)
        if sync:
            _sync(path.parent)


@contextmanager
def _named(aside: Path, path: Path) -> Iterator[None]:
    """Let an error of the disk name the file that a user knows; `write` itself names none."""
    try:
        yield
    except OSError as error:
        unnamed = not error.filename or str(error.filename).startswith(str(aside))
        if error.errno in _OF_DISK and unnamed:
            error.filename = str(path)
        raise


def check_place(path: Path) -> None:
    """Refuse a place where `replacing` cannot write, and change nothing there.

    Raises:
        UserError: nothing can be written there.

    Example::

        check_place(Path("answers.jsonl"))
    """
    with suppress(_EnoughError), replacing(path):
        raise _EnoughError


def probe(folder: Path) -> None:
    """Raise OSError if nothing can be written in a folder."""
    with hidden(folder) as aside:
        aside.mkdir()


def write_text(path: Path, text: str) -> None:
    """Replace a file by one with this text, in UTF-8.

    Raises:
        OSError: it cannot be written.
    """
    with replacing_path(path) as aside:
        aside.write_text(text, "utf-8")


def add_version(parent: Path, write: Callable[[Path], None]) -> Path:
    """Write a folder whose name is the whole number after the highest one in ``parent``.

    Args:
        parent: the folder of versions; it is there.
        write: makes the folder that it is given the name of.

    Returns:
        The new version's folder.

    Raises:
        OSError: it cannot be written.
    """
    with hidden(parent) as aside:
        write(aside)
        while True:
            taken = [int(f.name) for f in parent.iterdir() if f.name.isdecimal()]
            version = parent / str(max(taken, default=0) + 1)
            try:
                return aside.rename(version)
            except OSError as error:
                if error.errno not in _TAKEN:  # else another process took the number
                    raise


@contextmanager
def hidden(folder: Path) -> Iterator[Path]:
    """Yield a free hidden name in a folder; what is written there and not renamed is removed.

    What processes left there that were killed is removed first. The name does not hold that of
    what is written, by which TensorBoard, say, would take it for a complete file.
    """
    _clear(folder)
    host, process = socket.gethostname(), os.getpid()
    aside = folder / f".tfnlp-new-{host}-{process}-{next(_numbers)}"
    _in_use.add(aside.name)
    try:
        yield aside
    finally:
        with suppress(OSError):
            remove(aside)
        _in_use.discard(aside.name)


def _place(aside: Path, path: Path) -> None:
    """Rename a file or folder into its place."""
    if not aside.is_dir():
        if path.is_file():
            shutil.copymode(path, aside)
        aside.replace(path)
        return
    old = aside.with_name(f"{aside.name.replace('new', 'old', 1)}-{path.name}")
    _in_use.add(old.name)
    placed = False
    try:
        while not placed:
            if path.is_dir():
                with suppress(FileNotFoundError):  # another process has moved it
                    path.rename(old)
            try:
                aside.rename(path)
                placed = True
            except OSError as error:
                # The error says it; the folder may be gone again, moved by yet another process.
                if error.errno not in _TAKEN:
                    raise
                remove(old)  # another process was quicker: its folder is replaced
    finally:
        if not placed and old.exists():
            _put_back(old, path)
        shutil.rmtree(old, ignore_errors=True)
        _in_use.discard(old.name)


def _put_back(old: Path, path: Path) -> None:
    """Rename a folder to the name that it had, unless another one stands there now."""
    try:
        old.rename(path)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise


def _clear(folder: Path) -> None:
    """Remove what killed processes of this machine left, and put back what was to be replaced."""
    host = re.escape(socket.gethostname())
    name = re.compile(rf"\.tfnlp-(?:new|old)-{host}-(\d+)-\d+(?:-(?P<old>.+))?", re.DOTALL)
    for left in folder.glob(".tfnlp-*"):
        found = name.fullmatch(left.name)
        if found is None or _is_written(left.name, int(found[1])):
            continue
        with suppress(OSError):  # another process may do the same
            if found["old"] and not (folder / found["old"]).exists():
                left.rename(folder / found["old"])
            else:
                remove(left)


def _is_written(name: str, process: int) -> bool:
    """Return whether a process still writes under a hidden name."""
    if process == os.getpid():  # in a container each process may have the number of the last one
        return name in _in_use
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def _is_special(path: Path) -> bool:
    """Return whether a device or a pipe is there.

    One look: another process may replace a folder between the answers to two questions.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def remove(path: Path) -> None:
    """Delete a file or folder that may not be there.

    Example:
        >>> remove(Path("not-there"))
    """
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Have the disk hold a file or a folder's entries."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
