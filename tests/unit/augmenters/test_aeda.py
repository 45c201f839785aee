"""AEDA inserts marks between words and changes nothing else."""

from __future__ import annotations

import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.augmentation import Span, applied
from tfnlp.augmenters import aeda

FAMILY = "\U0001f468\u200d\U0001f469"
PIECES = ["a", "word", " ", "\n", "我", "東", "ー", "カ", "\uff9e", "e\u0301", "字\ufe0f", FAMILY]
PIECES += ["\0", "שלום", "7", "。"]
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=30).map("".join)


def edits(text, spans=(), seed=0, **options):
    return aeda.edit(text, spans, random.Random(seed), aeda.Options(**options))


@given(TEXTS, st.integers(0, 99))
def test_marks_are_inserted_and_sequences_stay_whole(text, seed):
    for edit in edits(text, seed=seed):
        assert edit.start == edit.end
        assert edit.text.strip() in aeda.MARKS + aeda.WIDE_MARKS
        after = text[edit.start]
        assert text[edit.start - 1] != "\u200d"
        assert after not in "\u200d\uff9e\uff9f"
        assert not unicodedata.category(after).startswith("M")


def test_as_many_as_a_third_of_the_words_but_one_at_least():
    counts = {len(edits("a b c d e f g h i j", seed=seed)) for seed in range(200)}
    assert counts == {1, 2, 3}
    assert {len(edits("one two", seed=seed)) for seed in range(20)} == {1}
    assert {len(edits("a b c d", seed=s, ratio=1.0)) for s in range(200)} == {1, 2, 3}


def test_every_mark_and_every_place_is_drawn():
    found = [edit for seed in range(300) for edit in edits("a b c d", seed=seed)]
    assert {edit.start for edit in found} == {2, 4, 6}
    assert {edit.text for edit in found} == {f"{mark} " for mark in aeda.MARKS}


def test_between_chinese_characters_stand_chinese_marks_without_spaces():
    found = [edit for seed in range(300) for edit in edits("我用Py写 x", seed=seed)]
    assert {edit.start for edit in found if edit.text in aeda.WIDE_MARKS} == {1, 2, 4}
    assert {edit.start for edit in found if edit.text not in aeda.WIDE_MARKS} == {6}


def test_spans_stay_whole():
    spans = [Span(0, 3), Span(4, 7)]
    found = {edit.start for seed in range(99) for edit in edits("a b c d", spans, seed)}
    assert found == {4}
    assert applied("a b c d", edits("a b c d", spans))[:4] == "a b "


@pytest.mark.parametrize("text", ["", " ", "word", " word ", "e\u0301\u0301", "我", FAMILY * 2])
def test_what_has_no_two_words_cannot_be_changed(text):
    assert edits(text) == []


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("a \u0301 b", {4}),  # a space that bears an accent
        ("カ\uff9eカ", {2}),
        ("字\u200d字", set()),
        ("字\ufe0f字", {2}),
        (f"a {FAMILY}", {2}),
    ],
)
def test_what_is_drawn_as_one_character_is_not_divided(text, places):
    assert {edit.start for seed in range(50) for edit in edits(text, seed=seed)} == places
