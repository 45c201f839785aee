"""A study on disk: its trials, each an ordinary run trained in a process of its own.

In ``studies/NAME`` lie ``study.yaml`` (what was asked for), ``trials/K.yaml`` (the experiment of
trial K, written before it starts), ``trials/K.json`` (the settings that were proposed, and the
seconds that it took), ``trials/K.out`` and ``K.err`` (what its process printed),
``trials/K.failed`` (why it failed), ``trials/K.lock`` (held while it runs), and the results:
best.yaml, trials.csv and report.html. The runs are where runs always are. All that a resumed study
knows it reads from there.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import IO, Any

from pipelines.atomic import replacing
from pipelines.errors import UserError
from pipelines.files.writers import csv_writer, write_json
from pipelines.json_files import read_json
from tfnlp.config import Experiment
from tfnlp.extensions import Settings, Study, Trial
from tfnlp.report import Report
from tfnlp.runs import folders
from tfnlp.runs.experiment_yaml import read_kept, to_values, write_yaml
from tfnlp.runtime.commands import quoted

STUDIES = Path("studies")
TRAIN = (sys.executable, "-m", "tfnlp.train")
_DAMAGED = "restore it, or start another study with --name"
_WAIT = 2.0  # until other processes' trials are looked at again [s]
_RESUMED = "run the same command with --resume to continue"


@dataclass(frozen=True)
class Asked:
    """A study that was asked for.

    Attributes:
        name: the entry's.
        study: the entry.
        options: an instance of its options.
        base: the experiment that it varies.
        vary: settings -> the experiment with them in place of those that were given.

    Example::

        asked = Asked("seeds", seeds.STUDY, seeds.Options(), given.experiment(), given.vary)
        asked.folder  # studies/NAME
    """

    name: str
    study: Study
    options: Any
    base: Experiment
    vary: Callable[[Settings], Experiment]

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return STUDIES / self.base.name


def run(
    asked: Asked, *, resume: bool = False, tell: Callable[[str], None] = print
) -> tuple[list[Trial], Report]:
    """Run the trials that have not ended, and write the results after each.

    Several processes may run one study: each takes a trial that no other one has. What a study
    proposes then depends on which ended first.

    Args:
        asked: the study.
        resume: whether it may have begun before, or runs in another process too.
        tell: is called with a sentence about each trial.

    Returns:
        The trials, and what the study makes of them.

    Raises:
        UserError: there is a study of this name that is not to be resumed, or another one; the
            first trial cannot use its rows or options, and nothing is left of the study; or a
            trial's process was killed.
        KeyboardInterrupt: a signal came; the trial has kept what ``resume`` needs.

    Example::

        trials, report = run(asked, resume=True)
        [trial.state for trial in trials]  # ["complete", "complete", "failed"]
    """
    folder = asked.folder
    for settings in asked.study.possible(asked.options):
        asked.vary(settings)
    _begin(asked, resume)
    while True:
        with _locked(folder / "lock"):
            trials = _trials(folder)
            taken = _taken(asked, trials)
        if taken is None:
            if all(trial.state != "running" for trial in trials):
                break
            time.sleep(_WAIT)  # for the other processes' trials
            continue
        number, lock = taken
        with lock:
            tell(f"trial {number}: {folder / 'trials' / f'{number}.out'}")
            trial = _trained(_begun(folder, number), folder, number, lock)
        if number == 1 and trial.state == "failed" and trial.run is None:
            shutil.rmtree(folder)  # rows or options cannot be used, by the other trials either
            raise UserError(f"the first trial could not begin: {trial.error}")
        tell(f"trial {number}: {trial.state}{f' ({trial.error})' if trial.error else ''}")
        with _locked(folder / "lock"):
            _write(asked, _trials(folder))
    return trials, _write(asked, trials)


def _trials(folder: Path) -> list[Trial]:
    """Return the trials that have begun."""
    numbers = takewhile(lambda n: (folder / "trials" / f"{n}.yaml").exists(), count(1))
    return [_begun(folder, number) for number in numbers]


def _taken(asked: Asked, trials: Sequence[Trial]) -> tuple[int, IO[str]] | None:
    """Take a trial that no process has, or begin the next; None if there is none now.

    Returns:
        Its number, and its lock, which the trial's process holds too: it may outlive this one.
    """
    folder = asked.folder
    for number, trial in enumerate(trials, 1):
        if trial.state == "running" and (lock := _lock(folder, number)):
            return number, lock
    proposed = asked.study.propose(asked.base, trials, asked.options)
    if proposed is None:
        return None
    number = len(trials) + 1
    _begin_trial(asked, number, proposed)
    lock = _lock(folder, number)
    assert lock  # nobody knew of it
    return number, lock


def _lock(folder: Path, number: int) -> IO[str] | None:
    """Take a trial's lock; None if a process has it."""
    lock = (folder / "trials" / f"{number}.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock


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


def _begin(asked: Asked, resume: bool) -> None:
    """Make a study's folder, or see that it is this study's.

    The options may be others than before: more seeds, say.
    """
    folder, file = asked.folder, asked.folder / "study.yaml"
    if file.exists() and not resume:
        raise UserError(f"{folder} holds a study already (resume it with --resume, or give --name)")
    if not file.exists():
        (folder / "trials").mkdir(parents=True, exist_ok=True)
        write_yaml(asked.base, folder / "base.yaml")
        with replacing(file) as out:
            out.write(f"{asked.name}\n")
        return
    before = file.read_text("utf-8").strip()
    if before != asked.name:
        raise UserError(f"{folder} is a study by {before}, not by {asked.name} (give --name)")
    changed = folders.changes(_read(folder / "base.yaml"), asked.base)
    if changed:
        raise UserError(
            f"{folder} was started with other settings ({', '.join(changed)}); resume it "
            f"with --config {quoted(folder / 'base.yaml')} --resume, or start another with --name"
        )


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Let one process at a time look at a study's trials, and begin the next."""
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _begin_trial(asked: Asked, number: int, proposed: Settings) -> None:
    """Keep a trial's settings and experiment before its run starts."""
    file = asked.folder / "trials" / f"{number}.yaml"
    name = f"{asked.base.name}-{number}"
    export = dataclasses.replace(asked.base.export, export=False)
    experiment = dataclasses.replace(asked.vary(proposed), name=name, export=export)
    place = Path(export.tensorboard_logs) / name
    if place.exists():
        raise UserError(f"{place} holds runs already, which are not this study's (give --name)")
    write_json(file.with_suffix(".json"), {"settings": dict(proposed)})
    write_yaml(experiment, file)


def _begun(folder: Path, number: int) -> Trial:
    """Return a trial as it was begun, with what has become of it."""
    file = folder / "trials" / f"{number}.yaml"
    held = read_json(file.with_suffix(".json"), {"settings": dict}, remedy=_DAMAGED)
    trial = Trial(_read(file), held["settings"], seconds=held.get("seconds", 0.0))
    return _known(trial, folder, number)


def _known(trial: Trial, folder: Path, number: int) -> Trial:
    """Return a trial with what its run and the study's folder tell of it."""
    run = folders.last_run(trial.experiment)
    file = run / "metrics.json" if run else None
    again = "delete its run's folder to train it again"
    metrics = read_json(file, remedy=again) if file and file.exists() else None
    story = run / "history.json" if run else None
    if story and story.exists():
        trial = dataclasses.replace(trial, history=read_json(story, list, remedy=again))
    failed = folder / "trials" / f"{number}.failed"
    if metrics:
        return dataclasses.replace(trial, state="complete", metrics=metrics, run=run)
    if failed.exists():
        error = failed.read_text("utf-8").strip()
        return dataclasses.replace(trial, state="failed", run=run, error=error)
    return dataclasses.replace(trial, run=run)


def _trained(trial: Trial, folder: Path, number: int, lock: IO[str]) -> Trial:
    """Train a trial to its end in a process of its own."""
    parts = [folder / "trials" / f"{number}.{suffix}" for suffix in ("yaml", "out", "err")]
    command = [*TRAIN, "--config", str(parts[0]), "--resume"]
    began = time.monotonic()
    with parts[1].open("ab") as out, parts[2].open("wb") as err:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            pass_fds=[lock.fileno()],
            # Ctrl-C reaches this process alone, which hands it on once: a second one would kill.
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGTERM)
            process.wait()
            raise
        finally:
            spent = round(trial.seconds + time.monotonic() - began, 1)
            trial = dataclasses.replace(trial, seconds=spent)
            kept = {"settings": dict(trial.settings), "seconds": spent}
            write_json(folder / "trials" / f"{number}.json", kept)
    error = _last_line(parts[2])
    if code < 0 or code > 128:
        raise UserError(
            f"trial {number} was killed by {signal.Signals(-code if code < 0 else code - 128).name}"
            f" ({_RESUMED})"
        )
    if code:
        with replacing(folder / "trials" / f"{number}.failed") as file:
            file.write(f"{error or f'exit status {code}'}\n")
    return _known(trial, folder, number)


def _last_line(path: Path) -> str:
    """Return the last line of what a process printed that is not blank, without its ``error:``."""
    lines = [line.strip() for line in path.read_text("utf-8", "replace").splitlines()]
    return next((line for line in reversed(lines) if line), "").removeprefix("error: ")


def _write(asked: Asked, trials: Sequence[Trial]) -> Report:
    """Write best.yaml, trials.csv and report.html; returns the report."""
    from tfnlp.evaluation import html

    folder = asked.folder
    report = asked.study.report(trials, asked.options)
    found = best(asked, trials)
    if found:
        write_yaml(found.experiment, folder / "best.yaml")
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
    with replacing(folder / "report.html") as file:
        file.write(html.page(f"Study {asked.base.name}", about, {"Results": report}))
    return report


def _rows(asked: Asked, trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """Return a row for each trial: its state, what it changed in the experiment, its metrics."""
    options = [_flat(to_values(trial.experiment)) for trial in trials]
    varied = [n for n in options[0] if n not in ("name", "export.export") and _differ(options, n)]
    found = []
    for number, (trial, values) in enumerate(zip(trials, options, strict=True), 1):
        row: dict[str, Any] = {"trial": number, "state": trial.state, "run": str(trial.run or "")}
        row |= {name: values.get(name) for name in varied} | {"error": trial.error}
        for split in ("validation", "test"):
            held = (trial.metrics or {}).get(split) or {}
            row |= {f"{split}.{name}": value for name, value in held.items()}
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


def _read(file: Path) -> Experiment:
    """Read an experiment that a study has kept."""
    return read_kept(file, _DAMAGED)
