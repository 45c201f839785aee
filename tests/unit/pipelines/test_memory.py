"""Rows in memory: the same values as a file of them has, or one sentence."""

import json

import numpy as np
import pandas
import polars
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import memory
from pipelines.columns import Column
from pipelines.errors import UserError
from pipelines.rows import read

TEXT, LABEL = Column("text", "text", "a text"), Column("label", "label", "a label")
BOTH = (TEXT, LABEL)
COLUMNS = {"text": ["好", 'Bad, "very".\n'], "label": ["+", "-"]}
ROWS = [{"text": "好", "label": "+"}, {"text": 'Bad, "very".\n', "label": "-"}]


@pytest.mark.parametrize(
    "data",
    [
        COLUMNS,
        {name: np.array(values, object) for name, values in COLUMNS.items()},
        ROWS,
        tuple(ROWS),
        iter(ROWS),
        [tuple(row.values()) for row in ROWS],
        zip(COLUMNS["text"], COLUMNS["label"], strict=True),
        pandas.DataFrame(COLUMNS),
        pandas.DataFrame(COLUMNS, index=[7, 3]).astype("category"),
        polars.DataFrame(COLUMNS),
        pyarrow.table(COLUMNS),
    ],
    ids=lambda data: type(data).__name__,
)
def test_whatever_holds_the_rows_they_are_the_same(data):
    assert list(memory.rows(data, BOTH)) == ROWS


def test_a_list_of_lists_is_columns_unless_it_may_be_rows():
    three = [["a", "b", "c"], ["x", "y", "z"]]
    assert [row["label"] for row in memory.rows(three, BOTH)] == ["x", "y", "z"]
    with pytest.raises(UserError, match="2 lists of 2 may be columns or rows"):
        list(memory.rows([["a", "x"], ["b", "y"]], BOTH))
    with pytest.raises(UserError, match=r"of which there are 2 \(text, label\), not 3"):
        list(memory.rows([["a", "x"], ["b", "y"], ["c", "z"]], BOTH))


def test_conversations_are_rows():
    column = Column("turns", "turns", "a conversation")
    said = [["Hi", "Hello.", "Bye"], "One\nTwo", [{"role": "user", "content": "Hi"}]]
    found = [list(record.values["turns"]) for record in memory.records(said, [column])]
    assert found[0] == ["Hi", "Hello.", "Bye"]
    assert found[1:] == [["One", "Two"], ["Hi"]]
    assert list(memory.rows({"turns": said}, [column])) == list(memory.rows(said, [column]))


def test_conversations_with_their_answers_are_rows():
    columns = [Column("history", "turns", "turns"), Column("response", "text", "", of="history")]
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    assert list(memory.rows([turns, turns], columns)) == [{"messages": turns}] * 2


def test_a_set_of_labels_is_a_list():
    labels = Column("labels", "labels", "labels")
    (record,) = memory.records([{"text": "a", "labels": {"y", "x"}}], [TEXT, labels])
    assert record.values["labels"] == ["x", "y"]


@pytest.mark.parametrize("texts", [["a", "b"], np.array(["a", "b"]), pandas.Series(["a", "b"])])
def test_texts_alone_are_the_first_column(texts):
    assert [r.values for r in memory.records(texts, [TEXT])] == [{"text": "a"}, {"text": "b"}]


def test_whole_numbers_beside_a_missing_one_stay_whole():
    frame = pandas.DataFrame({"text": list("abc"), "label": [1, None, 0], "n": [0.5, 1.0, 2.0]})
    assert frame["label"].dtype == float
    labels = [row["label"] for row in memory.rows(frame, BOTH)]
    assert labels == [1, None, 0]
    assert [type(label) for label in labels] == [int, type(None), int]
    assert [row["n"] for row in memory.rows(frame.dropna(), BOTH)] == [0.5, 2.0]
    endless = pandas.DataFrame({"text": ["a"], "label": [float("inf")]})
    assert next(memory.rows(endless, BOTH))["label"] == "inf"  # which JSON has no number for
    number = Column("label", "number", "a number")
    with pytest.raises(UserError, match="row 1 of the data: 'label' is not a finite number: 'inf'"):
        list(memory.records(endless, [TEXT, number]))


def test_missing_and_foreign_values_are_as_in_a_file():
    frame = pandas.DataFrame({"text": ["a", None], "n": [1.5, float("nan")]})
    frame["when"] = [pandas.NaT, pandas.NaT]
    frame["whole"] = pandas.array([3, None], "Int64")
    first, second = memory.rows(frame, [TEXT])
    assert first == {"text": "a", "n": 1.5, "when": None, "whole": 3}
    assert second == {"text": None, "n": None, "when": None, "whole": None}
    with pytest.raises(UserError, match="row 2 of the data: 'text' is missing"):
        list(memory.records(frame, [TEXT]))
    scalars = [{"text": np.str_("a"), "label": np.int64(3), "extra": np.array([1, 2])}]
    assert json.dumps(list(memory.rows(scalars, BOTH))) == (
        '[{"text": "a", "label": 3, "extra": [1, 2]}]'
    )


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("reviews.csv", "the data is str 'reviews.csv', not rows"),
        (3, "the data is int '3', not rows"),
        ({"text": ["a"], "label": []}, "the columns differ in length: text 1, label 0"),
        ({"text": ["a"], "label": "b"}, "the column 'label' is str 'b', not a list of values"),
        ([1.5], "row 1 of the data is float '1.5', not a text, a dict or a tuple of: text, label"),
        ([{"text": object}], "row 1 of the data: it holds type"),
        ([None], "row 1 of the data is NoneType 'None', not a text"),
        (["a", None], "row 2 of the data is NoneType 'None', not a text"),
        ([("a\ud800", "b")], r"row 1 of the data: it holds half a character: 'a\\ud800'"),
        (pandas.DataFrame([["a", "b"]], columns=["t", "t"]), "two columns of the same name"),
    ],
)
def test_what_is_no_data_is_said_in_a_sentence(data, sentence):
    with pytest.raises(UserError, match=sentence):
        list(memory.rows(data, BOTH))


def test_a_column_under_another_name():
    frame = pandas.DataFrame({"Review": ["a"]})
    (row,) = memory.records(frame, [TEXT], {"text": "Review"})
    assert row.values == {"text": "a"}
    with pytest.raises(
        UserError, match=r"no column 'text'; it has: body .*columns=\{'text': HEADER\}\)$"
    ):
        list(memory.records(pandas.DataFrame({"body": ["a"]}), [TEXT]))


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=4))
def test_kept_rows_are_read_again(tmp_path_factory, pairs):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFNLP_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        file = memory.keep(pairs, (Column("text", "marked", ""), Column("label", "text", "")))
        assert file == memory.keep(list(pairs), BOTH)
    raw = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert [(row["text"], row["label"]) for row in raw] == pairs


def test_kept_rows_are_those_that_a_file_gives(tmp_path, monkeypatch):
    monkeypatch.setenv("TFNLP_CACHE", str(tmp_path))
    found = read(memory.keep(pandas.DataFrame(COLUMNS), BOTH), BOTH)
    assert found.columns == COLUMNS
    with pytest.raises(UserError, match="the data has no rows"):
        memory.keep([], BOTH)
    (tmp_path / "rows").rename(tmp_path / "other")
    (tmp_path / "rows").write_text("")
    with pytest.raises(UserError, match=r"cannot write .* \(set TFNLP_CACHE"):
        memory.keep(COLUMNS, BOTH)
