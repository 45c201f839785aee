"""What validate says of an input is what train does with it, up to its first step."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import keras
import keras_hub
import numpy as np
import pytest

from pipelines import batching
from pipelines.errors import UserError
from pipelines.rows import Rows
from tfnlp import task, train, validate
from tfnlp.backbones import loading
from tfnlp.cli import arguments
from tfnlp.data_checks import rows as data_rows
from tfnlp.options import Parser
from tfnlp.task import Tensors
from tfnlp.training import answering, distribution, examples
from tfnlp.training.model import TrainedModel

from .agreement_cases import CASES, LETTERS, compared, labelled, related, talks

PIECES = [*LETTERS, *(f"##{letter}" for letter in LETTERS)]


load = functools.cache(loading.load)


class Began(Exception):  # noqa: N818
    """Training is about to begin."""


@pytest.fixture(scope="module", autouse=True)
def backbones(tmp_path_factory) -> Path:
    """Two BERTs of two layers, in KerasHub's layout: one lacks the signs that mark arguments."""
    parent = tmp_path_factory.mktemp("backbones")
    for name, signs in (("bert", "$#"), ("signless", "")):
        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *signs, *PIECES]
        keras.utils.set_random_seed(0)
        keras_hub.models.BertBackbone(
            vocabulary_size=len(vocabulary),
            num_layers=2,
            num_heads=2,
            hidden_dim=16,
            intermediate_dim=32,
            max_sequence_length=64,
        ).save_to_preset(str(parent / name))
        keras_hub.models.BertTokenizer(vocabulary, lowercase=True).save_to_preset(
            str(parent / name)
        )
    return parent


@pytest.fixture
def place(tmp_path, backbones, monkeypatch) -> Path:
    """An empty folder with the backbones in it, where commands run."""
    for name in ("bert", "signless"):
        (tmp_path / name).symlink_to(backbones / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setattr(loading, "load", load)
    return tmp_path


@pytest.fixture
def unmeasured(monkeypatch) -> None:
    """Take each example for one token long, which spares the tracing of a graph."""

    def ones(model: TrainedModel, raw: Tensors) -> batching.Sizes:
        one = np.ones(len(next(iter(raw.values()))), int)
        return batching.Sizes(one, one, one, 0 * one)

    monkeypatch.setattr(examples, "measure", ones)


def written(rows: dict[str, list[dict]]) -> list[str]:
    """Write splits as files; returns the flags that name them."""
    for split, several in rows.items():
        lines = [json.dumps(row) for row in several]
        Path(f"{split}.jsonl").write_text("\n".join(lines), "utf-8")
    return [f"--{split}={split}.jsonl" for split in rows]


def refusal(argv: list[str], monkeypatch) -> str:
    """Train up to the first step; return why it does not come to that, "" if it does."""

    def begin(model: TrainedModel, rows: Rows) -> None:
        examples.examples(model, rows)  # the untrained model is judged on them
        raise Began

    monkeypatch.setattr(answering, "evaluate", begin)
    with pytest.raises((UserError, SystemExit, Began)) as ended:
        train.main(argv)
    return "" if ended.type is Began else str(ended.value)


def status(argv: list[str]) -> int:
    """Return what validate exits with."""
    try:
        return validate.main(argv)
    except (UserError, SystemExit):
        return 2


def agree(argv: list[str], said: str, monkeypatch, capsys) -> None:
    """Check what both commands do with these arguments; ``said`` is a part of what train says."""
    before = sorted(path.name for path in Path().iterdir())
    validated = status(argv)
    printed = capsys.readouterr().out
    assert sorted(path.name for path in Path().iterdir()) == before
    why = refusal(argv, monkeypatch)
    assert said in why
    assert bool(why) == bool(said)
    assert bool(validated) == bool(said), printed
    assert validated == 2 or ("training would stop" in printed) == bool(said)


@pytest.mark.parametrize("name", CASES)
def test_validate_refuses_what_train_refuses(name, place, unmeasured, monkeypatch, capsys):
    task_name, rows, flags, said = CASES[name]
    argv = [f"--task={task_name}", *written(rows), "--backbone=bert", "--max-length=32", *flags]
    agree(argv, said, monkeypatch, capsys)


@pytest.mark.parametrize(
    ("name", "content", "flags", "said"),
    [
        ("train.csv", "text;label\n{}", ["--delimiter=;"], ""),
        ("train.csv", "text;label\n{}", ["--delimiter=,"], "has no column 'text'"),
        ("train.csv", "text;label\n{}", ["--delimiter=ab"], "is not one character"),
        ("train.csv", "text;label\n{}", ["--quoting=none"], ""),
        ("train.csv", "text;label\ncafé;a\n{}", ["--encoding=windows-1252"], ""),
        ("train.csv", "text;label\ncafé;a\n{}", [], "--encoding windows-1252"),
        ("train.csv", "text;label\n{}", ["--encoding=latin-99"], "not the name of an encoding"),
        ("train.conll", "Ann B-X\n\n" * 9, ["--quoting=none"], "is for CSV and TSV"),
    ],
)
def test_how_files_are_laid_out(name, content, flags, said, place, unmeasured, monkeypatch, capsys):
    rows = "".join(f"{row['text']};{row['label']}\n" for row in labelled())
    Path(name).write_bytes(content.format(rows).encode("windows-1252"))
    argv = [f"--train={name}", "--backbone=bert", "--max-length=32", *flags]
    agree(argv, said, monkeypatch, capsys)


def test_bad_rows_that_cannot_be_kept_aside(place, unmeasured, monkeypatch, capsys):
    (place / "train.jsonl.bad.jsonl").mkdir()
    argv = [*written({"train": [*labelled(), {"text": "", "label": "a"}]}), "--backbone=bert"]
    argv += ["--max-length=32", "--on-bad-row=quarantine"]
    agree(argv, "cannot write", monkeypatch, capsys)


@pytest.mark.parametrize(("name", "said"), [("bert", ""), ("signless", "has no '$'")])
def test_a_vocabulary_that_lacks_a_sign(name, said, place, monkeypatch, capsys):
    argv = ["--task=relation_extraction", *written({"train": related()}), f"--backbone={name}"]
    agree([*argv, "--max-length=32"], said, monkeypatch, capsys)


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--limit=30"],
        ["--limit=30", "--limit-held-out=4"],
        ["--limit-held-out=3", "--validation=validation.jsonl"],
        ["--validation-share=0.5"],
        ["--seed=7", "--limit=12"],
    ],
)
def test_validate_counts_the_rows_that_train_takes(flags, place, unmeasured):
    written({"train": labelled(60), "validation": labelled(9, 100), "test": labelled(40, 200)})
    argv = ["--train=train.jsonl", "--test=test.jsonl", "--backbone=bert", "--max-length=32"]
    experiment, _ = arguments.parse([*argv, *flags], Parser(prog="it"))
    taken = examples.read_splits(experiment, task.load(experiment.task))
    assert taken.test is not None
    counts = {
        "train": len(taken.train),
        "validation": len(taken.validation),
        "test": len(taken.test),
    }
    assert data_rows.check(experiment).facts["rows"] == counts


def test_rows_that_judge_are_never_trained_on(place):
    """Whatever the seed, the share for validation and the limit are."""
    written({"train": labelled(100)})
    kept = []
    for flags in ([], ["--seed=7"], ["--seed=8", "--limit=30"], ["--validation-share=0.4"]):
        argv = ["--train=train.jsonl", "--test-share=0.2", *flags]
        experiment, _ = arguments.parse(argv, Parser(prog="it"))
        taken = examples.read_splits(experiment, task.load(experiment.task))
        assert taken.test is not None
        kept.append(taken.test.numbers)
        seen = {*taken.train.numbers, *taken.validation.numbers}
        assert not seen & set(taken.test.numbers)
        assert len(seen) == (experiment.data.limit or 80)
    assert len(kept[0]) == 20
    assert kept == kept[:1] * 4


def test_the_folds_are_the_same_for_every_seed_and_limit_is_too(place):
    written({"train": labelled(100)})

    def taken(*flags):
        argv = ["--train=train.jsonl", "--test-share=0.2", "--limit=60", *flags]
        experiment, _ = arguments.parse(argv, Parser(prog="it"))
        return examples.read_splits(experiment, task.load(experiment.task))

    folds = [taken(f"--fold={n}/4", "--seed=1").validation.numbers for n in range(1, 5)]
    assert [len(fold) for fold in folds] == [15] * 4
    every = {number for fold in folds for number in fold}
    assert len(every) == 60
    again = taken("--fold=2/4", "--seed=2")
    assert again.validation.numbers == folds[1]
    assert {*again.train.numbers, *again.validation.numbers} == every
    assert not every & set(again.test.numbers)


def test_a_text_that_is_trained_on_and_set_aside_is_told_of(place, unmeasured, capsys):
    written({"train": labelled(20) * 2})
    argv = ["--train=train.jsonl", "--test-share=0.2", "--backbone=bert", "--max-length=32"]
    assert validate.main(argv) == 0
    assert "for test, and the text of" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "rows", "said"),
    [
        (["--task=similarity", "--pair"], compared(label=[0, 1]), "'label' is read as how much"),
        (
            ["--task=dialogue", "--vocabulary-size=100"],
            talks("system", "user", "human", "assistant"),
            "16 turns are joined by a line end to the one before",
        ),
    ],
)
def test_validate_says_how_rows_are_read(flags, rows, said, place, unmeasured, capsys):
    argv = [*flags, *written({"train": rows}), "--backbone=bert", "--max-length=32"]
    assert validate.main(argv) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert said in notes[0]
    experiment, _ = arguments.parse(argv, Parser(prog="it"))
    taken = examples.read_splits(experiment, task.load(experiment.task))
    chosen = task.load(experiment.task)
    facts = chosen.learn(taken.train, experiment.options)
    assert f"note: {next(chosen.remarks(taken.train, facts))}" == notes[0]  # what train says


def test_test_rows_without_scores_are_not_called_wrong(place, unmeasured, capsys):
    rows = {"train": compared(score=[0, 1]), "test": compared(5)}
    argv = ["--task=similarity", "--pair", *written(rows), "--backbone=bert", "--max-length=32"]
    assert validate.main(argv) == 0
    printed = capsys.readouterr().out
    assert "count as wrong" not in printed
    assert "test.jsonl: every row is read as two texts that mean the same" in printed


def test_batches_of_workers_are_checked_without_waiting_for_them(monkeypatch):
    cluster = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    told = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 1}})
    monkeypatch.setenv("TF_CONFIG", told)
    distribution.check("multiworker", 6)
    with pytest.raises(UserError, match=r"--batch-size 4 .* over 3 replicas"):
        distribution.check("multiworker", 4)
    monkeypatch.setenv("TF_CONFIG", "[]")
    with pytest.raises(UserError, match="needs TF_CONFIG"):
        distribution.check("multiworker", 6)
