"""Entries that a command line names, such as ``--by occlusion``, and their own flags."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tfnlp import extensions
from tfnlp.cli.arguments import Plugged
from tfnlp.options import Parser, add_flags, make


def named(argv: list[str], flag: str) -> list[str]:
    """Return what a flag names on a command line, each once, before the line is parsed as a whole.

    An entry's own flags are known only after that.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument(flag, action="append", default=[], dest="names")
    try:
        return list(dict.fromkeys(first.parse_known_args(argv)[0].names))
    except argparse.ArgumentError:  # no name after the flag: the parser of all flags says so
        return []


def add(parser: Parser, record: type, names: Sequence[str]) -> list[Plugged]:
    """Load entries and add their flags to a parser.

    Args:
        parser: of the command.
        record: the kind of entry, such as `tfnlp.extensions.Explanation`.
        names: the entries'.

    Raises:
        UserError: there is no such entry.
    """
    kind = record.__name__.lower()
    found = [Plugged(kind, name, extensions.load(record, name)) for name in names]
    for entry in found:
        if dataclasses.fields(entry.record.options):
            title = f"{kind} {entry.name}: {entry.record.summary}"
            add_flags(parser, entry.key, entry.record.options, title, prefix=entry.prefix)
    return found


def options(entry: Plugged, flags: Mapping[str, Any]) -> Any:
    """Return an entry's options as the flags set them."""
    start = f"{entry.key}."
    values = {key.removeprefix(start): v for key, v in flags.items() if key.startswith(start)}
    return make(entry.record.options, values, "the command line")
