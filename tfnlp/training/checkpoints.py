"""Checkpoints that survive a kill: written aside, hashed, synced to disk, then renamed.

A checkpoint is a folder that holds what ``tf.train.Checkpoint`` writes, ``state.json`` and
``manifest.json`` with the SHA-256 of the other files. One that does not match its manifest is
passed over for the one before.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from pipelines.atomic import replacing_path
from pipelines.checksums import sha256
from pipelines.errors import UserError, reason
from pipelines.json_files import read_json

PREFIXES = ("step-", "best-")  # what the names of checkpoints begin with


def write(folder: Path, variables: Sequence[tf.Variable], state: dict[str, Any]) -> None:
    """Write a checkpoint; a kill at any moment leaves none or a whole one.

    Args:
        folder: where it will stand; an older one with that name is replaced.
        variables: what is saved, in a fixed order.
        state: JSON values saved with them.

    Raises:
        UserError: the disk is full or the folder cannot be written.

    Example::

        write(run / "checkpoints" / "step-40", values_of(network.variables), {"epoch": 1})
    """
    try:
        with replacing_path(folder, sync=True) as aside:
            aside.mkdir(parents=True)
            _checkpoint(variables).write(str(aside / "variables"))
            (aside / "state.json").write_text(json.dumps(state), "utf-8")
            manifest = {file.name: sha256(file) for file in sorted(aside.iterdir())}
            (aside / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    except (OSError, tf.errors.OpError) as error:
        raise UserError(
            f"cannot write the checkpoint {folder}: {reason(error)} (the one before it is kept; "
            "free space there, then resume with --resume)"
        ) from error


def whole(folder: Path) -> bool:
    """Return whether a checkpoint's files are all there and as they were written.

    Example:
        >>> whole(Path("step-40"))  # there is none
        False
    """
    try:
        manifest = read_json(folder / "manifest.json", {"state.json": str})
        files = {file.name for file in folder.iterdir()} - {"manifest.json"}
        return files == set(manifest) and all(sha256(folder / n) == manifest[n] for n in files)
    except (OSError, UserError):
        return False


def newest(parent: Path, prefix: str) -> Path | None:
    """Return the whole checkpoint with the highest number, from ``<prefix><number>`` folders.

    Example::

        restore(newest(run / "checkpoints", "step-"), values_of(network.variables))
    """
    return next((f for f in reversed(listed(parent, prefix)) if whole(f)), None)


def listed(parent: Path, prefix: str) -> list[Path]:
    """List ``<prefix><number>`` folders by increasing number.

    Example:
        >>> for name in ("step-9", "step-10", "best-1"):
        ...     Path("run", name).mkdir(parents=True)
        >>> [folder.name for folder in listed(Path("run"), "step-")]
        ['step-9', 'step-10']
    """
    if not parent.is_dir():
        return []
    found = [f for f in parent.iterdir() if f.name.startswith(prefix)]
    return sorted(
        (f for f in found if f.name.removeprefix(prefix).isdigit()),
        key=lambda f: int(f.name.removeprefix(prefix)),
    )


def read_state(folder: Path) -> dict[str, Any]:
    """Return the JSON values of a checkpoint.

    Example::

        read_state(run / "checkpoints" / "step-40")["epoch"]  # 1
    """
    state: dict[str, Any] = read_json(folder / "state.json", constants=True)
    return state


def restore(folder: Path, variables: Sequence[tf.Variable]) -> None:
    """Set the variables, in the order in which they were written.

    Raises:
        UserError: the checkpoint holds other variables.

    Example::

        restore(run / "checkpoints" / "step-40", values_of(network.variables))
    """
    try:
        _checkpoint(variables).read(str(folder / "variables")).assert_consumed()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        raise UserError(
            f"the checkpoint {folder} is of another model; start a new run without --resume"
        ) from error


def count(folder: Path) -> int:
    """Return how many variables a checkpoint holds.

    Example::

        count(run / "checkpoints" / "step-40")  # 310
    """
    names = (name for name, _ in tf.train.list_variables(str(folder / "variables")))
    return sum(name.startswith("variable_") for name in names)


def drop(parent: Path, kept: set[str]) -> None:
    """Delete the checkpoints in ``parent`` whose names are not in ``kept``.

    Other folders, such as those of a strategy's further fits, stay.

    Example:
        >>> Path("runs", "best-0").mkdir(parents=True)
        >>> Path("runs", "best-1").mkdir()
        >>> drop(Path("runs"), {"best-1"})
        >>> [folder.name for folder in listed(Path("runs"), "best-")]
        ['best-1']
    """
    for folder in parent.iterdir():
        if folder.name.startswith(PREFIXES) and folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)


def checksum(weights: Sequence[Any]) -> str:
    """Return a checksum of the values of Keras's weights, in their order.

    Example::

        checksum(network.weights)  # "8f2a00c1"
    """
    found = 0
    for weight in weights:
        found = zlib.crc32(weight.numpy().tobytes(), found)
    return f"{found:08x}"


def _checkpoint(variables: Sequence[tf.Variable]) -> tf.train.Checkpoint:
    """Hold the variables under their place."""
    return tf.train.Checkpoint(**{f"variable_{i:05}": v for i, v in enumerate(variables)})
