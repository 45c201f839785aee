"""What there is to choose from, by name."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path

from pipelines import discover
from tfnlp import application, extensions, task
from tfnlp.backbones import entry as backbones
from tfnlp.options import unknown_key


def available(kind: str) -> dict[str, str]:
    """Return the names of what there is of a kind, with what each is, in a line.

    Args:
        kind: ``tasks``, ``backbones``, ``datasets``, ``strategies``, ``peft``, ``augmenters``,
            ``explanations``, ``audits``, ``studies``, ``trackers`` or ``applications``.

    Returns:
        By name, as ``fit`` and the commands take it, its summary.

    Raises:
        UserError: there is no such kind.

    Example:
        >>> available("backbones")["minilm-l6-en"].startswith("BERT, 6 layers")
        True
    """
    unknown_key({kind: None}, list(_KINDS), "tfnlp", "kind")
    return _KINDS[kind]()


def _tasks() -> dict[str, str]:
    return {name: task.load(name).summary for name in discover.names("tfnlp.tasks")}


def _backbones() -> dict[str, str]:
    return {name: backbones.find(name).summary for name in backbones.names()}


def _datasets() -> dict[str, str]:
    """Return the first lines of the data sets' modules, which import TFDS and so are not."""
    spec = importlib.util.find_spec("pipelines.datasets")
    folder = Path(str(spec and spec.origin)).parent
    found = {}
    for name in discover.names("pipelines.datasets"):
        module = ast.parse((folder / f"{name}.py").read_text("utf-8"))
        found[name.replace("_", "-")] = (ast.get_docstring(module) or "").partition("\n")[0]
    return found


def _applications() -> dict[str, str]:
    names = discover.names("tfnlp.applications")
    return {name: application.load(name).summary for name in names}


def _entries(record: type) -> Callable[[], dict[str, str]]:
    """Return what lists the entries of a folder."""

    def listed() -> dict[str, str]:
        names = extensions.names(record)
        return {name: extensions.load(record, name).summary for name in names}

    return listed


_KINDS: Mapping[str, Callable[[], dict[str, str]]] = {
    "tasks": _tasks,
    "backbones": _backbones,
    "datasets": _datasets,
    **{
        package.rpartition(".")[2]: _entries(record)
        for record, package in extensions.PACKAGES.items()
    },
    "applications": _applications,
}
