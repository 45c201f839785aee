"""Machines that share a study by a database: folders of their own, and a PostgreSQL server."""

from __future__ import annotations

import csv
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tfnlp.runs import studies

pytest.importorskip("sqlalchemy")

import sqlalchemy as sa

from tfnlp.runs import study_database

HERE = Path(__file__).parent
ACCURACY = [0.9, 0.92, 0.91, 0.95, 0.8]  # as fake_train.py has them
_BINARIES = [shutil.which("initdb"), *sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))]


class Server:
    """A PostgreSQL of its own, which can be stopped and started."""

    def __init__(self, folder, programs):
        self.folder, self.programs = folder, programs
        self.user = []
        if os.getuid() == 0:  # as whom it refuses to run
            os.chown(folder, *pwd.getpwnam("postgres")[2:4])
            self.user = ["runuser", "-u", "postgres", "--"]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (folder / "password").write_text("s3cret\n")
        (folder / "password").chmod(0o644)
        made = ["-A", "scram-sha-256", "-U", "owner", f"--pwfile={folder / 'password'}", "-N"]
        self._run("initdb", "-D", folder / "data", *made)
        self.start()

    def _run(self, program, *arguments):
        command = [*self.user, self.programs / program, *arguments]
        output = self.folder.parent / f"{self.folder.name}.log"
        with output.open("a") as log:  # a pipe would stay open as long as the server
            subprocess.run(command, check=True, stdout=log, stderr=log, cwd="/")

    def start(self):
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder} -F"
        self._run("pg_ctl", "-D", self.folder / "data", "-w", "-o", options, "start")

    def stop(self):
        self._run("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "stop")

    def url(self, password="s3cret", database="postgres"):
        return f"postgresql+psycopg://owner:{password}@127.0.0.1:{self.port}/{database}"


@pytest.fixture(scope="module")
def server():
    pytest.importorskip("psycopg")
    found = [Path(each).parent for each in _BINARIES if each]
    if not found:
        pytest.skip("there is no PostgreSQL on this machine (apt-get install postgresql)")
    if os.getuid() == 0 and not shutil.which("runuser"):
        pytest.skip("PostgreSQL does not run as root, and there is no runuser")
    folder = Path(tempfile.mkdtemp(prefix="tfnlp-postgresql-"))
    made = None
    try:
        made = Server(folder, found[-1])
        yield made
    finally:
        if made:
            made.stop()
        shutil.rmtree(folder)
        folder.with_name(f"{folder.name}.log").unlink()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """Return an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/trials.db"
    place = request.getfixturevalue("server").url()
    engine = sa.create_engine(place)
    study_database.TRIALS.drop(engine, checkfirst=True)
    engine.dispose()
    return place


@pytest.fixture
def machines(tmp_path, monkeypatch):
    """Return a function: makes a folder that stands for a machine, and goes there."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE.parents[1]), *sys.path]))
    monkeypatch.setattr(studies, "TRAIN", ("tests.contract.fake_train",))
    monkeypatch.setattr(study_database, "PAUSE", 0.2)

    def machine(name, orders=""):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "orders").write_text(orders)
        monkeypatch.chdir(folder)
        return folder

    return machine


def line(url, *more, count=3):
    seeds = ["seeds", "--name", "toy", "--seed", "0", "--seeds-count", str(count)]
    return [*seeds, *(["--storage", url] if url else []), *more]


def start(folder, url, *more, count=3, patience=600.0):
    """Start the command in a process of its own, in a machine's folder."""
    code = (
        "import sys\n"
        "from tfnlp import study\n"
        "from tfnlp.runs import shared_trials, studies, study_database\n"
        "from tfnlp.runtime import exit_status\n"
        "shared_trials.BEAT, shared_trials.ORPHAN = 0.5, 5.0\n"
        f"study_database.PAUSE, study_database.PATIENCE = 0.2, {patience}\n"
        f"studies.TRAIN = {studies.TRAIN!r}\n"
        "sys.exit(exit_status.run(study.main))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *line(url, *more, count=count)],
        stderr=subprocess.STDOUT,
        stdout=(folder / "printed").open("w"),
        start_new_session=True,
        cwd=folder,
    )


def printed(folder):
    return (folder / "printed").read_text()


def calls(*folders):
    files = [folder / "calls" for folder in folders]
    return sorted(int(n) for file in files if file.exists() for n in file.read_text().split())


def wait_for(happened, *folders):
    end = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < end, [printed(folder) for folder in folders]
        time.sleep(0.05)


def table(folder):
    """Return a study's table without what differs by the clock and the machine."""
    with (folder / "studies/toy/trials.csv").open(encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k not in ("run", "seconds")} for row in found]


def kill(folder, process):
    """Kill all that a machine does for a study, as a power cut would."""
    process.kill()
    process.wait()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").resolve() == folder.resolve() and int(entry.name) != os.getpid():
                os.kill(int(entry.name), signal.SIGKILL)
        except OSError:
            continue
