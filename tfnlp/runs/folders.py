"""Folders of runs and versions of SavedModels: where the next goes, and which one to resume."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from pipelines import atomic, memory
from pipelines.errors import UserError
from pipelines.json_files import read_json
from pipelines.locks import held
from tfnlp.config import Experiment
from tfnlp.runs.experiment_yaml import (
    read_trusted,
    to_values,
    write_yaml,
)
from tfnlp.runtime.commands import quoted


def check_place(experiment: Experiment) -> None:
    """Refuse places where no run or no SavedModel can be written, and leave nothing there.

    Raises:
        UserError: something else is there, or it may not be written.

    Example::

        check_place(experiment)  # UserError: cannot write tensorboard_logs/trec: ...
    """
    export = experiment.export
    places = {"--tensorboard-logs": _runs(experiment)}
    if export.export:
        places["--saved-models"] = Path(export.saved_models) / experiment.name
    for flag, place in places.items():
        try:
            atomic.probe(next(each for each in (place, *place.parents) if each.exists()))
        except OSError as error:
            raise _unwritable(place, error, flag) from error


def _runs(experiment: Experiment) -> Path:
    """Return the folder of an experiment's runs."""
    return Path(experiment.export.tensorboard_logs) / experiment.name


def _unwritable(place: str | Path, error: OSError, flag: str = "--tensorboard-logs") -> UserError:
    return UserError(f"cannot write {place}: {error.strerror} (choose another place with {flag})")


def new_run(experiment: Experiment) -> Path:
    """Make a run's folder, named by the time, with its experiment.yaml.

    Raises:
        UserError: it cannot be written.

    Example::

        new_run(experiment)  # tensorboard_logs/trec-classification/20261125-170635
    """
    parent = _runs(experiment)
    run = parent / time.strftime("%Y%m%d-%H%M%S")
    try:
        number = 1
        while True:
            try:
                run.mkdir(parents=True)
                break
            except FileExistsError:
                if not run.is_dir():
                    raise
                number += 1
                run = parent / f"{time.strftime('%Y%m%d-%H%M%S')}-{number}"
        write_yaml(experiment, run / "experiment.yaml")
    except OSError as error:
        raise _unwritable(error.filename or run, error) from error
    return run


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Keep other processes out of a run while it is trained; a kill leaves no lock behind.

    Raises:
        UserError: another process trains this run.

    Example::

        with locked(run):
            trainer.fit()
    """
    folder = run / "checkpoints"  # which goes when the run ends
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    taken = f"{run} is being trained by another process (wait until it ends, or stop it first)"
    with held(folder, taken):
        yield


def last_run(experiment: Experiment) -> Path | None:
    """Return the newest run of this name, to resume; None if there is none.

    Raises:
        UserError: that run was started with other settings, or its experiment.yaml is damaged.

    Example::

        run = (last_run(experiment) if resume else None) or new_run(experiment)
    """
    parent = _runs(experiment)
    found = sorted(f.parent for f in parent.glob("*/experiment.yaml"))
    if not found:
        return None
    run = found[-1]
    # An older version's file lacks the options that came later.
    before = read_trusted(run / "experiment.yaml", "restore it, or start again without --resume")
    changed = changes(before, _with_length(experiment, before))
    files = [f"data.{split}" for split in ("train", "validation", "test")]
    if changed and set(changed) <= set(files) and _in_memory(before) and _in_memory(experiment):
        raise UserError(
            f"{run} was begun with other rows (give the same ones to resume it, or another name)"
        )
    if changed:
        raise UserError(
            f"{run} was started with other settings ({', '.join(changed)}); resume it with "
            f"--config {quoted(run / 'experiment.yaml')} --resume, or start again without --resume"
        )
    return run


def exported(experiment: Experiment, run_id: str) -> Path | None:
    """Return the SavedModel that a run of an experiment has written, None if it has not yet.

    Args:
        experiment: says where its SavedModels go.
        run_id: the run's, as `data_digest.check` gave it; the export keeps it in metrics.json.

    Example::

        exported(experiment, run_id)  # saved_models/trec/3
    """
    parent = Path(experiment.export.saved_models) / experiment.name
    for file in parent.glob("*/metrics.json"):
        with suppress(UserError):  # a damaged file of an older version
            if read_json(file).get("run") == run_id:
                return file.parent
    return None


def as_begun(experiment: Experiment, run: Path) -> Experiment:
    """Return an experiment with the length of a run that it resumes, where it names none itself.

    Version 0.1.0 wrote 4 epochs and a patience of 2 into experiment.yaml where none were given.

    Example::

        as_begun(experiment, run).training.epochs  # 4
    """
    return _with_length(experiment, read_trusted(run / "experiment.yaml", "restore it"))


def _with_length(experiment: Experiment, before: Experiment) -> Experiment:
    """Return an experiment with epochs and patience of another where it names none."""
    own, other = experiment.training, before.training
    training = dataclasses.replace(
        own, epochs=own.epochs or other.epochs, patience=own.patience or other.patience
    )
    return dataclasses.replace(experiment, training=training)


def _in_memory(experiment: Experiment) -> bool:
    """Return whether rows to train on were given as values, not as a file."""
    return memory.is_kept(experiment.data.train)


def changes(before: Experiment, now: Experiment) -> list[str]:
    """Return the options in which two experiments differ, such as ``training.epochs``.

    Example::

        changes(before, dataclasses.replace(before, seed=43))  # ["seed"]
    """
    a, b = (yaml.safe_load(yaml.safe_dump(to_values(made))) for made in (before, now))
    return [f"{section}.{name}" if name else section for section, name, *_ in _differences(a, b)]


def _differences(a: dict[str, Any], b: dict[str, Any]) -> list[tuple[str, str, Any, Any]]:
    """List (section, option, value, other value) where two experiments differ."""
    found = []
    for section in {**a, **b}:
        x, y = a.get(section), b.get(section)
        if isinstance(x, dict) and isinstance(y, dict):
            found += [
                (section, name, x.get(name), y.get(name))
                for name in {**x, **y}
                if x.get(name) != y.get(name)
            ]
        elif x != y:
            found.append((section, "", x, y))
    return found
