"""A study whose trials a database keeps: machines without a common folder are folders here."""

from __future__ import annotations

import csv
import socket
import time

import pytest

from pipelines.errors import UserError
from tfnlp import study

sa = pytest.importorskip("sqlalchemy")


from . import machines as shared  # noqa: E402
from .machines import (  # noqa: E402
    calls,
    kill,
    line,
    printed,
    start,
    table,
    wait_for,
)

# Fixtures.
machines, server, url = shared.machines, shared.server, shared.url


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
    one = machines("one", "1: stop")
    with pytest.raises(UserError, match="trial 2 was stopped by SIGTERM"):
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
