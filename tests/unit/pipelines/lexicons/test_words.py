"""Words of any text, and which of them must stay as they are."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import UserError
from pipelines.lexicons import guards
from pipelines.lexicons.words import Word, languages_of, required, words

BOTH = frozenset({"en", "zh"})
PIECES = [
    "word",
    " ",
    "\n",
    "我",
    "电影",
    "カ",
    "ー",
    "e\u0301",
    "👩‍👩‍👧",
    "<b>",
    "https://a.b/c",
    "@me",
    "3.5",
]
PIECES += ["{name}", "don't", "שלום", ".", "\0", "&amp;", "[MASK]", "x.org"]


def said(text, languages=BOTH):
    return [(word.text, word.kind) for word in words(text, languages)]


def kept(text, languages=BOTH):
    found = words(text, languages)
    return {w.text: why for w, why in zip(found, guards.reasons(text, found), strict=True) if why}


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=20).map("".join))
def test_words_stand_in_their_text_in_order(text):
    found = words(text, BOTH)
    assert all(text[word.start : word.end] == word.text != "" for word in found)
    assert all(one.end <= other.start for one, other in pairwise(found))
    assert len(guards.reasons(text, found)) == len(found)


def test_addresses_markup_handles_and_placeholders_are_fixed():
    fixed = ["me@x.org", 'https://a.b/c?d=1&e="f"', '<b class="x">', "</b>", "@ann", "#tag"]
    fixed += ["{name}", "[MASK]", "&amp;"]
    text = f"Mail {' and '.join(fixed)} now"
    assert [word for word, kind in said(text) if kind == "fixed"] == fixed
    assert set(fixed) <= set(kept(text))


def test_chinese_is_cut_into_words_and_japanese_is_not():
    assert said("我们看电影。") == [("我们", "zh"), ("看", "zh"), ("电影", "zh"), ("。", "mark")]
    assert {kind for _, kind in said("映画を見る")} == {"other"}
    assert said("电影", frozenset()) == [("电", "other"), ("影", "other")]


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["What is the time?", "Who are you?"], {"en"}),
        (["¿Qué hora es, por favor?", "No tengo dinero."], set()),
        (["Der Hund schläft nicht im Haus."], set()),
        (["De hond slaapt niet in het huis, want het is warm."], set()),
        (["这部电影很好看"], {"zh"}),
        (["映画を見ました。とても面白かった。"], set()),
        (["The 电影 was good and I liked it"], {"en", "zh"}),
        (["Ada quickly visited Paris."], {"en"}),
        (["123", ""], set()),
    ],
)
def test_languages_are_told(texts, found):
    assert languages_of(texts) == found


def test_texts_in_neither_language_are_refused():
    with pytest.raises(UserError, match=r"texts of a\.csv look like neither"):
        required(["¿Qué hora es?"], "synonyms", "a.csv")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("It was not bad", {"not": "negator", "It": "function word", "was": "function word"}),
        (
            "I don't run 3 km",
            {"don't": "negator", "3": "number", "km": "unit"}
            | dict.fromkeys(["I", "run"], "function word"),
        ),
        (
            "three dollars in May",
            {"three": "number", "dollars": "unit", "in": "function word", "May": "function word"},
        ),
        ("a film by Bergman", {"Bergman": "name", "a": "function word", "by": "function word"}),
        ("paris hotels", {"paris": "name"}),
        ("Paris hotels", {"Paris": "name"}),
        ("Hotels sleep. Films end", {}),
        ("see NASA films", {"NASA": "name"}),
        ("他不去北京大学", {"他": "function word", "不": "negator", "北京大学": "name"}),
        ("三公里", {"三": "number", "公里": "unit"}),
        ("ich gehe nicht", {"nicht": "negator"}),
        (
            "A GREAT BIG HOTEL",
            dict.fromkeys(["GREAT", "BIG", "HOTEL"], "name") | {"A": "function word"},
        ),
    ],
)
def test_what_decides_meaning_is_kept(text, why):
    languages = frozenset() if "ich" in text else BOTH
    found = {word: reason for word, reason in kept(text, languages).items() if reason != "fixed"}
    assert {k: v for k, v in found.items() if k != "."} == why


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ("good", "bad", "en"),
        ("good", "horrible", "en"),
        ("terrific", "terrible", "en"),
        ("happy", "unhappy", "en"),
        ("useful", "useless", "en"),
        ("disappear", "reappear", "en"),
        ("buying", "sells", "en"),
        ("love", "hates", "en"),
        ("高", "低", "zh"),
        ("满意", "不满", "zh"),
        ("买家", "卖家", "zh"),
    ],
)
def test_opposites_are_told_both_ways(one, other, kind):
    assert guards.opposed(one, other, kind)
    assert guards.opposed(other, one, kind)


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ("good", "great", "en"),
        ("movie", "film", "en"),
        ("begin", "start", "en"),
        ("高兴", "开心", "zh"),
    ],
)
def test_words_alike_are_no_opposites(one, other, kind):
    assert not guards.opposed(one, other, kind)


def test_free_words_are_outside_of_spans():
    text = "Good films end"
    found = words(text, BOTH)
    assert [w.text for w in guards.free(text, found, lambda a, b: a < 5)] == ["films", "end"]
    assert guards.judges(Word(0, 6, "Boring", "en"))
