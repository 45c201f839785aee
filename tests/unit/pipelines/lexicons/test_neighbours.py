"""WordNet, word forms, Cilin and vectors, and the words that may stand for a word."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.lexicons import chinese, english, guards, neighbours, vectors, wordnet
from pipelines.lexicons.words import Word


def test_bases_follow_rules_and_exceptions():
    net = wordnet.load()
    assert ("mouse", "n") in net.bases("mice")
    assert ("run", "v") in net.bases("Running")
    assert ("city", "n") in net.bases("cities")
    assert net.bases("glass") == [("glass", "n"), ("glass", "v")]
    assert net.bases("xyzzy") == []


def test_senses_stand_by_how_often_they_were_counted():
    net = wordnet.load()
    assert "moving picture" in net.senses("movie", "n")[0].words
    counts = [net._sense_count("capital", synset) for synset in net.senses("capital", "n")]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 0


def test_opposites_are_direct_or_by_likeness():
    net = wordnet.load()
    assert "bad" in net.opposites("good")
    assert {"awful", "terrible"} <= net.opposites("good")
    assert "good" in net.opposites("awful")
    assert net.opposites("table") == frozenset()


@pytest.mark.parametrize(
    ("base", "kind", "form", "made"),
    [
        ("city", "n", "s", "cities"),
        ("box", "n", "s", "boxes"),
        ("day", "n", "s", "days"),
        ("mouse", "n", "s", "mice"),
        ("stop", "v", "ing", "stopping"),
        ("visit", "v", "ed", "visited"),
        ("make", "v", "ing", "making"),
        ("carry", "v", "ed", "carried"),
        ("buy", "v", "ed", "bought"),
        ("go", "v", "ed", None),  # went, gone
        ("big", "a", "s", None),
    ],
)
def test_words_are_put_into_a_form(base, kind, form, made):
    assert english.inflected(base, kind, form) == made


@pytest.mark.parametrize(
    ("word", "before", "found"),
    [
        ("movie", "a", {"film"}),
        ("purchased", "he", {"bought"}),
        ("begins", "it", {"starts", "commences"}),
        ("book", "to", set()),  # a verb here, and a noun mostly
        ("saw", "", set()),
        ("xyzzy", "", set()),
    ],
)
def test_synonyms_are_in_the_words_form(word, before, found):
    assert set(english.synonyms(word, before)) == found


def test_an_article_keeps_its_form():
    assert english.fits_article("good", "great", "a")
    assert not english.fits_article("good", "excellent", "a")
    assert english.fits_article("hour", "evening", "an")
    assert not english.fits_article("egg", "unit", "an")


def test_near_words_are_no_opposites_and_no_other_things():
    def near(word, kind="en", before=""):
        return {other for other, _ in neighbours.near(word, kind, before, 0.5, 40)}

    assert {"great", "terrific", "excellent"} <= near("good")
    assert not near("good") & {"bad", "terrible", "horrible", "lousy"}
    assert "film" in near("movie")
    assert not near("buy") & {"sell", "resell"}
    assert "queen" not in near("king")
    assert "surgeon" not in near("doctor")  # narrower
    assert "低廉" in near("便宜", "zh")
    assert not near("便宜", "zh") & {"昂贵", "高昂"}
    assert "女人" not in near("男人", "zh")
    assert not near("far") & {"none", "even", "not"}
    assert not any(
        guards.decides(other, "en") for w in ("near", "long", "person") for other in near(w)
    )
    assert neighbours.near("mot", "other", "", 0.0, 9) == ()


def test_synonyms_are_near_too():
    assert neighbours.synonyms(Word(0, 5, "Movie", "en"), "the") == ("film",)
    assert "bump" not in neighbours.synonyms(Word(0, 4, "find", "en"), "to")
    assert "品质" in neighbours.synonyms(Word(0, 2, "质量", "zh"), "")
    assert neighbours.synonyms(Word(0, 3, "mot", "other"), "") == ()


def test_chinese_is_cut_where_it_is_likeliest():
    assert chinese.vocabulary().cut("我们看电影") == ["我们", "看", "电影"]
    assert chinese.vocabulary().cut("") == []
    assert "".join(chinese.vocabulary().cut("龘龘龘電影" * 50)) == "龘龘龘電影" * 50


def test_vectors_are_read_as_word2vec_writes_them(tmp_path):
    rows = {"one": [3.0, 4.0], "two": [4.0, 3.0], "字": [0.0, -2.0]}
    body = b"".join(
        f"{w} ".encode() + np.array(v, "<f4").tobytes() + b"\n" for w, v in rows.items()
    )
    (tmp_path / "a.bin").write_bytes(b"3 2\n" + body)
    found = vectors.read(tmp_path / "a.bin")
    assert found.words == ["one", "two", "字"]
    assert "字" in found
    np.testing.assert_allclose(found.matrix[0], [0.6, 0.8])
    assert found.near("one", 1) == [("two", pytest.approx(0.96))]
    assert [word for word, _ in found.near("one", 9)] == ["two", "字"]
    assert found.near("none", 3) == []
    assert found.cosine("one", "none") == 0
