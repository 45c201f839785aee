"""What `validate` says of tags, spans, answers and relations, and how it is printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tfnlp import task, validate
from tfnlp.cli import arguments
from tfnlp.data_checks import findings
from tfnlp.options import Parser

from . import test_validate
from .test_validate import check, finding, labelled, messages

# Fixtures.
file, load_backbones_once = test_validate.file, test_validate.load_backbones_once


@pytest.fixture
def without_tokens(monkeypatch):
    """Leave out the counting of tokens, which other tests are about."""
    monkeypatch.setattr("tfnlp.data_checks.lengths.check", lambda *given: None)


def conll(name: str, sentences: Sequence[str]) -> str:
    """Write sentences such as ``Ann/B-PER ran/O``."""
    words = [sentence.replace("/", " ").split() for sentence in sentences]
    blocks = ["\n".join(map(" ".join, zip(w[::2], w[1::2], strict=True))) for w in words]
    Path(name).write_text("\n\n".join(blocks), "utf-8")
    return name


@pytest.mark.parametrize(
    ("scheme", "sound", "broken", "told"),
    [
        ("BIO", "Ann/B-PER Lee/I-PER met/O {}/B-LOC", "Ann/O Lee/I-PER {}/I-LOC", [2, 3]),
        ("IOB1", "Ann/I-PER Lee/I-PER met/O {}/I-LOC", "Ann/O Lee/B-PER {}/I-PER", [2]),
        ("BIOES", "Ann/B-PER Lee/E-PER met/O {}/S-LOC", "Ann/B-PER Lee/O {}/E-LOC", [1, 3]),
    ],
)
def test_broken_tags_are_told_with_their_rows(file, without_tokens, scheme, sound, broken, told):
    sentences = [sound.format(f"w{i}") for i in range(30)]
    sentences[7] = broken.format("w7")
    found = check("--task=ner", "--train", conll("train.conll", sentences))
    warning = finding(found.warnings, f"break the scheme {scheme}")
    assert f"train.conll: {len(told)} tags in 1 row " in warning.message
    assert [(row.number, row.line) for row in warning.rows] == [(8, 7 * 5 + 1)]
    assert [f"word {place} " in warning.rows[0].reason for place in range(1, 4)] == [
        place in told for place in range(1, 4)
    ]
    assert found.errors == []
    good = check("--task=ner", "--train", conll("train.conll", sentences[:7]))
    assert "scheme" not in messages(good.warnings)


def test_mentions_are_counted_by_type_and_split(file):
    sentences = [f"Ann/B-PER met/O Bo/B-PER in/O w{i}/B-LOC" for i in range(20)]
    train = conll("train.conll", [*sentences, "so/O"])
    test = conll("test.conll", ["Ann/B-PER ran/O"])
    found = check("--task=ner", "--train", train, "--validation", train, "--test", test)
    assert found.facts["targets"]["entities"]["train"] == {"PER": 40, "LOC": 20}
    assert found.facts["targets"]["entities"]["test"] == {"PER": 1}
    table = next(table for table in found.tables if "Mentions" in table.title)
    assert table.rows == [("PER", 40, "66.7%", 40, 1), ("LOC", 20, "33.3%", 20, 0)]


def test_spans_that_do_not_match_the_text_are_told(file, without_tokens):
    rows = [{"text": f"Ann met w{i}", "entities": [[0, 3, "PER"]]} for i in range(20)]
    rows[3]["entities"] = [[0, 99, "PER"]]
    rows[5]["entities"] = [{"start": 1, "end": 4, "label": "PER", "text": "Ann"}]
    Path("train.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    found = check("--task=ner", "--train=train.jsonl")
    bad = finding(found.errors, "train.jsonl: 2 rows cannot be used")
    assert [row.number for row in bad.rows] == [4, 6]
    assert "stands at 0: correct the offset" in bad.rows[1].reason


def test_answers_are_counted_and_those_off_their_place_told(file, without_tokens):
    questions = [
        {"id": str(i), "question": f"where {i}?", "answers": [{"text": "Rome", "answer_start": 8}]}
        for i in range(20)
    ]
    questions[4]["answers"] = [{"text": "Rome", "answer_start": 9}]
    for place in range(10, 15):
        questions[place] |= {"answers": [], "is_impossible": True}
    paragraph = {"context": "Ann met Rome 汉", "qas": questions}
    data = {"data": [{"title": "T", "paragraphs": [paragraph]}]}
    Path("train.json").write_text(json.dumps(data), "utf-8")
    found = check("--task=extractive_qa", "--train=train.json")
    bad = finding(found.errors, "train.json: 1 row cannot be used")
    assert [row.number for row in bad.rows] == [5]
    told = found.facts["targets"]["answers"].values()
    assert sum(split["answerable"] for split in told) == 14
    assert sum(split["unanswerable"] for split in told) == 5


def test_relation_arguments_outside_the_text_are_told(file, without_tokens):
    rows = [
        {
            "text": f"Ann met w{i}",
            "head": {"start": 0, "end": 3},
            "tail": {"start": 8, "end": 10},
            "relation": "ab"[i % 2],
        }
        for i in range(20)
    ]
    rows[6]["tail"] = {"start": 8, "end": 12}
    Path("train.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    found = check("--task=relation_extraction", "--train=train.jsonl")
    bad = finding(found.errors, "train.jsonl: 1 row cannot be used")
    assert [row.number for row in bad.rows] == [7]
    assert "'tail' is 8-12 outside 'text'" in bad.rows[0].reason


# The command


def test_the_command_prints_everything_and_its_status_tells(file):
    rows = [*labelled(30), *[("", "[red]")] * 30]
    file("train.csv", rows)
    argv = ["--train=train.csv", "--show=2", "--json=out.json"]
    ran = subprocess.run(
        [sys.executable, "-m", "tfnlp.validate", *argv],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(validate.__file__).parents[1])},
    )
    assert ran.returncode == 1, ran.stderr
    lines = ran.stdout.splitlines()
    assert "error: train.csv: 30 rows cannot be used" in ran.stdout
    assert "    row 31 (line 32): 'text' is empty" in lines
    assert "    and 28 more (--show and --json list them)" in lines
    assert lines[-1] == "errors: 1, warnings: 0; training would stop"
    told = json.loads(Path("out.json").read_text("utf-8"))
    (error,) = told["errors"]
    assert [row["row"] for row in error["rows"]] == list(range(31, 61))
    assert told["rows"] == {"train": 24, "validation": 6}


def test_odd_labels_are_printed_as_they_are(file, capsys):
    rows = labelled(20, 0, ("[red]x[/red]", "$5 [/] 天气"))
    found = check("--train", file("train.csv", rows))
    findings.show(found, 5)
    out = capsys.readouterr().out
    assert "[red]x[/red]" in out
    assert "$5 [/] 天气" in out
    assert "training can begin" in out


def test_it_shows_the_rows_that_training_takes(file):
    """Limits of held-out rows count: validate and train read splits by one rule."""
    from tfnlp.training import examples

    rows = [(f"text {i}", "ab"[i % 2]) for i in range(60)]
    flags = ["--train", file("many.csv", rows), "--test", file("held.csv", rows[:40])]
    flags += ["--limit=50", "--limit-held-out=7"]
    experiment, _ = arguments.parse(flags, Parser(prog="it"))
    taken = examples.read_splits(experiment, task.load("classification"))
    assert check(*flags).facts["rows"] == {"train": len(taken.train), "validation": 7, "test": 7}
    assert len(taken.validation) == len(taken.test) == 7
