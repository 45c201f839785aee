"""What a study leaves: best.yaml, trials.csv and report.html."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.atomic import replacing
from pipelines.errors import UserError
from pipelines.files.writers import csv_writer, write_json
from pipelines.json_files import damaged, read_json
from tfnlp.config import Experiment
from tfnlp.extensions import Settings, Study, Trial
from tfnlp.options import make, plain
from tfnlp.report import Report
from tfnlp.runs.experiment_yaml import to_values, write_yaml

STUDIES = Path("studies")
_OPTIONS = "options.json"  # in a study's folder
_OF_TRIALS = ("name", "export.export", "logging.projector")  # which every trial has its own of


@dataclass(frozen=True)
class Asked:
    """A study that was asked for.

    Attributes:
        name: the entry's.
        study: the entry.
        options: an instance of its options.
        base: the experiment that it varies.
        vary: settings -> the experiment with them in place of those that were given.
        storage: SQLAlchemy's URL of the database that keeps the trials; None is the folder.

    Example::

        asked = Asked("seeds", seeds.STUDY, seeds.Options(), given.experiment(), given.vary)
        asked.folder  # studies/NAME
    """

    name: str
    study: Study
    options: Any
    base: Experiment
    vary: Callable[[Settings], Experiment]
    storage: str | None = None

    def length(self, trials: Sequence[Trial]) -> int:
        """Return how many trials there are at most, those so far among them.

        Example::

            asked.length([])  # 5
        """
        if self.study.length:
            return max(len(trials), self.study.length(trials, self.options))
        there = list(trials)
        while (found := self.study.propose(self.base, there, self.options)) is not None:
            there.append(Trial(self.base, found, "complete"))
        return len(there)

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return STUDIES / self.base.name


def keep(asked: Asked) -> None:
    """Keep a study's own options in its folder, for `kept`.

    Example::

        keep(asked)
    """
    write_json(asked.folder / _OPTIONS, {"study": asked.name, "options": plain(asked.options)})


def kept(asked: Asked) -> Asked:
    """Return a study with the options that it was begun or resumed with, if its folder has them.

    Raises:
        UserError: the folder has another study, or the file is damaged.

    Example::

        kept(asked).options.trials  # 8, though --show came without --trials
    """
    file = asked.folder / _OPTIONS
    if not file.exists():
        return asked
    again = "the study's command with --resume writes it again"
    held = read_json(file, {"study": str, "options": dict}, remedy=again)
    if held["study"].replace("-", "_") != asked.name.replace("-", "_"):
        raise UserError(
            f"{asked.folder} is a study by {held['study']}, not by {asked.name} (python -m "
            f"tfnlp.study {held['study']} --name {asked.base.name} --show)"
        )
    try:
        options = make(asked.study.options, held["options"], str(file))
    except UserError as error:
        raise damaged(file, str(error), again) from error
    return dataclasses.replace(asked, options=options)


def trial_of(experiment: Experiment) -> tuple[str, int] | None:
    """Return the name of the study whose trial an experiment is, and its number; None of others.

    A study that begins a trial keeps its experiment, and takes no name that runs have already.

    Example::

        trial_of(experiment)  # ("luck", 2), of the experiment luck-2
    """
    study, _, number = experiment.name.rpartition("-")
    if not number.isdecimal() or not (STUDIES / study / "trials" / f"{number}.yaml").exists():
        return None
    return study, int(number)


def best(asked: Asked, trials: Sequence[Trial]) -> Trial | None:
    """Return the trial to take: as the study says, or by the first metric of validation rows.

    Example::

        best(asked, trials).run  # tensorboard_logs/luck-2/20261125-170635
    """
    from tfnlp.evaluation import runs

    if asked.study.best:
        place = asked.study.best(trials, asked.options)
    else:
        place = runs.best([trial.metrics for trial in trials])
    return None if place is None else trials[place]


def write(asked: Asked, trials: Sequence[Trial]) -> Report:
    """Write best.yaml, trials.csv and report.html; returns the report."""
    from tfnlp.evaluation import html
    from tfnlp.runs import hparams

    folder = asked.folder
    report = asked.study.report(trials, asked.options)
    found = best(asked, trials)
    if found:  # as it would be trained by hand: a model to keep, not one of many trials
        write_yaml(_to_keep(found.experiment, asked.base), folder / "best.yaml")
    with replacing(folder / "trials.csv") as file:
        csv_writer(file)(_rows(asked, trials))
    states = [trial.state for trial in trials]
    about = {
        "study": f"{asked.name}: {asked.study.summary}",
        "task": asked.base.task,
        "trials": ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states)),
        "minutes": f"{sum(trial.seconds for trial in trials) / 60:.1f}",
        "best": str(found.run) if found else "none",
    }
    hparams.write(folder / "tensorboard", trials)
    with replacing(folder / "report.html") as file:
        file.write(html.page(f"Study {asked.base.name}", about, {"Results": report}))
    return report


def _to_keep(experiment: Experiment, base: Experiment) -> Experiment:
    """Return a trial's experiment without what it has as a trial."""
    least = base.training.give_up
    return dataclasses.replace(
        experiment,
        name=f"{base.name}-best",
        export=base.export,
        logging=base.logging,
        training=dataclasses.replace(experiment.training, give_up=least),
        data=dataclasses.replace(experiment.data, fold=base.data.fold),  # for all training rows
    )


def _rows(asked: Asked, trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return a row for each trial: its state, what it changed in the experiment, its metrics."""
    options = [_flat(to_values(trial.experiment)) for trial in trials]
    # An entry has options that the first trial may not have.
    every = dict.fromkeys(name for values in options for name in values)
    varied = [n for n in every if n not in _OF_TRIALS and _differ(options, n)]
    named = asked.study.labels
    labels = named(trials, asked.options) if named else [{}] * len(trials)
    found = []
    for number, (trial, values) in enumerate(zip(trials, options, strict=True), 1):
        row: dict[str, Any] = {"trial": number, **labels[number - 1], "state": trial.state}
        row["run"] = str(trial.run or "")
        row |= {name: values.get(name) for name in varied} | {"error": trial.error}
        for split in ("validation", "test"):
            held = (trial.metrics or {}).get(split) or {}
            row |= {f"{split}.{name}": value for name, value in held.items()}
        costs = (trial.metrics or {}).get("costs") or {}
        row |= {f"costs.{name}": value for name, value in costs.items()}
        row["seconds"] = trial.seconds
        found.append(row)
    names = dict.fromkeys(name for row in found for name in row)
    return [{name: row.get(name) for name in names} for row in found]


def _differ(options: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Return whether trials differ in an option."""
    return any(values.get(name) != options[0].get(name) for values in options)


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values by their dotted names."""
    found: dict[str, Any] = {}
    for section, held in values.items():
        if isinstance(held, dict):
            found |= {f"{section}.{name}": value for name, value in held.items()}
        else:
            found[section] = held
    return found
