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
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count, takewhile
from pathlib import Path
from typing import IO

from pipelines.atomic import replacing
from pipelines.errors import UserError
from pipelines.files.writers import write_json
from pipelines.json_files import read_json
from tfnlp.config import Experiment
from tfnlp.extensions import Settings, Trial
from tfnlp.report import Report
from tfnlp.runs import folders, judged_rows
from tfnlp.runs.experiment_yaml import read_kept, write_yaml
from tfnlp.runs.fork_server import ForkServer
from tfnlp.runs.study_files import Asked, best, write
from tfnlp.runtime.commands import quoted

TRAIN = ("tfnlp.train", "tfnlp.api.training")  # as `ForkServer` takes them
_DAMAGED = "restore it, or start another study with --name"
_WAIT = 2.0  # until other processes' trials are looked at again [s]
_RESUMED = "run the same command with --resume to continue"


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
            study cannot use its options, or the first trial its rows or options, and nothing is
            left of the study; or a trial's process was killed.
        KeyboardInterrupt: a signal came; the trial has kept what ``resume`` needs.

    Example::

        trials, report = run(asked, resume=True)
        [trial.state for trial in trials]  # ["complete", "complete", "failed"]
    """
    for settings in asked.study.possible(asked.options):
        asked.vary(settings)
    _begin(asked, resume)
    with ForkServer(*TRAIN) as server:
        trials = _run(asked, server, tell)
    return trials, write(asked, trials)


def _run(asked: Asked, server: ForkServer, tell: Callable[[str], None]) -> list[Trial]:
    """Run the trials that have not ended; returns all."""
    folder = asked.folder
    while True:
        with _locked(folder / "lock"):
            trials = _trials(folder)
            taken = _taken(asked, trials, tell)
        if taken is None:
            if all(trial.state != "running" for trial in trials):
                return trials
            time.sleep(_WAIT)  # for the other processes' trials
            continue
        number, lock = taken
        with lock:
            tell(f"trial {number}: {folder / 'trials' / f'{number}.out'}")
            trial = _trained(_begun(folder, number), folder, number, [lock], server)
        if number == 1 and trial.state == "failed" and trial.run is None:
            shutil.rmtree(folder)  # rows or options cannot be used, by the other trials either
            raise UserError(f"the first trial could not begin: {trial.error}")
        with _locked(folder / "lock"):
            trials = _trials(folder)
            write(asked, trials)
        tell(f"trial {number}: {_told(asked, trial, trials)}")


def shown(asked: Asked) -> tuple[list[Trial], Report]:
    """Return the trials of a study, which may be running, and what it makes of them so far.

    Raises:
        UserError: there is none of this name, or none has begun.

    Example::

        trials, report = shown(asked)
    """
    trials = _trials(asked.folder)
    if not trials:
        raise UserError(f"there is no study in {asked.folder} with trials to show (give --name)")
    return trials, asked.study.report(trials, asked.options)


def _told(asked: Asked, trial: Trial, trials: Sequence[Trial]) -> str:
    """Return what has become of a trial, for a line."""
    from tfnlp.evaluation import runs

    if not trial.metrics:
        return f"{trial.state}{f' ({trial.error})' if trial.error else ''}"
    found = best(asked, trials)
    name = runs.headline(trial.metrics)
    metrics = [made.metrics["validation"][name] for made in (trial, found) if made and made.metrics]
    scores = [f"{value:.4f}" if value is not None else "none" for value in metrics]
    return (
        f"{trial.state}, {name} {scores[0]} in {trial.seconds:.0f} s; the best so far {scores[-1]}"
    )


def _trials(folder: Path) -> list[Trial]:
    """Return the trials that have begun."""
    numbers = takewhile(lambda n: (folder / "trials" / f"{n}.yaml").exists(), count(1))
    return [_begun(folder, number) for number in numbers]


def _taken(
    asked: Asked, trials: Sequence[Trial], tell: Callable[[str], None]
) -> tuple[int, IO[str]] | None:
    """Take a trial that no process has, or begin the next; None if there is none now.

    Returns:
        Its number, and its lock, which the trial's process holds too: it may outlive this one.
    """
    folder = asked.folder
    for number, trial in enumerate(trials, 1):
        if trial.state == "running" and (lock := _lock(folder, number)):
            return number, lock
    number = len(trials) + 1
    while (proposed := asked.study.propose(asked.base, trials, asked.options)) is not None:
        _begin_trial(asked, number, proposed)
        if not _failure(folder, number).exists():
            lock = _lock(folder, number)
            assert lock  # nobody knew of it
            return number, lock
        failed = _begun(folder, number)
        tell(f"trial {number}: {_told(asked, failed, trials)}")
        trials, number = [*trials, failed], number + 1
    return None


def _failure(folder: Path, number: int) -> Path:
    """Return the file that says why a trial failed."""
    return folder / "trials" / f"{number}.failed"


def _lock(folder: Path, number: int) -> IO[str] | None:
    """Take a trial's lock; None if a process has it."""
    lock = (folder / "trials" / f"{number}.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    except OSError:  # a file system without locks keeps nobody out
        pass
    return lock


def _begin(asked: Asked, resume: bool) -> None:
    """Make a study's folder, or see that it is this study's.

    The options may be others than before: more seeds, say.
    """
    folder, file = asked.folder, asked.folder / "study.yaml"
    if file.exists() and not resume:
        raise UserError(f"{folder} holds a study already (resume it with --resume, or give --name)")
    if not file.exists():
        first = asked.study.propose(asked.base, [], asked.options)
        asked.vary(first or {})  # what cannot be used is said before there is a folder
        (folder / "trials").mkdir(parents=True, exist_ok=True)
        write_yaml(asked.base, folder / "base.yaml")
        with replacing(file) as out:
            out.write(f"{asked.name}\n")
        return
    before = file.read_text("utf-8").strip()
    if before.replace("-", "_") != asked.name.replace("-", "_"):
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
        with suppress(OSError):  # as in `_lock`
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _begin_trial(asked: Asked, number: int, proposed: Settings) -> None:
    """Keep a trial's settings and experiment before its run starts.

    Settings that contradict one another, or the base, make a failed one.
    """
    file = asked.folder / "trials" / f"{number}.yaml"
    name = f"{asked.base.name}-{number}"
    export = dataclasses.replace(asked.base.export, export=False)
    logging = dataclasses.replace(asked.base.logging, projector=0)  # takes as long as an epoch
    experiment = asked.base
    try:
        experiment = asked.vary(proposed)
    except UserError as error:
        _fail(asked.folder, number, str(error))
    experiment = dataclasses.replace(experiment, name=name, export=export, logging=logging)
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
    failed = _failure(folder, number)
    if run and metrics:
        kept = run / judged_rows.FILE
        judged = read_json(kept, judged_rows.HOLDS, remedy=again) if kept.exists() else None
        done = {"state": "complete", "metrics": metrics, "judged": judged}
        return dataclasses.replace(trial, run=run, **done)
    if failed.exists():
        error = failed.read_text("utf-8").strip()
        return dataclasses.replace(trial, state="failed", run=run, error=error)
    return dataclasses.replace(trial, run=run)


def _trained(
    trial: Trial, folder: Path, number: int, held: Sequence[IO[str]], server: ForkServer
) -> Trial:
    """Train a trial to its end in a process of its own, which has a hold on its lock too."""
    parts = [folder / "trials" / f"{number}.{suffix}" for suffix in ("yaml", "out", "err")]
    began = time.monotonic()
    with parts[1].open("ab") as out, parts[2].open("wb") as err:
        try:
            code = server.run(["--config", str(parts[0]), "--resume"], [out, err, *held])
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
        _fail(folder, number, error or f"exit status {code}")
    return _known(trial, folder, number)


def _fail(folder: Path, number: int, error: str) -> None:
    """Keep why a trial failed, so that it is not repeated."""
    with replacing(_failure(folder, number)) as file:
        file.write(f"{error}\n")


def _last_line(path: Path) -> str:
    """Return the last line of what a process printed that is not blank, without its ``error:``."""
    lines = [line.strip() for line in path.read_text("utf-8", "replace").splitlines()]
    return next((line for line in reversed(lines) if line), "").removeprefix("error: ")


def _read(file: Path) -> Experiment:
    """Read an experiment that a study has kept."""
    return read_kept(file, _DAMAGED)
