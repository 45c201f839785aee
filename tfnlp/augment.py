"""python -m tfnlp.augment: write training rows with those that augmenters make of them."""

from __future__ import annotations

import argparse
import sys

from pipelines import discover
from pipelines.errors import UserError
from tfnlp import extensions, task
from tfnlp.api import augmenting
from tfnlp.api.augmenting import Options
from tfnlp.cli import arguments, console, entries
from tfnlp.config import Entry
from tfnlp.extensions import Augmenter, consent
from tfnlp.extensions.augmenting import check
from tfnlp.options import Parser, add_flags, make, values_of
from tfnlp.runtime import exit_status


def main(argv: list[str]) -> int:
    """Augment the file that the arguments name."""
    parser = Parser(
        prog="python -m tfnlp.augment",
        description="Write a file of rows, and after them rows that are made of them with the same "
        "targets: for\ntraining only, after validation and test rows were set aside (name those: "
        "--held-out).",
    )
    parser.add_argument(
        "--task",
        metavar="TASK",
        default=arguments.DEFAULT_TASK,
        help=f"what the rows are for: {', '.join(discover.names('tfnlp.tasks'))}, or your own "
        f"module (default: {arguments.DEFAULT_TASK})",
    )
    parser.add_argument(
        "--augment",
        metavar="AUGMENTER",
        action="append",
        help=f"how rows are made: {', '.join(extensions.names(Augmenter))}, or your own module; "
        "may be repeated (--augment NAME --help shows its options)",
    )
    consent.add_flag(parser)
    name = _task_of(argv)
    chosen = task.load(name)
    add_flags(parser, "task", chosen.options, f"task {name}: {chosen.summary}")
    group = add_flags(parser, "options", Options, "rows")
    arguments.add_column_flags(group, arguments.columns_of(chosen))
    named = entries.named(argv, "--augment")
    plugged = entries.add(parser, Augmenter, named)
    flags = vars(parser.parse(argv))
    values = values_of(flags, "options")
    values["columns"] = {**values.get("columns", {}), **values_of(flags, "column")}
    options = make(Options, values, "the command line")
    for flag, value in (("input", options.input), ("output", options.output), ("augment", named)):
        if not value:
            raise UserError(f"--{flag} is missing (see --help)")
    settings = make(chosen.options, values_of(flags, "task"), "the command line")
    made = [Entry(entry.name, entries.options(entry, flags)) for entry in plugged]
    check(name, chosen, settings, made)
    done = augmenting.augment(chosen, settings, made, options)
    console.line(f"{options.output}: {done.originals} rows of {options.input}")
    for augmenter, count in done.made.items():
        of = done.originals * options.augment_times
        console.line(f"  {augmenter}: {count} rows made ({of - count} could not be changed)")
    if done.left_out:
        console.line(f"  {done.left_out} rows cannot be used and are left out")
    return 0


def _task_of(argv: list[str]) -> str:
    """Return the task's name before its flags are known."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--task", default=arguments.DEFAULT_TASK)
    try:
        return str(first.parse_known_args(argv)[0].task)
    except argparse.ArgumentError:  # no name after the flag: the parser of all flags says so
        return arguments.DEFAULT_TASK


if __name__ == "__main__":
    sys.exit(exit_status.run(main))
