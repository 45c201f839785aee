"""Settings in place of those that were given."""

from __future__ import annotations

import pytest

from pipelines.errors import UserError
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


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("2",), "--give-up 2: it must be EPOCH=SCORE"),
        (("0=0.5",), "--give-up 0=0.5: it must be EPOCH=SCORE"),
        (("2=nan",), "--give-up 2=nan: it must be EPOCH=SCORE"),
        (("2=0.5", "2=0.6"), "two scores for epoch 2"),
        (("9=0.5",), "--give-up 9=0.5 has no effect with --epochs 9"),
    ],
)
def test_what_is_never_given_up_for_is_refused(given, flags, sentence):
    with pytest.raises(UserError, match=sentence):
        given.vary({"give_up": flags})
    assert given.vary({"give_up": ("8=0.5",)}).training.least() == {8: 0.5}


@pytest.mark.parametrize("fold", ["5", "0/5", "6/5", "1/1", "a/b", "-1/5", "1/5/2"])
def test_a_fold_is_one_of_several(given, fold):
    with pytest.raises(UserError, match=f"--fold {fold}: it must be I/K"):
        given.vary({"fold": fold})
    with pytest.raises(UserError, match=r"--fold says which rows .* so does --validation-share"):
        given.vary({"fold": "1/5", "validation_share": 0.3})
    with pytest.raises(UserError, match=r"fold: it must not be empty"):
        given.vary({"fold": ""})
    assert given.vary({"fold": "5/5"}).data.part() == (5, 5)


def test_an_option_of_an_entry_that_is_not_chosen_says_whose_it_is(given):
    with pytest.raises(UserError, match=r"lora_rank is an option of --peft lora, .*vary peft too"):
        given.vary({"lora_rank": 4})
