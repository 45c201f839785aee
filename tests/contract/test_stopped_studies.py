"""Studies whose trials fail, die or are stopped, and that are stopped themselves."""

from __future__ import annotations

import csv
import json
import os
import signal
import time

import pytest

from pipelines.errors import UserError

from . import test_studies
from .test_studies import calls, end_trial, seeds, start, wait_for

here = test_studies.here


def test_a_failed_trial_is_noted_and_not_repeated(here, capsys):
    (here / "orders").write_text("1: fail")
    assert seeds() == 0
    assert "trial 2: failed (the disk is full)" in capsys.readouterr().out
    (here / "orders").write_text("")
    assert seeds("--resume") == 0
    assert calls(here) == [0, 1, 2]
    rows = list(csv.DictReader((here / "studies/toy/trials.csv").open(encoding="utf-8")))
    assert [(row["state"], row["error"]) for row in rows] == [
        ("complete", ""),
        ("failed", "the disk is full"),
        ("complete", ""),
    ]


def test_a_full_disk_ends_the_study_and_uses_up_no_trial(here):
    (here / "orders").write_text("1: full")
    with pytest.raises(UserError, match=r"trial 2 stopped: .*No space left .*--resume to continue"):
        seeds()
    (here / "orders").write_text("")
    assert seeds("--resume") == 0
    assert calls(here) == [0, 1, 1, 2]
    rows = csv.DictReader((here / "studies/toy/trials.csv").open(encoding="utf-8"))
    assert [row["state"] for row in rows] == ["complete"] * 3


def test_a_trial_that_dies_goes_on_in_its_run(here, capsys):
    (here / "orders").write_text("1: once")
    assert seeds() == 0
    assert "trial 2: killed by SIGKILL, goes on from its checkpoint" in capsys.readouterr().out
    assert calls(here) == [0, 1, 1, 2]
    assert len(list((here / "tensorboard_logs" / "toy-2").iterdir())) == 1


def test_a_trial_that_always_dies_has_failed(here, capsys):
    (here / "orders").write_text("1: die")
    assert seeds() == 0
    assert "trial 2: failed (killed by SIGKILL 3 times" in capsys.readouterr().out
    assert calls(here) == [0, 1, 1, 1, 2]
    assert seeds("--resume") == 0
    assert calls(here) == [0, 1, 1, 1, 2]


def test_a_stopped_trial_is_resumed_in_its_run(here):
    (here / "orders").write_text("1: stop")
    with pytest.raises(UserError, match="trial 2 was stopped by SIGTERM"):
        seeds()
    (here / "orders").write_text("")
    assert seeds("--resume") == 0
    assert calls(here) == [0, 1, 1, 2]
    assert len(list((here / "tensorboard_logs" / "toy-2").iterdir())) == 1


def test_ctrl_c_ends_the_trial_in_good_order(here):
    (here / "orders").write_text("1: wait")
    process = start()
    wait_for((here / "waiting").exists, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (here / "signals").read_text() == "SIGTERM"
    assert errors.decode() == (
        "error: stopped by SIGINT; run the same command with --resume to continue\n"
    )
    (here / "orders").write_text("")
    assert seeds("--resume", count=2) == 0
    assert calls(here) == [0, 1, 1]


@pytest.mark.slow
def test_a_killed_study_does_not_train_a_run_twice_at_once(here):
    (here / "orders").write_text("1: wait")
    process = start(count=3)
    wait_for((here / "waiting").exists, process)
    process.kill()
    process.communicate()
    (here / "orders").write_text("")
    again = start("--resume", count=3)
    time.sleep(5)
    assert calls(here) == [0, 1]  # its trial's process is still there; what is next depends on it
    end_trial(here)
    out, _ = again.communicate(timeout=120)
    assert again.returncode == 0
    assert b"trial 2: waiting for the process that trains it" in out
    assert b"trial 2: complete" in out
    assert calls(here) == [0, 1, 1, 2]


def test_what_a_trial_took_that_outlived_its_study_is_known(here):
    assert seeds() == 0
    file = here / "studies/toy/trials/2.json"
    held = json.loads(file.read_text())
    assert set(held) == {"settings", "seconds"}
    began = time.time() - 1000
    file.write_text(json.dumps({**held, "seconds": 1.0, "began": began}))  # as a kill leaves it
    os.utime(file.with_suffix(".out"), (began + 30, began + 30))  # its last line
    assert seeds("--resume") == 0
    rows = list(csv.DictReader((here / "studies/toy/trials.csv").open(encoding="utf-8")))
    assert rows[1]["seconds"] == "31.0"
