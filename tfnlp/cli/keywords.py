"""The experiment that keyword arguments describe: the flags of a command line, with ``_``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines import discover, memory
from pipelines.errors import UserError
from tfnlp import extensions
from tfnlp.cli import arguments
from tfnlp.cli.arguments import CHOSEN, SPLITS, Plugged
from tfnlp.cli.settings import Given, destinations
from tfnlp.config import Experiment
from tfnlp.options import Parser, make, meant

# What other libraries call these options.
_ELSEWHERE = {
    "model": "backbone",
    "model_name": "backbone",
    "model_name_or_path": "backbone",
    "train_dataset": "train",
    "eval_dataset": "validation",
    "validation_data": "validation",
    "per_device_train_batch_size": "batch_size",
    "output_dir": "tensorboard_logs",
    "random_state": "seed",
    "fp16": "precision",
    "bf16": "precision",
}
# Parameters of `fit` that are no flags, or are taken out before these are looked at.
_PARAMETERS = ("verbose", "resume", "peft", "strategy", "augment")
# What stands for rows in memory until the task's columns are known; names the run, too.
_IN_MEMORY = "data.jsonl"
_DATASETS = "pipelines.datasets"


def experiment(given: Mapping[str, Any], place: str) -> Experiment:
    """Return the experiment that keyword arguments describe; arguments as of `read`.

    Example::

        experiment({"train": "reviews.csv", "epochs": 3}, "fit()").training.epochs  # 3
    """
    return read(given, place).experiment()


def read(given: Mapping[str, Any], place: str) -> Given:
    """Return what keyword arguments give.

    Args:
        given: by the flag's name with ``_``, a value of its type: ``learning_rate=3e-5``,
            ``text_column="review"``, ``columns={"text": "review"}``, ``export=False``. None is not
            given. Rows may be a path or rows in memory (`pipelines.memory.rows`). An entry is a
            name, or a dict of ``name`` and its options: ``peft={"name": "lora", "rank": 8}``.
        place: the function that was called, for messages.

    Raises:
        UserError: a keyword is none, or its value cannot be used.

    Example::

        read({"train": "reviews.csv"}, "run_study()").vary({"epochs": 3}).training.epochs  # 3
    """
    given = {name: value for name, value in given.items() if value is not None}
    _require_rows(given, place)
    rows = {s: given[s] for s in SPLITS if s in given and not isinstance(given[s], (str, Path))}
    given |= dict.fromkeys(rows, _IN_MEMORY)
    own: dict[str, Any] = {}
    names = _entries(given, own, place)
    if not isinstance(given.get("task", ""), str):
        raise UserError(f"{place}: task is {given['task']!r}; it must be a task's name")
    begun = arguments.begin(argparse.Namespace(**{**dict.fromkeys(CHOSEN), **names}), place)
    parser = Parser(add_help=False)
    arguments.add_options(parser, begun)
    keys = destinations(parser)
    flags = dict(own)
    for name, value in plain(given).items():
        if name not in keys:
            raise UserError(f"{place} {unknown(name, keys)}")
        flags[keys[name]] = value
    flags = {k: v for k, v in flags.items() if k not in CHOSEN}
    made = arguments.finish(begun, flags)
    columns = begun.task.input_columns(made.options) + begun.task.target_columns(made.options)
    kept = {f"data.{s}": str(memory.keep(data, columns)) for s, data in rows.items()}
    return Given(begun, {**flags, **kept, "name": made.name})


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as YAML would hold them: paths as text, numbers of NumPy as Python's.

    Example:
        >>> plain({"output": Path("out"), "batch_size": 8})
        {'output': 'out', 'batch_size': 8}
    """
    texts = {k: str(v) if isinstance(v, Path) else v for k, v in values.items()}
    return {k: v.item() if hasattr(v, "item") else v for k, v in texts.items()}


def _require_rows(given: Mapping[str, Any], place: str) -> None:
    """Raise UserError if there are no rows: a cell that forgot them would train on an example."""
    train = given.get("train")
    if train is None and not given.keys() & {"dataset", "config", "labels"}:
        raise UserError(
            f"{place} has no rows (give a file, a data frame or a dict of columns first, or "
            "dataset='trec')"
        )
    named = isinstance(train, str) and train.replace("-", "_") in discover.names(_DATASETS)
    if named and not Path(str(train)).exists():
        raise UserError(
            f"there is no file {train}; for the data set of this name give dataset={train!r}"
        )


def _entries(given: dict[str, Any], own: dict[str, Any], place: str) -> dict[str, Any]:
    """Take the entries out of keyword arguments; return their names, and note their options."""
    names: dict[str, Any] = {n: given.get(n) for n in ("task", "config") if n in given}
    for section in ("strategy", "peft", "augment"):
        if section not in given:
            continue
        value = given.pop(section)
        several = value if section == "augment" and isinstance(value, (list, tuple)) else [value]
        found = []
        for one in several:
            name, options = entry(one, f"{place}: {section}")
            found.append(name)
            own.update({f"{section}:{name}.{key}": option for key, option in options.items()})
        names[section] = found if section == "augment" else found[0]
    if "config" in names:
        names["config"] = str(names["config"])
    return names


def entry(given: Any, what: str) -> tuple[str, dict[str, Any]]:
    """Return an entry's name and options, of a name or a dict of both.

    Raises:
        UserError: it is neither.

    Example:
        >>> entry({"name": "lora", "rank": 8}, "fit(): peft")
        ('lora', {'rank': 8})
    """
    options = {"name": given} if isinstance(given, str) else given
    if not isinstance(options, Mapping) or not isinstance(options.get("name"), str):
        raise UserError(f"{what} is {given!r}; it must be a name, or a dict with 'name' in it")
    return options["name"], {str(k): v for k, v in options.items() if k != "name"}


def plugged(record: type, given: Any, what: str) -> tuple[Plugged, Any]:
    """Return an entry with its options, of a name or a dict of both.

    Raises:
        UserError: there is no such entry, or an option is none of its.

    Example::

        plugged(Explanation, {"name": "occlusion", "most": 3}, "explain(): by")
    """
    name, options = entry(given, what)
    found = Plugged(record.__name__.lower(), name, extensions.load(record, name))
    return found, make(found.record.options, plain(options), f"{what} {name}")


def unknown(name: str, known: Mapping[str, str]) -> str:
    """Return what is said of a keyword that is none, with the one that was perhaps meant."""
    if name in ("X", "y", "x", "labels"):
        return f"has no option {name!r}; give texts and labels as one: {{'text': X, 'label': y}}"
    flags = [f"--{other.replace('_', '-')}" for other in (*known, *_PARAMETERS)]
    near = _ELSEWHERE.get(name) or (meant(f"--{name}", flags) or "")[2:].replace("-", "_")
    return f"has no option {name!r}" + (f"; did you mean {near!r}?" if near else "")
