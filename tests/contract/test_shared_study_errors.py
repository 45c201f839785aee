"""What is said of a study's database that cannot be used, or holds something else."""

from __future__ import annotations

import json
import re

import pytest

from pipelines.errors import UserError
from tfnlp import study

sa = pytest.importorskip("sqlalchemy")

from tfnlp.runs import study_database  # noqa: E402

from . import machines as shared  # noqa: E402
from .machines import (  # noqa: E402
    calls,
    line,
    table,
)

# Fixtures.
machines, server, url = shared.machines, shared.server, shared.url


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
    machines("one", "1: stop")
    with pytest.raises(UserError, match="stopped by"):
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
