"""Reports on vectors of texts: whether partners find each other, and how vectors are spread.

Dimensions: N rows, U different second texts, H hidden.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.feature_extraction.text import TfidfVectorizer

from tfnlp.evaluation import plots
from tfnlp.report import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROWS = 256  # searched for at a time
_ALIKE = 0.8  # scores, from 0 to 1, of pairs that mean the same
_SPREAD = 2_000  # vectors between which all distances are measured
# Words; an ideograph is one.
_WORD = r"[^\W\u3400-\u9fff]+|[\u3400-\u9fff]"


def pairs(
    first: Sequence[str],
    second: Sequence[str],
    vectors_a: np.ndarray,
    vectors_b: np.ndarray,
    scores: Sequence[float] | None = None,
) -> Report:
    """Return the report on N pairs: is each first text's partner the nearest of all second texts?

    Where pairs have scores, it is asked of those in the highest fifth of the scale, and the
    cosines of all are compared with the scores. TF-IDF vectors of the words are the baseline.

    Args:
        first: N texts.
        second: their partners.
        vectors_a: unit vectors of the first texts, float (N, H).
        vectors_b: of the second texts.
        scores: how much they mean the same, N numbers from 0 to 1; None if all do.

    Example:
        >>> report = pairs(["cat", "dog"], ["Katze", "Hund"], np.eye(2), np.eye(2))
        >>> report.metrics["accuracy_at_1"]
        1.0
    """
    tfidf = TfidfVectorizer(token_pattern=_WORD, sublinear_tf=True)
    words = tfidf.fit_transform([*first, *second]) if _has_words([*first, *second]) else None
    cosines = (vectors_a * vectors_b).sum(-1)
    values: dict[str, float] = {}
    figures: dict[str, Callable[[], Figure]] = {}
    warnings: list[str] = []
    right = np.arange(len(first))
    if scores is not None:
        truth = np.asarray(scores, float)
        values = _correlations(truth, cosines)
        if words is not None:
            plain = words[: len(first)].multiply(words[len(first) :]).sum(1)
            values["tfidf_spearman"] = _correlations(truth, np.asarray(plain)[:, 0])["spearman"]
        figures["cosine_against_score"] = lambda: plots.scatter(truth, cosines)
        right = np.flatnonzero(truth >= _ALIKE)
        if np.isnan(values["spearman"]):
            warnings.append("all scores or all cosines are equal: no correlation exists")
    if len(right):
        values |= _retrieval(first, second, vectors_a, vectors_b, words, right)
        positive = cosines[right]
        values["positive_cosine"] = float(positive.mean())
        values["alignment"] = float(2 - 2 * positive.mean())
    values |= _spread(np.concatenate([vectors_a, vectors_b]))
    apart = (vectors_a * np.roll(vectors_b, 1, axis=0)).sum(-1)
    groups = {"pairs": cosines[right], "first with another's second": apart}
    groups = {name: group for name, group in groups.items() if len(group)}
    figures["cosines"] = lambda: plots.histograms("cosine", groups)
    return Report(values, [], figures, warnings)


def _correlations(scores: np.ndarray, cosines: np.ndarray) -> dict[str, float]:
    """Return the correlations of cosines (N,) with scores (N,); NaN where one does not vary."""
    if len(scores) < 2 or scores.std() == 0 or cosines.std() == 0:
        return {"spearman": float("nan"), "pearson": float("nan")}
    return {
        "spearman": float(spearmanr(scores, cosines)[0]),
        "pearson": float(pearsonr(scores, cosines)[0]),
    }


def _retrieval(
    first: Sequence[str],
    second: Sequence[str],
    vectors_a: np.ndarray,
    vectors_b: np.ndarray,
    words: Any,
    right: np.ndarray,
) -> dict[str, float]:
    """Return how well the first texts of some rows find their partners, and by TF-IDF alone."""
    found = ranks(first, second, lambda rows, of: vectors_a[rows] @ vectors_b[of].T, right)
    values = {"accuracy_at_1": _accuracy(*found), "mrr": _reciprocal(*found)}
    if words is not None:
        plain = ranks(
            first,
            second,
            lambda rows, of: (words[rows] @ words[len(first) + of].T).toarray(),
            right,
        )
        values |= {"tfidf_accuracy_at_1": _accuracy(*plain), "tfidf_mrr": _reciprocal(*plain)}
    return values


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
    wanted: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return how many wrong texts are nearer than the nearest right one, and how many as near.

    Right are the partners of all first texts that are equal, in the rows that are wanted. Each
    different second text is a candidate once, the text that is asked for no candidate.

    Args:
        first: N texts.
        second: their partners.
        compare: (rows, places) -> nearness of those first texts to those second texts.
        wanted: the rows whose first texts ask, int (M,); all N if not given.

    Returns:
        int (M,) each.

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
    asking = np.arange(len(first)) if wanted is None else wanted
    for row in asking.tolist():
        partners.setdefault(first[row], []).append(number[second[row]])
    nearer, equal = [], []
    for start in range(0, len(asking), _ROWS):
        rows = asking[start : start + _ROWS]
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
