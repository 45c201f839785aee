"""The folder of a deployment: written whole or not at all, and nothing of the user's is lost."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from pathlib import Path

from pipelines.atomic import replacing_path, write_text
from pipelines.errors import UserError, reason
from tfnlp.deployment.filling import plain

MARKER = ".tfnlp-deploy.json"  # the files that were written, with their SHA-256


def place(files: Mapping[str, str], out: Path, force: bool) -> Path | None:
    """Write files as a folder, in place of the one that an earlier call wrote.

    Args:
        files: texts by path in the folder.
        out: the folder.
        force: a folder with other or changed files may be there; it is kept under another name.

    Returns:
        Where that folder is now; None if there was none.

    Raises:
        UserError: it is in the way, or the folder cannot be written.

    Example:
        >>> place({"config/models.config": "model_config_list {}"}, Path("deploy"), force=False)
        >>> Path("deploy", "config", "models.config").read_text()
        'model_config_list {}'
    """
    out = plain(out)
    kept = in_the_way(out, force)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing_path(out) as aside:
            _write(aside, files)
            if kept:
                out.rename(kept)
    except OSError as error:
        if kept and kept.exists() and not out.exists():
            kept.rename(out)
        raise UserError(
            f"cannot write {out}: {reason(error)} (choose another place with --output)"
        ) from error
    return kept


def in_the_way(out: Path, force: bool) -> Path | None:
    """Return where a folder that must be kept is to go; None if there is nothing to keep.

    Args:
        out: the folder.
        force: as of `place`.

    Raises:
        UserError: it may not be replaced.

    Example:
        >>> in_the_way(Path("nothing-there"), force=False) is None
        True
    """
    out = plain(out)
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UserError(f"{out} is a file or a link, not a folder (choose another with --output)")
    if not out.is_dir() or not (fault := _foreign(out)):
        return None
    if Path.cwd().resolve().is_relative_to(out.resolve()):
        raise UserError(
            f"{out.resolve()} is where this command runs (choose a new folder with --output)"
        )
    if not force:
        raise UserError(
            f"{out} {fault} (choose another place with --output, or keep it under another name "
            "with --force)"
        )
    names = (out.with_name(f"{out.name}.before-{number}") for number in itertools.count(1))
    return next(name for name in names if not name.exists())


def _foreign(out: Path) -> str:
    """Return what is in a folder that this module did not write there; "" if nothing is."""
    there = {str(path.relative_to(out)) for path in out.rglob("*") if not path.is_dir()}
    if not there:
        return ""
    try:
        known = json.loads((out / MARKER).read_text("utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return "is there and was not written by tfnlp.deploy"
    other = sorted(there - known.keys() - {MARKER})
    if other:
        return f"holds a file that tfnlp.deploy did not write: {other[0]}"
    changed = [name for name in sorted(there - {MARKER}) if _hash(out / name) != known[name]]
    return f"holds a file that was changed since: {changed[0]}" if changed else ""


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Write a folder and its marker."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8", newline="\n")
    hashes = {name: _hash(folder / name) for name in sorted(files)}
    (folder / MARKER).write_text(json.dumps({"files": hashes}, indent=1) + "\n", "utf-8")


def _hash(path: Path) -> str:
    """Return a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def into_model(path: Path, text: str, force: bool) -> None:
    """Write a file into a version's folder, whole or not at all.

    Args:
        path: the file.
        text: what it is to hold.
        force: another one may be there; it is replaced.

    Raises:
        UserError: another one is there, or it cannot be written.

    Example::

        into_model(Path("saved_models/trec/1/batching_params.pbtxt"), parameters, force=False)
    """
    try:
        if path.exists() and path.read_text("utf-8", "replace") != text and not force:
            raise UserError(f"{path} is there already, with other values (--force replaces it)")
        write_text(path, text)
    except OSError as error:
        raise UserError(f"cannot write {path}: {reason(error)}") from error
