"""A folder is a registry: every module in it that does not start with ``_`` is an entry.

The entries' modules are loaded with their heavy imports deferred, so that ``--help`` can read a
task's options without waiting for TensorFlow: inside :func:`load`, ``import tensorflow as tf``
binds a module that is executed at the first use of one of its attributes.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from pipelines.errors import UserError

# Imports that cost more than a few milliseconds, and our own modules that import these.
_DEFERRED = ("tensorflow", "tensorflow_text", "tensorflow_datasets", "keras", "keras_hub", "numpy")
_DEFERRED_PARENTS = ("tfnlp.heads.", "pipelines.")
_PLAIN = ("pipelines.errors", "pipelines.discover", "pipelines.rows", "pipelines.datasets")


class _DeferringFinder:
    """Finds modules as Python does, but executes the heavy ones at first use."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a deferred spec for a heavy module, None for every other."""
        heavy = name in _DEFERRED or (name.startswith(_DEFERRED_PARENTS) and name not in _PLAIN)
        if not heavy:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


@contextmanager
def deferred_imports() -> Iterator[None]:
    """Defer the heavy imports met inside the ``with`` block until they are used."""
    sys.meta_path.insert(0, _DeferringFinder)
    try:
        yield
    finally:
        sys.meta_path.remove(_DeferringFinder)


def names(package: str) -> list[str]:
    """List a registry's entries, sorted, with hyphens for underscores; imports none of them."""
    spec = importlib.util.find_spec(package)
    locations = spec.submodule_search_locations if spec else None
    found = pkgutil.iter_modules(locations or [])
    return sorted(m.name.replace("_", "-") for m in found if not m.name.startswith("_"))


def load(package: str, name: str, what: str) -> ModuleType:
    """Import an entry of a registry, or an outsider's module by its dotted name.

    Args:
        package: the registry's package, such as ``tfnlp.tasks``.
        name: an entry's name, with hyphens or underscores, or ``mypackage.mymodule``.
        what: what an entry is called in messages, such as ``task``.

    Raises:
        UserError: no entry and no module has that name.
    """
    entry = name.replace("-", "_")
    if "." not in name and entry.replace("_", "-") not in names(package):
        near = difflib.get_close_matches(name.replace("_", "-"), names(package), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"there is no {what} {name!r}; {hint}there are: {', '.join(names(package))}")
    dotted = name if "." in name else f"{package}.{entry}"
    with deferred_imports():
        try:
            return importlib.import_module(dotted)
        except ModuleNotFoundError as error:
            if error.name is None or not dotted.startswith(error.name):
                raise
            raise UserError(
                f"cannot import the {what} {name!r}: no module named {error.name!r} on the "
                "Python path (run from the folder that holds it, or set PYTHONPATH)"
            ) from error
