"""What TensorBoard's HParams tab shows of a study."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tensorboard.plugins.hparams.hparams_plugin import HParamsPlugin
from werkzeug.test import Client

from tfnlp.cli import arguments
from tfnlp.cli.settings import Given
from tfnlp.extensions import Trial
from tfnlp.options import Parser
from tfnlp.runs import hparams

VARIED = [{}, {"learning_rate": 3e-4, "peft": "bitfit"}, {"learning_rate": 1e-3, "seed": 7}]


@pytest.fixture
def trials():
    given = Given(*arguments.read(["--dataset", "trec", "--seed", "0"], Parser())[:2])
    found = []
    for number, settings in enumerate(VARIED):
        held = {"mcc": 0.5, "accuracy": 0.6 + number / 10, "loss": None}
        metrics = {"validation": held, "test": {"accuracy": 0.5, "mcc": 0.4}}
        found.append(Trial(given.vary(settings), settings, "complete", metrics, seconds=90.0))
    found.append(Trial(given.vary({"limit": 9}), {"limit": 9}, "failed", error="no memory"))
    found.append(Trial(given.vary({"limit": 10}), {"limit": 10}))
    return found


def test_what_varies_and_what_decides_come_first(trials, tmp_path, context):
    hparams.write(tmp_path, trials)
    apps = HParamsPlugin(context(tmp_path)).get_plugin_apps()
    ask = {"headers": {"Content-Type": "application/json"}}
    found = Client(apps["/experiment"]).post("/experiment", data="{}", **ask).json
    names = {h["name"] for h in found["hparamInfos"]}
    assert names == {"learning_rate", "peft", "seed", "limit"}  # not the same in all trials
    assert [m["displayName"] for m in found["metricInfos"]] == [
        "mcc (validation)",  # it decides
        "mcc (test)",
        "accuracy (validation)",
        "accuracy (test)",
        "loss (validation)",
        "minutes",
    ]
    asked = {"startIndex": 0, "sliceSize": 10, "allowedStatuses": ["STATUS_SUCCESS"]}
    asked["colParams"] = [{"hparam": "learning_rate", "order": "ORDER_ASC"}]
    answer = Client(apps["/session_groups"]).post("/groups", data=json.dumps(asked), **ask)
    groups = answer.json["sessionGroups"]
    assert [group["name"] for group in groups] == ["trial 01", "trial 02", "trial 03"]
    assert [group["hparams"]["peft"] for group in groups] == ["none", "bitfit", "none"]
    assert groups[2]["hparams"]["learning_rate"] == pytest.approx(1e-3)
    values = {m["name"]["tag"]: m["value"] for m in groups[2]["metricValues"]}
    assert values["validation/accuracy"] == pytest.approx(0.8)
    assert values["minutes"] == 1.5


def test_a_study_without_an_ended_trial_writes_nothing(trials, tmp_path):
    hparams.write(tmp_path / "tensorboard", trials[-1:])
    assert not (tmp_path / "tensorboard").exists()


def test_files_that_have_not_changed_stay(trials, tmp_path):
    hparams.write(tmp_path, trials)
    before = {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*.study")}
    hparams.write(tmp_path, trials)
    assert before == {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*.study")}
    assert len(before) == 5


def test_it_needs_no_tensorflow():
    code = "import sys, tfnlp.runs.hparams; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
