"""Exact match, F1 and threshold: examples worked by hand from SQuAD's definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfnlp.evaluation import squad


@pytest.mark.parametrize(
    ("given_answer", "gold", "exact", "f1"),
    [
        ("Denver Broncos", ["Denver Broncos"], 1, 1),
        ("the Denver Broncos!", ["Denver  broncos"], 1, 1),  # case, articles, marks, spaces
        ("Denver", ["Denver Broncos"], 0, 2 / 3),  # precision 1, recall 1/2
        ("in the city of Paris", ["Paris"], 0, 0.4),  # articles go: 1/4 and 1
        ("1 2 2", ["2 2 2 2"], 0, 2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4)),  # counted, not a set
        ("Paris", ["London", "Paris, France", "Paris"], 1, 1),  # the best of several
        ("Paris", ["London", "Paris, France"], 0, 2 / 3),
        ("another", ["other"], 0, 0),  # articles are words, not letters
        ("U.S.A.", ["USA"], 1, 1),
        ("“Paris”", ["Paris"], 0, 0),  # only ASCII punctuation goes
        ("twenty-one", ["twentyone"], 1, 1),
        ("", [], 1, 1),
        ("Paris", [], 0, 0),
        ("", ["Paris"], 0, 0),
        ("", ["the"], 1, 1),  # 2.0 leaves such answers out: none is left
        ("Paris", ["the", "Paris"], 1, 1),
        ("", ["the", "Paris"], 0, 0),
        ("河南省", ["河南"], 0, 0),  # no spaces: all or nothing
        ("河南", ["河南"], 1, 1),
    ],
)
def test_exact_match_and_f1(given_answer, gold, exact, f1):
    assert squad.exact_match(given_answer, gold) == exact
    assert squad.f1(given_answer, gold) == pytest.approx(f1)


def _f1_at(threshold, margins, answered, silent):
    return np.where(np.asarray(margins) > threshold, silent, answered).mean()


def test_threshold_by_hand():
    # The third row is unanswerable: better to answer the first two and be silent after.
    margins, answered, silent = [-3.0, 0.0, 2.0, 1.0], [1.0, 0.5, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]
    threshold = squad.best_threshold(np.array(margins), np.array(answered), np.array(silent))
    assert threshold == 0.5
    assert _f1_at(threshold, margins, answered, silent) == 0.625
    always = squad.best_threshold(np.array([1.0, 2.0]), np.array([1.0, 1.0]), np.zeros(2))
    assert always > 2.0
    never = squad.best_threshold(np.array([1.0, 2.0]), np.zeros(2), np.ones(2))
    assert never < 1.0


few = st.integers(-3, 3).map(float)
shares = st.sampled_from([0.0, 0.5, 1.0])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(few, shares, shares), min_size=1, max_size=12))
def test_no_threshold_is_better(rows):
    margins, answered, silent = (np.array(x) for x in zip(*rows, strict=True))
    found = squad.best_threshold(margins, answered, silent)
    best = max(_f1_at(t, margins, answered, silent) for t in np.arange(-4.5, 5))
    assert _f1_at(found, margins, answered, silent) == pytest.approx(best)
    assert found not in margins  # rounding cannot move a row across it


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("How many people?", "how many"),
        ("In WHICH year, and why?", "which"),
        ("How?", "how"),
        ("Whoever", "other"),
        ("杜甫是哪里人？", "other"),
    ],
)
def test_asking_word(question, word):
    assert squad.asking_word(question) == word


def test_guess_takes_a_name_or_number_from_the_nearest_sentence():
    text = (
        "Rain fell in Spain. The tower was built by Gustave Eiffel in 1889 for a fair. It stands."
    )
    assert squad.guess("Who built the tower?", text) == "Gustave Eiffel"
    assert squad.guess("What does it do?", "the tower. it stands.") == "it stands."
    assert squad.guess("", "") == ""


@settings(max_examples=100, deadline=None)
@given(st.text(), st.text())
def test_any_text_is_judged(question, text):
    assert squad.f1(text, [text]) == squad.exact_match(text, [text]) == 1.0
    guess = squad.guess(question, text)
    assert " ".join(guess.split()) in " ".join(text.split())


def test_report():
    gold = [["Paris"], ["red wine"], [], []]
    given_answers = ["paris", "wine", "", "Rome"]
    report = squad.report(
        ["Where?", "What?", "Who?", "Who?"],
        ["It is in Paris.", "Red wine.", "x", "Rome"],
        gold,
        given_answers,
        np.array([0.9, 0.8, 0.7, 0.6], np.float32),
    )
    assert report.metrics == pytest.approx(
        {
            "f1": (1 + 2 / 3 + 1 + 0) / 4,
            "exact_match": 0.5,
            "has_answer_f1": (1 + 2 / 3) / 2,
            "has_answer_exact_match": 0.5,
            "no_answer_accuracy": 0.5,
            "never_answering_f1": 0.5,
            "baseline_f1": (1 + 2 / 3 + 0 + 0) / 4,
            "baseline_exact_match": 0.25,
        }
    )
    by_word, by_length, errors = report.tables
    assert by_word.rows == [
        ("who", "0.500", "0.500", 2),
        ("where", "1.000", "1.000", 1),
        ("what", "0.667", "0.000", 1),
    ]
    assert [row[0] for row in by_length.rows] == ["no answer", "1 word", "2 to 3 words"]
    assert errors.rows == [("Who?", "Rome", "(none)", "0.600", "0.000")]
    assert set(report.figures) == {"f1_by_question_word", "reliability"}


def test_report_of_questions_that_all_have_answers_says_nothing_of_others():
    report = squad.report(["Who?"], ["Ann."], [["Ann"]], ["Ann"], np.ones(1, np.float32))
    assert list(report.metrics) == ["f1", "exact_match", "baseline_f1", "baseline_exact_match"]
