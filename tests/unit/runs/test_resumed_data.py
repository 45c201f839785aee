"""A run is resumed with the data that it was begun with, by one process at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from pipelines.errors import UserError
from pipelines.rows import Rows
from pipelines.splits import Splits
from tfnlp.cli import arguments
from tfnlp.options import Parser
from tfnlp.runs import data_digest, folders


def rows(*pairs):
    texts, labels = zip(*pairs, strict=True)
    return Rows("a.csv", {"text": list(texts), "label": list(labels)}, list(range(len(pairs))))


TRAIN = [("Good.", "pos"), ("Bad.", "neg"), ("好", "pos")]
HELD = [("Fine.", "pos"), ("Awful.", "neg")]


def check(run, train=TRAIN, held=HELD, labels=("neg", "pos"), steps=1, **facts):
    splits = Splits(rows(*train), rows(*held), None)
    return data_digest.check(run, splits, {"labels": list(labels), **facts}, steps)


def test_the_same_data_are_the_same_run(tmp_path):
    first = check(tmp_path, extra={"a": 1})
    assert check(tmp_path, extra={"a": 1}) == first
    assert len(json.loads((tmp_path / "data.json").read_text())["id"]) == 32


def test_another_backbone_is_refused_where_it_is_known(tmp_path):
    splits = Splits(rows(*TRAIN), rows(*HELD), None)
    first = data_digest.check(tmp_path, splits, {}, 1, "abc")
    assert data_digest.check(tmp_path, splits, {}, 1, "abc") == first
    with pytest.raises(UserError, match=r"a backbone whose weights.* have changed since \(put"):
        data_digest.check(tmp_path, splits, {}, 1, "abd")
    kept = json.loads((tmp_path / "data.json").read_text())
    del kept["backbone"]  # of a run that was begun before it was kept
    (tmp_path / "data.json").write_text(json.dumps(kept))
    assert data_digest.check(tmp_path, splits, {}, 1, "abd") == first


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"train": TRAIN[:2]}, r"the training rows differ \(3 are now 2\)"),
        ({"train": TRAIN[:2], "steps": 9}, r"the training rows differ \(3 are now 2\) \(restore"),
        ({"train": TRAIN[::-1]}, r"the training rows differ \(as many, but not the same\)"),
        ({"held": [*HELD, ("So.", "pos")]}, r"the validation rows differ \(2 are now 3\)"),
        ({"labels": ("pos", "zneg")}, r"the labels differ \('neg' missing; 'zneg' new\)"),
        ({"labels": ("pos", "neg")}, r"the labels differ \(their order\)"),
        ({"extra": 2}, "what the task learned from them differs"),
        ({"steps": 7}, r"the number of batches differs \(1 are now 7\)"),
    ],
)
def test_other_data_are_refused_by_what_changed(tmp_path, changed, named):
    check(tmp_path)
    with pytest.raises(UserError, match=f"begun with other data: .*{named}") as refused:
        check(tmp_path, **changed)
    assert str(tmp_path) in str(refused.value)
    assert "without --resume" in str(refused.value)


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '"x"', '{"id": NaN}', '{"id": "a'])
def test_a_damaged_digest_is_named(tmp_path, content):
    (tmp_path / "data.json").write_text(content)
    with pytest.raises(UserError, match=r"data\.json is damaged: .*without --resume"):
        check(tmp_path)


@pytest.mark.parametrize("begun", ["checkpoints/step-4", "checkpoints"])
def test_a_run_whose_digest_is_gone_is_not_resumed(tmp_path, begun):
    """One that was killed before it wrote its digest has no checkpoint either."""
    check(tmp_path)
    (tmp_path / begun).mkdir(parents=True)
    (tmp_path / "data.json").unlink()
    (tmp_path / "experiment.yaml").write_text("training: {epochs: 4, baseline: true}")
    if begun == "checkpoints":
        check(tmp_path, labels=("neg", "zpos"))
    else:
        with pytest.raises(UserError, match=r"data\.json is gone.*without --resume"):
            check(tmp_path, labels=("neg", "zpos"))


def test_what_a_run_of_0_1_0_was_begun_with_is_not_checked_and_that_is_said(tmp_path, caplog):
    (tmp_path / "checkpoints" / "step-4").mkdir(parents=True)
    (tmp_path / "experiment.yaml").write_text("training: {epochs: 4}")
    check(tmp_path)
    assert "is not checked" in caplog.text
    with pytest.raises(UserError, match="begun with other data"):
        check(tmp_path, labels=("neg", "zpos"))


def test_a_run_is_trained_by_one_process_at_a_time(tmp_path):
    code = "import sys; from pathlib import Path; from tfnlp.runs import folders\n"
    code += "with folders.locked(Path(sys.argv[1])):\n print('held', flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(UserError, match="is being trained by another process"):  # noqa: SIM117
        with folders.locked(tmp_path):
            pass
    other.send_signal(signal.SIGKILL)
    other.communicate()
    with folders.locked(tmp_path):  # a kill leaves no lock
        pass


def test_a_run_knows_its_saved_model(tmp_path):
    flags = ["--train", "a.csv", "--name", "a", "--saved-models", str(tmp_path)]
    experiment, _ = arguments.parse(flags, Parser())
    assert folders.exported(experiment, "b") is None
    for version, content in ((1, '{"run": "b"}'), (2, '{"run": "c"}'), (3, "[]"), (4, "{}")):
        (tmp_path / "a" / str(version)).mkdir(parents=True)
        (tmp_path / "a" / str(version) / "metrics.json").write_text(content)
    assert folders.exported(experiment, "b") == tmp_path / "a" / "1"
    assert folders.exported(experiment, "d") is None
