"""Labels and numbers as files have them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.columns import FLOAT32_MAX
from pipelines.errors import UserError
from pipelines.rows import Column, read

TEXT = Column("text", "text", "what to classify")
LABEL = Column("label", "label", "its class")
LABELS = Column("labels", "labels", "its classes")
NUMBER = Column("score", "number", "its value")


def write(path: Path, content: str) -> Path:
    path.write_text(content, "utf-8")
    return path


def error(path: Path, *columns: Column) -> str:
    with pytest.raises(UserError) as caught:
        read(path, columns or (TEXT, LABEL))
    return str(caught.value)


@pytest.mark.parametrize(
    ("value", "label"),
    [('"x"', "x"), ("3", "3"), ("3.5", "3.5"), ("true", "true"), ('" x\\n"', "x"), ("0", "0")],
)
def test_json_labels_become_strings(tmp_path, value, label):
    path = write(tmp_path / "a.jsonl", f'{{"text": "a", "label": {value}}}')
    assert read(path, [TEXT, LABEL]).columns["label"] == [label]


@pytest.mark.parametrize(
    ("value", "labels"),
    [
        ("a|b", ["a", "b"]),
        (" a | b |", ["a", "b"]),
        ("a|a", ["a"]),
        ("", []),
        ('["a|b", "c"]', ["a|b", "c"]),
        ("[1, 2]", ["1", "2"]),
        ("[]", []),
        ("[spam] or|ham", ["[spam] or", "ham"]),
    ],
)
def test_labels_are_split_or_json(tmp_path, value, labels):
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "labels"), ("t", value)])
    assert read(path, [TEXT, LABELS]).columns["labels"] == [labels]


@pytest.mark.parametrize(
    "value",
    [
        "[0, 0, 0]",
        "[1, 0, 0, 1]",
        "[1 0 0 1]",
        "[0. 1. 0.]",
        '["0", "1", "0"]',
        "0|1|0|0",
        "1,0,0,1",
        "1 0 0",
        "[true, false, false]",
        "[0.0, 1.0, 0.0]",
    ],
)
def test_a_number_for_each_label_is_refused(tmp_path, value):
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "labels"), ("t", value)])
    assert "a 0 or 1 for each label, not the labels (give their names" in error(path, TEXT, LABELS)


@pytest.mark.parametrize(
    ("value", "labels"), [("[0]", ["0"]), ("[0, 1]", ["0", "1"]), ("1", ["1"])]
)
def test_labels_may_be_numbers(tmp_path, value, labels):
    path = write(tmp_path / "a.csv", f'text,labels\nt,"{value}"\n')
    assert read(path, [TEXT, LABELS]).columns["labels"] == [labels]


def test_a_list_is_no_label(tmp_path):
    path = write(tmp_path / "a.csv", 'text,label\nt,"[0, 1]"\n')
    assert "'label' is a list, not one label: [0, 1]" in error(path)
    path = write(tmp_path / "a.csv", "text,label\nt,[spam]\n")
    assert read(path, [TEXT, LABEL]).columns["label"] == ["[spam]"]


@pytest.mark.parametrize("value", ["['a', 'b']", '[["a"]]', '["a", null]', '[{"a": 1}]'])
def test_labels_that_are_no_list_of_strings_are_bad(tmp_path, value):
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "labels"), ("t", value)])
    assert "row 1 (line 2): 'labels' " in error(path, TEXT, LABELS)


def test_label_separator(tmp_path):
    path = write(tmp_path / "a.csv", "text,labels\nt,a|b c\n")
    rows = read(path, [TEXT, LABELS], label_separator=" ")
    assert rows.columns["labels"] == [["a|b", "c"]]


@pytest.mark.parametrize(
    ("told", "between"),
    [("tab", "\t"), (r"\t", "\t"), ("\t", "\t"), ("space", " "), (r"\n", "\n"), ("、", "、")],
)
def test_a_label_separator_that_a_shell_makes_hard_to_write(tmp_path, told, between):
    path = write(tmp_path / "a.csv", f'text,labels\nt,"a{between}b"\n')
    rows = read(path, [TEXT, LABELS], label_separator=told)
    assert rows.columns["labels"] == [["a", "b"]]


@given(number=st.floats(-FLOAT32_MAX, FLOAT32_MAX))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_numbers_are_read_back(tmp_path, number):
    path = write(tmp_path / "a.csv", f"text,score\nt,{number!r}\n")
    assert read(path, [TEXT, NUMBER]).columns["score"] == [number]
    path = write(tmp_path / "a.jsonl", json.dumps({"text": "t", "score": number}))
    assert read(path, [TEXT, NUMBER]).columns["score"] == [number]


def test_a_number_that_no_float32_holds_is_bad(tmp_path):
    path = write(tmp_path / "a.csv", "text,score\nt,1e300\n")
    assert "'score' is larger than a float32 can hold: '1e300'" in error(path, TEXT, NUMBER)


@pytest.mark.parametrize("value", ["", "x", "nan", "inf", "-Infinity", "1e999", "1_000", '"3,5"'])
def test_what_is_no_number_is_bad(tmp_path, value):
    path = write(tmp_path / "a.csv", f"text,score\nt,{value}\n")
    assert "row 1 (line 2): 'score' is not a finite number" in error(path, TEXT, NUMBER)


@pytest.mark.parametrize("value", ["true", "[1]", "1e999", '"x"', "null", "1" + "0" * 400])
def test_what_is_no_number_in_json_is_bad(tmp_path, value):
    path = write(tmp_path / "a.jsonl", f'{{"text": "t", "score": {value}}}')
    assert "row 1: 'score' is " in error(path, TEXT, NUMBER)
