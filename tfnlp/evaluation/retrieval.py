"""Reports on vectors of texts: whether partners find each other, and how vectors are spread.

Dimensions: N rows, U different second texts, H hidden.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from tfnlp.evaluation import plots
from tfnlp.report import Report

_ROWS = 256  # searched for at a time
_SPREAD = 2_000  # vectors between which all distances are measured
# Words; an ideograph is one.
_WORD = r"[^\W\u3400-\u9fff]+|[\u3400-\u9fff]"


def pairs(
    first: Sequence[str], second: Sequence[str], vectors_a: np.ndarray, vectors_b: np.ndarray
) -> Report:
    """Return the report on N pairs: is each first text's partner the nearest of all second texts?

    The same search by TF-IDF vectors of the words is the baseline.

    Args:
        first: N texts.
        second: their partners.
        vectors_a: unit vectors of the first texts, float (N, H).
        vectors_b: of the second texts.

    Example:
        >>> report = pairs(["cat", "dog"], ["Katze", "Hund"], np.eye(2), np.eye(2))
        >>> report.metrics["accuracy_at_1"]
        1.0
    """
    better_and_equal = ranks(
        first, second, lambda rows, unique: vectors_a[rows] @ vectors_b[unique].T
    )
    tfidf = TfidfVectorizer(token_pattern=_WORD, sublinear_tf=True)
    words = tfidf.fit_transform([*first, *second]) if _has_words([*first, *second]) else None
    positive = (vectors_a * vectors_b).sum(-1)
    values = {
        "accuracy_at_1": _accuracy(*better_and_equal),
        "mrr": _reciprocal(*better_and_equal),
    }
    if words is not None:
        plain = ranks(
            first,
            second,
            lambda rows, unique: (words[rows] @ words[len(first) + unique].T).toarray(),
        )
        values |= {"tfidf_accuracy_at_1": _accuracy(*plain), "tfidf_mrr": _reciprocal(*plain)}
    values |= {
        "positive_cosine": float(positive.mean()),
        "alignment": float(2 - 2 * positive.mean()),
        **_spread(np.concatenate([vectors_a, vectors_b])),
    }
    apart = (vectors_a * np.roll(vectors_b, 1, axis=0)).sum(-1)
    groups = {"pairs": positive, "first with another's second": apart}
    return Report(values, [], {"cosines": lambda: plots.histograms("cosine", groups)})


def texts(given: Sequence[str], vectors: np.ndarray) -> Report:
    """Return the report on how N texts' unit vectors, float (N, H), are spread.

    Example::

        report = texts(["one", "two"], vectors)
        report.metrics
    """
    row_of = {text: i for i, text in enumerate(given)}  # equal texts once
    unique = vectors[sorted(row_of.values())]
    apart = (unique * np.roll(unique, 1, axis=0)).sum(-1)
    figures = {"cosines": lambda: plots.histograms("cosine", {"different texts": apart})}
    return Report(_spread(unique), [], figures)


def ranks(
    first: Sequence[str],
    second: Sequence[str],
    compare: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Return how many wrong texts are nearer than the nearest right one, and how many as near.

    Right are the partners of all first texts that are equal. Each different second text is a
    candidate once, the text that is asked for no candidate.

    Args:
        first: N texts.
        second: their partners.
        compare: (rows, places) -> nearness of those first texts to those second texts.

    Returns:
        int (N,) each.

    Example:
        >>> near = np.array([[0.9, 0.1], [0.8, 0.2]])
        >>> nearer, _ = ranks(["a", "b"], ["c", "d"], lambda rows, of: near[np.ix_(rows, of)])
        >>> nearer.tolist()
        [0, 1]
    """
    places = _firsts(second)
    number = {text: i for i, text in enumerate(places)}
    unique = np.array([*places.values()])
    partners: dict[str, list[int]] = {}
    for a, b in zip(first, second, strict=True):
        partners.setdefault(a, []).append(number[b])
    nearer, equal = [], []
    for start in range(0, len(first), _ROWS):
        rows = np.arange(start, min(start + _ROWS, len(first)))
        scores = compare(rows, unique)
        right = np.zeros(scores.shape, bool)
        for i, row in enumerate(rows.tolist()):
            right[i, partners[first[row]]] = True
            if first[row] in number and not right[i, number[first[row]]]:
                scores[i, number[first[row]]] = -np.inf
        best = np.where(right, scores, -np.inf).max(1, keepdims=True)
        nearer.append(((scores > best) & ~right).sum(1))
        equal.append(((scores == best) & ~right).sum(1))
    return np.concatenate(nearer), np.concatenate(equal)


def _firsts(values: Sequence[str]) -> dict[str, int]:
    """Return where each different value stands first, in that order."""
    seen: dict[str, int] = {}
    for i, value in enumerate(values):
        seen.setdefault(value, i)
    return seen


def _accuracy(nearer: np.ndarray, equal: np.ndarray) -> float:
    """Share of rows that find their partner first; of equally near ones one is drawn."""
    return float(np.where(nearer == 0, 1 / (1 + equal), 0.0).mean())


def _reciprocal(nearer: np.ndarray, equal: np.ndarray) -> float:
    """Mean of one over the partner's rank, which is the middle one of equally near texts."""
    return float((1 / (1 + nearer + equal / 2)).mean())


def _has_words(given: Sequence[str]) -> bool:
    """Return whether there is a word at all."""
    return any(re.search(_WORD, text) for text in given)


def _spread(vectors: np.ndarray) -> dict[str, float]:
    """Measure how evenly unit vectors (N, H) are spread: of a fixed random sample.

    Source: Wang and Isola 2020, "Understanding contrastive representation learning", section
        4.1, with t = 2 (https://arxiv.org/abs/2005.10242). 0 is all in one place; lower is better.
    """
    some = np.random.default_rng(0).permutation(len(vectors))[:_SPREAD]
    cosines = vectors[some] @ vectors[some].T
    apart = cosines[np.triu_indices(len(some), 1)].astype(np.float64)
    if not len(apart):
        return {"uniformity": 0.0, "random_cosine": 1.0}
    return {
        "uniformity": float(np.log(np.exp(-2 * (2 - 2 * apart)).mean())),
        "random_cosine": float(apart.mean()),
    }
