"""Strategies of each shape, killed anywhere, end bit for bit as if never killed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.errors import UserError
from tfnlp import extensions
from tfnlp.extensions import Strategy

HERE = Path(__file__).parent
SHAPES = sorted(f.stem for f in (HERE / "outside").glob("[a-z]*.py"))
# By strategy the fit and the batch of it at which the kill comes: some in a first epoch, some in a
# later one, and of two fits in the second.
KILLS = {
    "another_loss": "fit:7",
    "two_passes": "fit:4",
    "two_fits": "all:8",
    "two_sources": "fit:10",
    "new_rows": "fit:8",
}

pytestmark = pytest.mark.usefixtures("deterministic")


class Killed(BaseException):
    """Stands for kill -9: nothing in the code may catch it and save."""


def test_each_is_short():
    for shape in SHAPES:
        lines = (HERE / "outside" / f"{shape}.py").read_text().splitlines()
        assert sum(bool(line.strip()) for line in lines) <= 45, shape  # 40 and a docstring's
    assert set(KILLS) == set(SHAPES)


@pytest.mark.parametrize("name", extensions.names(Strategy))
def test_entries_say_what_they_are(name):
    found = extensions.load(Strategy, name)
    assert found.summary
    assert not found.summary.endswith(".")


# In a first epoch, in a later one, and in a second fit.
@pytest.mark.parametrize(
    "shape",
    ["two_fits", *(pytest.param(s, marks=pytest.mark.slow) for s in ("two_passes", "two_sources"))],
)
def test_killed_it_ends_as_if_it_was_not(shape, backbone, strategy_run, tmp_path):
    def made(folder):
        return strategy_run.experiment(tmp_path / folder, backbone, f"outside.{shape}")

    def kill():
        raise Killed

    fit, batch = KILLS[shape].split(":")
    whole = strategy_run.fit(made("whole"))
    with pytest.raises(Killed):
        strategy_run.fit(made("cut"), further=strategy_run.killing(fit, int(batch), kill))
    assert strategy_run.fit(made("cut"), resume=True) == whole


def test_what_a_fit_refuses(backbone, strategy_run, tmp_path):
    given = strategy_run.trainer(strategy_run.experiment(tmp_path, backbone, "supervised"))
    rows = given.splits.train
    with pytest.raises(UserError, match="no rows to train on"):
        given.fit(train=rows.take([]))
    for name in ("model", "train", "../other", "a b", ""):
        with pytest.raises(ValueError, match="cannot be named"):
            given.fit(name=name)


def test_it_ends_in_a_saved_model(backbone, strategy_run, tmp_path):
    run, found = strategy_run.train(strategy_run.experiment(tmp_path, backbone, "outside.two_fits"))
    assert len(found["histories"]) == 2
    answers, own = strategy_run.answers(run)
    assert answers == own


def _process(folder, backbone, shape, *flags):
    line = [sys.executable, str(HERE / "strategy_run.py"), str(folder), backbone]
    line += [f"outside.{shape}", *flags]
    return subprocess.run(line, capture_output=True, text=True, cwd=HERE.parents[1], check=False)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_kill_9_in_every_cell(shape, replicas, precision, backbone, tmp_path):
    flags = ["--replicas", str(replicas), "--precision", precision]
    done = _process(tmp_path / "whole", backbone, shape, *flags)
    assert done.returncode == 0, done.stderr[-3000:]
    cut = _process(tmp_path / "cut", backbone, shape, *flags, "--kill", KILLS[shape])
    assert cut.returncode == -9, cut.stderr[-3000:]
    resumed = _process(tmp_path / "cut", backbone, shape, *flags, "--resume")
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    whole, cut = (json.loads((tmp_path / f / "found.json").read_text()) for f in ("whole", "cut"))
    assert len(cut.pop("answers")) == 3
    assert cut == whole
