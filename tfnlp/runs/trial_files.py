"""A trial's files in a study's folder: how it was begun, what has become of it, and who has it."""

from __future__ import annotations

import dataclasses
import fcntl
import math
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO

from pipelines.atomic import replacing
from pipelines.errors import UserError
from pipelines.files.writers import write_json
from pipelines.json_files import damaged, read_json
from tfnlp.config import Experiment
from tfnlp.extensions import Settings, Trial
from tfnlp.runs import folders, judged_rows
from tfnlp.runs.experiment_yaml import read_trusted, write_yaml
from tfnlp.runs.study_files import Asked
from tfnlp.runtime.commands import quoted

DAMAGED = "restore it, or start another study with --name"
_DELETABLE = "restore it, or delete it and --resume, which writes it again"
WRITTEN_AGAIN = "--resume writes it again"
MEMBERSHIP = "storage.json"  # says which study of a database the folder belongs to

# On a trial: a block in which it is this process's, and the lock's file, which goes to its process.
Claim = AbstractContextManager[IO[str]]


class FolderTrials:
    """The trials of a study whose folder is all that there is; see `tfnlp.runs.studies.Trials`.

    Several processes may use the folder at once, each behind its ``lock``.

    Example::

        FolderTrials(asked).read()[0].state  # "complete"
    """

    def __init__(self, asked: Asked) -> None:
        self._asked, self._folder = asked, asked.folder
        self._checked: set[int] = set()
        if (asked.folder / MEMBERSHIP).exists():
            raise UserError(
                f"{asked.folder} belongs to a study that a database keeps (give its --storage, or "
                "another --name)"
            )

    def begin(self, resume: bool) -> None:
        """Make the study's folder, or see that it is this study's.

        The options may be others than before: more seeds, say.
        """
        folder, file = self._folder, self._folder / "study.yaml"
        if file.exists() and not resume:
            raise UserError(
                f"{folder} holds a study already (resume it with --resume, or give --name)"
            )
        if file.exists():
            same(self._asked, _name(file), read(folder / "base.yaml"))
            self._restore()
        elif _numbers(folder):
            raise damaged(file, "it is missing", DAMAGED)
        else:
            usable(self._asked)
            make(folder, self._asked.name, self._asked.base)

    def read(self) -> list[Trial]:
        """Return the trials that have begun.

        Raises:
            UserError: a file is damaged or missing.
        """
        folder, found = self._folder, []
        for number in _numbers(folder):
            trial = planned(folder, number)
            if number not in self._checked:
                self._check(number, trial)
            found.append(known(trial, folder, number))
        return found

    def _restore(self) -> None:
        """Write a trial's file again that is missing, where the other of its two tells of it.

        The settings of a trial are what the study proposes after those before it, if that makes the
        experiment that the trial has: several processes may have ended theirs in another order.
        """
        before: list[Trial] = []
        for number in _begun(self._folder):
            file = self._folder / "trials" / f"{number}.yaml"
            kept = file.with_suffix(".json")
            if not file.exists() and kept.exists():
                settings = read_json(kept, {"settings": dict}, remedy=DAMAGED)["settings"]
                write_yaml(_planned(self._asked, number, settings), file)
            elif file.exists() and not kept.exists():
                found = self._asked.study.propose(self._asked.base, before, self._asked.options)
                made = None if found is None else _planned(self._asked, number, found)
                if made is None or folders.changes(made, read(file)):
                    raise damaged(kept, "it is missing", DAMAGED)
                write_json(kept, {"settings": dict(found or {})})
            before.append(begun(self._folder, number))

    def _check(self, number: int, trial: Trial) -> None:
        """Refuse a trial whose two files do not belong together: one is another trial's, say."""
        changed = folders.changes(read(self._folder / "base.yaml"), self._asked.base)
        if not changed:  # else it is shown by a command that does not say all that it was begun by
            told = folders.changes(_planned(self._asked, number, trial.settings), trial.experiment)
            if told:
                file = self._folder / "trials" / f"{number}.yaml"
                why = f"its {', '.join(told)} and what {number}.json says differ"
                raise damaged(file, why, "restore the one that was changed, or start another study")
        self._checked.add(number)

    def add(self, number: int, trial: Trial) -> bool:
        """Keep a trial's settings and experiment before its run starts."""
        write(self._folder, number, trial)
        return True

    def take(self, number: int) -> Claim | None:
        """Return a claim on a trial; None if a process has it."""
        held = lock(self._folder, number)
        return claimed(self._folder, number, held) if held else None

    def end(self, number: int, trial: Trial) -> None:
        """Forget a study whose first trial could not begin: the others could not either."""
        if number == 1 and trial.state == "failed" and trial.run is None:
            shutil.rmtree(self._folder)
            raise UserError(f"the first trial could not begin: {trial.error}")


def usable(asked: Asked) -> None:
    """Refuse a study that cannot use its options, before there is a folder."""
    asked.vary(asked.study.propose(asked.base, [], asked.options) or {})


def make(folder: Path, name: str, base: Experiment) -> None:
    """Make a study's folder: of a study by this name, which varies this experiment."""
    (folder / "trials").mkdir(parents=True, exist_ok=True)
    write_yaml(base, folder / "base.yaml")
    with replacing(folder / "study.yaml") as out:
        out.write(f"{name}\n")


def same(asked: Asked, before: str, base: Experiment) -> None:
    """Refuse to resume another study than the one that was begun.

    Args:
        asked: what is asked for now.
        before: the study's name when it began.
        base: the experiment that it varies.
    """
    folder = asked.folder
    if before.replace("-", "_") != asked.name.replace("-", "_"):
        raise UserError(
            f"{folder} is a study by {before}, not by {asked.name}, says its study.yaml (give "
            "--name, or restore the file if it is damaged)"
        )
    changed = folders.changes(base, asked.base)
    if changed:
        raise UserError(
            f"{folder} was started with other settings ({', '.join(changed)}); resume it "
            f"with --config {quoted(folder / 'base.yaml')} --resume, or start another with --name"
        )


def proposed(asked: Asked, number: int, settings: Settings) -> Trial:
    """Return a trial that has not begun; settings that contradict one another make a failed one.

    Raises:
        UserError: where its run would go, another one's runs are.
    """
    error = ""
    try:
        asked.vary(settings)
    except UserError as wrong:
        error = str(wrong)
    experiment = _planned(asked, number, settings)
    check_place(experiment)
    return Trial(experiment, settings, "failed" if error else "running", error=error)


def _planned(asked: Asked, number: int, settings: Settings) -> Experiment:
    """Return a trial's experiment: the base where settings contradict one another."""
    export = dataclasses.replace(asked.base.export, export=False)
    logging = dataclasses.replace(asked.base.logging, projector=0)  # takes as long as an epoch
    experiment = asked.base
    with suppress(UserError):
        experiment = asked.vary(settings)
    name = f"{asked.base.name}-{number}"
    return dataclasses.replace(experiment, name=name, export=export, logging=logging)


def check_place(experiment: Experiment) -> None:
    """Refuse a trial whose run would go where another one's runs are."""
    place = Path(experiment.export.tensorboard_logs) / experiment.name
    if place.exists():
        raise UserError(f"{place} holds runs already, which are not this study's (give --name)")


def write(folder: Path, number: int, trial: Trial) -> None:
    """Write the files of a trial that begins; the experiment's, which makes it one, at last."""
    file = folder / "trials" / f"{number}.yaml"
    failure(folder, number).unlink(missing_ok=True)  # of one that a kill kept from beginning
    if trial.state == "failed":
        fail(folder, number, trial.error)
    write_json(file.with_suffix(".json"), {"settings": dict(trial.settings)})
    write_yaml(trial.experiment, file)


def begun(folder: Path, number: int) -> Trial:
    """Return a trial as it was begun, with what has become of it."""
    return known(planned(folder, number), folder, number)


def planned(folder: Path, number: int) -> Trial:
    """Return a trial as it was begun."""
    file = folder / "trials" / f"{number}.yaml"
    kept = file.with_suffix(".json")
    remedy = _DELETABLE if kept.exists() else WRITTEN_AGAIN if file.exists() else DAMAGED
    held = read_json(kept, {"settings": dict}, remedy=remedy)
    seconds, began = held.get("seconds", 0.0), held.get("began", math.inf)
    if not all(isinstance(each, int | float) for each in (seconds, began)):
        raise damaged(file.with_suffix(".json"), "its 'seconds' is no number", _DELETABLE)
    # Where the study was killed nobody has counted: its process printed until then.
    out = file.with_suffix(".out")
    seconds += max(0.0, out.stat().st_mtime - began) if out.exists() else 0.0
    return Trial(read_trusted(file, _DELETABLE), held["settings"], seconds=round(seconds, 1))


def time_it(folder: Path, number: int, trial: Trial, began: float | None) -> None:
    """Keep how long a trial has taken, and since when its process runs [s of the epoch]."""
    kept = {"settings": dict(trial.settings), "seconds": trial.seconds}
    if began is not None:
        kept["began"] = began
    write_json(folder / "trials" / f"{number}.json", kept)


def _numbers(folder: Path) -> Sequence[int]:
    """Return the numbers of the trials that have begun.

    Raises:
        UserError: the file of one of them is missing.
    """
    numbers = _begun(folder)
    for number in numbers:
        file = folder / "trials" / f"{number}.yaml"
        if not file.exists():
            again = WRITTEN_AGAIN if file.with_suffix(".json").exists() else DAMAGED
            raise damaged(file, "it is missing", again)
    return numbers


def _begun(folder: Path) -> Sequence[int]:
    """Return the numbers of the trials that have begun, whatever is left of their files."""
    # The lock comes after what makes a trial one, so it tells of a last one that is missing.
    files = [*folder.glob("trials/*.yaml"), *folder.glob("trials/*.lock")]
    return range(1, 1 + max((int(f.stem) for f in files if f.stem.isdecimal()), default=0))


def _name(file: Path) -> str:
    """Return the study's name that a folder's study.yaml holds."""
    name = file.read_text("utf-8", "replace").strip()
    if not re.fullmatch(r"[\w.-]+", name):
        raise damaged(file, f"it does not name a study{'' if name else ', it is empty'}", DAMAGED)
    return name


def known(trial: Trial, folder: Path, number: int) -> Trial:
    """Return a trial with what its run and the study's folder tell of it."""
    run = folders.last_run(trial.experiment)
    file = run / "metrics.json" if run else None
    again = "delete its run's folder to train it again"
    holds = {"validation": dict}
    metrics = read_json(file, holds, remedy=again) if file and file.exists() else None
    story = run / "history.json" if run else None
    if story and story.exists():
        trial = dataclasses.replace(trial, history=read_json(story, list, remedy=again))
    failed = failure(folder, number)
    if run and metrics:
        kept = run / judged_rows.FILE
        judged = read_json(kept, judged_rows.HOLDS, remedy=again) if kept.exists() else None
        done = {"state": "complete", "metrics": metrics, "judged": judged}
        return dataclasses.replace(trial, run=run, **done)
    if failed.exists():
        error = failed.read_text("utf-8", "replace").strip()
        if not error or not error.isprintable() or "\ufffd" in error:
            again = "write into it why the trial failed, or delete it to train the trial again"
            raise damaged(failed, "it does not say why the trial failed", again)
        return dataclasses.replace(trial, state="failed", run=run, error=error)
    return dataclasses.replace(trial, run=run)


def failure(folder: Path, number: int) -> Path:
    """Return the file that says why a trial failed."""
    return folder / "trials" / f"{number}.failed"


def fail(folder: Path, number: int, error: str) -> None:
    """Keep why a trial failed, so that it is not repeated."""
    with replacing(failure(folder, number)) as file:
        file.write(f"{error}\n")


def lock(folder: Path, number: int) -> IO[str] | None:
    """Take a trial's lock; None if a process has it."""
    held = (folder / "trials" / f"{number}.lock").open("w")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        return None
    except OSError:  # a file system without locks keeps nobody out
        pass
    return held


@contextmanager
def claimed(folder: Path, number: int, held: IO[str]) -> Iterator[IO[str]]:
    """Hold a trial for a process of the study.

    Args:
        folder: the study's.
        number: the trial's.
        held: its lock, which the trial's process inherits and keeps if that of the study is killed.
    """
    with held, (folder / "trials" / f"{number}.held").open("w") as own:  # which it does not inherit
        with suppress(OSError):
            fcntl.flock(own, fcntl.LOCK_EX)
        yield held


def orphaned(folder: Path, number: int) -> bool:
    """Return whether a trial's process runs here, though that of its study was killed."""
    file = folder / "trials" / f"{number}.held"
    if not file.exists():
        return False
    if free := lock(folder, number):
        free.close()
        return False
    with file.open("w") as own:
        try:
            fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Let one process at a time look at a study's trials, and begin the next."""
    with file.open("w") as held:
        with suppress(OSError):  # as in `lock`
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def read(file: Path) -> Experiment:
    """Read an experiment that a study has kept."""
    return read_trusted(file, DAMAGED)
