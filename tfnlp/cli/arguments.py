"""The experiment that a command line describes: defaults, then ``--config``, then flags."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines import discover
from pipelines.errors import UserError
from pipelines.rows import Column
from tfnlp import extensions, task
from tfnlp.config import SECTIONS, Experiment
from tfnlp.extensions import ENTRIES, SUPERVISED, Augmenter, Peft, Strategy, consent
from tfnlp.options import Parser, add_flags, plain, unknown_key
from tfnlp.runs.experiment_yaml import check_sections, from_values, read_yaml, task_name
from tfnlp.task import Task

DEFAULT_TASK = "classification"
SPLITS = ("train", "validation", "test")
CHOSEN = ("task", "config", "strategy", "peft", "augment")  # what decides which options there are
NONE = "none"  # names no entry where a file names one


def parse(argv: list[str], parser: Parser) -> tuple[Experiment, dict[str, Any]]:
    """Return the experiment that a command line describes, and the command's own options.

    Args:
        argv: the command's arguments.
        parser: the command's own parser; the experiment's options are added to it.

    Returns:
        The experiment, and the values of the parser's own options.

    Example::

        experiment, own = parse(["--train", "reviews.csv"], Parser(prog="python -m tfnlp.train"))
        experiment.task  # "classification"
    """
    begun, flags, own = read(argv, parser)
    return finish(begun, flags), own


def read(argv: list[str], parser: Parser) -> tuple[Begun, dict[str, Any], dict[str, Any]]:
    """Read a command line; arguments as of `parse`.

    Returns:
        The experiment's beginning, the values of its flags by destination, and those of the
        parser's own options.

    Example::

        begun, flags, own = read(["--epochs", "3"], Parser())
        finish(begun, flags).training.epochs  # 3
    """
    first = Parser(add_help=False)
    consent.add_flag(first)
    for flag in CHOSEN:
        first.add_argument(f"--{flag}", action="append" if flag == "augment" else "store")
    given, _ = first.parse_known_args(argv)
    begun = begin(given, "the command line")
    consent.add_flag(parser)
    own = {action.dest for action in parser._actions}
    add_options(parser, begun)
    flags = vars(parser.parse(argv))
    return begun, flags, {key: flags[key] for key in own if key in flags}


def from_file(file: str) -> Experiment:
    """Return the experiment that a YAML file describes, as ``--config FILE`` alone does.

    Raises:
        UserError: it cannot be read, or describes none.

    Example::

        from_file("topics.yaml").task  # "classification"
    """
    given = argparse.Namespace(**{**dict.fromkeys(CHOSEN), "config": file})
    return finish(begin(given, file), {})


@dataclass(frozen=True)
class Begun:
    """An experiment of which the task and the entries are known, and so which options there are.

    Attributes:
        place: where values come from, for messages.
        file: what ``--config`` holds.
        name: the task's.
        task: with the defaults of the entries.
        plugged: the entries.
        given: what ``begin`` was given.
    """

    place: str
    file: Mapping[str, Any]
    name: str
    task: Task
    plugged: Sequence[Plugged]
    given: argparse.Namespace


def begin(given: argparse.Namespace, place: str) -> Begun:
    """Return the beginning of an experiment.

    Args:
        given: ``task``, ``config``, ``strategy``, ``peft`` and ``augment``, None where not given.
        place: where they were given, for messages.

    Raises:
        UserError: there is no such task, entry or file, or the file names a module that nobody has
            consented to.

    Example::

        begin(argparse.Namespace(task="ner", config=None, strategy=None, peft=None, augment=None),
              "the command line").task.summary
    """
    for flag in CHOSEN:
        named = getattr(given, flag)
        if named == "" or (isinstance(named, list) and "" in named):
            raise UserError(f"{place}: {flag} must not be empty (name one, or leave it out)")
    place = given.config or place
    file = read_yaml(given.config) if given.config else {}
    check_sections(file, place)
    if given.config:  # what the command line names in place of it is not imported
        loaded = {key: value for key, value in file.items() if not getattr(given, key, None)}
        consent.check(loaded, Path(given.config))
    name = given.task or (task_name(file, place) if file.get("task") else DEFAULT_TASK)
    chosen = task.load(name)
    plugged = _plugged(given, file)
    for entry in plugged:
        chosen = _with_defaults(chosen, entry)
    return Begun(place, file, name, chosen, plugged, given)


def finish(begun: Begun, flags: Mapping[str, Any]) -> Experiment:
    """Return the experiment with these values over those of the file.

    Args:
        begun: its beginning.
        flags: value by destination, as :func:`add_options` names them: ``training.epochs``.

    Raises:
        UserError: a value is out of range, or values contradict one another.

    Example::

        finish(begun, {"training.epochs": 3, "data.train": "reviews.csv"})
    """
    name, chosen = begun.name, begun.task
    values = _merge(begun.file, name, flags, chosen)
    values |= _entries(begun.file, flags, begun.plugged)
    experiment = from_values(values, chosen.options, begun.place)
    known = [column.name for column in columns_of(chosen)]
    unknown_key(experiment.data.columns, known, f"the task {name}", "column")
    return experiment


@dataclass(frozen=True)
class Plugged:
    """An entry that the command line or the file names.

    Attributes:
        section: of experiment.yaml.
        name: the entry's.
        record: what it defines.
    """

    section: str
    name: str
    record: Any

    @property
    def prefix(self) -> str:
        """What its flags begin with, without the hyphens before it."""
        return self.name.rpartition(".")[2].replace("_", "-") + "-"

    @property
    def key(self) -> str:
        """What its flags' values arrive under."""
        return f"{self.section}:{self.name}"


def _plugged(given: argparse.Namespace, file: Mapping[str, Any]) -> list[Plugged]:
    """Return the strategy, the peft method and the augmenters; later ones' defaults win."""
    augmenters = given.augment or [one.get("name") for one in file.get("augment") or ()]
    for name in augmenters:
        if augmenters.count(name) > 1:
            raise UserError(f"the augmenter {name} is named twice (name each once)")
    names = [
        ("strategy", given.strategy or (file.get("strategy") or {}).get("name", SUPERVISED)),
        ("peft", given.peft or (file.get("peft") or {}).get("name")),
        *(("augment", name) for name in augmenters),
    ]
    return [
        Plugged(section, name, extensions.load(ENTRIES[section], name))
        for section, name in names
        if name and name != NONE
    ]


def _entries(
    file: Mapping[str, Any], flags: Mapping[str, Any], plugged: Sequence[Plugged]
) -> dict[str, Any]:
    """Return the sections of what is plugged in: the file's options, and the flags over them."""
    found: dict[str, Any] = {"strategy": None, "peft": None, "augment": []}
    for entry in plugged:
        held = file.get(entry.section) or {}
        several = held if isinstance(held, list) else [held]
        own = next((one for one in several if one.get("name") == entry.name), {})
        given = {
            option: value
            for section, _, option in (key.rpartition(".") for key in flags)
            if section == entry.key
            for value in [flags[f"{section}.{option}"]]
        }
        values = {**own, "name": entry.name, **given}
        if entry.section == "augment":
            found["augment"].append(values)
        else:
            found[entry.section] = values
    return found


def _with_defaults(chosen: Task, entry: Plugged) -> Task:
    """Put an entry's defaults over a task's; options that the task lacks are for its check."""
    both = {section: dict(values) for section, values in chosen.defaults.items()}
    own = {field.name for field in dataclasses.fields(chosen.options)}
    for section, values in getattr(entry.record, "defaults", {}).items():
        known = {n: v for n, v in values.items() if section != "task" or n in own}
        both[section] = {**both.get(section, {}), **known}
    return dataclasses.replace(chosen, defaults=both)


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
        "--strategy",
        metavar="STRATEGY",
        help=f"how to train: {', '.join(extensions.names(Strategy))}, or your own module "
        f"(default: {SUPERVISED}; --strategy NAME --help shows its options)",
    )
    parser.add_argument(
        "--peft",
        metavar="METHOD",
        help=f"train few weights only: {', '.join(extensions.names(Peft))}, or your own module; "
        "none trains them all (--peft NAME --help shows its options)",
    )
    parser.add_argument(
        "--augment",
        metavar="AUGMENTER",
        action="append",
        help=f"add changed training rows: {', '.join(extensions.names(Augmenter))}, or your own "
        "module; may be repeated (--augment NAME --help shows its options)",
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


def add_options(parser: Parser, begun: Begun) -> None:
    """Add every option of an experiment with this task and these entries.

    Example::

        add_options(parser, begun)  # --epochs ..., whose value arrives as training.epochs
    """
    name, chosen, plugged = begun.name, begun.task, begun.plugged
    _add_general(parser)
    title = f"task {name}: {chosen.summary}"
    add_flags(parser, "task", chosen.options, title, chosen.defaults.get("task"))
    for entry in plugged:
        if dataclasses.fields(entry.record.options):
            title = f"{entry.section} {entry.name}: {entry.record.summary}"
            add_flags(parser, entry.key, entry.record.options, title, prefix=entry.prefix)
    for section, kind in SECTIONS.items():
        own = chosen.defaults.get(section)
        group = add_flags(parser, section, kind, f"{section}: {_title(kind)}", own)
        if section == "data":
            add_column_flags(group, columns_of(chosen))
    parser.epilog = "Tasks, each with options of its own (--task NAME --help):\n" + "\n".join(
        f"  {entry:<16} {task.load(entry).summary}" for entry in discover.names("tfnlp.tasks")
    )


def add_column_flags(group: argparse._ArgumentGroup, columns: Sequence[Column]) -> None:
    """Add a flag for each column that names its header; values arrive under ``column.<name>``.

    Example::

        add_column_flags(group, columns_of(task.load("classification")))  # --text-column ...
    """
    for column in columns:
        group.add_argument(
            f"--{column.name.replace('_', '-')}-column",
            dest=f"column.{column.name}",
            default=argparse.SUPPRESS,
            metavar="HEADER",
            help=f"the file's column that holds {column.help}",
        )


def columns_of(chosen: Task) -> list[Column]:
    """Return every column that a task can read, whichever of its flags is set.

    Example::

        [c.name for c in columns_of(task.load("classification"))]  # ["text", "label"]
    """
    usual = chosen.options()
    flags = {name: value for name, value in plain(usual).items() if isinstance(value, bool)}
    variants = [usual, *(dataclasses.replace(usual, **{n: not v}) for n, v in flags.items())]
    found = {
        c.name: c for v in variants for c in (*chosen.input_columns(v), *chosen.target_columns(v))
    }
    return list(found.values())


def every_column() -> list[Column]:
    """Return the columns of all tasks here.

    Example::

        sorted(c.name for c in every_column())
    """
    tasks = [task.load(name) for name in discover.names("tfnlp.tasks")]
    return list({c.name: c for chosen in tasks for c in columns_of(chosen)}.values())


def _merge(file: Mapping[str, Any], name: str, flags: Mapping[str, Any], chosen: Task) -> dict:
    """Put the flags over the file's values."""
    values = {key: dict(v) if isinstance(v, Mapping) else v for key, v in file.items()}
    for section in ("task", *SECTIONS):
        values[section] = {**chosen.defaults.get(section, {}), **(values.get(section) or {})}
    values["task"]["name"] = name
    headers: Any = values["data"].get("columns") or {}
    given = {}
    for key, value in flags.items():
        section, _, option = key.partition(".")
        if section == "column":
            given[option] = value
        elif key == "data.columns":
            given.update(value)
        elif option and section in ("task", *SECTIONS):
            values[section][option] = value
        elif key in ("name", "seed") and value is not None:
            values[key] = value
    if given and isinstance(headers, Mapping):
        headers = {**headers, **given}
    values["data"]["columns"] = headers
    _choose_data(values["data"], flags, chosen, name)
    return values


def _title(section: type) -> str:
    """Return the first line of a section's docstring, as the rest of a line."""
    text = str(section.__doc__).partition("\n")[0].rstrip(".")
    return text[0].lower() + text[1:]


def _choose_data(data: dict[str, Any], flags: Mapping[str, Any], chosen: Task, name: str) -> None:
    """Decide which data to use: a flag's over the file's, and the task's own if none."""
    if "data.train" in flags and "data.dataset" not in flags:
        data["dataset"] = None
    if "data.dataset" in flags and "data.train" not in flags:
        data |= {split: None for split in SPLITS if f"data.{split}" not in flags}
    if data.get("train") and data.get("dataset"):
        raise UserError("--train and --dataset are both given; give one of them")
    if data.get("dataset") and (data.get("validation") or data.get("test")):
        raise UserError(
            f"--validation or --test is given with --dataset {data['dataset']}, which has splits "
            "of its own (evaluate a trained model on a file by python -m tfnlp.evaluate)"
        )
    if data.get("labels") and not data.get("train"):  # rows need none, or are a data set's
        return
    if not data.get("train") and not data.get("dataset"):
        if chosen.dataset is None:
            raise UserError(f"--task {name} has no example data; give --train FILE or --dataset")
        if data.get("validation") or data.get("test"):
            raise UserError("--validation or --test is given without --train; give --train FILE")
        data["dataset"] = chosen.dataset
