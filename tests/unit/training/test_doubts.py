"""What is warned of before training, because it is perhaps not meant."""

from __future__ import annotations

import pytest

from pipelines import cells
from pipelines.rows import Column, Rows
from tfnlp.training import doubts

LABEL, LABELS = Column("label", "label", ""), Column("labels", "labels", "")
SCORE = Column("score", "number", "", optional=True, truth=True)
SPANS, NUMBER = Column("entities", "spans", ""), Column("target", "number", "")


def said(values, column=LABEL, held=None, separator="|"):
    """Return the sentences on these values, and the numbers of the rows that they name."""
    rows = {"train": Rows("a.csv", {column.name: values}, list(range(1, len(values) + 1)))}
    if held is not None:
        rows["validation"] = Rows("v.csv", {column.name: held}, list(range(1, len(held) + 1)))
    found = list(doubts.of_targets(rows, [column], separator))
    return " ".join(sentence for sentence, _ in found), [b.number for _, bad in found for b in bad]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Café", "Cafe\u0301"),
        ("spam", "SPAM"),
        ("straße", "STRASSE"),
        ("a", "a\u200b"),
        ("a", "\ufeffa"),
        ("a b", "a\u00a0 b"),
        ("１", "1"),
        ("1", "1.0"),
        ("True", "true"),
        ("Привет", "привет"),
        ("-1", "\u22121"),
        *((f"a{dash}b", "a-b") for dash in "\u2010\u2011\u2012\u2013\u2014\u2015\ufe63\uff0d"),
        ("l\u2019art", "l'art"),
        ("İyi", "iyi"),
        ("SIFIR", "sıfır"),
    ],
)
def test_labels_that_look_the_same_are_named(one, other):
    message, rows = said([one, one, "else", other])
    assert message.startswith("a.csv: labels that look the same are different ones: ")
    named = message.partition("ones: ")[2].partition(" (write")[0]
    assert named.count("(2)") == named.count("(1)") == 1
    assert len(set(named.split(", "))) == 2  # as they are shown, too
    assert rows == [4]


@pytest.mark.parametrize("column", [LABELS, SPANS])
def test_labels_of_lists_and_spans_that_look_the_same(column):
    values = [["per"], ["PER", "loc"]] if column is LABELS else [[(0, 1, "per")], [(0, 1, "PER")]]
    assert "'per' (1), 'PER' (1)" in said(values, column)[0]


def test_labels_that_differ_are_not_named():
    assert said(["1", "2", "10", "a_b", "a b", "a-b", "é", "e", "1e", "١٢"]) == ("", [])


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        (["a", "b", "nan"], "'nan' (1)"),
        (["a", "None", "NaN"], "'NaN' (1), 'None' (1)"),
        (["entailment", "-", "neutral"], "'-' (1)"),
        (["0", "1", "2"] * 10 + ["-1"] * 3, "'-1' (3)"),
        (["-100", "3", "4"], "'-100' (1)"),
        (["0", "1"] * 10 + ["-1"], "'-1' (1)"),
        (["0.0", "1.0"] * 10 + ["-1.0"], "'-1.0' (1)"),
    ],
)
def test_labels_that_stand_for_none_are_named(values, missing):
    assert f"stand for a missing one are learned as others are: {missing}" in said(values)[0]


def tagged(labels):
    """Return what is said of sentences of five words, each with a label; "" is none."""
    places = range(0, len(labels), 5)
    spans = [
        [(2 * j, 2 * j + 1, label) for j, label in enumerate(labels[i : i + 5]) if label]
        for i in places
    ]
    columns = {"text": ["a b c d e"] * len(spans), "entities": spans}
    rows = {"train": Rows("a.conll", columns, list(range(1, len(spans) + 1)))}
    return " ".join(sentence for sentence, _ in doubts.of_targets(rows, [SPANS], "|"))


@pytest.mark.parametrize("word", ["NONE", "none", "Outside", "NIL", "null", "NA", "其他"])
def test_a_label_of_what_stands_outside_is_named(word):
    assert f"every word has a label, and {word!r}, which 6 of 10 have" in tagged(
        ["PER", "LOC", word, word, word] * 2
    )


def test_a_usual_word_for_outside_is_named_where_less_than_half_have_it():
    assert "'NONE', which 4 of 10 have" in tagged(["PER", "LOC", "ORG", "NONE", "NONE"] * 2)


def test_a_second_word_for_outside_is_named():
    mixed = ["PER", "", "", "", "", "LOC", "OTHER", "OTHER", "OTHER", "OTHER"]
    assert "'OTHER' is on 67% of the labelled text" in tagged(mixed)
    assert tagged(["PER", "LOC", "", "OTHER", ""] * 2) == ""  # a type of names


@pytest.mark.parametrize(
    "labels",
    [
        ["NOUN", "VERB", "NOUN", "PUNCT", "DET"] * 2,  # parts of speech
        ["Na", "VC", "Na", "Nb", "DE"] * 2,
        ["PER", "", "PER", "", "LOC"] * 2,
    ],
)
def test_labels_of_words_and_names_are_not_named(labels):
    assert tagged(labels) == ""


@pytest.mark.parametrize(
    "values",
    [
        ["-1", "0", "1"],
        ["-1", "0", "1", "1", "1", "1", "1", "1", "0"],
        [*["-1"] * 13, *["0"] * 59, *["1"] * 28],
        ["-1", "1"],
        ["-1", *["1"] * 20],
        [*["-1"] * 10, *["0"] * 30, *["1"] * 30, *["2"] * 30],  # a tenth
        [*["-1"] * 33, *["0"] * 33, *["1"] * 34],
        ["-2", "-1", *["0"] * 40, "1", "2"],
        ["-1.0", "0.0", "1.0", "0.5"],
        ["none", "some"],
        ["-1", "x"],
    ],
)
def test_labels_that_may_be_meant_are_not_named(values):
    assert said(values) == ("", [])


@pytest.mark.parametrize("between", [", ", " / ", *cells.LISTING.replace("|", ""), *cells.LOOSE])
def test_labels_put_together_are_named(between):
    values = [["food"], ["staff"], [f"food{between}staff"], []]
    message, rows = said(values, LABELS)
    told = {"\t": "tab", "\n": r"'\n'"}.get(between, f"'{between.strip() or between}'")
    assert message.endswith(f"(use --label-separator {told})")
    assert rows == [3]


@pytest.mark.parametrize("between", ["،", "、", "；", "｜", "፣"])
def test_lists_in_any_script_whose_labels_never_stand_alone_are_named(between):
    values = [[f"a{between}b"], [f"a{between}c"], [f"b{between}c"]]
    assert f"use --label-separator '{between}'" in said(values, LABELS)[0]


@pytest.mark.parametrize("told", ["tab", r"\t", "\t"])
def test_the_separator_that_is_told_is_not_named(told):
    assert said([["a"], ["b"], ["a\tb"]], LABELS, separator=told) == ("", [])


def test_lists_whose_labels_never_stand_alone_are_named():
    values = [["food,staff"], ["food,price"], ["staff,price"]]
    assert "is one label, but seems to be several with ',' between" in said(values, LABELS)[0]
    assert "with '|' between" in said([["a|b"], ["a|c"], ["b|c"]], LABELS, separator=";")[0]


@pytest.mark.parametrize(
    "values",
    [
        [["Paris, France"], ["Lyon, France"], ["Rome, Italy"]],
        [["very good"], ["good"], ["bad"]],
        [["and/or"], ["neither"]],
        [["a"], ["b"]],
    ],
)
def test_separators_that_are_part_of_labels_are_not_named(values):
    assert said(values, LABELS) == ("", [])


@pytest.mark.parametrize(
    ("column", "train", "held"),
    [
        (LABEL, ["ham"] * 9 + ["spam"] * 2, ["ham"]),
        (LABELS, [["ham"], ["ham", "spam"], ["spam"]], [["ham"], []]),
        (SPANS, [[(0, 1, "ham"), (2, 3, "spam")], [(0, 1, "spam")]], [[(0, 1, "ham")]]),
    ],
)
def test_labels_without_a_row_in_validation_are_named(column, train, held):
    message, _ = said(train, column, held)
    assert message.startswith("1 of 2 ")
    assert "have no row in validation" in message.replace("has no", "have no")
    assert "'spam' (2)" in message
    assert said(train, column, train) == ("", [])


def test_numbers_that_float32_cannot_tell_apart_are_named():
    message, rows = said([1_700_000_001.0, 1_700_000_002.0, 5.0, 1_700_000_001.0], NUMBER)
    assert "2 different numbers in 'target' are the same as others in float32" in message
    assert "1700000001.0 and 1700000002.0" in message
    assert rows == [1, 2]
    assert said([0.1, 0.2, 1e9, 2e9], NUMBER) == ("", [])


@pytest.mark.parametrize("kind", ["number", "label", "labels"])
def test_an_optional_column_that_a_file_lacks_is_passed_over(kind):
    column = Column("score", kind, "", optional=True)
    given = ["a", "b"] if kind == "label" else [["a"], ["b"]]
    whole = Rows("b.csv", {"text": ["1", "2"], "score": given}, [1, 2])
    bare = Rows("a.csv", {"text": ["1", "2"]}, [1, 2])
    assert not list(doubts.of_targets({"train": bare, "validation": whole}, [column], "|"))
    if kind != "number":
        assert not list(doubts.of_targets({"train": whole, "validation": bare}, [column], "|"))


@pytest.mark.parametrize(
    ("values", "column"),
    [
        ([["100"], ["010"], ["000"]], LABELS),
        ([["100"], ["10"], ["1"]], LABELS),  # as numbers
        ([["0"], ["1"], ["0"]], LABELS),
        ([["1.0"], ["0.0"]], LABELS),
        ([["true"], ["false"]], LABELS),
        ([["0", "1"], ["1", "0"]], LABELS),
        (["100", "010", "001"], LABEL),
        (["[1 0 0]", "[0 1 0]"], LABEL),
        (["[1. 0. 0.]", "[0. 1. 0.]"], LABEL),
        (["1,0,0", "0,1,0"], LABEL),
        ([["0_1_0"], ["1_0_0"]], LABELS),
    ],
)
def test_a_0_or_1_for_each_label_is_named(values, column):
    message, rows = said(values, column)
    assert f"{column.name!r} seems to have a 0 or 1 for each label ('" in message
    assert sorted(set(rows)) == list(range(1, len(values) + 1))


@pytest.mark.parametrize(
    ("values", "column"),
    [
        ([["0"], ["0", "1"], ["1"], []], LABELS),  # ids
        ([["0"], ["1"], ["2"]], LABELS),
        ([["10"], ["11"]], LABELS),
        (["0", "1"], LABEL),
        (["0", "100"], LABEL),
        (["10", "100", "1"], LABEL),
        (["1.0", "0.0"], LABEL),
        (["1-1", "0-1"], LABEL),
    ],
)
def test_labels_that_are_numbers_are_not(values, column):
    assert said(values, column) == ("", [])


def inferred(values, names):
    """Return what is said of scores of pairs, by the names of the file's columns."""
    rows = Rows(
        "a.csv",
        {"text_a": ["a"] * len(values), "text_b": ["b"] * len(values), "score": values},
        list(range(len(values))),
        names=dict(zip(("text_a", "text_b", "score"), names, strict=True)),
    )
    return [sentence for sentence, _ in doubts.of_targets({"train": rows}, [SCORE], "|")]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([0.0, 1.0, 2.0], ("premise", "hypothesis", "label")),
        ([0.0, 1.0, 2.0, -1.0], ("Premise", "Hypothesis", "gold_label")),
        ([0.0, 2.0, 2.0], ("premise", "hypothesis", "score")),
        ([1.0, 0.0], ("premise", "hypothesis", "label")),
        ([0.0, 1.0, 2.0], ("sentence1", "sentence2", "label")),
    ],
)
def test_classes_of_inference_are_no_scale(values, names):
    (message,) = inferred(values, names)
    assert message.startswith(f"a.csv: {names[2]!r} (")
    assert f"is read as a scale on which {max(values):g} is most, but seems to be" in message
    assert "--task classification --pair" in message
    assert ("leave out rows with -1" in message) is (-1.0 in values)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([0.0, 1.0, 2.0, 5.0], ("premise", "hypothesis", "label")),
        ([0.0, 0.5, 1.0], ("premise", "hypothesis", "score")),
        ([1.0, 1.0], ("premise", "hypothesis", "label")),
        ([0.0, 1.0, 2.0], ("sentence1", "sentence2", "score")),
        ([0.0, 1.0], ("question1", "question2", "label")),
    ],
)
def test_scores_of_pairs_are_a_scale(values, names):
    assert inferred(values, names) == []


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (["food", "staff", "food,staff"], "'food,staff' (1)"),
        (["食品", "服务", "食品，服务", "食品"], "'食品，服务' (1)"),
        (["a", "b", "c", "a | b", "b|c"], "'a | b' (1), 'b|c' (1)"),
    ],
)
def test_single_labels_that_are_several_are_named(values, named):
    message, _ = said(values)
    assert "seems to be several of the others" in message
    assert named in message
    assert "--task multi_label" in message


@pytest.mark.parametrize(
    "values",
    [
        ["Paris, Texas", "Paris", "London"],  # no other label is Texas
        ["food,staff", "food"],
        ["a,", "a"],
        ["a", "b", "a-b"],
    ],
)
def test_single_labels_with_commas_of_their_own_are_not_named(values):
    assert said(values) == ("", [])


@pytest.mark.parametrize(
    "values", [["cat", "саt"], ["HOT", "НОТ"], ["ok", "οk"], ["yes", "уеs"]]
)  # the second of each has Cyrillic or Greek letters
def test_labels_of_two_scripts_that_look_the_same_are_named(values):
    assert values[0] != values[1]
    assert "labels that look the same are different ones" in said(values)[0]
    assert ascii(values[1]) in said(values)[0]


@pytest.mark.parametrize("values", [["да", "нет", "net"], ["ναι", "όχι", "nai"], ["на", "Ha!"]])
def test_labels_of_two_scripts_that_look_different_are_not_named(values):
    assert said(values) == ("", [])


def test_letters_that_were_lost_are_named_once_a_file():
    texts = Column("text", "text", ""), Column("more", "text", "", optional=True)
    train = Rows("a.csv", {"text": ["tea", "x" * 90 + " caf\ufffd", "ok"]}, [1, 2, 3])
    same = Rows("a.csv", {"text": ["\ufffdt\ufffd"]}, [4])
    held = Rows("v.csv", {"text": ["fine"], "more": ["na\ufffdve"]}, [7])
    splits = {"train": train, "validation": held, "test": Rows("t.csv", {"text": ["fine"]}, [1])}
    found = list(doubts.of_texts(splits, texts))
    assert [(said.split(":")[0], [bad.number for bad in rows]) for said, rows in found] == [
        ("a.csv", [2]),
        ("v.csv", [7]),
    ]
    assert "1 text holds U+FFFD" in found[0][0]
    assert found[0][1][0].reason == ascii("x" * 16 + " caf\ufffd")[:42]
    ((said, rows),) = doubts.of_texts({"train": train, "validation": same}, texts)  # of one file
    assert "2 texts hold" in said
    assert [bad.number for bad in rows] == [2, 4]
