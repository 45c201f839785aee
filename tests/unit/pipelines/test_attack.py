"""The attack turns answers by near words, within its bounds, and says what it did."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from pipelines import attack
from pipelines.attack import Attacked, Bounds
from pipelines.augmentation import Edit, Span

ENGLISH = frozenset({"en"})


class Model:
    """Sure of the first answer by the words ``movie`` and ``doctor``, and counts questions."""

    def __init__(self):
        self.asked = Counter()
        self.together = []

    def __call__(self, texts):
        self.asked.update(texts)
        self.together.append(len(texts))
        sure = [0.1 + 0.3 * ("movie" in t.lower()) + 0.3 * ("doctor" in t.lower()) for t in texts]
        return np.array([[one, 0.35] for one in sure])


def near(texts):
    return np.ones((len(texts), 1))


def far(texts):
    """Each text is as near to another as they share letters: none, as each points elsewhere."""
    return np.stack([np.eye(64)[sum(map(ord, text)) % 64] for text in texts])


def made(texts, model=None, vectors=near, **given):
    return attack.attack(texts, model or Model(), vectors, ENGLISH, **given)


def test_an_answer_is_turned_by_the_word_that_it_rests_on():
    (one,) = made(["The movie was long"])
    assert one.turned
    assert one.changed == "The film was long"
    assert (one.answer, one.found, one.words) == (0, 1, 4)
    assert one.after < one.score


def test_capitals_stay_and_two_words_are_replaced_where_one_is_not_enough():
    (one,) = made(["Movie of a doctor"], bounds=Bounds(share=1.0))
    assert one.turned
    assert len(one.edits) == 2
    assert one.changed in ("Film of a physician", "Pic of a physician")


def test_what_stays_far_in_meaning_is_not_taken():
    (one,) = made(["The movie was long"], vectors=far)
    assert (one.turned, one.edits, one.changed) == (False, [], "The movie was long")


def test_spans_and_guarded_words_stay():
    (one,) = made(["The movie was long"], spans=[[Span(4, 9)]])
    assert one.edits == []
    (one,) = made(["I saw the MOVIE"])  # a name, in capitals among others
    assert one.edits == []


def test_queries_are_bounded_and_counted():
    texts = ["The movie of the doctor was long, and the quick doctor left the big movie"] * 2
    for most in (3, 5, 10, 40):
        model = Model()
        found = made(texts, model, bounds=Bounds(queries=most, share=1.0))
        assert all(one.queries <= most for one in found)
        assert sum(one.queries for one in found) == sum(model.asked.values())


def test_texts_are_asked_about_together_and_do_not_depend_on_one_another():
    texts = [f"The movie number {i} was long" for i in range(20)]
    model = Model()
    found = made(texts, model)
    assert found == [made([text])[0] for text in texts]
    assert max(model.together) >= 20
    assert len(model.together) < 20


def test_a_share_of_the_words_is_replaced_at_most():
    (one,) = made(["The movie of the doctor was quick"], bounds=Bounds(share=0.2))
    assert len(one.edits) <= 1


def test_an_answer_that_is_wrong_from_the_start_is_not_attacked():
    (one,) = made(["The sea"], answers=[0])
    assert (one.found, one.edits, one.queries) == (1, [], 1)
    assert attack.figures([one])["attacked"] == 0


def test_attacks_of_one_text_differ_by_their_generator():
    text = "The movie of the doctor was quick and big, and he quickly left the hotel"
    found = {
        made([text], bounds=Bounds(share=1.0), randoms=[random.Random(seed)])[0].changed
        for seed in range(12)
    }
    assert len(found) > 1
    again = [made([text], randoms=[random.Random(3)])[0] for _ in range(2)]
    assert again[0] == again[1]


@pytest.mark.parametrize("text", ["", " ", "🙂", "word", "https://a.b/movie"])
def test_what_has_nothing_to_replace_is_left(text):
    (one,) = made([text])
    assert (one.edits, one.changed) == ([], text)


def test_no_texts_are_no_question():
    assert attack.attack([], None, None, ENGLISH) == []


def test_the_figures():
    turned = Attacked("a b c d", 4, 0, 0.9, [Edit(0, 1, "x")], found=1, queries=10)
    held = Attacked("a b", 2, 0, 0.9, [], found=0, queries=20)
    wrong = Attacked("a b", 2, 0, 0.2, [], found=1, queries=1)
    assert attack.figures([turned, held, wrong]) == {
        "attacked": 2.0,
        "turned": 0.5,
        "words_changed": 0.25,
        "queries": 15.0,
    }
