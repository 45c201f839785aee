"""An experiment with other settings: the flags of a command line put in place of what it gave."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.errors import UserError
from tfnlp import extensions
from tfnlp.cli import arguments
from tfnlp.cli.arguments import CHOSEN, NONE, Begun
from tfnlp.config import Experiment
from tfnlp.extensions import ENTRIES
from tfnlp.options import Parser, flag_of, meant

# Whatever a trial has of these is the study's to say.
_RESERVED = ("config", "export", "name", "saved_models", "tensorboard_logs")


@dataclass(frozen=True)
class Given:
    """What a command line or a call gave, from which experiments with other settings are made.

    Attributes:
        begun: the experiment's beginning.
        flags: value by destination.

    Example::

        Given(begun, flags).vary({"learning_rate": 3e-5, "peft": "bitfit"}).peft.name  # "bitfit"
    """

    begun: Begun
    flags: Mapping[str, Any]

    def experiment(self) -> Experiment:
        """Return the experiment that was asked for."""
        return arguments.finish(self.begun, self.flags)

    def vary(self, settings: Mapping[str, Any]) -> Experiment:
        """Return the experiment with these settings in place of those that were given.

        Args:
            settings: by the flag's words with ``_``, a value of its type; None is its default,
                not what ``--config`` says. An option of an entry bears the entry's name, as its
                flag does.

        Raises:
            UserError: there is no such setting, or the value cannot be used.
        """
        chosen = {k: v for k, v in settings.items() if k in CHOSEN}
        no_entry = {k: NONE for k, v in chosen.items() if v is None and k in ENTRIES}
        names = vars(self.begun.given) | chosen | no_entry
        if isinstance(names["augment"], str):
            names["augment"] = [names["augment"]]
        begun = arguments.begin(argparse.Namespace(**names), self.begun.place)
        parser = Parser(add_help=False)
        arguments.add_options(parser, begun)
        keys = destinations(parser)
        flags = dict(self.flags)
        for name, value in settings.items():
            if name in _RESERVED:
                raise UserError(f"{name!r} cannot be varied: each trial has its own")
            if name not in keys:
                if owner := _owner(name):
                    raise UserError(
                        f"{name} is an option of --{owner[0]} {owner[1]}, which is not chosen "
                        f"(give it, or vary {owner[0]} too)"
                    )
                near = meant(f"--{name}", [f"--{key.replace('_', '-')}" for key in keys])
                hint = f"; did you mean {near[2:].replace('-', '_')!r}?" if near else ""
                raise UserError(f"there is no setting {name!r} to vary{hint}")
            if value is None:
                flags.pop(keys[name], None)
                begun = dataclasses.replace(begun, file=_without(begun.file, keys[name]))
            else:
                flags[keys[name]] = value
        return arguments.finish(begun, {k: v for k, v in flags.items() if k not in CHOSEN})


def _owner(name: str) -> tuple[str, str] | None:
    """Return the section and the name of the entry that has an option, if one has."""
    for section, record in ENTRIES.items():
        for entry in extensions.names(record):
            fields = dataclasses.fields(extensions.load(record, entry).options)
            flags = [
                flag_of(each, f"{entry.replace('_', '-')}-")
                for each in fields
                if "flag" in each.metadata
            ]
            if f"--{name.replace('_', '-')}" in flags:
                return section, entry
    return None


def _without(file: Mapping[str, Any], destination: str) -> Mapping[str, Any]:
    """Return a file's values without that of a destination, such as ``peft:lora.rank``."""
    place, _, name = destination.rpartition(".")
    if not place:
        return {key: value for key, value in file.items() if key != name}
    section, _, entry = place.partition(":")
    held = file.get(section)
    if isinstance(held, Mapping):
        return {**file, section: {k: v for k, v in held.items() if k != name}}
    if isinstance(held, list):  # of augmenters
        kept = [
            {k: v for k, v in one.items() if one.get("name") != entry or k != name} for one in held
        ]
        return {**file, section: kept}
    return file


def destinations(parser: Parser) -> dict[str, str]:
    """Return by keyword where its value arrives: that of each flag, and options that are dicts.

    Example::

        destinations(parser)["learning_rate"]  # "optimizer.learning_rate"
    """
    found: dict[str, str] = {}
    for action in parser._actions:
        flag = next((name for name in action.option_strings if name.startswith("--")), "")
        if flag:
            found[flag[2:].replace("-", "_")] = action.dest
    for dest in list(found.values()):  # --column NAME=HEADER, several times, is columns={...}
        found.setdefault(dest.rpartition(".")[2], dest)
    return found
