"""What trackers are given of a run: the same as TensorBoard, each point once; none fails a run."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from pathlib import Path

import pytest

from pipelines.errors import UserError
from tfnlp.cli import arguments
from tfnlp.extensions import Tracker
from tfnlp.options import Parser
from tfnlp.report import Report, Table
from tfnlp.runs import folders, tensorboard, tracking
from tfnlp.runs.tracking import Trackers
from tfnlp.training import answering


class Kept:
    """A tracker that keeps what it is given, as a server does when a run is killed."""

    def __init__(self):
        self.runs = {}
        self.broken = False

    def check(self):
        if self.broken:
            raise UserError("--track kept cannot be reached (start it)")

    def open(self, tracked):
        self.check()
        id = tracked.id or f"run-{len(self.runs)}"
        run = self.runs.setdefault(id, types.SimpleNamespace(points=[], kept={}, status=None))
        run.tracked = run.__dict__.get("tracked", tracked)
        return Opened(self, id, run)


class Opened:
    def __init__(self, server, id, run):
        self.server, self.id, self.run = server, id, run

    def scalars(self, values, step, number):
        self.server.check()
        self.run.points.append((number, step, values))

    def table(self, name, table, number):
        self.run.kept[name] = table

    def picture(self, name, png, number):
        assert png.startswith(b"\x89PNG")
        self.run.kept[name] = "picture"

    def text(self, name, text):
        self.run.kept[name] = text

    def close(self, status):
        self.run.status = status


@pytest.fixture
def kept(monkeypatch):
    server = Kept()
    module = types.ModuleType("outside.kept")
    module.TRACKER = Tracker("keeps it", server.check, server.open)
    monkeypatch.setitem(sys.modules, "outside", types.ModuleType("outside"))
    monkeypatch.setitem(sys.modules, "outside.kept", module)
    return server


def _tracked(experiment, track=("outside.kept",)):
    logging = dataclasses.replace(experiment.logging, track=track)
    return dataclasses.replace(experiment, logging=logging)


@pytest.fixture
def plain(tmp_path):
    """An experiment, of which nothing is trained."""
    flags = ["--dataset", "trec", "--name", "sample", "--tensorboard-logs", str(tmp_path / "logs")]
    return _tracked(arguments.parse(flags, Parser())[0])


def _train(made, run, trackers, before):
    tensorboard.start(made.model, run, before, trackers)
    log = tensorboard.Log(made.model, made.trainer.drawn, run, None, trackers)
    made.trainer.folder, made.trainer.callbacks = run / "checkpoints", lambda fit: [log]
    made.trainer.fit()
    report = answering.evaluate(made.model, made.rows)
    tensorboard.finish(made.model, run, {"test": report}, made.rows, made.trainer.step, trackers)
    return report


def _numbers(values):
    return {step: float(value) for step, value in values.items()}


def test_trackers_are_given_what_tensorboard_is(kept, tmp_path, prepare, read):
    made = prepare(tmp_path)
    experiment = _tracked(made.model.experiment)
    run = folders.new_run(experiment)
    warned = []
    with tracking.tracked(experiment, run, warned.append) as trackers:
        report = _train(made, run, trackers, {"accuracy": 0.25, "mcc": None})
    (there,) = kept.runs.values()
    assert there.status == "finished"
    assert not warned
    assert there.tracked.name == run.name
    assert there.tracked.group == "sample"
    assert there.tracked.tags["task"] == "classification"
    assert there.tracked.options["learning_rate"] == 1e-3
    logged = {}
    for _, step, values in there.points:
        for name, value in values.items():
            assert step not in logged.setdefault(name, {}), f"{name} stands twice at {step}"
            logged[name][step] = value
    assert [number for number, *_ in there.points] == sorted({n for n, *_ in there.points})
    for place in ("train", "validation"):
        shown = {t: v for t, v in read(run / place)[0].items() if t.startswith("epoch/")}
        assert shown
        for tag, values in shown.items():
            found = logged.pop(tag.replace("epoch", place))
            assert found == pytest.approx(_numbers(values), rel=1e-6)
    shown = read(run / "report" / "test")[0]
    for name in report.metrics:
        found = logged.pop(f"report/test/{name}")
        assert found == pytest.approx(_numbers(shown[f"report/{name}"]), rel=1e-6)
    assert logged == {"report/validation/accuracy": {0: 0.25}}
    assert there.kept["experiment.yaml"] == (run / "experiment.yaml").read_text("utf-8")
    assert {f"report/test/{table.title}" for table in report.tables} <= set(there.kept)
    assert {f"report/test/{name}" for name in report.figures} <= set(there.kept)


def test_a_resumed_run_goes_on_without_double_points(kept, plain):
    run = folders.new_run(plain)
    before = ""

    def killed():
        nonlocal before
        with tracking.tracked(plain, run, print) as trackers:
            trackers.text("a", "b")
            trackers.scalars("train", {"loss": 0.5}, 10)
            before = (run / tracking.FILE).read_text()
            trackers.scalars("validation", {"loss": 0.6}, 10)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    (there,) = kept.runs.values()
    assert there.status == "stopped"
    (run / tracking.FILE).write_text(before)  # killed after it sent, before it wrote that down
    with tracking.tracked(plain, run, print) as trackers:
        trackers.text("a", "b")
        trackers.scalars("train", {"loss": 0.5}, 10)  # trained again, from the last checkpoint
        trackers.scalars("validation", {"loss": 0.6}, 10)
        trackers.scalars("train", {"loss": 0.4}, 20)
        trackers.scalars("adversarial/train", {"loss": 0.9}, 10)  # a further fit's own steps
    assert list(kept.runs.values()) == [there]
    sent = [(0, "train", 10), (1, "validation", 10), (1, "validation", 10), (2, "train", 20)]
    sent.append((3, "adversarial/train", 10))
    found = [(n, next(iter(v)).removesuffix("/loss"), step) for n, step, v in there.points]
    assert found == sent  # what was sent again has the number that it had


def test_a_tracker_that_goes_away_is_one_warning(kept, plain):
    run = folders.new_run(plain)
    warned = []
    with tracking.tracked(plain, run, warned.append) as trackers:
        kept.broken = True
        for step in range(3):
            trackers.scalars("train", {"loss": 0.5}, step)
        trackers.report("report/test", Report({"f1": 0.9}, [Table("a", ("b",), [(1,)])]), 3)
    assert len(warned) == 1
    assert "outside.kept gets no more of this run" in warned[0]
    with tracking.tracked(plain, run, warned.append) as trackers:  # resumed, still away
        trackers.scalars("train", {"loss": 0.5}, 1)
    assert len(warned) == 2
    with pytest.raises(UserError, match="cannot be reached"):  # before a training it is an error
        tracking.check(plain)


def test_a_damaged_note_begins_a_new_run(kept, plain):
    run = folders.new_run(plain)
    (run / tracking.FILE).write_text('{"outside.kept": {"run": 1')
    warned = []
    with tracking.tracked(plain, run, warned.append) as trackers:
        trackers.scalars("train", {"loss": 0.5}, 1)
    assert "damaged" in warned[0]
    assert json.loads((run / tracking.FILE).read_text())["outside.kept"]["id"] == "run-0"


def test_the_trials_of_a_study_are_a_group(kept, plain, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trial = dataclasses.replace(plain, name="rates-2")
    for there in (False, True):
        if there:
            Path("studies/rates/trials").mkdir(parents=True)
            Path("studies/rates/trials/2.yaml").touch()
        run = folders.new_run(trial)
        with tracking.tracked(trial, run, print):
            pass
    alone, grouped = (run.tracked for run in kept.runs.values())
    assert (alone.group, grouped.group) == ("rates-2", "rates")
    assert grouped.tags.items() >= {"study": "rates", "trial": "2"}.items()


def test_no_trackers_draw_no_pictures():
    def draw():
        raise AssertionError

    Trackers().report("report/test", Report({"f1": 0.9}, figures={"a": draw}), 3)


def test_one_given_twice_is_refused(kept, plain):
    with pytest.raises(UserError, match="given twice"):
        tracking.check(_tracked(plain, ("outside.kept",) * 2))
