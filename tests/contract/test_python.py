"""The Python API on a small run: what the commands do, with values in place of files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pandas
import pytest

import tfnlp
from pipelines.rows import read
from tfnlp import evaluate, explain
from tfnlp.cli import terminal

TEXTS = ["red apple", "blue sea 3", "", "天空 😀", "a " * 500]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFNLP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def model(run):
    return tfnlp.load(run)


@pytest.fixture(scope="module")
def saved(run):
    return Path(json.loads((run / "metrics.json").read_text())["saved_model"])


@pytest.fixture(scope="module")
def frame(run, model):
    rows = read(model.experiment.data.train, model.subject.inputs + model._targets())
    return pandas.DataFrame(rows.columns).head(20)


def alike(some, others):
    assert [row["label"] for row in some] == [row["label"] for row in others]
    np.testing.assert_allclose(
        [[*row["scores"].values()] for row in some],
        [[*row["scores"].values()] for row in others],
        atol=1e-5,
    )


def test_a_run_answers_as_its_saved_model_does(model, saved, tmp_path):
    answers = model.predict(TEXTS)
    assert [type(row) for row in answers] == [dict] * len(TEXTS)
    json.dumps(answers)
    served = tfnlp.open(saved)
    alike(answers, served.predict(TEXTS))
    alike(answers, served.predict(pandas.DataFrame({"text": TEXTS}), batch_size=2))
    alike(answers, model.predict({"review": TEXTS}, columns={"text": "review"}))
    alike(answers[:1], model.predict(TEXTS[0]))
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    alike(answers, model.predict(file))
    with pytest.raises(tfnlp.UserError, match=r"is a file, and a text is answered here"):
        model.predict(str(file))
    assert model.predict([]) == []
    for given, sentence in (
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"columns": {"txt": "a"}}, "the model has no input 'txt'; did you mean 'text'"),
    ):
        with pytest.raises(tfnlp.UserError, match=sentence):
            model.predict(TEXTS, **given)
    with pytest.raises(tfnlp.UserError, match=r"^the data has no column 'label'; it has: text"):
        model.evaluate([("red apple",)])
    with pytest.raises(tfnlp.UserError, match="nothing to check the model on"):
        model.audit(None)
    with pytest.raises(
        tfnlp.UserError, match=r"takes no 'max_tokens' \(settings and signatures are"
    ):
        model.predict(TEXTS, max_tokens=3)
    with pytest.raises(tfnlp.UserError, match=r"has no setting 'temperature'"):
        served.predict(TEXTS, temperature=0.5)
    with pytest.raises(tfnlp.UserError, match=r"does not write its answer token by token"):
        next(served.stream("red"))


def test_two_models_are_asked_from_several_threads(model, run, saved):
    other, served = tfnlp.load(run), tfnlp.open(saved)
    right = model.predict(TEXTS)
    with ThreadPoolExecutor(6) as pool:
        done = [pool.submit(each.predict, TEXTS) for each in (model, other, served) * 4]
        for answers in done:
            alike(right, answers.result())


def test_evaluation_is_that_of_the_command(model, run, frame, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    frame.to_csv("rows.csv", index=False)
    report = model.evaluate(frame, output="there")
    assert report.metrics == model.evaluate("rows.csv").metrics
    assert evaluate.main([str(run), "--test", "rows.csv", "--output", "other"]) == 0
    here, there = (json.loads(Path(n, "metrics.json").read_text()) for n in ("there", "other"))
    assert here["metrics"] == there["metrics"] == report.metrics
    by_label = report.to_frame("By label")
    assert by_label["rows"].sum() == 20
    assert by_label["f1"].dtype == float
    assert report.to_frame().set_index("metric")["value"]["accuracy"] == report.metrics["accuracy"]
    assert "lambda" not in repr(report)
    page = report._repr_html_()
    assert "<caption>By label</caption>" in page
    assert page.count("data:image/png;base64,") == len(report.figures) > 0
    with pytest.raises(tfnlp.UserError, match="no table 'by label'; it has: By label"):
        report.to_frame("by label")
    with pytest.raises(tfnlp.UserError, match=r"evaluate\(\) has no option 'colums'; did you mean"):
        model.evaluate(frame, colums={})


def test_a_run_is_evaluated_as_its_saved_model(model, run, saved, frame, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame.to_csv("rows.csv", index=False)
    for place, target in ((run, "run"), (saved, "saved")):
        assert evaluate.main([str(place), "--test", "rows.csv", "--output", target]) == 0
    one, other = (json.loads(Path(n, "metrics.json").read_text()) for n in ("run", "saved"))
    assert one["metrics"] == pytest.approx(other["metrics"], abs=1e-5)


def test_explanations_are_those_of_the_command(model, run, capsys):
    found = model.explain(TEXTS[:2], by={"name": "occlusion", "most": 3})
    assert explain.main([str(run), *TEXTS[:2], "--occlusion-most", "3"]) == 0
    assert found == [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sum(len(one["pieces"]) for one in found) > 0


def test_an_audit_is_a_gate(model, frame, tmp_path):
    done = model.audit(frame, check="calibration", bounds={"ece": 0.0}, output=tmp_path / "audit")
    assert not done.passed
    assert repr(done).startswith("Audited(passed=False, findings=[Finding(name='ece'")
    assert "crossed" in done._repr_html_()
    assert (tmp_path / "audit" / "junit.xml").exists()
    assert model.audit(frame, bounds={"ece": 1.0}).passed
    with pytest.raises(tfnlp.UserError, match="there is no audit 'bais'"):
        model.audit(frame, check="bais")
    with pytest.raises(tfnlp.UserError, match="the audit has no bound 'ec'; did you mean 'ece'"):
        model.audit(frame, bounds={"ec": 1})


def test_an_export_is_a_new_version(model, tmp_path):
    folder = model.export(name="mine", saved_models=str(tmp_path))
    assert folder == tmp_path / "mine" / "1"
    alike(model.predict(TEXTS), tfnlp.open(tmp_path / "mine").predict(TEXTS))
    with pytest.raises(tfnlp.UserError, match=r"export\(\) has no option 'nam'"):
        model.export(nam="mine")


def test_what_a_run_tells_of_itself(model, run):
    assert repr(model) == f"tfnlp.load({str(run)!r})"
    assert isinstance(model.network, keras.Model)
    assert model.report.metrics["accuracy"] >= 0
    assert "trained (validation)" in model._repr_html_()


@pytest.mark.parametrize("name", ["load", "open"])
def test_what_is_no_model_is_said(name, tmp_path, run, saved):
    with pytest.raises(tfnlp.UserError):
        getattr(tfnlp, name)(tmp_path)
    with pytest.raises(tfnlp.UserError, match=r"tfnlp\.open|holds no SavedModel"):
        getattr(tfnlp, name)(saved if name == "load" else run)


@pytest.fixture
def small(backbone, tmp_path):
    """Keyword arguments of a run of some seconds."""
    return {
        "train": {"text": [f"red ፈጣኑ {i}" for i in range(40)], "label": ["a", "b"] * 20},
        "backbone": backbone,
        "max_length": 16,
        "epochs": 3,
        "projector": 0,
        "baseline": False,
        "export": False,
        "tensorboard_logs": str(tmp_path / "logs"),
        "name": "mine",
    }


def test_an_interrupted_cell_is_resumed(small, monkeypatch, capsys):
    shown = terminal.line

    def line(text):
        shown(text)
        if text.startswith("epoch 1/3"):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(terminal, "line", line)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=r"epoch 1; call it again with resume=True to cont"):
        tfnlp.fit(**small)
    assert signal.getsignal(signal.SIGINT) is handler
    assert "of the tokens are unknown to the backbone (take one" in capsys.readouterr().err
    (run,) = Path(small["tensorboard_logs"], "mine").glob("*/")
    assert not (run / "metrics.json").exists()
    model = tfnlp.fit(**small, resume=True)
    assert model.run == run
    assert len(model.predict(["red"])) == 1
    history = json.loads((run / "history.json").read_text())
    assert len(history) == 3
    capsys.readouterr()
    assert tfnlp.fit(**small, resume=True, verbose=False).run == run
    assert capsys.readouterr() == ("", "")
    assert tfnlp.fit(**small, resume=True).run == run
    assert "has ended already" in capsys.readouterr().out


def test_an_interrupt_before_the_first_epoch_says_the_same(small, monkeypatch):
    monkeypatch.setattr(terminal, "line", lambda text: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt, match=r"^SIGINT; call it again with resume=True to cont"):
        tfnlp.fit(**small)


def test_one_call_trains_at_a_time(small, monkeypatch):
    refused = []

    def train(*args):
        with pytest.raises(tfnlp.UserError, match=r"fit\(\) trains already in another thread"):
            tfnlp.fit(**small)
        refused.append(True)
        raise tfnlp.UserError("ended")

    monkeypatch.setattr("tfnlp.api.fitting._train", train)
    for _ in range(2):
        with pytest.raises(tfnlp.UserError, match="ended"):
            tfnlp.fit(**small)
    assert len(refused) == 2


@pytest.mark.slow
def test_a_thread_may_train_and_keras_is_left_as_it_was(small):
    keras.config.set_dtype_policy("mixed_bfloat16")
    done = []
    try:
        thread = threading.Thread(
            target=lambda: done.append(tfnlp.fit(**{**small, "precision": "float32"}))
        )
        thread.start()
        thread.join()
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_dtype_policy("float32")
    assert done[0].run.is_dir()


def test_fit_refuses_what_the_command_refuses(small, tmp_path, capsys):
    small["train"] = tmp_path / "gone.csv"
    with pytest.raises(tfnlp.UserError) as caught:
        tfnlp.fit(**small)
    ran = subprocess.run(
        [sys.executable, "-m", "tfnlp.train", "--train", str(small["train"])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stderr.splitlines()[-1] == f"error: {caught.value}"
    with pytest.raises(tfnlp.UserError, match="distribute='multiworker'"):
        tfnlp.fit(**{**small, "distribute": "multiworker"})


@pytest.mark.slow
def test_a_study_is_run(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small["epochs"] = 1
    result = tfnlp.run_study({"name": "seeds", "count": 2}, **small)
    assert [trial.state for trial in result.trials] == ["complete"] * 2
    assert result.folder == Path("studies/mine")
    assert tfnlp.load(result.best.run).predict(["red"])
    assert "<table>" in result._repr_html_()
    assert len(repr(result)) < 500
    with pytest.raises(tfnlp.UserError, match="holds a study already"):
        tfnlp.run_study("seeds", **small)
