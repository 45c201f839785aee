"""Keyword arguments: the same experiments as flags make, and sentences for mistakes."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import UserError
from tfnlp.cli import arguments, keywords, settings
from tfnlp.extensions import Explanation, Study
from tfnlp.options import Parser
from tfnlp.runs.experiment_yaml import to_values, write_yaml


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TFNLP_CACHE", str(tmp_path / "cache"))


def by_flags(*argv: str):
    return arguments.parse(list(argv), Parser(prog="it"))[0]


def made(**given):
    return keywords.experiment(given, "fit()")


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        ({"dataset": "trec", "epochs": 3}, ["--dataset", "trec", "--epochs", "3"]),
        ({"train": "a.csv", "learning_rate": np.float64(3e-5)},
         ["--train", "a.csv", "--learning-rate", "3e-5"]),
        ({"train": "a.csv", "text_column": "x"}, ["--train", "a.csv", "--text-column", "x"]),
        ({"train": "a.csv", "columns": {"text": "review"}},
         ["--train", "a.csv", "--column", "text=review"]),
        ({"train": "a.csv", "pair": True, "export": False, "baseline": False},
         ["--train", "a.csv", "--pair", "--no-export", "--no-baseline"]),
        ({"train": "a.csv", "peft": "bitfit", "augment": [{"name": "aeda", "ratio": 0.2}]},
         ["--train", "a.csv", "--peft", "bitfit", "--augment", "aeda", "--aeda-ratio", "0.2"]),
        ({"task": "language_model", "train": "a.txt", "strategy": {"name": "gan", "steps": 700}},
         ["--task", "language_model", "--train", "a.txt", "--strategy", "gan",
          "--gan-steps", "700"]),
        ({"task": "dialogue", "train": "a.jsonl", "stop": ["User:", "END"], "seed": 7},
         ["--task", "dialogue", "--train", "a.jsonl", "--stop", "User:", "--stop", "END",
          "--seed", "7"]),
        ({"train": "a.csv", "name": "mine", "backbone": "scratch:1x64", "epochs": None},
         ["--train", "a.csv", "--name", "mine", "--backbone", "scratch:1x64"]),
    ],
)  # fmt: skip
def test_keywords_are_flags(given, flags):
    assert made(**given) == by_flags(*flags)


def test_every_flag_of_train_is_a_keyword():
    begun = arguments.begin(
        arguments.argparse.Namespace(
            task="dialogue", config=None, strategy="gan", peft="bitfit", augment=["aeda"]
        ),
        "fit()",
    )
    parser = Parser(add_help=False)
    arguments.add_options(parser, begun)
    known = settings.destinations(parser)
    for action in parser._actions:
        flag = action.option_strings[0].removeprefix("--").replace("-", "_")
        assert known[flag] == action.dest
        assert flag.isidentifier()


def test_a_file_is_begun_with(tmp_path):
    write_yaml(
        by_flags("--train", "a.csv", "--epochs", "7", "--peft", "bitfit"), tmp_path / "e.yaml"
    )
    found = made(config=tmp_path / "e.yaml", batch_size=8)
    assert (found.training.epochs, found.training.batch_size, found.peft.name) == (7, 8, "bitfit")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "fit() has no rows (give a file, a data frame or a dict of columns first"),
        ({"train": "trec"}, "there is no file trec; for the data set of this name give dataset="),
        ({"epoch": 3}, "fit() has no option 'epoch'; did you mean 'epochs'?"),
        ({"lr": 3}, "fit() has no option 'lr'; did you mean 'learning_rate'?"),
        ({"y": [1]}, "fit() has no option 'y'; give texts and labels as one: {'text': X, 'label"),
        ({"verbos": 0}, "fit() has no option 'verbos'; did you mean 'verbose'?"),
        ({"model": "bert"}, "fit() has no option 'model'; did you mean 'backbone'?"),
        ({"eval_dataset": 1}, "fit() has no option 'eval_dataset'; did you mean 'validation'?"),
        ({"zzz": 3}, "fit() has no option 'zzz'"),
        ({"epochs": "3"}, "training in fit(): epochs: '3' is not a whole number"),
        ({"epochs": 0}, "training in fit(): epochs: 0 is too small; the smallest value"),
        ({"task": "clasification"}, "there is no task 'clasification'; did you mean"),
        ({"task": 3}, "fit(): task is 3; it must be a task's name"),
        ({"peft": {"rank": 8}}, "fit(): peft is {'rank': 8}; it must be a name, or a dict with"),
        ({"peft": "bitfat"}, "there is no peft 'bitfat'; did you mean 'bitfit'"),
        ({"strategy": {"name": "supervised", "size": 1}}, "strategy in fit() has no option 'size'"),
        ({"train": "a.csv", "columns": {"txt": "a"}}, "the task classification has no column"),
        ({"train": 3}, "the data is int '3', not rows"),
        ({"train": "a.csv", "dataset": "trec"}, "--train and --dataset are both given"),
    ],
)  # fmt: skip
def test_mistakes_are_said(given, sentence):
    if given and "train" not in given:
        given = {"train": "a.csv", **given}
    with pytest.raises(UserError) as caught:
        made(**given)
    assert str(caught.value).startswith(sentence)


def test_rows_in_memory_are_a_file_of_the_cache(tmp_path):
    rows = [("Good.", "yes"), ("Bad.", "no")]
    found = made(train=rows, validation=iter(rows), epochs=1)
    assert found.data.train == found.data.validation
    assert found.data.train.startswith(str(tmp_path / "cache" / "rows"))
    assert found.name == "data-classification"
    again = made(
        train={"text": ["Good.", "Bad."], "label": ["yes", "no"]}, validation=rows, epochs=1
    )
    assert to_values(again) == to_values(found)
    other = made(train=rows[:1], epochs=1)
    assert other.data.train != found.data.train
    assert dataclasses.replace(other, data=found.data) == found


def test_columns_without_names_are_those_of_the_task_as_it_is_set():
    pairs = made(train=[("a", "b", "yes"), ("c", "d", "no")], pair=True)
    first = Path(pairs.data.train).read_text("utf-8").splitlines()[0]
    assert first == '{"text_a": "a", "text_b": "b", "label": "yes"}'


def test_every_name_of_another_library_is_an_option_here():
    known = settings.destinations(_parser())
    assert set(keywords._ELSEWHERE.values()) <= known.keys()
    assert not keywords._ELSEWHERE.keys() & known.keys()


def _parser():
    given = dict.fromkeys(("task", "config", "strategy", "peft", "augment"))
    begun = arguments.begin(arguments.argparse.Namespace(**given), "fit()")
    parser = Parser(add_help=False)
    arguments.add_options(parser, begun)
    return parser


def test_an_entry_with_its_options():
    found, options = keywords.plugged(Explanation, {"name": "occlusion", "most": 3}, "by")
    assert (found.name, options.most) == ("occlusion", 3)
    with pytest.raises(UserError, match="by occlusion has no option 'mst'; did you mean 'most'"):
        keywords.plugged(Explanation, {"name": "occlusion", "mst": 3}, "by")


def test_options_of_an_entry_may_be_paths_and_lists():
    _, grid = keywords.plugged(Study, {"name": "grid", "settings": Path("t.yaml")}, "here")
    assert grid.settings == "t.yaml"
    _, grid = keywords.plugged(Study, {"name": "grid", "vary": ["epochs=1,2"]}, "here")
    assert grid.vary == ("epochs=1,2",)
    _, curve = keywords.plugged(Study, {"name": "learning_curve", "sizes": [100, 200]}, "here")
    assert curve.sizes == (100, 200)
