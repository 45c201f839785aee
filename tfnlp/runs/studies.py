"""A study: its trials, each an ordinary run trained in a process of its own.

In ``studies/NAME`` lie ``study.yaml`` (what was asked for), ``trials/K.yaml`` (the experiment of
trial K, written before it starts), ``trials/K.json`` (the settings that were proposed, and the
seconds that it took), ``trials/K.out`` and ``K.err`` (what its process printed),
``trials/K.failed`` (why it failed), ``trials/K.lock`` (held while it runs), ``trials/K.held`` (held
while the study's process waits for it), and the results: best.yaml, trials.csv and report.html. The
runs are where runs always are. All that a resumed study knows it reads from there, or with
``--storage`` from a database: then the folder has the files of the trials that were trained here
alone.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import signal
import time
from collections.abc import Callable, Sequence
from itertools import count, takewhile
from pathlib import Path
from typing import IO, Protocol

from pipelines.errors import UserError
from tfnlp.config import Experiment
from tfnlp.extensions import Trial, consent
from tfnlp.report import Report
from tfnlp.runs import experiment_yaml, study_files, trial_files
from tfnlp.runs.fork_server import ForkServer
from tfnlp.runs.study_files import Asked, best, write
from tfnlp.runs.trial_files import Claim

TRAIN = ("tfnlp.train", "tfnlp.api.training")  # as `ForkServer` takes them
_WAIT = 2.0  # until other processes' trials are looked at again [s]
_FULL = (errno.ENOSPC, errno.EDQUOT)
_ASKED = ("SIGINT", "SIGTERM")  # signals by which somebody stops a trial
_DEATHS = 3  # of a trial's process, by other signals, until the trial has failed
_RESUMED = "run the same command with --resume to continue"


class Trials(Protocol):
    """Where a study's trials are kept: in its folder, or in a database."""

    def begin(self, resume: bool) -> None:
        """Begin the study, or see that it is the one that was begun."""

    def read(self) -> list[Trial]:
        """Return the trials that have begun."""

    def add(self, number: int, trial: Trial) -> bool:
        """Keep a trial that nobody trains yet; False if another process has that number."""

    def take(self, number: int) -> Claim | None:
        """Take a trial that is running but is no living process's; None if it is one's."""

    def end(self, number: int, trial: Trial) -> None:
        """Keep what has become of a trial that was taken."""


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
            left of the study; a trial's process was stopped; or the disk is full.
        KeyboardInterrupt: a signal came; the trial has kept what ``resume`` needs.

    Example::

        trials, report = run(asked, resume=True)
        [trial.state for trial in trials]  # ["complete", "complete", "failed"]
    """
    for settings in asked.study.possible(asked.options):
        asked.vary(settings)
    kept = _kept(asked, tell)
    kept.begin(resume)
    study_files.keep(asked)
    with ForkServer(*TRAIN) as server:
        trials = _run(asked, kept, server, tell)
    return trials, write(asked, trials)


def _run(
    asked: Asked, kept: Trials, server: ForkServer, tell: Callable[[str], None]
) -> list[Trial]:
    """Run the trials that have not ended; returns all."""
    folder = asked.folder
    awaited: set[int] = set()
    while True:
        with trial_files.locked(folder / "lock"):
            trials, taken = _taken(asked, kept, tell)
        running = {number for number, trial in enumerate(trials, 1) if trial.state == "running"}
        for number in sorted(awaited - running):
            tell(f"trial {number}: {_told(asked, trials[number - 1], trials)}")
        awaited &= running
        if taken is None:
            if not running:
                return trials
            for number in sorted(running - awaited):
                tell(f"trial {number}: waiting for the process that trains it")
            awaited |= running
            time.sleep(_WAIT)
            continue
        number, claim = taken
        with claim as lock:
            tell(f"trial {number}: {folder / 'trials' / f'{number}.out'}")
            begun = trial_files.begun(folder, number)
            trial = _trained(begun, folder, number, [lock], server, tell)
            kept.end(number, trial)
        with trial_files.locked(folder / "lock"):
            trials = kept.read()
            write(asked, trials)
        tell(f"trial {number}: {_told(asked, trial, trials)}")


def shown(asked: Asked) -> tuple[list[Trial], Report]:
    """Return the trials of a study, which may be running, and what it makes of them so far.

    Raises:
        UserError: there is none of this name, or none has begun.

    Example::

        trials, report = shown(asked)
    """
    trials = _kept(asked, print).read()
    if not trials:
        place = f"{asked.base.name} in that database" if asked.storage else f"in {asked.folder}"
        raise UserError(f"there is no study {place} with trials to show (give --name)")
    return trials, asked.study.report(trials, asked.options)


def followed(folder: Path, before: Sequence[Trial] = ()) -> list[Trial]:
    """Return the trials that have begun; those that had ended before are not read again.

    Args:
        folder: the study's.
        before: what this function returned the last time.

    Raises:
        UserError: a file is damaged.

    Example::

        trials = followed(Path("studies/luck"))
        trials = followed(Path("studies/luck"), trials)
    """
    # The last one's seconds are written after its metrics.
    known = enumerate(before[:-1], 1)
    ended = {n: trial for n, trial in known if trial.state != "running" and trial.seconds}
    numbers = takewhile(lambda n: (folder / "trials" / f"{n}.yaml").exists(), count(1))
    return [ended.get(number) or trial_files.begun(folder, number) for number in numbers]


def _told(asked: Asked, trial: Trial, trials: Sequence[Trial]) -> str:
    """Return what has become of a trial, for a line."""
    from tfnlp.evaluation import runs

    if not trial.metrics:
        return f"{trial.state}{f' ({trial.error})' if trial.error else ''}"
    name = runs.headline(trial.metrics)
    if part := trial.experiment.data.fold:  # which says little of the settings alone
        value = trial.metrics["validation"][name]
        score = "none" if value is None else f"{value:.4f}"
        return f"{trial.state}, {name} {score} on fold {part} in {trial.seconds:.0f} s"
    found = best(asked, trials)
    metrics = [made.metrics["validation"][name] for made in (trial, found) if made and made.metrics]
    scores = [f"{value:.4f}" if value is not None else "none" for value in metrics]
    return (
        f"{trial.state}, {name} {scores[0]} in {trial.seconds:.0f} s; the best so far {scores[-1]}"
    )


def _kept(asked: Asked, tell: Callable[[str], None]) -> Trials:
    """Return where a study's trials are kept."""
    if asked.storage:
        try:
            from tfnlp.runs.shared_trials import SharedTrials
        except ImportError as error:
            raise UserError("--storage needs sqlalchemy (pip install -e '.[search]')") from error
        return SharedTrials(asked, tell)
    return trial_files.FolderTrials(asked)


def _taken(
    asked: Asked, kept: Trials, tell: Callable[[str], None]
) -> tuple[list[Trial], tuple[int, Claim] | None]:
    """Take a trial that no process has, or begin the next.

    Returns:
        The trials; and the number of the one that was taken, with the claim on it, which the
        trial's process holds too, for it may outlive this one. None if there is none now.
    """
    while True:
        trials = kept.read()
        running = [n for n, trial in enumerate(trials, 1) if trial.state == "running"]
        for number in running:
            if claim := kept.take(number):
                return trials, (number, claim)
        if any(trial_files.orphaned(asked.folder, number) for number in running):
            return trials, None  # what comes next may depend on it, as if nothing had been killed
        settings = asked.study.propose(asked.base, trials, asked.options)
        if settings is None:
            return trials, None
        number = len(trials) + 1
        trial = trial_files.proposed(asked, number, settings)
        # The next look finds it, or another process's of this number.
        if kept.add(number, trial) and trial.state == "failed":
            tell(f"trial {number}: {_told(asked, trial, trials)}")


def _trained(
    trial: Trial,
    folder: Path,
    number: int,
    held: Sequence[IO[str]],
    server: ForkServer,
    tell: Callable[[str], None],
) -> Trial:
    """Train a trial to its end; one whose process dies goes on from its checkpoint, twice."""
    for deaths in range(1, _DEATHS + 1):
        trial, code, error = _process(trial, folder, number, held, server)
        name = _signal(code)
        if name in _ASKED:
            raise UserError(f"trial {number} was stopped by {name} ({_RESUMED})")
        if code and any(os.strerror(each).lower() in error.lower() for each in _FULL):
            # The others would fail for that too, one after another, and none is repeated.
            raise UserError(f"trial {number} stopped: {error} (free space there; {_RESUMED})")
        if not name:
            break
        if deaths < _DEATHS:
            tell(f"trial {number}: killed by {name}, goes on from its checkpoint")
        error = f"killed by {name} {_DEATHS} times (SIGKILL may mean that memory ran out)"
    if code:
        trial_files.fail(folder, number, error or f"exit status {code}")
    return trial_files.known(trial, folder, number)


def _process(
    trial: Trial, folder: Path, number: int, held: Sequence[IO[str]], server: ForkServer
) -> tuple[Trial, int, str]:
    """Train a trial in a process of its own, which has a hold on its lock too.

    Returns:
        The trial with the seconds that it has taken; the exit status, and the last line of what
        was printed as an error.
    """
    parts = [folder / "trials" / f"{number}.{suffix}" for suffix in ("yaml", "out", "err")]
    began = time.monotonic()
    trial_files.time_it(folder, number, trial, time.time())
    with parts[1].open("ab") as out, parts[2].open("wb") as err:
        try:
            line = ["--config", str(parts[0]), "--resume", *_trust(trial.experiment)]
            code = server.run(line, [out, err, *held])
        finally:
            spent = round(trial.seconds + time.monotonic() - began, 1)
            trial = dataclasses.replace(trial, seconds=spent)
            trial_files.time_it(folder, number, trial, None)
    return trial, code, _last_line(parts[2])


def _trust(experiment: Experiment) -> list[str]:
    """Return the flag by which a trial imports its own modules: who began the study named them."""
    return ["--trust"] if consent.modules(experiment_yaml.to_values(experiment)) else []


def _signal(code: int) -> str:
    """Return the name of the signal that ended a process with an exit status; '' if none did."""
    number = -code if code < 0 else code - 128
    return signal.Signals(number).name if number in set(signal.Signals) else ""


def _last_line(path: Path) -> str:
    """Return the last line of what a process printed that is not blank, without its ``error:``."""
    lines = [line.strip() for line in path.read_text("utf-8", "replace").splitlines()]
    return next((line for line in reversed(lines) if line), "").removeprefix("error: ")
