"""Settings in place of those that were given."""

from __future__ import annotations

import pytest

from tfnlp.cli import arguments
from tfnlp.cli.settings import Given
from tfnlp.options import Parser

FILE = """
task: {name: classification, label_smoothing: 0.1}
data: {dataset: trec}
optimizer: {learning_rate: 0.005}
training: {epochs: 9}
peft: {name: bitfit}
augment: [{name: aeda, ratio: 0.5}]
seed: 7
"""


@pytest.fixture
def given(tmp_path):
    (tmp_path / "file.yaml").write_text(FILE)
    line = ["--config", str(tmp_path / "file.yaml"), "--label-smoothing", "0.2"]
    return Given(*arguments.read(line, Parser())[:2])


def test_none_is_the_default_whatever_the_file_says(given):
    usual = Given(*arguments.read(["--dataset", "trec", "--peft", "bitfit"], Parser())[:2])
    names = ("learning_rate", "epochs", "label_smoothing", "augment", "seed")
    assert given.vary(dict.fromkeys(names)) == usual.experiment()


def test_none_takes_out_an_entry_of_the_file(given):
    made = given.vary({"peft": None, "augment": None})
    assert (made.peft, made.augment) == (None, ())
    assert made.training.epochs == 9


def test_an_option_of_an_augmenter_is_put_back(given):
    assert given.experiment().augment[0].options.ratio == 0.5
    assert given.vary({"aeda_ratio": None}).augment[0].options.ratio == 1 / 3
