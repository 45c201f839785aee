"""A study whose trials a database keeps: machines without a common folder are folders here."""

from __future__ import annotations

import csv
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from pipelines.errors import UserError
from tfnlp import study
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


def test_three_processes_run_one_study_and_one_is_killed(machines, url):
    alone = machines("alone")
    assert study.main(line(None, count=8)) == 0
    orders = "".join(f"{seed}: pause\n" for seed in range(3))
    one, two, three = (machines(name, orders) for name in ("one", "two", "three"))
    for folder in (one, two, three):
        (folder / "paused").touch()
    first = start(one, url, count=8)
    wait_for(lambda: calls(one), one)
    others = [start(folder, url, "--resume", count=8) for folder in (two, three)]
    wait_for(lambda: len(calls(two, three)) == 2, two, three)
    assert calls(one, two, three) == [0, 1, 2]
    kill(one, first)
    for folder in (two, three):
        (folder / "paused").unlink()
    for process, folder in zip(others, (two, three), strict=True):
        assert process.wait(120) == 0, printed(folder)
    assert calls(one, two, three) == [0, 0, *range(1, 8)]  # the killed one, and each of the others
    assert table(two) == table(three) == table(alone)
    # The machine that was killed has nothing left to do, and the same results.
    assert start(one, url, "--resume", count=8).wait(120) == 0
    assert table(one) == table(alone)
    assert calls(one) == [0]
    with (one / "studies/toy/trials.csv").open(encoding="utf-8") as file:
        runs = [row["run"] for row in csv.DictReader(file)]
    assert all(run.startswith(f"{socket.gethostname()}:{two.parent}") for run in runs)


def test_processes_that_begin_at_the_same_time_share_one_study(machines, url):
    folders = [machines(name) for name in ("one", "two", "three")]
    begun = [start(folder, url, "--resume", count=6) for folder in folders]
    for process, folder in zip(begun, folders, strict=True):
        assert process.wait(180) == 0, printed(folder)
    assert calls(*folders) == [0, 1, 2, 3, 4, 5]
    assert table(folders[0]) == table(folders[1]) == table(folders[2])


def test_a_killed_trial_goes_on_in_its_run_where_it_was(machines, url):
    one = machines("one", "1: die")
    with pytest.raises(UserError, match="trial 2 was killed by SIGKILL"):
        study.main(line(url))
    machines("one")
    assert study.main(line(url, "--resume")) == 0  # at once: the folder knows that nobody has it
    assert calls(one) == [0, 1, 1, 2]
    assert len(list((one / "tensorboard_logs/toy-2").iterdir())) == 1
    assert study.main(line(url, "--show")) == 0
    two = machines("two")
    assert study.main(line(url, "--show")) == 0
    assert list(two.iterdir()) == [two / "orders"]  # it makes nothing


def test_a_living_process_keeps_its_trial(machines, url):
    one = machines("one", "0: pause")
    (one / "paused").touch()
    first = start(one, url, count=2)
    wait_for(lambda: calls(one), one)
    two = machines("two")
    second = start(two, url, "--resume", count=2)
    wait_for(lambda: calls(two), two)
    time.sleep(8)  # longer than an orphan's time
    (one / "paused").unlink()
    assert first.wait(60) == 0, printed(one)
    assert second.wait(60) == 0, printed(two)
    assert (calls(one), calls(two)) == ([0], [1])
    assert "tfnlp.train --config studies/toy/best.yaml" in printed(one)  # its run is not here
    assert "tfnlp.export tensorboard_logs/toy-2/" in printed(two)


def test_a_server_that_goes_away_is_waited_for(machines, server, url):
    if url.startswith("sqlite"):
        pytest.skip("a file does not go away")
    one = machines("one", "1: pause")
    (one / "paused").touch()
    process = start(one, url)
    wait_for(lambda: calls(one) == [0, 1], one)
    server.stop()
    (one / "paused").unlink()
    try:
        wait_for(lambda: "trying again for 10 minutes" in printed(one), one)
        time.sleep(1)
    finally:
        server.start()
    assert process.wait(60) == 0, printed(one)
    assert printed(one).count("trying again") == 1
    assert "s3cret" not in printed(one)
    assert calls(one) == [0, 1, 2]


def test_a_result_that_could_not_be_sent_is_sent_by_resume(machines, server, url):
    if url.startswith("sqlite"):
        pytest.skip("a file does not go away")
    one = machines("one", "1: pause")
    (one / "paused").touch()
    process = start(one, url, patience=1.0)
    wait_for(lambda: calls(one) == [0, 1], one)
    server.stop()
    try:
        (one / "paused").unlink()
        assert process.wait(60) == 2
    finally:
        server.start()
    assert "sent by the same command with --resume" in printed(one)
    assert "Traceback" not in printed(one)
    assert study.main(line(url, "--resume")) == 0
    assert calls(one) == [0, 1, 2]
    assert [row["state"] for row in table(one)] == ["complete"] * 3


def test_another_study_is_refused(machines, url):
    machines("one")
    assert study.main(line(url, count=2)) == 0
    two = machines("two")
    with pytest.raises(UserError, match=r"holds a study toy already \(resume it with --resume"):
        study.main(line(url))
    with pytest.raises(UserError, match=r"other settings \(training.epochs\); .* --config studies"):
        study.main(line(url, "--resume", "--epochs", "9"))
    assert (two / "studies/toy/base.yaml").exists()  # which the sentence names
    with pytest.raises(UserError, match="is a study by seeds, not by grid"):
        study.main(["grid", "--name", "toy", "--vary", "epochs=1,2", "--storage", url, "--resume"])
    with pytest.raises(UserError, match="belongs to a study that a database keeps"):
        study.main(line(None, "--resume"))
    assert calls(two) == []
    assert study.main(line(url, "--resume", count=3)) == 0  # one more
    assert calls(two) == [2]
    machines("three")
    assert study.main(line(None, count=2)) == 0
    with pytest.raises(UserError, match=r"holds a study that .* does not have"):
        study.main(line("sqlite:///other.db", "--resume"))
    with pytest.raises(UserError, match=r"holds a study that .* does not have"):
        study.main(line(url, "--resume"))


def test_what_no_trial_can_use_leaves_nothing_behind(machines, url):
    one = machines("one", "0: refuse")
    with pytest.raises(UserError, match=r"first trial could not begin: there is no rows\.csv"):
        study.main(line(url))
    assert not (one / "studies/toy").exists()
    machines("one")
    assert study.main(line(url)) == 0


def test_a_machine_without_the_rows_does_not_use_up_the_trials(machines, url):
    machines("one", "1: die")
    with pytest.raises(UserError, match="killed"):
        study.main(line(url, count=2))
    two = machines("two", "2: refuse\n3: refuse")
    with pytest.raises(UserError, match=r"trial 3 could not begin here: there is no rows\.csv"):
        study.main(line(url, "--resume", count=4))
    assert calls(two) == [2]
    machines("one")
    assert study.main(line(url, "--resume", count=4)) == 0
    assert [row["state"] for row in table(two.parent / "one")] == ["complete"] * 4
    # What could not begin twice is a failed trial.
    machines("two", "4: refuse")
    with pytest.raises(UserError, match="trial 5 could not begin here"):
        study.main(line(url, "--resume", count=5))
    assert study.main(line(url, "--resume", count=5)) == 0
    assert [row["error"] for row in table(two)] == [""] * 4 + ["there is no rows.csv"]


def test_settings_that_contradict_one_another_are_a_failed_trial(machines, url, capsys):
    one = machines("one")
    vary = ["--vary", "strategy=supervised,gan", "--seed", "0", "--storage", url]
    assert study.main(["grid", "--name", "toy", *vary]) == 0
    assert "trial 2: failed (--strategy gan" in capsys.readouterr().out
    assert [row["state"] for row in table(one)] == ["complete", "failed"]


def test_a_table_of_another_version_is_refused(machines, url):
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS tfnlp_trials"))
        connection.execute(sa.text("CREATE TABLE tfnlp_trials (study TEXT, number INTEGER)"))
    one = machines("one")
    with pytest.raises(UserError, match=r"has no column settings, experiment, .*another database"):
        study.main(line(url))
    assert not (one / "studies").exists()
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE tfnlp_trials"))
    engine.dispose()


@pytest.mark.parametrize(
    ("number", "column", "value", "said"),
    [
        (0, "experiment", "{", "its experiment cannot be read"),
        (0, "settings", "[]", "its settings cannot be read"),
        (1, "experiment", '{"task": {"name": "clasification"}}', "clasification"),
        (1, "metrics", "garbage", "its metrics cannot be read"),
        (1, "judged", '"other"', "its judged cannot be read"),
        (2, "state", "ended", "its state is 'ended'"),
        (2, "number", 7, "trial 2 of the study toy in .* is damaged: it is missing"),
    ],
)
def test_a_damaged_row_is_named(machines, url, number, column, value, said):
    machines("one")
    assert study.main(line(url, count=2)) == 0
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        where = study_database.TRIALS.c.number == number
        connection.execute(sa.update(study_database.TRIALS).where(where).values({column: value}))
    engine.dispose()
    for flag in ("--resume", *(["--show"] if number else [])):
        with pytest.raises(UserError, match=f"of the study toy in .* is damaged: .*{said}|{said}"):
            study.main(line(url, flag, count=2))


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda file: file.write_bytes(b"garbage" * 999), "file is not a database"),
        (cut, "malformed|not a database|disk I/O|missing"),
        (lambda file: file.write_bytes(b""), "holds a study that .* does not have"),
        (lambda file: file.unlink(), "holds a study that .* does not have"),
        (lambda file: (file.unlink(), file.mkdir()), "unable to open database file"),
    ],
)
def test_a_damaged_database_is_named(machines, tmp_path, damage, said):
    url = f"sqlite:///{tmp_path}/trials.db"
    machines("one")
    assert study.main(line(url, count=2)) == 0
    damage(tmp_path / "trials.db")
    with pytest.raises(UserError, match=f"(?s)(?=.*trials.db)(?=.*(?:{said}))") as caught:
        study.main(line(url, "--resume", count=2))
    assert re.search(r"\(.*(--storage|--name)", str(caught.value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "cannot be read as a URL"),
        ("postgresql://owner:s3cret@host:port/x", "cannot be read as a URL"),
        ("postgresql+psycopg://owner:a@s3cret@host/x", "write one that belongs to the password"),
        ("postgres://owner:s3cret@host/x", "begins with postgres:, which names no database"),
        ("mysql+oracledb2://owner:s3cret@host/x", "names no database"),
        ("mssql+pyodbc://owner:s3cret@host/x", "needs a driver that is not installed, pyodbc"),
        ("sqlite://", "in memory"),
        ("sqlite:////no/such/folder/trials.db", "unable to open database file"),
        ("postgresql+psycopg://owner:s3cret@127.0.0.1:1/x", "(?i)connection refused"),
        ("postgresql+psycopg://owner:s3cret@nowhere.invalid/x", "nowhere.invalid"),
    ],
)
def test_a_database_that_cannot_be_used_is_said_before_the_first_trial(machines, url, said):
    if "psycopg" in url:
        pytest.importorskip("psycopg")
    one = machines("one")
    for flags in ((), ("--show",)):
        nothing = "there is no study toy in that database" if flags and "/no/such" in url else said
        with pytest.raises(UserError, match=nothing) as caught:
            study.main(line(url, *flags))
        assert "s3cret" not in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (one / "studies").exists()


def test_a_wrong_password_is_not_repeated(machines, server):
    machines("one")
    with pytest.raises(UserError, match="password authentication failed") as caught:
        study.main(line(server.url(password="wr0ng")))
    assert "wr0ng" not in str(caught.value)
    with pytest.raises(UserError, match='database "none" does not exist'):
        study.main(line(server.url(database="none")))


def test_a_file_that_cannot_be_written_is_said_before_the_first_trial(machines, tmp_path):
    one = machines("one")
    read_only = f"sqlite:///file:{tmp_path}/trials.db?mode=ro&uri=true"
    with pytest.raises(UserError, match="unable to open database file"):
        study.main(line(read_only))
    assert study.main(line(f"sqlite:///{tmp_path}/trials.db", count=2)) == 0
    with pytest.raises(UserError, match="attempt to write a readonly database"):
        study.main(line(read_only, "--resume", count=3))
    assert calls(one) == [0, 1]


def test_a_folder_that_names_another_study_is_refused(machines, tmp_path):
    one = machines("one")
    url = f"sqlite:///{tmp_path}/trials.db"
    assert study.main(line(url, count=2)) == 0
    file = one / "studies/toy/storage.json"
    held = json.loads(file.read_text())
    for content in ("", "{}", file.read_text()[:20], json.dumps({**held, "id": "another"})):
        file.write_text(content)
        with pytest.raises(UserError, match=r"studies/toy.*\(restore"):
            study.main(line(url, "--resume", count=3))
    assert calls(one) == [0, 1]
