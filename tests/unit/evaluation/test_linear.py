"""Linear models: they learn, answer in the form of the tasks, and stay within their time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfnlp.evaluation import linear

TEXTS = ["good food", "very good", "bad food", "very bad", "好吃", "很好吃", "难吃", "很难吃"]
SIGNS = ["+", "+", "-", "-", "+", "+", "-", "-"]


def test_words_and_parts_of_words_tell_labels_apart():
    fitted = linear.one_label([TEXTS], SIGNS, [["good!", "bad!", "真好吃", "难吃了"]], ["+", "-"])
    assert fitted.answers["scores"].argmax(-1).tolist() == [0, 1, 0, 1]
    assert fitted.answers["scores"].sum(-1) == pytest.approx(1)
    assert fitted.notes == []


def test_a_label_that_no_kept_row_has_is_never_answered():
    fitted = linear.one_label([TEXTS], SIGNS, [["good"]], ["+", "-", "none"])
    assert fitted.answers["scores"].shape == (1, 3)
    assert fitted.answers["scores"][0, 2] < 1e-6
    alone = linear.one_label([["a", "b"]], ["x", "x"], [["c"]], ["w", "x"])
    assert alone.answers["scores"].argmax(-1).tolist() == [1]


def test_what_the_texts_of_a_pair_share_counts():
    words = [f"word{i}" for i in range(40)]
    left = words + words
    right = words + words[1:] + words[:1]
    labels = ["same"] * 40 + ["other"] * 40
    asked = [["new1", "new2"], ["new1", "word3"]]
    scores = linear.one_label([left, right], labels, asked, ["other", "same"]).answers["scores"]
    assert scores[0, 1] > scores[1, 1]


def test_several_labels_and_labels_that_all_or_none_have():
    labels = [["food", "all"], ["all"], ["food", "all"], ["all"]]
    names = ["all", "food", "none"]
    given_ = linear.many_labels([TEXTS[:4]], labels, [["food", "very"]], names).answers["given"]
    assert given_.tolist() == [[True, True, False], [True, False, False]]


def test_numbers():
    values = linear.numbers([TEXTS], [1.0 if s == "+" else -1.0 for s in SIGNS], [["good", "bad"]])
    high, low = values.answers["value"]
    assert high > 0 > low


@pytest.mark.parametrize(
    ("texts", "places", "asked", "wanted"),
    [
        (["Ada Lovelace sings"] * 2, [(0, 12, "PER")], "Ada Lovelace ran", [(0, 12, "PER")]),
        (["我住在北京市。", "他在北京市吗"], None, "她在北京市", [(2, 5, "LOC")]),
    ],
)
def test_spans_of_words_and_of_characters(texts, places, asked, wanted):
    gold = [places or [(t.index("北京市"), t.index("北京市") + 3, "LOC")] for t in texts]
    (found,) = linear.spans(texts, gold, [asked]).answers["entities"]
    assert [(one["start"], one["end"], one["type"]) for one in found] == wanted


def test_new_words_are_tagged_by_their_ends_and_neighbours():
    texts = [f"to {stem}ing the {stem}er" for stem in ("walk", "sing", "read", "cook", "jump")]
    gold = [
        [(3, 3 + len(t.split()[1]), "VERB"), (t.rindex(" ") + 1, len(t), "NOUN")] for t in texts
    ]
    (found,) = linear.spans(texts, gold, ["to paint the painter"]).answers["entities"]
    assert [one["type"] for one in found] == ["NOUN"] or found[-1]["type"] == "NOUN"
    assert found[-1]["start"] == 13


@settings(deadline=None, max_examples=20)
@given(st.lists(st.text(max_size=12), min_size=2, max_size=6))
def test_any_text_can_be_learned_from_and_answered(texts):
    labels = ["a", "b"] * 3
    fitted = linear.one_label([texts], labels[: len(texts)], [texts], ["a", "b"])
    assert np.isfinite(fitted.answers["scores"]).all()
    gold = [[(0, len(text), "T")] if text.strip() else [] for text in texts]
    found = linear.spans(texts, gold, texts).answers["entities"]
    for text, entities in zip(texts, found, strict=True):
        assert all(0 <= e["start"] < e["end"] <= len(text) for e in entities)


def test_rows_and_features_are_left_out_to_stay_within_the_time(monkeypatch):
    monkeypatch.setattr(linear, "_PRODUCTS", 14)
    fitted = linear.one_label([TEXTS], SIGNS, [["good"]], ["+", "-"])
    assert fitted.notes == ["learned from 6 of 8 rows"]
    monkeypatch.setattr(linear, "_CHARACTERS", 10)
    fitted = linear.one_label([TEXTS], SIGNS, [["good"]], ["+", "-"])
    assert fitted.notes == ["learned from 6 of 8 rows", "parts of words were left out"]
    monkeypatch.setattr(linear, "_WORDS", 5)
    fitted = linear.spans(["a b c", "d e", "f"], [[(0, 1, "X")], [], []], ["a"])
    assert fitted.notes == ["learned from the first 2 of 3 rows"]
