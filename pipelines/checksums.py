"""Whether files are what was written: weights, facts, vocabularies and the like.

Other values in them would be read without an error, and answer wrongly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from pipelines.files.writers import write_json
from pipelines.json_files import RESTORE, damaged, read_json

FILE = "checksums.json"  # in the folder whose files it names


def write(folder: Path, names: Iterable[str]) -> None:
    """Keep the SHA-256 of files, and of all files in folders.

    Args:
        folder: gets ``checksums.json``.
        names: of what is in it; what is not there is left out.

    Example::

        write(run / "model", ["facts.json", "tokenizer"])
    """
    found = {}
    for name in names:
        there = folder / name
        files = sorted(there.rglob("*")) if there.is_dir() else [there]
        for file in files:
            if file.is_file():
                found[file.relative_to(folder).as_posix()] = sha256(file)
    write_json(folder / FILE, found)


def check(folder: Path, remedy: str = RESTORE) -> None:
    """Refuse a folder whose files are not those that were written; versions before wrote no sums.

    Raises:
        UserError: a file is missing or another one; it is named, with the remedy.

    Example::

        check(run / "model", "train again")
    """
    if not (folder / FILE).exists():
        return
    for name, wanted in read_json(folder / FILE, remedy=remedy).items():
        file = folder / name
        if not file.is_file():
            raise damaged(file, "it is gone", remedy)
        if sha256(file) != wanted:
            raise damaged(file, "it is not as it was written", remedy)


def sha256(file: Path) -> str:
    """Return a file's SHA-256 in hexadecimal.

    Example::

        sha256(Path("facts.json"))  # "9f86d081884c7d65..."
    """
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
