"""Answers to questions scored as SQuAD's own scripts score them: exact match, F1, threshold.

Source: the evaluation scripts of SQuAD 1.1 and 2.0 (Rajpurkar et al. 2016, section 6.1,
https://arxiv.org/abs/1606.05250; Rajpurkar, Jia, Liang 2018, https://arxiv.org/abs/1806.03822;
https://rajpurkar.github.io/SQuAD-explorer/). Both give the same values but where an answer is
nothing but articles and punctuation: there version 2.0 is followed.

Words are what stands between spaces. In Chinese, Japanese or Thai a phrase is then one word, and
F1 is hardly more than exact match; the official definition is kept all the same, so that values
can be compared.

Dimensions: N rows.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfnlp.evaluation import plots
from tfnlp.report import Report, Table

ASKING = r"\b(how many|how much|who|whom|whose|what|when|where|which|why|how)\b"
ERRORS = 10  # rows of the table of errors
_LENGTHS = (("1 word", 1), ("2 to 3 words", 3), ("4 to 7 words", 7))


def normalized(text: str) -> str:
    """Return a text in lower case without ASCII punctuation and English articles, single-spaced.

    Example:
        >>> normalized("The  Cat!")
        'cat'
    """
    bare = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", bare).split())


def exact_match(answer: str, gold: Sequence[str]) -> float:
    """Return 1.0 if the answer equals one of the gold answers, normalized; none means "".

    Example:
        >>> exact_match("the cat", ["A cat."])
        1.0
    """
    return float(normalized(answer) in {normalized(text) for text in _right_texts(gold)})


def f1(answer: str, gold: Sequence[str]) -> float:
    """Return the best F1 of the answer's words against those of a gold answer; none means "".

    Example:
        >>> round(f1("black cat", ["cat", "dog"]), 3)
        0.667
    """
    return max(
        _word_f1(normalized(answer).split(), normalized(g).split()) for g in _right_texts(gold)
    )


def _right_texts(gold: Sequence[str]) -> Sequence[str]:
    """Leave out gold answers of which normalization leaves nothing; "" if there is no other."""
    return [text for text in gold if normalized(text)] or [""]


def _word_f1(given: list[str], wanted: list[str]) -> float:
    """Return the F1 of two bags of words; two empty ones agree."""
    if not given or not wanted:
        return float(given == wanted)
    same = (Counter(given) & Counter(wanted)).total()
    if not same:
        return 0.0
    precision, recall = same / len(given), same / len(wanted)
    return 2 * precision * recall / (precision + recall)


def best_threshold(margins: np.ndarray, answered: np.ndarray, silent: np.ndarray) -> float:
    """Return the threshold above which not to answer, for the best mean F1.

    Args:
        margins: float (N,), how much rather the model would not answer than answer.
        answered: float (N,), F1 of each row if the model answers.
        silent: float (N,), F1 of each row if it does not.

    Returns:
        A value between two margins, or beyond the first or last one; of equally good ones the
        lowest, as in the official script.

    Example:
        >>> best_threshold(np.array([-1.0, 1.0]), np.array([1.0, 0.0]), np.array([0.0, 1.0]))
        0.0

    Source: SQuAD 2.0's evaluation script, ``find_best_thresh``, which sorts by the same rule.
    """
    order = np.argsort(margins, kind="stable")
    sorted_margins = margins[order]
    gains = np.concatenate([[0.0], np.cumsum((answered - silent)[order])])
    edges = np.concatenate([[sorted_margins[0] - 2], sorted_margins, [sorted_margins[-1] + 2]])
    between = np.flatnonzero(np.diff(edges) > 0)  # rows of equal margin stay together
    best = between[np.argmax(np.round(gains[between], 9))]
    return float((edges[best] + edges[best + 1]) / 2)


def asking_word(question: str) -> str:
    """Return the first English question word of a question, or ``other``.

    Example:
        >>> asking_word("In which year?")
        'which'
    """
    match = re.search(ASKING, question.lower())
    return match[1] if match else "other"


def guess(question: str, context: str) -> str:
    """Return the answer of a baseline that only compares words.

    The sentence that shares most words with the question, and in it the longest run of words
    that are capitalised or have a digit and do not stand in the question, the last of equally
    long ones; without any, all of the sentence.

    Example:
        >>> guess("Who sang in Rome?", "It rained. Ada Lovelace sang in Rome.")
        'Ada Lovelace'
    """
    asked = set(normalized(question).split())
    sentences = re.split(r"(?<=[.!?])\s+|(?<=[。！？])|\n+", context)

    def shared(sentence: str) -> int:
        return len(asked & set(normalized(sentence).split()))

    sentence = max(sentences, key=shared)
    runs: list[str] = [""]
    for word in sentence.split():
        telling = word[:1].isupper() or any(c.isdigit() for c in word)
        if telling and normalized(word) and normalized(word) not in asked:
            runs[-1] = f"{runs[-1]} {word}".strip()
        elif runs[-1]:
            runs.append("")
    longest = max(reversed(runs), key=lambda run: len(run.split()))
    return longest or sentence.strip()


def report(
    questions: Sequence[str],
    contexts: Sequence[str],
    gold: Sequence[Sequence[str]],
    answers: Sequence[str],
    scores: np.ndarray,
) -> Report:
    """Return the report on an answer a row, "" being none.

    Args:
        questions: N questions.
        contexts: N texts to answer from.
        gold: N lists of right answers, empty where there is none.
        answers: N answers given.
        scores: float (N,), the model's confidence in them.

    Example:
        >>> questions, contexts = ["Who sang?"], ["Ada sang."]
        >>> report(questions, contexts, [["Ada"]], ["Ada"], np.array([0.9])).metrics["f1"]
        1.0
    """
    exact = _each(exact_match, answers, gold)
    overlap = _each(f1, answers, gold)
    guesses = [guess(q, c) for q, c in zip(questions, contexts, strict=True)]
    has = np.array([_right_texts(texts) != [""] for texts in gold])
    values = {"f1": overlap.mean(), "exact_match": exact.mean()}
    if not has.all():
        if has.any():
            values["has_answer_f1"] = overlap[has].mean()
            values["has_answer_exact_match"] = exact[has].mean()
        values["no_answer_accuracy"] = exact[~has].mean()
        values["never_answering_f1"] = 1 - has.mean()
    values["baseline_f1"] = _each(f1, guesses, gold).mean()
    values["baseline_exact_match"] = _each(exact_match, guesses, gold).mean()
    words = [asking_word(question) for question in questions]
    by_word = _by_group("By question word", "question word", words, overlap, exact)
    lengths = [_length(texts) for texts in gold]
    by_length = _by_group("By length of the right answer", "length", lengths, overlap, exact)
    figures = {
        "f1_by_question_word": lambda: plots.bars(
            "F1", [row[0] for row in by_word.rows], np.array([float(r[1]) for r in by_word.rows])
        ),
        "reliability": lambda: plots.reliability({"answers": scores}, exact > 0),
    }
    tables = [by_word, by_length, _errors(questions, gold, answers, scores, overlap)]
    metrics = {name: float(value) for name, value in values.items()}
    return Report(metrics, tables, figures, right=(exact > 0).tolist())


def _each(
    measure: Callable[[str, Sequence[str]], float],
    answers: Sequence[str],
    gold: Sequence[Sequence[str]],
) -> np.ndarray:
    """Return the measure of each row, float (N,)."""
    return np.array([measure(a, texts) for a, texts in zip(answers, gold, strict=True)])


def _length(gold: Sequence[str]) -> str:
    """Name the length of the first right answer, in normalized words."""
    words = len(normalized(_right_texts(gold)[0]).split())
    if not words:
        return "no answer"
    return next((name for name, most in _LENGTHS if words <= most), "8 words or more")


def _by_group(
    title: str, what: str, groups: Sequence[str], overlap: np.ndarray, exact: np.ndarray
) -> Table:
    """Return a table of the rows' means by group, the largest group first."""
    names = np.array(groups, object)
    rows: list[tuple[Any, ...]] = []
    for name, count in Counter(groups).most_common():
        of = names == name
        rows.append((name, f"{overlap[of].mean():.3f}", f"{exact[of].mean():.3f}", count))
    return Table(title, (what, "f1", "exact match", "rows"), rows)


def _errors(
    questions: Sequence[str],
    gold: Sequence[Sequence[str]],
    answers: Sequence[str],
    scores: np.ndarray,
    overlap: np.ndarray,
) -> Table:
    """Return the wrong answers (F1 below one half) in which the model was most confident."""
    wrong = [int(i) for i in np.argsort(-scores, kind="stable") if overlap[i] < 0.5][:ERRORS]
    rows = [
        (
            questions[i],
            answers[i] or "(none)",
            " / ".join(dict.fromkeys(gold[i])) or "(none)",
            f"{scores[i]:.3f}",
            f"{overlap[i]:.3f}",
        )
        for i in wrong
    ]
    header = ("question", "answer", "right answer", "score", "f1")
    return Table("Wrong answers given with most confidence", header, rows)
