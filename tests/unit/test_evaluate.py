from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipelines.errors import UserError
from pipelines.rows import Rows
from tfnlp import evaluate, task
from tfnlp.api import evaluating
from tfnlp.exporting import card
from tfnlp.exporting.writer import export
from tfnlp.facts import Facts
from tfnlp.runs import evaluation_files
from tfnlp.runs.experiment_yaml import from_values
from tfnlp.training import answering
from tfnlp.training.model import prepare

LABELS = ["a", "b|c", "天气"]
TEXTS = [
    "Who wrote Hamlet?",
    "你好，世界",
    "emoji 😀👩‍👩‍👧",
    "a " * 200,
    'quote " , comma',
    "two\nlines",
    "NUL \x00 inside",
]


def rows_of(count: int, seed: int = 0) -> Rows:
    random = np.random.default_rng(seed)
    texts = [f"{TEXTS[i % len(TEXTS)]} {i}" for i in range(count)]
    labels = [LABELS[i] for i in random.integers(0, 3, count)]
    return Rows("here", {"text": texts, "label": labels}, list(range(1, count + 1)))


def write(path: Path, rows: Rows, header: tuple[str, str] = ("text", "label")) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(zip(rows.columns["text"], rows.columns["label"], strict=True))
    return str(path)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An exported model, untrained, with what it answers in its own process."""
    folder = tmp_path_factory.mktemp("model")
    made = from_values(
        {
            "task": {"name": "classification", "max_length": 32},
            "data": {"train": "train.csv", "columns": {"text": "question"}},
            "backbone": {"layers": 1},
            "export": {"saved_models": str(folder)},
            "name": "mine",
        },
        task.load("classification").options,
        "the test",
    )
    built = prepare(made, rows_of(20))
    built.context.facts["temperature"] = 1.7
    built.lengths.append(32)
    head = built.network.layers[-1]
    head.set_weights([weight * 20 for weight in head.get_weights()])  # answers that differ
    report = answering.evaluate(built, rows_of(150))
    saved = export(built, {}, card.write(built, {"validation": report.metrics}, []))
    return SimpleNamespace(folder=saved, report=report)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def error(*argv: object) -> str:
    with pytest.raises(UserError) as caught:
        evaluate.main([str(word) for word in argv])
    return str(caught.value)


def test_the_numbers_are_those_of_the_model_in_its_own_process(model, here, capsys):
    file = write(here / "test.csv", rows_of(150), ("question", "label"))
    assert evaluate.main([str(model.folder), "--test", file, "--batch-size", "7"]) == 0
    target = here / "evaluations" / "mine" / "1" / "test"
    told = json.loads((target / "metrics.json").read_text("utf-8"))
    assert told["metrics"] == pytest.approx(model.report.metrics, abs=1e-5)
    assert (told["rows"], told["data"]) == (150, file)
    assert told["tables"]["By label"] == [
        dict(zip(model.report.tables[0].header, row, strict=True))
        for row in model.report.tables[0].rows
    ]
    assert len({row["precision"] for row in told["tables"]["By label"]}) > 1
    for name in ("confusion_matrix", "reliability"):
        assert (target / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    shown = (target / "report.md").read_text("utf-8")
    out = capsys.readouterr().out
    for name, value in model.report.metrics.items():
        assert f"| {name} | {value:.4f} |" in shown
        assert re.search(rf"{name} +│ {value:.4f}", out)
    assert "![confusion_matrix](confusion_matrix.png)" in shown
    assert "evaluations/mine/1/test" in out
    assert sorted(file.name for file in target.parent.iterdir()) == ["test"]


def test_unseen_labels_are_wrong_and_told(model, here, capsys):
    rows = rows_of(40)
    rows.columns["label"][:10] = ["new"] * 10
    file = write(here / "test.csv", rows)
    assert evaluate.main([str(model.folder), "--test", file, "--text-column", "text"]) == 0
    told = json.loads((here / "evaluations/mine/1/test/metrics.json").read_text("utf-8"))
    assert told["metrics"]["accuracy"] <= 0.75
    assert "1 label never seen in training" in told["warnings"][0]
    assert "(rows): 'new' (10)" in capsys.readouterr().err
    assert "'new'" in (here / "evaluations/mine/1/test/report.md").read_text("utf-8")


def test_columns_are_named_by_flags_and_as_in_training(model, here):
    odd = write(here / "odd.csv", rows_of(3), ("satz", "marke"))
    assert "odd.csv has no column 'question'" in error(model.folder, "--test", odd)
    flags = ["--column", "text=satz", "--label-column", "marke", "--output", "out"]
    assert evaluate.main([str(model.folder), "--test", odd, *flags]) == 0
    assert (here / "out" / "report.md").exists()
    assert "did you mean 'text'?" in error(model.folder, "--test", odd, "--column", "txt=satz")
    message = error(model.folder, "--test", odd, "--grade-column", "satz")
    assert "has no column 'grade'" in message


def test_bad_rows_stop_it_or_are_counted(model, here, capsys):
    rows = rows_of(5)
    rows.columns["label"][2] = ""
    file = write(here / "test.csv", rows, ("question", "label"))
    assert "test.csv, row 3" in error(model.folder, "--test", file)
    assert not (here / "evaluations").exists() or not any((here / "evaluations").rglob("*.md"))
    assert evaluate.main([str(model.folder), "--test", file, "--on-bad-row", "skip"]) == 0
    assert "1 of its rows cannot be used" in capsys.readouterr().err
    told = json.loads((here / "evaluations/mine/1/test/metrics.json").read_text("utf-8"))
    assert told["rows"] == 4


def test_an_earlier_report_is_replaced_as_a_whole(model, here):
    file = write(here / "test.csv", rows_of(4), ("question", "label"))
    target = here / "out"
    target.mkdir()
    (target / "report.md").write_text("old")
    (target / "stale.png").write_text("old")
    assert evaluate.main([str(model.folder), "--test", file, "--output", str(target)]) == 0
    assert "old" not in (target / "report.md").read_text("utf-8")
    assert not (target / "stale.png").exists()
    assert sorted(path.name for path in here.iterdir()) == ["out", "test.csv"]


def test_a_failure_while_writing_leaves_the_earlier_report(model, here, monkeypatch):
    file = write(here / "test.csv", rows_of(4), ("question", "label"))
    target = here / "out"
    target.mkdir()
    (target / "report.md").write_text("old")

    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(evaluation_files, "markdown", full)
    message = error(model.folder, "--test", file, "--output", target)
    assert (
        message
        == f"cannot write {target}: No space left on device (choose another place: --output)"
    )
    assert (target / "report.md").read_text() == "old"
    assert sorted(path.name for path in here.iterdir()) == ["out", "test.csv"]


def test_a_folder_of_something_else_is_not_touched(model, here):
    file = write(here / "test.csv", rows_of(4), ("question", "label"))
    assert "holds no report" in error(model.folder, "--test", file, "--output", here)
    assert "holds no report" in error(model.folder, "--test", file, "--output", file)
    assert Path(file).read_text("utf-8").startswith("question")
    assert "cannot write" in error(model.folder, "--test", file, "--output", "/proc/out")


def test_models_that_cannot_be_judged_are_named(model, here):
    assert "there is no model 'none'" in error("none", "--test", "a.csv")
    other = here / "copy" / "1"
    shutil.copytree(model.folder, other)
    (other / "facts.json").unlink()
    assert "holds no facts.json" in error(other.parent, "--test", "a.csv")
    facts = (model.folder / "facts.json").read_text("utf-8")
    (other / "facts.json").write_text(facts.replace('"temperature"', '"temporature"'))
    assert "facts.json is damaged: it is not as it was written" in error(other, "--test", "a.csv")
    (other / "checksums.json").unlink()  # as of 0.1.0
    (other / "experiment.yaml").write_text("name: x\n")
    (other / "facts.json").write_text("{}")
    assert "names no task" in error(other, "--test", "a.csv")


def test_data_that_cannot_be_read_are_named(model, here):
    assert "there is no file none.csv" in error(model.folder, "--test", "none.csv")
    assert "give one of them" in error(model.folder, "--test", "a.csv", "--dataset", "trec")
    assert "without test data" in error(model.folder)
    assert "there is no data set 'trek'" in error(model.folder, "--dataset", "trek")
    message = error(
        model.folder, "--dataset", "trec", "--split", "validation", "--text-column", "text"
    )
    assert message == "trec has no split 'validation'; it has: train, test"


def test_the_command_ends_with_one_sentence(model, here):
    write(here / "test.csv", rows_of(3), ("question", "marke"))
    ran = subprocess.run(
        [sys.executable, "-m", "tfnlp.evaluate", str(model.folder), "--test", "test.csv"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(evaluate.__file__).parents[1])},
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: test.csv has no column 'label'")
    assert ran.stderr.count("\n") == 1


def test_rows_are_laid_out_as_in_training_where_nothing_else_is_said(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes("text;label\n“café”, yes;x\n".encode("windows-1252"))
    data = {"train": str(path), "delimiter": ";", "encoding": "cp1252", "quoting": "none"}
    values = {"task": {"name": "classification"}, "data": data}
    chosen = task.load("classification")
    experiment = from_values(values, chosen.options, "a.yaml")
    exported = evaluating.Kept(tmp_path, experiment, chosen, Facts(tmp_path, "", {}), tmp_path)
    options = evaluating.with_data(evaluating.Options(test=str(path)), exported)
    assert evaluating.read_rows(exported, options).columns["text"] == ["“café”, yes"]
    told = evaluating.with_data(evaluating.Options(test=str(path), encoding="utf-8"), exported)
    with pytest.raises(UserError, match="not utf-8: byte 0x93"):
        evaluating.read_rows(exported, told)
    lines = tmp_path / "rows.jsonl"
    lines.write_bytes(json.dumps({"text": "a", "label": "x"}).encode())
    other = evaluating.with_data(evaluating.Options(test=str(lines)), exported)
    assert evaluating.read_rows(exported, other).columns["text"] == ["a"]
    with pytest.raises(UserError, match="--delimiter is for CSV and TSV"):
        evaluating.with_data(evaluating.Options(test=str(lines), delimiter=","), exported)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"test": "a.csv", "split": "train"}, "--split train has no effect on a file of rows"),
        ({"dataset": "trec", "split": "train"}, ""),
        ({"test": "a.csv", "label_separator": ";"}, "--label-separator ';' has no effect on rows"),
        ({"dataset": "trec", "on_bad_row": "quarantine"}, "--on-bad-row quarantine keeps rows of"),
        ({"dataset": "trec", "on_bad_row": "skip"}, ""),
        ({"test": "a.csv", "on_bad_row": "quarantine"}, ""),
        ({"delimiter": ";"}, ""),  # of the file that the model was tested on in training
        ({"dataset": "trec", "delimiter": ";"}, "--delimiter is for CSV and TSV files"),
    ],
)
def test_options_without_effect_are_refused(flags, said, tmp_path):
    data = {"train": "a.csv", "test": "b.csv", "label_separator": "&"}
    chosen = task.load("classification")
    values = {"task": {"name": "classification"}, "data": data}
    exported = evaluating.Kept(
        tmp_path,
        from_values(values, chosen.options, "a.yaml"),
        chosen,
        Facts(tmp_path, "", {}),
        tmp_path,
    )
    try:
        evaluating.with_data(evaluating.Options(**flags), exported)
        told = ""
    except UserError as error:
        told = str(error)
    assert told.startswith(said)
    assert bool(told) == bool(said)
