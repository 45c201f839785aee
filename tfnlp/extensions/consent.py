"""Who says that modules which a run names may be imported: a run may come from anyone.

Source: `trust_remote_code` of Transformers, which asks the same.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.errors import UserError

_ALL = "TFNLP_TRUST"  # which processes that are started inherit
_trusted: set[Path] = set()


def give(folder: Path) -> None:
    """Trust the modules that the runs and SavedModels below a folder name.

    Example::

        give(Path("tensorboard_logs/irony/20261125-170635"))
    """
    _trusted.add(folder.resolve())


def add_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--trust`` to a command that loads runs.

    Example::

        add_flag(parser)
        parser.parse_args(["--trust"])
    """
    parser.add_argument(
        "--trust",
        action=_Trust,
        nargs=0,
        default=argparse.SUPPRESS,
        help="import the modules of your own, or of others, that a run was trained with",
    )


class _Trust(argparse.Action):
    def __call__(self, *_: Any) -> None:
        os.environ[_ALL] = "1"


def check(values: Mapping[str, Any], file: Path) -> None:
    """Raise UserError if an experiment names a module that nobody has consented to.

    What was imported before, such as by its name on the command line, has run already.

    Args:
        values: the experiment's, as ``experiment.yaml`` holds them.
        file: where they stand.

    Example:
        >>> check({"task": {"name": "ner"}}, Path("experiment.yaml"))
    """
    place = file.resolve()
    if os.environ.get(_ALL) or any(place.is_relative_to(folder) for folder in _trusted):
        return
    for section, name in modules(values):
        if name not in sys.modules:
            raise UserError(
                f"{file} names the {section} {name!r}, a module that is not tfnlp's: loading it "
                "runs its code; if you trust it, add --trust (Python: trust=True)"
            )


def modules(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the modules that an experiment names and that are not tfnlp's, with their sections.

    Example:
        >>> modules({"task": {"name": "mypackage.irony"}, "peft": {"name": "lora"}})
        [('task', 'mypackage.irony')]
    """
    return [(section, name) for section, name in _named(values) if "." in name]


def _named(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Return the tasks and entries that an experiment names, each with its section."""
    augment = values.get("augment")
    sections = [(key, values.get(key)) for key in ("task", "strategy", "peft")]
    sections += [("augmenter", one) for one in (augment if isinstance(augment, list) else ())]
    for section, given in sections:
        name = given.get("name") if isinstance(given, Mapping) else given
        if isinstance(name, str):
            yield section, name
