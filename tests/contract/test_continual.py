"""A chain of runs: where it comes from, what it forgot, and what it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.errors import UserError
from tfnlp import task as tasks
from tfnlp.api import exporting
from tfnlp.api import training as api
from tfnlp.runs import data_digest
from tfnlp.runs.experiment_yaml import from_values

WORDS = {"fruit": "apple", "water": "lake", "plant": "fern", "sky": "moon", "stone": "clay"}
STEPS = (("fruit", "water"), ("plant",), ("sky", "stone"))


def _file(file, labels, count, of=0):
    rows = [
        {"text": f"{WORDS[label]} {'very ' * (n % 3)}{of + n}", "label": label}
        for label in labels
        for n in range(count)
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def _experiment(folder, backbone, step, **sections):
    values = {
        "task": {"name": "classification", "max_length": 32},
        "data": {
            "train": _file(folder / f"{step}.jsonl", STEPS[step], 8),
            "test": _file(folder / f"{step}_test.jsonl", STEPS[step], 4, of=90),
        },
        "backbone": {"name": backbone},
        "optimizer": {"learning_rate": 3e-3},
        "training": {"epochs": 2, "patience": 2, "batch_size": 8, "baseline": step == 1},
        "logging": {"projector": 0},
        "export": {
            "saved_models": str(folder / "saved_models"),
            "tensorboard_logs": str(folder / "logs"),
        },
        "name": f"step{step}",
    }
    for name, given in sections.items():
        values[name] = {**values.get(name, {}), **given}
    return from_values(values, tasks.load("classification").options, "the test")


def _metrics(run):
    return json.loads((run / "metrics.json").read_text())


def _said(capsys):
    return " ".join(capsys.readouterr().err.split())


@pytest.fixture(scope="module")
def chain(backbone, tmp_path_factory):
    """Three runs, each going on from the one before; their folders, the first one first."""
    folder = tmp_path_factory.mktemp("chain")
    first = api.train(_experiment(folder, backbone, 0), verbose=False)
    earlier = {"start_from": str(first)}
    second = api.train(_experiment(folder, backbone, 1, earlier=earlier), verbose=False)
    earlier = {"start_from": str(second), "renamed": {"water": "lake"}}
    third = api.train(_experiment(folder, backbone, 2, earlier=earlier), verbose=False)
    return first, second, third


def test_it_says_where_it_comes_from(chain):
    first, second, third = chain
    found = _metrics(third)
    history = found["earlier"]["history"]
    assert [(one["run"], one["labels"]) for one in history] == [(str(first), 2), (str(second), 3)]
    assert history[1]["renamed"] == {"water": "lake"}
    saved = Path(found["saved_model"])
    assert json.loads((saved / "metrics.json").read_text())["earlier"]["history"] == history
    card = (saved / "README.md").read_text()
    assert "### Where it comes from" in card
    assert str(first) in card
    labels = json.loads((saved / "facts.json").read_text())["labels"]
    assert labels == ["fruit", "lake", "plant", "sky", "stone"]
    assert _metrics(first).get("earlier") is None
    assert json.loads((second / data_digest.FILE).read_text())["origin"]


def test_it_says_what_it_forgot(chain):
    first, second, third = map(str, chain)
    found = _metrics(chain[2])["earlier"]
    assert found["rows"] == {first: 8, second: 4, "new rows": 8}
    scores = found["scores"]
    assert set(scores) == set(scores[third]) == {first, second, third}
    assert scores[second][first] == found["before"][first]
    lost = [scores[third][run] - scores[run][run] for run in (first, second)]
    assert found["backward_transfer"] == pytest.approx(sum(lost) / 2)
    lines = (chain[2] / "forgotten.jsonl").read_text().splitlines()
    broken = [json.loads(line) for line in lines]
    assert len(broken) == found["broke"]
    assert all({"label", "text", "now", "rows_of"} <= one.keys() for one in broken)
    assert all(one["label"] != one["now"] for one in broken)
    means = _metrics(chain[1])["earlier"]["nearest_class_mean"]
    assert means.keys() >= {first, "new rows", "all rows"}
    assert any((chain[2] / "report" / "earlier").glob("*.tfevents.*"))


def test_exported_again_it_says_the_same(chain, tmp_path):
    saved = exporting.export([str(chain[2])], {"saved_models": str(tmp_path)}, "the test")
    assert "### Where it comes from" in (saved / "README.md").read_text()


def test_a_model_that_forgot_too_much_is_not_exported(chain, backbone, tmp_path, capsys):
    made = _experiment(
        tmp_path,
        backbone,
        1,
        optimizer={"learning_rate": 3e-2},
        training={"epochs": 4, "patience": 4, "batch_size": 2, "baseline": False},
        earlier={"start_from": str(chain[0]), "forget_at_most": 0.0},
    )
    run = api.train(made)
    found = _metrics(run)
    before, now = (found["earlier"][when]["all earlier rows"] for when in ("before", "now"))
    assert before > now
    assert found["saved_model"] is None
    assert api.is_refused(run)
    assert not api.is_refused(chain[2])
    assert "more than --forget-at-most 0" in found["refused"]
    assert not list((tmp_path / "saved_models").rglob("saved_model.pb"))
    assert "no SavedModel is written" in _said(capsys)


@pytest.mark.slow
def test_rows_that_are_gone_are_named(backbone, tmp_path, capsys):
    made = _experiment(tmp_path, backbone, 0)
    earlier = {"start_from": str(api.train(made, verbose=False))}
    Path(made.data.test).write_text(json.dumps({"text": "a", "label": "fruit"}) + "\n")
    run = api.train(_experiment(tmp_path, backbone, 1, earlier=earlier))
    assert "holds other rows now" in _said(capsys)
    assert _metrics(run)["earlier"]["before"] == {}
    bound = _experiment(tmp_path, backbone, 1, earlier={**earlier, "forget_at_most": 0.1})
    with pytest.raises(UserError, match="--forget-at-most needs rows that"):
        api.train(bound, verbose=False)


def test_one_row_a_label(chain, backbone, tmp_path, capsys):
    made = _experiment(tmp_path, backbone, 2, earlier={"start_from": str(chain[1])})
    _file(Path(made.data.train), STEPS[2], 1)
    run = api.train(made)
    assert "one row for each label, so they are validated on too" in _said(capsys)
    assert _metrics(run)["rows"]["train"] == 2


def test_what_is_no_run_is_named(chain, backbone, tmp_path):
    for name in ("nowhere", str(tmp_path), _metrics(chain[0])["saved_model"]):
        made = _experiment(tmp_path, backbone, 1, earlier={"start_from": name})
        with pytest.raises(UserError, match="is no run that has ended"):
            api.train(made, verbose=False)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_chain_that_was_killed_ends_as_unbroken(backbone, tmp_path):
    """Each of three runs is killed once, in a process of its own."""
    here = Path(__file__).parent

    def process(folder, strategy, *flags):
        line = [sys.executable, str(here / "strategy_run.py"), str(folder), backbone, strategy]
        return subprocess.run(
            [*line, *flags], capture_output=True, text=True, cwd=here.parents[1], check=False
        )

    ends = []
    for cut in (False, True):
        earlier = ()
        for step, strategy in enumerate(("supervised", "lwf", "ewc")):
            folder = tmp_path / str(cut) / str(step)
            if cut:
                killed = process(folder, strategy, *earlier, "--kill", f"fit:{3 + 3 * step}")
                assert killed.returncode == -9, killed.stderr[-3000:]
            done = process(folder, strategy, *earlier, *["--resume"] * cut)
            assert done.returncode == 0, done.stderr[-3000:]
            (run,) = (folder / "logs" / "toy").glob("2*")
            earlier = ("--start-from", str(run), "--options", json.dumps({"compare": False}))
        found = json.loads((folder / "found.json").read_text())
        ends.append((found["weights"], found["histories"]))
    assert ends[0] == ends[1]
