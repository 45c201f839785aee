"""What tfnlp 0.1.0 wrote still loads and answers the same.

artefacts-0.1.0.tar.xz holds runs, SavedModels and an interrupted run of version 0.1.0, and
answers.json, what that version answered. make_artefacts.py says how they were made; they are not
made anew when tfnlp changes.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

RUNS = [
    "labels", "spans", "relations", "tags", "grades", "numbers", "vectors", "answers", "gaps",
    "translated", "written", "adversarial", "chat", "summarized",
]  # fmt: skip
SAVED_MODELS = ["labels", "spans", "answers", "translated", "written", "triples"]
# Loaded as "labels", "spans", "written" and "translated" are.
SAMPLED = ["written", "chat", "adversarial"]
SLOW = ["adversarial", "summarized", "grades", "tags", "chat"]
EVALUATED = ["labels", "spans", "answers"]


# What knows where this tree has its modules; a tree that moves them changes these alone.


def load_run(run: Path) -> Any:
    from tfnlp.runs import storage

    return storage.load(run)


def ask_run(model: Any, columns: dict[str, list[Any]]) -> dict[str, Any]:
    from pipelines.rows import Rows
    from tfnlp.training import answering

    count = len(next(iter(columns.values())))
    rows = Rows("questions", columns, list(range(1, count + 1)))
    return answering.answer(model, rows, asked=True)


def open_saved_model(folder: Path) -> Any:
    from tfnlp.inference import saved_model

    return saved_model.opened(folder, "float32")


def load_backbone(folder: Path) -> Any:
    from tfnlp.backbones import loading

    return loading.load(str(folder))


def read_experiment(*flags: str) -> dict[str, Any]:
    """Return the values of the experiment that a command line describes."""
    from tfnlp.cli import arguments
    from tfnlp.options import Parser
    from tfnlp.runs.experiment_yaml import to_values

    experiment, _ = arguments.parse([*flags], Parser())
    return to_values(experiment)


# The artefacts


@pytest.fixture(scope="module")
def recorded(artefacts) -> dict[str, Any]:
    """What 0.1.0 answered."""
    return json.loads((artefacts / "answers.json").read_text("utf-8"))


@pytest.fixture(autouse=True)
def _at_work(artefacts, monkeypatch):
    """Run in the working folder: the paths in its files are relative to it."""
    monkeypatch.chdir(artefacts)


@pytest.fixture
def command(monkeypatch):
    """Run ``python -m tfnlp.NAME`` in this process."""

    def run(name: str, *flags: object) -> None:
        monkeypatch.setattr(sys, "argv", [name, *map(str, flags)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(f"tfnlp.{name}", run_name="__main__", alter_sys=True)
        assert ended.value.code == 0

    return run


def assert_same(found: Any, wanted: Any, place: str = "answers") -> None:
    """Compare answers with those in JSON: floats to 1e-5, all else to the letter."""
    if isinstance(found, np.ndarray):
        found = found.tolist()
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), place
        for name, value in wanted.items():
            assert_same(found[name], value, f"{place}.{name}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), place
        for number, value in enumerate(wanted):
            assert_same(found[number], value, f"{place}[{number}]")
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, abs=1e-5, rel=1e-5), place
    else:
        assert found == wanted, place


def assert_answers(folder: Path, known: dict[str, Any]) -> None:
    """Ask a SavedModel, by each of its ways in from strings."""
    saved = open_saved_model(folder)
    for way, wanted in known["answers"].items():
        assert_same(saved.model(way).answer(known["asked"]), wanted, way)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in RUNS]
)
def test_a_kept_model_answers_the_same(recorded, name):
    known = recorded["runs"][name]
    model = load_run(Path("tensorboard_logs") / name / "run")
    found, wanted = ask_run(model, known["asked"]), known["answers"]
    if "generated" in wanted:
        # Tokens that are no text are not written any more, so that others' shares are larger, and
        # of the same seed other tokens are sampled.
        unlike = {"score", *(("generated", "tokens") if name in SAMPLED else ())}
        unlike |= {"cut"} if name == "chat" else set()  # line ends in a turn stay, as tokens
        assert found.keys() == wanted.keys()
        found, wanted = ({n: v for n, v in a.items() if n not in unlike} for a in (found, wanted))
    assert_same(found, wanted)


def test_a_kept_backbone_can_be_trained_on(recorded):
    known = recorded["backbone"]
    backbone = load_backbone(Path("tensorboard_logs/gaps/run/model/backbone"))
    features = {name: np.array(ids, "int32") for name, ids in known["asked"].items()}
    assert_same(np.array(backbone.model(features)["tokens"]), known["answers"])


@pytest.mark.parametrize("name", SAVED_MODELS)
def test_a_saved_model_answers_the_same(recorded, name):
    assert_answers(Path("saved_models") / name / "1", recorded["saved_models"][name])


def test_predict_finds_a_saved_model_by_its_name(recorded, command, capsys):
    known = recorded["saved_models"]["labels"]
    texts = [text for text in known["asked"]["text"] if "\x00" not in text]
    command("predict", "labels", "--precision", "float32", *texts)
    found = [json.loads(line) for line in capsys.readouterr().out.split("\n")[:-1]]
    pairs = zip(known["asked"]["text"], known["answers"]["serving_default"], strict=True)
    assert_same(found, [{"text": text, **answer} for text, answer in pairs if text in texts])


def test_predict_shows_text_as_a_saved_model_writes_it(recorded, command, capsys):
    known = recorded["saved_models"]["written"]
    command("predict", "written", "--stream", "--precision", "float32", known["asked"]["text"][1])
    assert capsys.readouterr().out.strip() == known["answers"]["sample"][1]["generated"].strip()


@pytest.mark.parametrize("name", EVALUATED)
def test_a_saved_model_is_judged_the_same(recorded, command, tmp_path, name):
    command("evaluate", Path("saved_models") / name, "--output", tmp_path / "report")
    found = json.loads((tmp_path / "report" / "metrics.json").read_text("utf-8"))
    wanted = dict(recorded["evaluations"][name])
    if name == "spans":
        del wanted["baseline_f1"]  # a model of the training rows stands beside `train`'s result now
    assert_same(found["metrics"], wanted)


@pytest.mark.parametrize("name", [pytest.param("labels", marks=pytest.mark.slow), "spans"])
def test_a_kept_model_is_exported_again(recorded, command, tmp_path, name):
    command("export", Path("tensorboard_logs") / name / "run", "--saved-models", tmp_path)
    assert_answers(tmp_path / name / "1", recorded["saved_models"][name])
    old = {path.name for path in (Path("saved_models") / name / "1").iterdir()}
    assert old <= {path.name for path in (tmp_path / name / "1").iterdir()}


@pytest.mark.slow
def test_kept_models_are_joined_again(recorded, command, tmp_path):
    runs = [Path("tensorboard_logs") / name / "run" for name in ("spans", "relations")]
    command("triples", *runs, "--min-score", "0.2", "--saved-models", tmp_path)
    assert_answers(tmp_path / "triples" / "1", recorded["saved_models"]["triples"])


def test_every_old_experiment_is_read_as_it_was_meant():
    files = sorted(Path().glob("*/*/*/**/experiment.yaml"))
    assert len(files) > 2 * len(RUNS)
    for file in files:
        found = read_experiment("--config", str(file))
        for section, meant in yaml.safe_load(file.read_text("utf-8")).items():
            if isinstance(meant, dict):
                # An entry's options no longer bear its name; texts that end an answer are a list.
                wanted = {name.removeprefix("gan_"): value for name, value in meant.items()}
                if "stop" in wanted:
                    wanted["stop"] = [wanted["stop"]] if wanted["stop"] else []
                there = {name: found[section].get(name) for name in wanted}
                assert there == wanted, f"{file}: {section}"
            else:
                assert found[section] == meant, f"{file}: {section}"


# Of equally good epochs 0.1.0 kept the last; today it is the one of the lowest loss.
AS_THEN = """
import runpy
from tfnlp.training.callbacks import EarlyStopping
EarlyStopping._is_equal = lambda self, logs: self.wait > 0 and logs.get(self.monitor) == self.best
runpy.run_module("tfnlp.train", run_name="__main__", alter_sys=True)
"""


def test_an_interrupted_run_is_resumed(recorded, artefacts, tmp_path):
    run = Path("tensorboard_logs/interrupted/run")
    for name in ("backbones", "data", run):
        shutil.copytree(artefacts / name, tmp_path / name)
    (checkpoint,) = (tmp_path / run / "checkpoints").glob("step-*")
    state = json.loads((checkpoint / "state.json").read_text("utf-8"))
    assert len(state["history"]) == 1  # an epoch was trained, and a part of the next
    assert state["step"] > 0
    command = [sys.executable, "-c", AS_THEN, "--config", str(run / "experiment.yaml")]
    done = subprocess.run(
        [*command, "--resume"], cwd=tmp_path, env=os.environ, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.name for path in (tmp_path / run.parent).iterdir()] == ["run"]
    network = load_run(tmp_path / run).network
    with np.load(artefacts / "finished.npz") as finished:
        assert len(network.weights) == len(finished.files)
        for weight, wanted in zip(network.weights, finished.values(), strict=True):
            if weight.path.endswith("key/bias"):
                continue  # softmax cancels it: its gradient is rounding errors
            np.testing.assert_allclose(weight, wanted, atol=1e-3, err_msg=weight.path)
    found = json.loads((tmp_path / run / "metrics.json").read_text("utf-8"))
    for split in ("validation", "test"):
        wanted = recorded["finished"][split]
        for metric in wanted.keys() - {"loss", "ece"}:  # calibration leaves some doubt now
            assert found[split][metric] == pytest.approx(wanted[metric], abs=1e-3), (split, metric)
