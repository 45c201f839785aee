"""The experiment that a command line describes: defaults, then ``--config``, then flags."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from typing import Any

from pipelines import discover
from pipelines.errors import UserError
from pipelines.rows import Column
from tfnlp import config, task
from tfnlp.config import SECTIONS, Experiment
from tfnlp.options import Parser, add_flags
from tfnlp.task import Task

DEFAULT_TASK = "classification"


def parse(argv: list[str], parser: Parser) -> tuple[Experiment, dict[str, Any]]:
    """Read an experiment from the command line.

    Args:
        argv: the command's arguments.
        parser: the command's own parser; the experiment's options are added to it.

    Returns:
        The experiment, and the values of the parser's own options.
    """
    first = Parser(add_help=False)
    first.add_argument("--task")
    first.add_argument("--config")
    given, _ = first.parse_known_args(argv)
    file = config.read_yaml(given.config) if given.config else {}
    name = given.task or dict(file.get("task") or {}).get("name") or DEFAULT_TASK
    chosen = task.load(str(name))
    own = {action.dest for action in parser._actions}
    _add_options(parser, str(name), chosen)
    flags = vars(parser.parse(argv))
    values = _merge(file, str(name), flags, chosen)
    experiment = config.from_values(values, chosen.options, given.config or "the command line")
    return experiment, {key: flags[key] for key in own if key in flags}


def _add_general(parser: Parser) -> None:
    """Add the options that are no section's."""
    tasks = discover.names("tfnlp.tasks")
    parser.add_argument(
        "--task",
        metavar="TASK",
        help=f"what to learn: {', '.join(tasks)}, or your own module such as mypackage.irony "
        f"(default: {DEFAULT_TASK})",
    )
    parser.add_argument(
        "--config", metavar="FILE", help="experiment.yaml to start from; flags win over it"
    )
    parser.add_argument(
        "--name", metavar="NAME", help="file runs and SavedModels under this (default: DATA-TASK)"
    )
    parser.add_argument(
        "--seed", type=int, metavar="INT", help="where every random choice starts (default: 42)"
    )


def _add_options(parser: Parser, name: str, chosen: Task) -> None:
    """Add every option of an experiment with this task."""
    _add_general(parser)
    add_flags(parser, "task", chosen.options, f"task {name}: {chosen.summary}")
    for section, kind in SECTIONS.items():
        group = add_flags(parser, section, kind, f"{section}: {kind.__doc__}")
        if section == "data":
            for column in _all_columns(chosen):
                group.add_argument(
                    f"--{column.name.replace('_', '-')}-column",
                    dest=f"column.{column.name}",
                    default=argparse.SUPPRESS,
                    metavar="HEADER",
                    help=f"the file's column that holds {column.help}",
                )
    parser.epilog = "Tasks, each with options of its own (--task NAME --help):\n" + "\n".join(
        f"  {entry:<16} {task.load(entry).summary}" for entry in discover.names("tfnlp.tasks")
    )


def _all_columns(chosen: Task) -> list[Column]:
    """Every column that the task can read, whatever its options."""
    plain = chosen.options()
    variants = [plain]
    if hasattr(plain, "pair"):
        variants.append(dataclasses.replace(plain, pair=True))
    found = {c.name: c for v in variants for c in (*chosen.inputs(v), *chosen.targets(v))}
    return list(found.values())


def _merge(file: Mapping[str, Any], name: str, flags: Mapping[str, Any], chosen: Task) -> dict:
    """Put the flags over the file's values."""
    values = {key: dict(v) if isinstance(v, Mapping) else v for key, v in file.items()}
    for section in ("task", *SECTIONS):
        values[section] = values.get(section) or {}
    values["task"]["name"] = name
    headers = dict(values["data"].get("columns") or {})
    for key, value in flags.items():
        section, _, option = key.partition(".")
        if section == "column":
            headers[option] = value
        elif key == "data.columns":
            headers.update(value)
        elif option:
            values[section][option] = value
        elif key in ("name", "seed") and value is not None:
            values[key] = value
    values["data"]["columns"] = headers
    _choose_data(values["data"], flags, chosen, name)
    return values


def _choose_data(data: dict[str, Any], flags: Mapping[str, Any], chosen: Task, name: str) -> None:
    """Settle which data are meant: a flag's over the file's, and the task's own if none."""
    if "data.train" in flags and "data.dataset" not in flags:
        data["dataset"] = None
    if "data.dataset" in flags and "data.train" not in flags:
        data["train"] = data["validation"] = data["test"] = None
    if data.get("train") and data.get("dataset"):
        raise UserError("--train and --dataset are both given; give one of them")
    if not data.get("train") and not data.get("dataset"):
        if chosen.dataset is None:
            raise UserError(f"--task {name} has no example data; give --train FILE or --dataset")
        if data.get("validation") or data.get("test"):
            raise UserError("--validation or --test is given without --train; give --train FILE")
        data["dataset"] = chosen.dataset
