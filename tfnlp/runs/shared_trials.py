"""A study's trials in a database, for processes on machines that share no folder.

One table holds all studies: a row for each trial, and row 0 for the study itself. A process takes
the next number by inserting its row, which the primary key lets one process do. While it trains,
a thread says every few seconds that it is there (``beat``, by the database's clock); a trial whose
process has said nothing for a minute is taken over by an UPDATE that one process can win. Files of
the trials that were trained here are in the study's folder, so a result that the database could not
take is sent later.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa

from pipelines.errors import UserError
from pipelines.files.writers import write_json
from pipelines.json_files import damaged, read_json
from tfnlp import task as tasks
from tfnlp.config import Experiment
from tfnlp.extensions import Trial
from tfnlp.runs import trial_files
from tfnlp.runs.experiment_yaml import from_values, task_name, to_values
from tfnlp.runs.study_database import TRIALS, Database
from tfnlp.runs.study_files import Asked

BEAT = 10.0  # between two signs of life [s]
ORPHAN = 60.0  # without one, after which a trial is taken over [s]

_Row = Any  # of the table


@dataclass(frozen=True)
class _Owner:
    """Who has a trial that is running."""

    claim: str
    host: str
    silent: float  # since it last said that it is there [s]
    refused: bool  # whether a process could not begin it


class SharedTrials:
    """The trials of a study that a database keeps; see `tfnlp.runs.studies.Trials`.

    Args:
        asked: the study, with its ``storage``.
        tell: is called with a sentence where the database is away, or a result comes too late.

    Raises:
        UserError: there is no such database, or it cannot be used.

    Example::

        SharedTrials(asked, print).read()[0].state  # "complete"
    """

    def __init__(self, asked: Asked, tell: Callable[[str], None]) -> None:
        self._asked, self._folder, self._tell = asked, asked.folder, tell
        self._name = asked.base.name
        self._database = Database(asked.storage or "", tell)
        self._here = f"{socket.gethostname()}:{Path.cwd()}"
        self._token = ""  # this folder's
        self._ended: dict[int, Trial] = {}  # which do not change any more
        self._owners: dict[int, _Owner] = {}
        self._trained = False  # whether a trial could begin here

    # What studies call

    def begin(self, resume: bool) -> None:
        """Begin the study, or join it; send results that the database does not have."""
        self._database.prepare()
        made = self._study() is None and self._make()
        kept = self._study()
        if kept is None:
            raise self._damaged("its own row", "it is missing")
        if not made and not resume:
            raise UserError(
                f"{self._database.place} holds a study {self._name} already (resume it with "
                "--resume, or give --name)"
            )
        before, base = str(self._json(kept, "settings", dict).get("study")), self._experiment(kept)
        self._join(kept.owner, before, base)
        trial_files.same(self._asked, before, base)
        self._update(0, beat=sa.func.now())  # a database that cannot be written to is said now
        self.read()
        self._database.patient = True
        for number in self._owners:
            if (self._folder / "trials" / f"{number}.yaml").exists():
                trial = trial_files.begun(self._folder, number)
                if trial.state != "running":
                    self._send(number, trial)

    def read(self) -> list[Trial]:
        """Return the trials that have begun, wherever they run."""
        if not self._database.patient and not self._database.is_there():
            return []  # to show them; nothing is made
        wanted = [TRIALS.c.study == self._name, TRIALS.c.number > 0]
        fresh = TRIALS.c.number.not_in(list(self._ended))
        age = sa.func.now().label("now")
        rows = self._database.ask(
            lambda connection: connection.execute(
                sa.select(TRIALS, age).where(*wanted, fresh).order_by(TRIALS.c.number)
            ).all()
        )
        found = dict(self._ended)
        self._owners = {}
        for row in rows:
            trial = found[row.number] = self._trial(row)
            if trial.state != "running":
                self._ended[row.number] = trial
                continue
            silent = (row.now - row.beat).total_seconds() if row.beat else ORPHAN
            self._owners[row.number] = _Owner(row.owner, row.host, silent, bool(row.error))
        for place, number in enumerate(sorted(found), 1):
            if place != number:
                raise self._damaged(f"trial {place}", "it is missing")
        return [found[number] for number in sorted(found)]

    def add(self, number: int, trial: Trial) -> bool:
        """Take a number for a trial; False if another process has it."""
        values = {"settings": json.dumps(dict(trial.settings)), "state": trial.state}
        values |= {"experiment": _text(trial.experiment), "error": _plain(trial.error)}
        return self._insert(number, owner=self._claim(), **values)

    def take(self, number: int) -> trial_files.Claim | None:
        """Take a trial of this folder that no process has, or one whose process is gone."""
        owner = self._owners[number]
        mine = owner.claim.startswith(f"{self._token}.") and owner.host == self._here
        if not mine and owner.silent < ORPHAN:
            return None
        lock = trial_files.lock(self._folder, number)
        if lock is None:  # the trial's process lives, though that of its study does not
            return None
        file = self._folder / "trials" / f"{number}.yaml"
        trial = self._trial(self._row(number))
        if not file.exists():
            trial_files.check_place(trial.experiment)
        claim = self._claim()
        values = {"owner": claim, "host": self._here, "beat": sa.func.now()}
        if not self._update(number, TRIALS.c.owner == owner.claim, **values):
            lock.close()
            return None
        if not file.exists():
            trial_files.write(self._folder, number, trial)
        return self._beating(number, claim, lock)

    def end(self, number: int, trial: Trial) -> None:
        """Send what has become of a trial.

        Where it could not begin, that may be this machine's doing: a file that is not there. So
        the first one is given back, and a study that has no other is forgotten.
        """
        unbegun = trial.state == "failed" and trial.run is None
        if not unbegun or self._trained or self._owners[number].refused:
            self._trained = self._trained or not unbegun
            self._send(number, trial)
            return
        if number == 1 and self._forget():
            shutil.rmtree(self._folder)
            raise UserError(f"the first trial could not begin: {trial.error}")
        trial_files.failure(self._folder, number).unlink(missing_ok=True)
        self._update(number, beat=None, error=_plain(trial.error))
        raise UserError(
            f"trial {number} could not begin here: {trial.error} (put that right, and run the same "
            "command with --resume; if it could not begin again, it counts as failed)"
        )

    # The study's folder

    def _refuse_folder(self) -> None:
        """Refuse a folder that belongs to another study."""
        if (self._folder / "study.yaml").exists():
            raise UserError(
                f"{self._folder} holds a study that {self._database.place} does not have (restore "
                "the database, give the --storage that it began with, or another --name)"
            )

    def _join(self, study: str, name: str, base: Experiment) -> None:
        """Make the study's folder, or see that it belongs to this study; learn who we are."""
        file = self._folder / trial_files.MEMBERSHIP
        if not file.exists():
            self._refuse_folder()
            self._folder.mkdir(parents=True, exist_ok=True)
            write_json(file, {"id": study, "owner": uuid.uuid4().hex})
        held = read_json(file, {"id": str, "owner": str}, remedy=trial_files.DAMAGED)
        if held["id"] != study:
            self._refuse_folder()
            raise damaged(file, "it names another study", trial_files.DAMAGED)
        self._token = held["owner"]
        if not (self._folder / "study.yaml").exists():
            trial_files.make(self._folder, name, base)

    # The database

    def _trial(self, row: _Row) -> Trial:
        """Return the trial that a row holds."""
        if row.state not in ("running", "complete", "failed"):
            raise self._damaged(f"trial {row.number}", f"its state is {row.state!r}")
        if row.state == "complete" and not row.metrics:
            raise self._damaged(f"trial {row.number}", "it is complete, but has no metrics")
        run = Path(row.run) if row.run else None
        if run and row.host != self._here:  # as scp names it
            host, _, folder = row.host.partition(":")
            run = Path(f"{host}:{Path(folder) / run}")
        return Trial(
            self._experiment(row),
            self._json(row, "settings", dict),
            row.state,
            metrics=self._json(row, "metrics", dict) if row.metrics else None,
            history=self._json(row, "history", list) if row.history else (),
            run=run,
            error=row.error if row.state == "failed" else "",
            seconds=row.seconds or 0.0,
            judged=self._json(row, "judged", dict) if row.judged else None,
        )

    def _experiment(self, row: _Row) -> Experiment:
        values, place = self._json(row, "experiment", dict), f"trial {row.number}"
        try:
            return from_values(values, tasks.load(task_name(values, place)).options, place)
        except UserError as error:
            raise self._damaged(place, str(error)) from error

    def _json(self, row: _Row, column: str, kind: type) -> Any:
        """Return what a cell holds."""
        with suppress(ValueError, TypeError, RecursionError):
            value = json.loads(getattr(row, column))
            if isinstance(value, kind):
                return value
        raise self._damaged(f"trial {row.number}", f"its {column} cannot be read")

    def _damaged(self, what: str, why: str) -> UserError:
        return UserError(
            f"{what} of the study {self._name} in {self._database.place} is damaged: {why} "
            f"({trial_files.DAMAGED})"
        )

    def _make(self) -> bool:
        """Insert the study's own row; False if another process does it at the same time."""
        self._refuse_folder()
        trial_files.usable(self._asked)
        held = {"settings": json.dumps({"study": self._asked.name}), "state": "study"}
        return self._insert(0, uuid.uuid4().hex, experiment=_text(self._asked.base), **held)

    def _study(self) -> _Row | None:
        """Return the study's own row."""
        return self._database.ask(lambda connection: connection.execute(self._select(0)).first())

    def _row(self, number: int) -> _Row:
        """Return a trial's row."""
        query = self._select(number)
        row = self._database.ask(lambda connection: connection.execute(query).first())
        if row is None:
            raise self._damaged(f"trial {number}", "it is missing")
        return row

    def _select(self, number: int) -> sa.Select:
        return sa.select(TRIALS).where(TRIALS.c.study == self._name, TRIALS.c.number == number)

    def _claim(self) -> str:
        """Return a new owner's name, by which this folder knows its own."""
        return f"{self._token}.{uuid.uuid4().hex}"

    def _insert(self, number: int, owner: str, **values: Any) -> bool:
        """Insert a row; False if there is one of this number."""
        row = {"study": self._name, "number": number, "owner": owner, "host": self._here, **values}
        try:
            self._database.ask(
                lambda connection: connection.execute(
                    sa.insert(TRIALS).values(beat=sa.func.now(), **row)
                )
            )
        except sa.exc.IntegrityError:
            # It is ours if the answer to the first attempt was lost with the connection.
            return bool(self._row(number).owner == owner)
        return True

    def _update(self, number: int, *where: Any, **values: Any) -> bool:
        """Change a row; return whether there is one of this kind."""
        query = sa.update(TRIALS).where(TRIALS.c.study == self._name, TRIALS.c.number == number)
        return bool(
            self._database.ask(
                lambda connection: connection.execute(query.where(*where).values(**values)).rowcount
            )
        )

    def _send(self, number: int, trial: Trial) -> None:
        """Send what has become of a trial; whoever ends it first has done it."""
        values = {
            "state": trial.state,
            "metrics": json.dumps(trial.metrics) if trial.metrics else None,
            "history": json.dumps(list(trial.history)),
            "judged": json.dumps(trial.judged) if trial.judged else None,
            "run": os.fspath(trial.run) if trial.run else None,
            "seconds": trial.seconds,
            "error": _plain(trial.error),
            "host": self._here,
        }
        if not self._update(number, TRIALS.c.state == "running", **values):
            row = self._row(number)
            if row.host != self._here:  # else the answer to the first attempt was lost
                self._tell(f"trial {number}: {row.host} has ended it too, and that result counts")

    def _forget(self) -> bool:
        """Take the study out of the database if it has one trial."""
        other = TRIALS.alias()
        more = sa.exists().where(other.c.study == self._name, other.c.number > 1)
        query = sa.delete(TRIALS).where(TRIALS.c.study == self._name, ~more)
        return bool(self._database.ask(lambda connection: connection.execute(query).rowcount))

    @contextmanager
    def _beating(self, number: int, claim: str, lock: IO[str]) -> Iterator[IO[str]]:
        """Say every few seconds that a trial's process is there."""
        stop = threading.Event()

        def beat() -> None:
            query = sa.update(TRIALS).values(beat=sa.func.now())
            own = query.where(TRIALS.c.study == self._name, TRIALS.c.owner == claim)
            # A late one after the end does no harm.
            while not stop.wait(BEAT):
                with suppress(sa.exc.SQLAlchemyError):  # it may be back at the next
                    self._database.once(lambda connection: connection.execute(own))

        threading.Thread(target=beat, daemon=True).start()
        try:
            with trial_files.claimed(self._folder, number, lock):
                yield lock
        finally:
            stop.set()


def _text(experiment: Experiment) -> str:
    """Return an experiment as a cell holds it."""
    return json.dumps(to_values(experiment))


def _plain(error: str) -> str:
    """Return a sentence without NUL, which PostgreSQL does not take."""
    return error.replace("\0", "")
