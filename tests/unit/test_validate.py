from __future__ import annotations

import csv
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from tfnlp.backbones import loading
from tfnlp.cli import arguments
from tfnlp.data_checks import findings
from tfnlp.data_checks import rows as data_rows
from tfnlp.data_checks.findings import Findings
from tfnlp.options import Parser

SETTINGS = settings(deadline=None)  # the machine may be busy
WORDS = ["who", "what", "where", "when", "how", "cities", "rivers", "people", "live", "world"]


@pytest.fixture(autouse=True, scope="module")
def load_backbones_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "load", functools.cache(loading.load))
        yield


def texts(count: int, seed: int = 0) -> list[str]:
    random = np.random.default_rng(seed)
    return [f"{' '.join(random.choice(WORDS, 8))} {seed * 1000 + i}" for i in range(count)]


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(name: str, rows: Sequence[Sequence[object]], header: Sequence[str] = ()) -> str:
        with Path(name).open("w", encoding="utf-8", newline="") as out:
            csv.writer(out).writerows([header or ("text", "label"), *rows])
        return name

    return write


def check(*argv: str) -> Findings:
    return data_rows.check(arguments.parse(list(argv), Parser(prog="it"))[0])


def messages(found: list[findings.Finding]) -> str:
    return "\n".join(finding.message for finding in found)


def finding(found: list[findings.Finding], words: str) -> findings.Finding:
    (one,) = [each for each in found if words in each.message]
    return one


def labelled(count: int, seed: int = 0, labels: Sequence[str] = ("a", "b")) -> list[tuple]:
    return [(text, labels[i % len(labels)]) for i, text in enumerate(texts(count, seed))]


def test_good_files_have_no_findings_and_true_counts(file):
    train = file("train.csv", labelled(30, 0, ("a", "a", "天|气")))
    valid = file("valid.csv", labelled(9, 1))
    test = file("test.csv", labelled(6, 2))
    found = check("--train", train, "--validation", valid, "--test", test, "--task=classification")
    assert messages(found.errors).startswith("valid.csv: 4 rows cannot be used")  # label b
    train = file("train.csv", labelled(30, 0, ("a", "a", "b")))
    found = check("--train", train, "--validation", valid, "--test", test)
    assert (found.errors, found.warnings) == ([], [])
    assert found.facts["rows"] == {"train": 30, "validation": 9, "test": 6}
    assert found.facts["targets"]["label"] == {
        "train": {"a": 20, "b": 10},
        "validation": {"a": 5, "b": 4},
        "test": {"a": 3, "b": 3},
    }
    balance = found.tables[1]
    assert balance.header == ("label", "train", "share of train", "validation", "test")
    assert balance.rows == [("a", 20, "66.7%", 5, 3), ("b", 10, "33.3%", 4, 3)]


def test_validation_is_taken_from_train_as_training_does(file):
    found = check("--train", file("train.csv", labelled(40)), "--limit", "30")
    assert found.facts["rows"] == {"train": 24, "validation": 6}


def test_every_bad_row_of_every_file_is_listed(file):
    rows = labelled(20)
    rows[3], rows[7], rows[11] = ("", "a"), ("text", ""), ("one", "two", "three")
    train, test = file("train.csv", rows), file("test.csv", [*labelled(4, 1), ("x", " ")])
    found = check("--train", train, "--test", test)
    bad = finding(found.errors, "train.csv: 3 rows cannot be used")
    assert [row.number for row in bad.rows] == [4, 8, 12]
    assert bad.rows[0].reason == "'text' is empty"
    assert [row.number for row in finding(found.errors, "test.csv: 1 row ").rows] == [5]
    assert found.facts["rows"]["test"] == 4
    found = check("--train", train, "--test", test, "--on-bad-row", "skip")
    assert found.errors == []
    assert "train.csv: 3 rows cannot be used (left out)" in messages(found.warnings)
    assert sorted(path.name for path in Path().iterdir()) == ["test.csv", "train.csv"]


def test_a_file_that_cannot_be_read_does_not_hide_the_others(file):
    train = file("train.csv", [*labelled(10), ("", "a")])
    test = file("test.csv", labelled(3), ("text", "marke"))
    found = check("--train", train, "--validation", "none.csv", "--test", test)
    assert "there is no file none.csv" in messages(found.errors)
    assert "test.csv has no column 'label'" in messages(found.errors)
    assert "train.csv: 1 row cannot be used" in messages(found.errors)
    assert found.facts["rows"] == {"train": 10}
    none = check("--train", "none.csv")
    assert [each.message for each in none.errors] == ["there is no file none.csv (check the path)"]
    assert none.tables == []


def test_repeated_texts_and_contradictions_in_train_are_told_apart(file):
    rows = labelled(10)
    rows += [(rows[0][0].upper() + "  ", rows[0][1]), (rows[1][0], "a"), (rows[0][0], "a")]
    found = check("--train", file("train.csv", rows))
    same = finding(found.warnings, "train.csv: 2 rows with the text of an earlier row")
    assert [(row.number, row.reason) for row in same.rows] == [(11, "as row 1"), (13, "as row 1")]
    other = finding(found.warnings, "with the text of an earlier row and another target")
    assert [(row.number, row.reason) for row in other.rows] == [
        (12, "'a', but the same text in row 2: 'b'")
    ]


def test_leakage_between_all_splits_is_told(file):
    rows = labelled(12)
    train = file("train.csv", rows[:6])
    valid = file("valid.csv", [rows[4], *labelled(5, 1)])
    test = file("test.csv", [rows[2], rows[5], labelled(5, 1)[3]])
    found = check("--train", train, "--validation", valid, "--test", test)
    told = {each.message.partition(";")[0]: each.rows for each in found.warnings}
    assert {text: [(row.number, row.reason) for row in rows] for text, rows in told.items()} == {
        "valid.csv: 1 row with a text that also stands in train.csv": [(1, "as row 5 of train")],
        "test.csv: 2 rows with a text that also stands in train.csv": [
            (1, "as row 3 of train"),
            (2, "as row 6 of train"),
        ],
        "test.csv: 1 row with a text that also stands in valid.csv": [
            (3, "as row 5 of validation")
        ],
    }


def test_copies_on_both_sides_of_the_made_split_are_told(file):
    found = check("--train", file("train.csv", [("same", "a"), ("same text", "b")] * 10))
    assert "training would take 4 rows of it for validation, and the text of 4 of them" in (
        messages(found.warnings)
    )


def test_labels_of_one_row_and_labels_never_seen_are_told(file):
    train = file("train.csv", [*labelled(10), ("rare one", "rare")])
    valid = file("valid.csv", [*labelled(4, 1), ("x", "new"), ("y", "newer")])
    test = file("test.csv", [("z", "new")])
    found = check("--train", train, "--validation", valid, "--test", test)
    alone = finding(found.warnings, "1 label has a single row")
    assert [(row.number, row.reason) for row in alone.rows] == [(11, "'rare'")]
    unseen = finding(found.errors, "valid.csv: 2 rows cannot be used")
    assert [row.number for row in unseen.rows] == [5, 6]
    assert "label 'newer' is not among the training labels" in unseen.rows[1].reason
    assert "test.csv: 1 row will count as wrong" in messages(found.warnings)


def test_what_cannot_be_learned_is_an_error(file):
    found = check("--train", file("one.csv", labelled(10, 0, "a")))
    assert "every row has the label 'a'" in messages(found.errors)
    assert "tokens" in found.facts  # the other checks still ran
    found = check("--train", file("unique.csv", labelled(5, 0, "abcde")))
    assert "one row for each label" in messages(found.errors)
    found = check(
        "--train", file("const.csv", labelled(9, 0, "3"), ("text", "target")), "--task=regression"
    )
    assert "every row has the target 3.0" in messages(found.errors)


def test_several_labels_a_row_are_counted_each(file):
    rows = [(text, ["a", "b", "a|b", ""][i % 4]) for i, text in enumerate(texts(40))]
    found = check("--train", file("m.csv", [*rows, ("x", "rare")]), "--task", "multi_label")
    counts = found.facts["targets"]["labels"]
    total = {
        name: counts["train"].get(name, 0) + counts["validation"].get(name, 0)
        for name in ("a", "b", "", "rare")
    }
    assert total == {"a": 20, "b": 20, "": 10, "rare": 1}
    assert counts["train"]["rare"] == 1
    assert "(none)" in [row[0] for row in found.tables[1].rows]


def test_numbers_are_described(file):
    rows = [(text, i / 10) for i, text in enumerate(texts(100))]
    found = check("--train", file("n.csv", rows, ("text", "target")), "--task", "regression")
    told = found.facts["targets"]["target"]["train"]
    assert 0 <= told["min"] < 1
    assert 9 < told["max"] <= 9.9
    assert told["mean"] == pytest.approx(4.95, abs=0.5)
    assert sum(row[1] for row in found.tables[2].rows) == 80


# Tokens


def test_lengths_what_is_cut_and_what_would_hold_it(file):
    rows = labelled(30)
    rows[4] = ("word " * 100, "a")
    rows[9] = ("word " * 1000, "b")
    train, valid = file("train.csv", rows), file("valid.csv", labelled(3, 1))
    found = check("--train", train, "--validation", valid, "--max-length", "64")
    told = found.facts["tokens"]["train"]
    assert told["longest"] == 1002
    assert told["rows cut"] == 2
    cut = finding(found.warnings, "train.csv: 2 rows (6.7%) longer than --max-length 64 are cut")
    assert [(row.number, row.reason) for row in cut.rows] == [
        (5, "its last 38 tokens are cut"),
        (10, "its last 938 tokens are cut"),
    ]
    assert found.facts["whole"]["95%"] == {"tokens": 102, "flags": "--max-length 102"}
    assert found.facts["whole"]["all"] == {"tokens": 1002, "flags": "--max-length 512 --windows 3"}
    found = check(
        "--train", train, "--validation", valid, *["--max-length", "512", "--windows", "3"]
    )
    assert found.facts["tokens"]["train"] == {**told, "rows cut": 0}
    assert found.warnings == []
    found = check(
        "--train", train, "--validation", valid, *["--max-length", "512", "--windows", "2"]
    )
    assert found.facts["tokens"]["train"] == {**told, "rows cut": 1}


def test_a_length_that_the_backbone_lacks_is_an_error(file):
    found = check("--train", file("train.csv", labelled(20)), "--max-length", "1000")
    assert "--max-length 1000 is more than the 512 tokens" in messages(found.errors)
    found = check("--train", "train.csv", "--backbone", "minilm-l6")
    assert "there is no backbone 'minilm-l6'" in messages(found.errors)
    assert "tokens" not in found.facts


def test_another_language_than_the_backbones_is_told(file):
    rows = [(f"ፈጣኑ ቡናማ ቀበሮ {i}", "ab"[i % 2]) for i in range(20)]
    found = check("--train", file("am.csv", rows))
    unknown = [each for each in found.warnings if "are unknown to the backbone" in each.message]
    assert unknown[0].message.startswith("am.csv: 75.0% of the tokens")
    assert unknown[0].rows[0].reason == "3 of 4 tokens"


PORTUGUESE = "Os trabalhadores da empresa querem uma reunião amanhã cedo, mas ninguém respondeu"
ENGLISH = "The shareholders of the company want another meeting tomorrow, but nobody has answered"


@pytest.mark.parametrize(("text", "told"), [(PORTUGUESE, True), (ENGLISH, False)])
def test_a_language_in_latin_letters_that_the_backbone_does_not_know_is_told(file, text, told):
    found = check("--train", file("a.csv", [(f"{text} {i}", "ab"[i % 2]) for i in range(20)]))
    said = [each for each in found.warnings if "look not English: minilm-l6-en" in each.message]
    assert len(said) == told
    if told:
        assert "--backbone e5-small-multilingual reads about 100" in said[0].message
        assert len(said[0].rows) == 16  # without those that validate


# Files of other formats and columns of other kinds
