"""What validate says of an input is what train does with it, up to its first step."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

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

LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
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


def word(number: int) -> str:
    """Return a word of three letters, another one for each number."""
    return "".join(LETTERS[number // base % 26] for base in (676, 26, 1))


def texts(count: int, start: int = 0) -> list[str]:
    return [f"about {word(start + i)} and {word(7 * (start + i))}" for i in range(count)]


def labelled(count: int = 20, start: int = 0, column: str = "label", values: Any = "ab") -> list:
    several = texts(count, start)
    return [{"text": text, column: values[i % len(values)]} for i, text in enumerate(several)]


def related(count: int = 20) -> list[dict]:
    spans = {"head": {"start": 0, "end": 5}, "tail": {"start": 6, "end": 9}}
    return [{**row, **spans} for row in labelled(count, column="relation")]


def asked(count: int = 20, answered: bool = True) -> list[dict]:
    answers = [{"text": "about", "answer_start": 0}] if answered else []
    return [
        {"question": "which word", "context": text, "answers": answers} for text in texts(count)
    ]


def tagged(count: int = 20, tagged: bool = True) -> list[dict]:
    spans = [[6, 9, "THING"]] if tagged else []
    return [{"text": text, "entities": spans} for text in texts(count)]


def paired(count: int = 20, names: tuple[str, str] = ("prompt", "response")) -> list[dict]:
    both = zip(texts(count), texts(count, 500), strict=True)
    return [dict(zip(names, pair, strict=True)) for pair in both]


def plain(count: int = 20) -> list[dict]:
    return [{"text": text} for text in texts(count)]


def compared(count: int = 20, **more: Any) -> list[dict]:
    """Return pairs of texts, with further columns whose values come in turn."""
    pairs = paired(count, ("text_a", "text_b"))
    turns = {name: [*value] * count for name, value in more.items()}
    return [{**pair, **{n: turns[n][i] for n in turns}} for i, pair in enumerate(pairs)]


def talks(*roles: str) -> list[dict]:
    """Return chats whose messages have these roles."""
    said = ("hi", "you there", "yes", "bye", "so long")
    messages = [{"role": r, "content": t} for r, t in zip(roles, said, strict=False)]
    return [{"messages": [*messages[:-1], {**messages[-1], "content": t}]} for t in texts(20)]


SCRATCH = ["--backbone=scratch:1x64", "--vocabulary-size=100"]
BOTH = ("source", "target")
MANY = "".join(chr(code) for code in range(0x4E00, 0x4E00 + 300))  # characters
# Task, rows by split, flags, and what train says; "" if it begins.
CASES: dict[str, tuple[str, dict[str, list[dict]], list[str], str]] = {
    "good": ("classification", {"train": labelled()}, [], ""),
    "one label": ("classification", {"train": labelled(values="a")}, [], "every row has"),
    "a row each": ("classification", {"train": labelled(5, values="abcde")}, [], "one row for"),
    "one row": ("classification", {"train": labelled(1)}, [], "1 row, too few"),
    "no rows": ("classification", {"train": []}, [], "has no rows"),
    "limited to one row": ("classification", {"train": labelled()}, ["--limit=1"], "too few"),
    "no column": ("classification", {"train": plain()}, [], "has no column 'label'"),
    "another column": (
        "classification", {"train": labelled(column="kind")}, ["--label-column=kind"], ""
    ),
    "an empty text": (
        "classification", {"train": [*labelled(), {"text": "", "label": "a"}]}, [], "is empty"
    ),
    "a text of which nothing is seen": (
        "masked_lm", {"train": [*plain(), {"text": "\u200b"}]}, [], "is empty: it has only"
    ),
    "an empty text is left out": (
        "classification",
        {"train": [*labelled(), {"text": "", "label": "a"}]},
        ["--on-bad-row=skip"],
        "",
    ),
    "an empty text is kept aside": (
        "classification",
        {"train": [*labelled(), {"text": "", "label": "a"}]},
        ["--on-bad-row=quarantine"],
        "",
    ),
    "an empty text in test": (
        "classification",
        {"train": labelled(), "test": [*labelled(3), {"text": "", "label": "a"}]},
        [],
        "is empty",
    ),
    "empty texts only": (
        "classification",
        {"train": [{"text": "", "label": "a"}] * 3},
        ["--on-bad-row=skip"],
        "no usable row",
    ),
    "an unknown label in validation": (
        "classification",
        {"train": labelled(), "validation": labelled(6, 50, values="abx")},
        [],
        "label 'x' is not among",
    ),
    "an unknown label in test": (
        "classification",
        {"train": labelled(), "test": labelled(6, 50, values="abx")},
        [],
        "",
    ),
    "an unknown label that is limited away": (
        "classification",
        {"train": labelled(), "validation": labelled(9, 50, values="axb")},
        ["--limit-held-out=2"],
        "",
    ),
    "an unknown label that is not": (
        "classification",
        {"train": labelled(), "validation": labelled(9, 50, values="xab")},
        ["--limit-held-out=2"],
        "label 'x' is not among",
    ),
    "no file": ("classification", {"train": labelled()}, ["--test=none.csv"], "is no file"),
    "too long": (
        "classification", {"train": labelled()}, ["--max-length=65"], "--max-length 65"
    ),
    "as long as may be": (
        "classification", {"train": labelled()}, ["--max-length=64"], ""
    ),
    "too many frozen layers": (
        "classification", {"train": labelled()}, ["--freeze-layers=3"], "--freeze-layers 3"
    ),
    "every layer frozen": ("classification", {"train": labelled()}, ["--freeze-layers=2"], ""),
    "too many layers": ("classification", {"train": labelled()}, ["--layers=3"], "has 2 layers"),
    "no backbone": ("classification", {"train": labelled()}, ["--backbone=brt"], "no backbone"),
    "from scratch": (
        "classification", {"train": labelled()}, ["--backbone=scratch"], "is for tasks that write"
    ),
    "no workers": (
        "classification", {"train": labelled()}, ["--distribute=multiworker"], "needs TF_CONFIG"
    ),
    "replicas": ("classification", {"train": labelled()}, ["--distribute=mirrored"], ""),
    "runs cannot be written": (
        "classification", {"train": labelled()}, ["--tensorboard-logs=train.jsonl"], "cannot write"
    ),
    "no SavedModel can be written": (
        "classification", {"train": labelled()}, ["--saved-models=train.jsonl"], "cannot write"
    ),
    "a range": ("classification", {"train": labelled()}, ["--max-length=0"], "2"),
    "two sources": ("classification", {"train": labelled()}, ["--dataset=trec"], "both given"),
    "no second text": (
        "classification", {"train": labelled()}, ["--pair", "--text-a-column=text"], "text_b"
    ),
    "numbers": ("regression", {"train": labelled(column="target", values=[1.5, 2.5])}, [], ""),
    "one number": (
        "regression", {"train": labelled(column="target", values=[1.5])}, [], "every row has"
    ),
    "numbers that are one in float32": (
        "regression",
        {"train": labelled(column="target", values=[1e9 + 1, 1e9 + 2])},
        [],
        "all the same in float32",
    ),
    "a 0 or 1 for each label": (
        "multi_label",
        {"train": labelled(column="labels", values=[[0, 1, 0], [1, 0, 0]])},
        [],
        "a 0 or 1 for each label",
    ),
    "no number": ("regression", {"train": labelled(column="target")}, [], "number"),
    "grades": ("ordinal", {"train": labelled(column="grade", values=[1, 2, 3])}, [], ""),
    "one grade": ("ordinal", {"train": labelled(column="grade", values=[1])}, [], "needs two"),
    "too many grades": (
        "ordinal", {"train": labelled(250, column="grade", values=range(125))}, [], "at most 100"
    ),
    "labels": (
        "multi_label", {"train": labelled(column="labels", values=[["a"], ["a", "b"], []])}, [], ""
    ),
    "no labels": (
        "multi_label", {"train": labelled(column="labels", values=[[]])}, [], "no row has a label"
    ),
    "entities": ("ner", {"train": tagged()}, [], ""),
    "no entities": ("ner", {"train": tagged(tagged=False)}, [], "no row has a labelled span"),
    "entities elsewhere": (
        "ner", {"train": [*tagged(), {"text": "a", "entities": [[0, 9, "THING"]]}]}, [], "row 21"
    ),
    "answers": ("extractive_qa", {"train": asked()}, [], ""),
    "no answers": ("extractive_qa", {"train": asked(answered=False)}, [], "no question has"),
    "relations": ("relation_extraction", {"train": related()}, [], ""),
    "texts": ("similarity", {"train": plain()}, [], ""),
    "texts without dropout": (
        "similarity", {"train": plain()}, ["--dropout=0"], "under other dropout"
    ),
    "one text": ("similarity", {"train": plain(1) * 20}, [], "the same text"),
    "pairs": ("similarity", {"train": compared()}, ["--pair"], ""),
    "pairs with labels": ("similarity", {"train": compared(label=[0, 1])}, ["--pair"], ""),
    "pairs that mean the same": ("similarity", {"train": compared(label=[1])}, ["--pair"], ""),
    "pairs that do not": (
        "similarity", {"train": compared(label=[0])}, ["--pair"], "every row has 0 in 'label'"
    ),
    "labels of pairs in words": (
        "similarity", {"train": compared(label=["neutral"])}, ["--pair"], "neither a number nor"
    ),
    "triplets": ("similarity", {"train": compared(negative=texts(20, 900))}, ["--pair"], ""),
    "triplets with scores": (
        "similarity", {"train": compared(negative=["c"], score=[0, 1])}, ["--pair"], "from one of"
    ),
    "no scores in validation": (
        "similarity",
        {"train": compared(score=[0, 1]), "validation": compared(5)},
        ["--pair"],
        "it has no 'score'",
    ),
    "no scores in test": (
        "similarity", {"train": compared(score=[0, 1]), "test": compared(5)}, ["--pair"], ""
    ),
    "a column of scores that is not there": (
        "similarity", {"train": compared()}, ["--pair", "--score-column=gold"], "column 'gold'"
    ),
    "changed copies of pairs": (
        "similarity", {"train": compared()}, ["--pair", "--augment=aeda"], "leave out --augment"
    ),
    "masked texts": ("masked_lm", {"train": plain()}, [], ""),
    "masked texts of nothing": (
        "masked_lm", {"train": [{"text": "\ufffd"}] * 20}, [], "no text to learn from"
    ),
    "nothing in validation": (
        "masked_lm",
        {"train": plain(), "validation": [{"text": "\ufffd"}] * 2},
        [],
        "no text to learn from",
    ),
    "blocks too long": ("masked_lm", {"train": plain()}, ["--max-length=65"], "--max-length 65"),
    "a language": ("language_model", {"train": plain()}, SCRATCH, ""),
    "a language of an encoder": ("language_model", {"train": plain()}, [], "is encoder"),
    "a vocabulary too small": (
        "language_model", {"train": [{"text": MANY}] * 20}, SCRATCH, "of 100 pieces"
    ),
    "a size that is none": (
        "language_model", {"train": plain()}, ["--backbone=scratch:1x65"], "not of the form"
    ),
    "no room to write": (
        "language_model",
        {"train": plain()},
        [*SCRATCH, "--max-length=1000", "--max-tokens=64"],
        "with --max-tokens 64",
    ),
    "prompts": ("language_model", {"train": paired()}, [*SCRATCH, "--pair"], ""),
    "prompts with room to write": (
        "language_model",
        {"train": paired()},
        [*SCRATCH, "--pair", "--max-length=960", "--max-tokens=64"],
        "",
    ),
    "prompts without room to write": (
        "language_model",
        {"train": paired()},
        [*SCRATCH, "--pair", "--max-length=961", "--max-tokens=64"],
        "with --max-tokens 64",
    ),
    "layers of what has none": (
        "language_model", {"train": plain()}, [*SCRATCH, "--freeze-layers=2"], "--freeze-layers 2"
    ),
    "turns of a tool": (
        "dialogue", {"train": talks("user", "tool", "assistant")}, SCRATCH[1:], "a turn of 'tool'"
    ),
    "a system prompt that comes late": (
        "dialogue", {"train": talks("user", "system", "assistant")}, SCRATCH[1:], "after the first"
    ),
    "translations": (
        "translation", {"train": paired(names=BOTH)}, ["--vocabulary-size=100"], ""
    ),
    "translations with too few pieces": (
        "translation", {"train": [dict.fromkeys(BOTH, MANY)] * 20}, SCRATCH[1:], "of 100 pieces"
    ),
    "few weights of none that were trained": (
        "language_model", {"train": plain()}, [*SCRATCH, "--peft=bitfit"], "has only random ones"
    ),
    "few weights": ("classification", {"train": labelled()}, ["--peft=bitfit"], ""),
    "an option without effect": (
        "classification", {"train": labelled()}, ["--overlap=8"], "no effect with --windows 1"
    ),
    "a share beside rows for validation": (
        "classification",
        {"train": labelled(), "validation": labelled(6, 50)},
        ["--validation-share=0.2"],
        "there are rows for validation",
    ),
    "rates of layers that are not trained": (
        "classification",
        {"train": labelled()},
        ["--layer-decay=0.9", "--freeze-layers=2"],
        "no layer of the backbone is trained",
    ),
    "a label for none that no row has": (
        "relation_extraction", {"train": related()}, ["--none-label=nothing"], "no row of train"
    ),
    "pairs one by one": (
        "similarity", {"train": compared()}, ["--pair", "--batch-size=1"], "give at least 2"
    ),
    "a temperature for scores": (
        "similarity", {"train": compared(score=[0, 1])}, ["--pair", "--temperature=1"], "scores"
    ),
    "a vector for words": ("ner", {"train": tagged()}, ["--projector=9"], "no one vector"),
    "a decoder on what writes": (
        "language_model", {"train": paired()}, [*SCRATCH, "--pair", "--decoder-layers=1"], "itself"
    ),
    "a strategy of another task": (
        "classification", {"train": labelled()}, ["--strategy=gan"], "--strategy gan is for"
    ),
}  # fmt: skip


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
