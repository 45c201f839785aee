"""Where a Beam job reads and writes: files, shards and models in any file system Beam knows."""

from __future__ import annotations

import io
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from pipelines.errors import UserError, reason
from pipelines.files.formats import Format, format_of
from tfnlp.inference.saved_model import find_model

SERVERS = ("http://", "https://", "grpc://", "grpcs://")
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".deflate")


def remote(address: str) -> bool:
    """Return whether an address is outside the file system, such as gs://bucket/model.

    Example::

        remote("gs://bucket/model"), remote("saved_models/trec")  # True, False
    """
    return "://" in address


@contextmanager
def reachable(address: str) -> Iterator[Path]:
    """Give a SavedModel's folder on this machine; one at an address is copied for as long.

    Args:
        address: what `find_model` takes, or an address of a file system that Beam knows.

    Raises:
        UserError: there is no SavedModel.

    Example::

        with reachable("gs://bucket/model") as folder:
            saved = saved_model.opened(folder)
    """
    if not remote(address) or address.startswith(SERVERS):
        yield find_model(address)
        return
    with tempfile.TemporaryDirectory(prefix="tfnlp-") as folder:
        fetch(address, Path(folder))
        yield find_model(folder)


def fetch(address: str, folder: Path) -> None:
    """Copy all files below an address into a folder.

    Raises:
        UserError: there are none, or they cannot be read.

    Example::

        fetch("gs://bucket/model", Path("model"))
    """
    root = address.rstrip("/")
    for path in _matching(f"{root}/**"):
        target = folder / path.removeprefix(root).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        with _stream(path, CompressionTypes.UNCOMPRESSED) as file, target.open("wb") as copy:
            shutil.copyfileobj(file, copy)
    if not any(folder.iterdir()):
        raise UserError(f"there is no model at {address}")


def _matching(pattern: str) -> dict[str, float]:
    """Return the files that match a pattern, and when each was written."""
    here = "" if "/" in pattern else "./"  # without a folder Beam finds nothing
    try:
        found = FileSystems.match([here + pattern])[0].metadata_list
    except Exception as error:  # Beam's own errors and those of its file systems
        raise UserError(f"cannot look for {pattern}: {reason(error)}") from error
    return {f.path.removeprefix(here): f.last_updated_in_seconds for f in found}


@dataclass(frozen=True)
class Output:
    """Where answers go: <prefix>-00000-of-00008<suffix> and so on, bad rows to <prefix>.bad.jsonl.

    Attributes:
        prefix: a path or address without the shard's number.
        suffix: .jsonl, or .jsonl.gz and the like.
        shards: how many files; 0 leaves it to the runner.
        bad: where bad rows go, or None if they are not kept.

    Example::

        Output.of("answers", None, 8, True).prefix  # answers-00000-of-00008.jsonl and so on
    """

    prefix: str
    suffix: str
    shards: int
    bad: str | None

    @classmethod
    def of(cls, path: str, form: str | None, shards: int | None, keep_bad: bool) -> Output:
        """Plan the files of a sharded run.

        Args:
            path: how their names begin, perhaps with .jsonl and a compression's suffix.
            form: the format that the user asks for.
            shards: how many; None leaves it to the runner.
            keep_bad: whether bad rows are kept.

        Raises:
            UserError: the place is a folder, or the format not JSONL.
        """
        packed = next((s for s in _COMPRESSED if path.endswith(s)), "")
        prefix = path.removesuffix(packed)
        asked = form or (prefix[-4:].lstrip(".") if prefix.endswith((".csv", ".tsv")) else "")
        if asked not in ("", "jsonl"):
            raise UserError(
                f"--runner writes JSONL, not {asked}: workers do not know one another's columns"
            )
        prefix = prefix.removesuffix(".jsonl")
        if not prefix or prefix.endswith("/"):
            raise UserError(f"--output {path} is a folder (add how files begin: answers)")
        bad = f"{prefix}.bad.jsonl" if keep_bad else None
        return cls(prefix, f".jsonl{packed}", shards or 0, bad)

    def make_room(self) -> None:
        """Make the folder; raises UserError if nothing can be written there."""
        if remote(self.prefix):
            return
        folder = Path(self.prefix).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise UserError(
                f"cannot write {self.prefix}: {reason(error)} (choose another place)"
            ) from error

    def files(self) -> dict[str, float]:
        """Return the shards that are there, of this run or others, and when each was written."""
        shard = re.compile(rf".*-\d{{5,}}-of-\d{{5,}}{re.escape(self.suffix)}")
        found = _matching(f"{self.prefix}-*-of-*{self.suffix}")
        return {path: time for path, time in found.items() if shard.fullmatch(path)}

    def tidy(self, before: Mapping[str, float]) -> list[str]:
        """Remove the shards of an earlier run, and the file of bad rows if there are none.

        Args:
            before: `files` before the run.

        Returns:
            The shards of this run, in order.
        """
        now = self.files()
        old = [path for path in before if now.get(path) == before[path]]
        if self.bad:
            written = FileSystems.match([self.bad])[0].metadata_list
            old += [file.path for file in written if not file.size_in_bytes]
        if old:
            FileSystems.delete(old)
        return sorted(now.keys() - set(old))


def files_of(pattern: str, output: Output) -> list[str]:
    """Return the files to be answered, in order.

    Raises:
        UserError: there are none, or the answers would replace them.

    Example::

        files_of("gs://bucket/texts-*.jsonl", output)
    """
    files = sorted(_matching(pattern))
    if not files:
        raise UserError(f"there is no file {pattern} (check the path)")
    own = set(files) & {*output.files(), output.bad}
    if own:
        raise UserError(
            f"--output {output.prefix} would replace {min(own)}, which is to be answered (choose "
            "another place, or a pattern without it)"
        )
    return files


def form_of(path: str, told: Format | None) -> Format:
    """Return a file's format: as asked for, or by its suffix, before that of a compression.

    Example::

        form_of("rows.csv.bz2", None)  # "csv"
    """
    packed = next((s for s in _COMPRESSED if path.endswith(s)), "")
    return told or format_of(Path(path.removesuffix(packed)))


class _Unpacked(io.RawIOBase):
    """Beam's decompressed files as Python's own are, for a BufferedReader."""

    def __init__(self, file: Any, path: str) -> None:
        self._file = file
        self._path = path

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._file.read(len(buffer))
        except Exception as error:  # each decompressor has errors of its own
            raise UserError(f"{self._path} cannot be unpacked: {reason(error)}") from None
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def opened(path: str) -> BinaryIO:
    """Open a file, decompressed unless `pipelines.files.formats` gunzips it.

    Raises:
        UserError: it cannot be read.

    Example::

        with opened("gs://bucket/rows.csv.bz2") as file:
            file.readline()
    """
    packed = not path.endswith(".gz") and path.endswith(_COMPRESSED)
    how = CompressionTypes.AUTO if packed else CompressionTypes.UNCOMPRESSED
    file = _stream(path, how)
    return cast(BinaryIO, io.BufferedReader(_Unpacked(file, path)) if packed else file)


def _stream(path: str, compression: str) -> Any:
    """Open a file of any file system; raises UserError if it cannot be read."""
    try:
        return FileSystems.open(path, compression_type=compression)
    except Exception as error:  # Beam's own errors and those of its file systems
        raise UserError(f"cannot read {path}: {reason(error)}") from error
