"""Every study keeps its promises, and a killed study resumes where it was."""

from __future__ import annotations

import csv
import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

import tfnlp
from pipelines.errors import UserError
from tfnlp import extensions, study
from tfnlp.cli import arguments
from tfnlp.cli.settings import Given
from tfnlp.evaluation import intervals, runs
from tfnlp.extensions import Study, Trial
from tfnlp.options import Parser
from tfnlp.runs import folders, studies
from tfnlp.runs.experiment_yaml import read_yaml, to_values

HERE = Path(__file__).parent
NAMES = extensions.names(Study)
# What a study cannot do without.
NEEDED = {"compare": {"against": ("learning_rate=3e-4",)}}
ACCURACY = [0.9, 0.92, 0.91, 0.95, 0.8]  # as fake_train.py has them


def given(*line):
    usual = ["--dataset", "trec", "--name", "toy", "--learning-rate", "3e-5"]
    return Given(*arguments.read([*usual, *line], Parser())[:2])


def ended(accuracy, settings):
    held = {"accuracy": accuracy, "loss": 1 - accuracy}
    rows = {"train": settings.get("limit", 400), "validation": 40, "test": 100}
    metrics = {"validation": held, "test": held, "rows": rows}
    history = [{"val_accuracy": accuracy - 0.1}, {"val_accuracy": accuracy}]
    return Trial(given().vary(settings), settings, "complete", metrics, history, Path("run"))


@pytest.mark.parametrize("name", NAMES)
class TestEach:
    def test_it_says_what_it_is(self, name):
        entry = extensions.load(Study, name)
        assert entry.summary
        assert not entry.summary.endswith(".")
        assert all(field.metadata["help"] for field in dataclasses.fields(entry.options))

    def test_it_proposes_the_same_again_and_comes_to_an_end(self, name):
        entry, base = extensions.load(Study, name), given().experiment()
        options, trials = entry.options(**NEEDED.get(name, {})), []
        while (proposed := entry.propose(base, trials, options)) is not None:
            assert proposed == entry.propose(base, trials, options)
            trials.append(ended(ACCURACY[len(trials) % 5], proposed))
            assert len(trials) < 1000
        varied = [to_values(trial.experiment) for trial in trials]
        assert all(a != b for i, a in enumerate(varied) for b in varied[:i])
        failed = Trial(base, {}, "failed", error="why")
        report = entry.report([*trials, failed], options)
        assert report.tables
        assert any("why" in text for text in report.warnings)
        for draw in report.figures.values():
            draw()


def test_an_unknown_one_is_refused():
    with pytest.raises(UserError, match="did you mean 'seeds'"):
        extensions.load(Study, "seed")


# Seeds


def test_the_interval_is_scipys():
    low, high = stats.t.interval(0.95, 4, loc=np.mean(ACCURACY), scale=stats.sem(ACCURACY))
    assert intervals.t_interval(ACCURACY) == pytest.approx((low, high))
    entry = extensions.load(Study, "seeds")
    trials = [ended(value, {"seed": i}) for i, value in enumerate(ACCURACY)]
    metrics, table = entry.report(trials, entry.options()).tables
    deviation = np.std(ACCURACY, ddof=1)
    figures = (np.mean(ACCURACY), deviation, low, high)
    assert metrics.rows[0] == ("test", "accuracy", *(f"{x:.4f}" for x in figures), 5)
    assert [row[5] for row in table.rows] == ["", "", "", "best", ""]


def test_the_last_seed_is_followed_by_the_first():
    entry = extensions.load(Study, "seeds")
    base = given("--seed", str(2**31 - 1)).experiment()
    assert entry.propose(base, [Trial(base, {})], entry.options()) == {"seed": 0}


@pytest.mark.parametrize(
    ("name", "values", "place"),
    [("accuracy", [0.1, 0.3, 0.2], 1), ("mae", [0.1, 0.3, 0.2], 0), ("f1", [None, 0.1, 0.3], 2)],
)
def test_the_best_is_chosen_by_the_first_metric(name, values, place):
    assert runs.best([{"validation": {name: value, "z": 1.0}} for value in values]) == place
    assert runs.best([None, {"validation": {name: None}}]) is None


# A study on disk


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder in which trials are trained by the fake."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(HERE.parents[1]))
    monkeypatch.setattr(studies, "TRAIN", ("tests.contract.fake_train",))
    orders = tmp_path / "orders"
    orders.write_text("")
    return tmp_path


def calls(here):
    return [int(line) for line in (here / "calls").read_text().split()]


def seeds(*more, count=3):
    line = ["seeds", "--name", "toy", "--seed", "0", "--seeds-count", str(count), *more]
    return study.main(line)


def test_a_study_and_its_files(here, capsys):
    assert seeds() == 0
    out = capsys.readouterr().out
    assert "python -m tfnlp.export tensorboard_logs/toy-2/" in out
    assert "trial 3: complete, accuracy 0.9100 in" in out
    assert out.count("the best so far 0.9200") == 2
    folder = here / "studies" / "toy"
    best = read_yaml(folder / "best.yaml")
    assert (best["name"], best["seed"], best["export"]["export"]) == ("toy-best", 1, True)
    rows = list(csv.DictReader((folder / "trials.csv").open(encoding="utf-8")))
    assert [row["seed"] for row in rows] == ["0", "1", "2"]
    assert [float(row["test.accuracy"]) for row in rows] == ACCURACY[:3]
    assert "<title>Study toy</title>" in (folder / "report.html").read_text("utf-8")
    with pytest.raises(UserError, match="resume it with --resume"):
        seeds()
    assert seeds("--resume", count=4) == 0  # one seed more
    assert calls(here) == [0, 1, 2, 3]
    with pytest.raises(UserError, match=r"other settings \(training.epochs\)"):
        seeds("--resume", "--epochs", "9")


def test_what_there_is_so_far_is_shown(here, capsys):
    with pytest.raises(UserError, match="no study in studies/toy with trials to show"):
        seeds("--show")
    (here / "orders").write_text("1: stop")
    with pytest.raises(UserError, match="stopped by"):
        seeds()
    assert "trial 1: complete, accuracy 0.9000 in" in capsys.readouterr().out
    assert seeds("--show") == 0
    shown = capsys.readouterr().out
    assert "running" in shown
    assert "best of 2 trials" in shown
    assert calls(here) == [0, 1]


def test_settings_compared(here, capsys):
    line = ["compare", "--name", "toy", "--seed", "0", "--compare-seeds", "1"]
    assert study.main([*line, "--against", "seed=3"]) == 0  # 0.95 in place of 0.9
    out = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "these two models do not differ beyond chance on these rows" in out
    assert "McNemar's p 1.0000" in out
    assert calls(here) == [3, 0]
    shown = (here / "studies/toy/report.html").read_text("utf-8")
    assert 'alt="differences"' in shown
    with pytest.raises(UserError, match="not made with --against seed=4"):
        study.main([*line, "--against", "seed=4", "--resume"])


@pytest.mark.parametrize("against", ["learning_rat=1", "epochs=0", "peft=bitfat"])
def test_a_setting_that_cannot_be_used_leaves_nothing_behind(here, against):
    with pytest.raises(UserError):
        study.main(["compare", "--name", "toy", "--against", against])
    assert not (here / "studies").exists()


def test_settings_compared_from_python(here):
    asked = {"name": "compare", "against": ["learning_rate=3e-4"], "seeds": 1}
    result = tfnlp.run_study(asked, dataset="trec", name="toy", seed=0)
    assert [trial.settings for trial in result.trials] == [
        {"learning_rate": 3e-4, "seed": 0},
        {"seed": 0},
    ]
    assert "do not differ" in result.report.tables[0].rows[0][0]
    frame = result.to_frame()
    assert frame["optimizer.learning_rate"].tolist() == [3e-4, 1e-4]
    assert frame["test.accuracy"].tolist() == ACCURACY[:1] * 2


def test_what_no_trial_can_use_ends_the_study(here):
    (here / "orders").write_text("0: refuse")
    with pytest.raises(UserError, match="first trial could not begin: there is no rows"):
        seeds()
    assert calls(here) == [0]
    (here / "orders").write_text("")
    assert seeds() == 0  # put right, the same command begins


def test_what_cannot_be_proposed_leaves_nothing(here):
    with pytest.raises(UserError, match="did you mean 'epochs'"):
        study.main(["grid", "--name", "toy", "--vary", "epoch=1,2"])
    with pytest.raises(UserError, match="two_texts"):
        study.main(["grid", "--name", "toy", "--vary", "two_texts_column=a,b"])
    assert not (here / "studies").exists()


def test_settings_that_contradict_one_another_are_a_failed_trial(here, capsys):
    line = ["grid", "--name", "toy", "--vary", "strategy=supervised,gan", "--seed", "0"]
    assert study.main(line) == 0
    assert "trial 2: failed (--strategy gan" in capsys.readouterr().out
    assert calls(here) == [0]


def test_a_table_is_resumed_cell_by_cell(here):
    table = here / "table.yaml"
    table.write_text(
        "data: {one: {dataset: trec}, two: {dataset: trec, limit: 9}}\n"
        "plain:\nlow: {learning_rate: 1e-6}\n"
    )
    line = ["grid", "--name", "toy", "--settings", "table.yaml", "--seed", "1"]
    (here / "orders").write_text("1: stop")
    with pytest.raises(UserError, match="trial 1 was stopped"):
        study.main(line)
    (here / "orders").write_text("")
    assert study.main([*line, "--resume"]) == 0
    assert calls(here) == [1] * 5
    # A row between those that are there: only its cells are trained.
    table.write_text(table.read_text().replace("low:", "high: {learning_rate: 1e-2}\nlow:"))
    assert study.main([*line, "--resume"]) == 0
    assert calls(here) == [1] * 7
    text = (here / "studies/toy/report.html").read_text("utf-8")
    first = text.partition("Cells")[0]
    assert re.findall(r"<tr><td>(\w+)</td>", first.partition("Scores")[2]) == [
        "plain",
        "high",
        "low",
    ]


def test_runs_of_others_are_not_taken(here):
    folders.new_run(given("--name", "toy-2").experiment())
    with pytest.raises(UserError, match="holds runs already"):
        seeds()


def start(*more, count=2):
    """Start the command in a process of its own."""
    code = (
        f"import sys; from tfnlp.runs import studies; from tfnlp import study\n"
        f"from tfnlp.runtime import exit_status\n"
        f"studies.TRAIN = {studies.TRAIN!r}\n"
        f"sys.exit(exit_status.run(study.main))"
    )
    line = ["seeds", "--name", "toy", "--seed", "0", "--seeds-count", str(count), *more]
    return subprocess.Popen(
        [sys.executable, "-c", code, *line],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


def wait_for(happened, process):
    end = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.mark.slow
def test_two_processes_run_one_study(here):
    (here / "orders").write_text("1: wait")
    first = start(count=4)
    wait_for((here / "waiting").exists, first)
    (here / "orders").write_text("")
    second = start("--resume", count=4)
    wait_for(lambda: calls(here) == [0, 1, 2, 3], second)  # without the trial that first has
    end_trial(here)
    _, errors = first.communicate(timeout=60)
    assert b"trial 2 was stopped by SIGTERM" in errors
    assert second.wait(120) == 0, second.communicate()
    second.communicate()
    assert calls(here) == [0, 1, 2, 3, 1]
    rows = list(csv.DictReader((here / "studies/toy/trials.csv").open(encoding="utf-8")))
    assert [float(row["test.accuracy"]) for row in rows] == ACCURACY[:4]


def end_trial(here):
    """End trial 2, which waits and is known by its command and working folder."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            same = (entry / "cwd").resolve() == here.resolve()
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if same and b"trials/2.yaml" in command:
            os.kill(int(entry.name), signal.SIGTERM)


@pytest.mark.slow
def test_real_trials(small_experiment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(HERE.parents[1]))
    values = to_values(small_experiment(tmp_path / "rows"))
    Path("base.yaml").write_text(yaml.safe_dump(values), "utf-8")
    line = ["seeds", "--config", "base.yaml", "--seeds-count", "2"]
    assert study.main(line) == 0
    rows = list(csv.DictReader(Path("studies/toy/trials.csv").read_text("utf-8").splitlines()))
    assert [row["state"] for row in rows] == ["complete", "complete"]
    assert all(re.fullmatch(r"[\d.]+", row["validation.accuracy"]) for row in rows)
    began = time.monotonic()
    assert study.main([*line, "--resume"]) == 0
    assert time.monotonic() - began < 30  # nothing is trained again
