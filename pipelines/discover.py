"""A folder is a registry: every module in it that does not start with ``_`` is an entry.

``--help`` imports the entries it shows, so an entry keeps its heavy imports (TensorFlow, Keras)
inside its functions.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
from types import ModuleType
from typing import TypeVar

from pipelines.errors import UserError

Record = TypeVar("Record")


def names(package: str) -> list[str]:
    """Return the names of a registry's entries, sorted; imports none of them.

    Example:
        >>> "trec" in names("pipelines.datasets")
        True
    """
    spec = importlib.util.find_spec(package)
    locations = spec.submodule_search_locations if spec else None
    modules = pkgutil.iter_modules(locations or [])
    return sorted(m.name for m in modules if not m.name.startswith("_"))


def load(package: str, name: str, what: str) -> ModuleType:
    """Return the module of an entry, or of an outsider by its dotted name, imported.

    Args:
        package: the registry's package, such as ``tfnlp.tasks``.
        name: an entry's name, with hyphens or underscores, or ``mypackage.mymodule``.
        what: what an entry is called in messages, such as ``task``.

    Raises:
        UserError: no entry and no module has that name.

    Example:
        >>> load("pipelines", "errors", "module").__name__
        'pipelines.errors'
    """
    known = names(package)
    entry = name.replace("-", "_")
    if "." in name:
        dotted = name
    elif entry in known:
        dotted = f"{package}.{entry}"
    else:
        near = difflib.get_close_matches(entry, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"there is no {what} {name!r}; {hint}there are: {', '.join(known)}")
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{dotted}.".startswith(f"{error.name}."):
            raise  # the module is there, what it imports is not
        raise UserError(
            f"cannot import the {what} {name!r}: no module named {error.name!r} on the Python "
            "path (run from the folder that holds it, or set PYTHONPATH)"
        ) from error


def entry(package: str, name: str, record: type[Record]) -> Record:
    """Return what an entry defines: ``STRATEGY``, a Strategy, in ``tfnlp/strategies/gan.py``.

    Args:
        package: the registry's package.
        name: the entry's, as :func:`load` takes it.
        record: what an entry is; its name in capitals is what the module must define.

    Raises:
        UserError: there is no such entry, or its module does not define it.

    Example::

        entry("tfnlp.strategies", "gan", Strategy).summary
    """
    module = load(package, name, record.__name__.lower())
    defined = getattr(module, record.__name__.upper(), None)
    if not isinstance(defined, record):
        raise UserError(
            f"the module {module.__name__} defines no {record.__name__.upper()} "
            f"(a {record.__module__}.{record.__name__})"
        )
    return defined
