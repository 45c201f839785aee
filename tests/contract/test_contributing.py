"""The methods that CONTRIBUTING.md shows work as they stand there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"```python\n# mypackage/(\w+)\.py\n(.*?)```", re.DOTALL)
FILES = dict(BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text("utf-8")))
TEXTS = ["red apple", "blue sea", "green leaf", "the sky is blue", "apples are red", "on a leaf"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with an outsider's package, and rows to train on."""
    folder = tmp_path_factory.mktemp("outsider")
    package = folder / "mypackage"
    package.mkdir()
    (package / "__init__.py").touch()
    for name, text in FILES.items():
        (package / f"{name}.py").write_text(text, "utf-8")
    for file, targets in (("labels", ["a", "b"]), ("numbers", [0, 3])):
        name = "label" if file == "labels" else "target"
        rows = [{"text": f"{text} {i}", name: targets[i % 2]} for i in range(4) for text in TEXTS]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{file}.jsonl").write_text(lines, "utf-8")
    return folder


def train(place, backbone, *flags):
    line = [sys.executable, "-m", "tfnlp.train", "--backbone", backbone, "--epochs", "1"]
    line += ["--projector", "0", "--max-length", "32", *flags]
    return subprocess.run(line, cwd=place, capture_output=True, text=True, check=False)


def test_all_five_are_there():
    assert set(FILES) == {"counts", "focal", "top", "shout", "capitals"}


def test_a_task_of_ones_own(place, backbone):
    done = train(place, backbone, "--task", "mypackage.counts", "--train", "numbers.jsonl")
    assert done.returncode == 0, done.stderr[-2000:]
    asked = [sys.executable, "-m", "tfnlp.predict", "numbers-counts", "a leaf", "--format", "jsonl"]
    answered = subprocess.run(asked, cwd=place, capture_output=True, text=True, check=True)
    assert json.loads(answered.stdout)["value"] > 0


def test_a_strategy_a_peft_method_and_an_augmenter_of_ones_own(place, backbone):
    flags = ["--strategy", "mypackage.focal", "--focal-gamma", "1.5", "--peft", "mypackage.top"]
    flags += ["--top-layers", "1", "--augment", "mypackage.shout", "--name", "mine"]
    done = train(place, backbone, "--train", "labels.jsonl", *flags)
    assert done.returncode == 0, done.stderr[-2000:]
    (run,) = (place / "tensorboard_logs" / "mine").iterdir()
    written = (run / "experiment.yaml").read_text()
    assert "gamma: 1.5" in written
    assert "name: mypackage.top" in written
    assert "name: mypackage.shout" in written
    assert (run / "model" / "peft.safetensors").exists()


def test_an_audit_of_ones_own(place, word_models):
    (place / "words.jsonl").write_text(
        "".join(json.dumps({"text": t, "label": "fine"}) + "\n" for t in ["good", "so good", "Ann"])
    )
    line = [sys.executable, "-m", "tfnlp.audit", str(word_models / "label"), "--test"]
    line += ["words.jsonl", "--check", "mypackage.capitals", "--output", "audited"]
    done = subprocess.run(line, cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr[-2000:]  # "GOOD" is not "good" to this model
    found = json.loads((place / "audited" / "report.json").read_text())
    assert "0.66" in json.dumps(found)
    line += ["--bound", "capitals=0.7"]
    assert subprocess.run(line, cwd=place, capture_output=True, check=False).returncode == 0
