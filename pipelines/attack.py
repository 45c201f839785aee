"""A word-level attack: few words replaced by near ones, so that a model gives another answer.

It knows a model as a function of texts, and so serves an augmenter, an audit and an explanation.
Nothing is fetched but the lexicons, and no text is asked about more than a bounded number of times.

Source: TextFooler, Jin et al. 2020, "Is BERT really robust?", section 2
(https://arxiv.org/abs/1907.11932). There counter-fitted vectors keep antonyms away; here guards do.

Dimensions: N texts, C answers, H length of a vector.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING, TypeAlias

from pipelines import text_pieces
from pipelines.augmentation import Edit, Span, applied, touches
from pipelines.lexicons import guards, neighbours
from pipelines.lexicons.words import Language, Word, words

if TYPE_CHECKING:
    import numpy as np

# N texts -> scores (N, C), of which the highest is the answer; or vectors of norm 1 (N, H).
Ask: TypeAlias = "Callable[[Sequence[str]], np.ndarray]"

_LOOKED_AT = 50  # of the words nearest to a word
_DRAWN = 2 / 3  # share of the words that are tried where several attacks are to differ
_AT_ONCE = 512  # texts that a model is asked about together


@dataclass(frozen=True)
class Bounds:
    """How far an attack may go.

    Attributes:
        cosine: the least that the vectors of a word and its replacement have.
        similar: the least cosine of the texts' vectors before and after.
        share: the largest share of a text's words that is replaced.
        candidates: words that are tried for a word.
        queries: how often the model is asked about a text and its variants, at most.

    Example::

        Bounds(similar=0.9, queries=100)
    """

    cosine: float = 0.5
    similar: float = 0.85
    share: float = 0.25
    candidates: int = 10
    queries: int = 300


@dataclass
class Attacked:
    """What came of the attack on one text.

    Attributes:
        text: as it was.
        words: how many it has.
        answer: the place of the answer that was to be turned.
        score: of that answer before.
        edits: words replaced, in the text's order.
        found: the place of the answer after.
        after: the score of the first answer after.
        similar: cosine of the texts' vectors before and after.
        queries: how often the model was asked.

    Example::

        one.turned, one.changed, len(one.edits), one.queries
    """

    text: str
    words: int
    answer: int
    score: float
    edits: list[Edit] = field(default_factory=list)
    found: int = -1
    after: float = 0.0
    similar: float = 1.0
    queries: int = 0

    @property
    def turned(self) -> bool:
        """Whether the model gives another answer now, which it did not before."""
        return bool(self.edits) and self.found != self.answer

    @property
    def changed(self) -> str:
        """The text with its edits."""
        return applied(self.text, sorted(self.edits, key=lambda edit: edit.start))


@dataclass
class _Open:
    """A text that is being attacked: its words by rank, and where its vector points."""

    result: Attacked
    places: list[Word]
    before: dict[int, str]
    vector: np.ndarray
    tried: int = 0


def attack(
    texts: Sequence[str],
    scores: Ask,
    vectors: Ask,
    languages: frozenset[Language],
    *,
    bounds: Bounds | None = None,
    spans: Sequence[Sequence[Span]] | None = None,
    answers: Sequence[int] | None = None,
    randoms: Sequence[random.Random] | None = None,
) -> list[Attacked]:
    """Attack each text: its words are ranked by leaving each out, and replaced from the first on.

    A replacement is a word with a near vector that passes the guards (`pipelines.lexicons`), and
    the text's vector must stay close. Of a word's candidates the one that turns the answer, and of
    those the one with the closest text, is taken; otherwise the one that lowers the score most.

    Args:
        texts: N texts.
        scores: the model, N texts -> scores (N, C).
        vectors: N texts -> vectors of norm 1 (N, H), near for texts that mean the same.
        languages: of the texts; only English and Chinese words are replaced.
        bounds: how far it goes.
        spans: of each text what must stay.
        answers: of each text the place of the answer that is to be turned; the model's own if not
            given. A text that the model answers otherwise from the start is not attacked.
        randoms: of each text what draws two thirds of its words to try, so that several attacks on
            it differ; all words are tried if not given.

    Returns:
        What came of each, in their order. All texts are attacked side by side, so that the model is
        asked about many at once; what comes of one does not depend on the others.

    Example::

        for one in attack(texts, scores, vectors, frozenset({"en"})):
            print(one.turned, one.text, "->", one.changed)
    """
    import numpy as np

    bounds = bounds or Bounds()
    if not texts:
        return []
    first = _asked(scores, texts)
    chosen = first.argmax(1) if answers is None else np.asarray(answers)
    open_: list[_Open] = []
    results = []
    for i, text in enumerate(texts):
        found = words(text, languages)
        result = Attacked(text, len(found), int(chosen[i]), float(first[i, chosen[i]]), queries=1)
        result.found, result.after = int(first[i].argmax()), result.score
        results.append(result)
        within = touches(spans[i] if spans else ())
        free = guards.free(text, found, within)
        if randoms is not None:
            free = [word for word in free if randoms[i].random() < _DRAWN]
        if result.found == result.answer and free:
            before = {word.start: last.text.lower() for last, word in pairwise(found)}
            open_.append(_Open(result, free, before, np.zeros(0)))
    for one, vector in zip(open_, _asked(vectors, [o.result.text for o in open_]), strict=True):
        one.vector = vector
    _rank(open_, scores, bounds)
    open_ = [one for one in open_ if one.places]
    while open_:
        open_ = _step(open_, scores, vectors, bounds)
    return results


def _asked(model: Ask, texts: Sequence[str]) -> np.ndarray:
    """Ask about texts, some at a time."""
    import numpy as np

    parts = [texts[i : i + _AT_ONCE] for i in range(0, len(texts), _AT_ONCE)]
    found = [np.asarray(model(part)) for part in parts]
    return np.concatenate(found) if found else np.zeros((0, 0))


def _rank(open_: Sequence[_Open], scores: Ask, bounds: Bounds) -> None:
    """Order each text's words by how far the score falls without them.

    Words without a candidate are not asked about; of many, some are, evenly spread.
    """
    asked = []
    for one in open_:
        able = [word for word in one.places if _candidates(one, word, bounds)]
        most = max(1, bounds.queries // 3)
        step = max(1, -(-len(able) // most))
        one.places = able[::step]
        text = one.result.text
        asked += [text_pieces.without(text, word.start, word.end)[0] for word in one.places]
    found = iter(_asked(scores, asked))
    for one in open_:
        left = [float(next(found)[one.result.answer]) for _ in one.places]
        one.result.queries += len(left)
        order = sorted(range(len(left)), key=left.__getitem__)
        one.places = [one.places[i] for i in order]


def _candidates(one: _Open, word: Word, bounds: Bounds) -> list[str]:
    """Return the words that may stand for a word."""
    before = one.before.get(word.start, "")
    found = [*neighbours.synonyms(word, before)]
    near = neighbours.near(word.text.lower(), word.kind, before, bounds.cosine, _LOOKED_AT)
    found += [other for other, _ in near]
    return list(dict.fromkeys(found))[: bounds.candidates]


def _step(open_: list[_Open], scores: Ask, vectors: Ask, bounds: Bounds) -> list[_Open]:
    """Try the next word of each text; returns the texts that are not done."""
    asked: list[tuple[_Open, Edit, str]] = []
    for one in open_:
        word = one.places[one.tried]
        one.tried += 1
        left = bounds.queries - one.result.queries
        for other in _candidates(one, word, bounds)[: max(left, 0)]:
            other = other[:1].upper() + other[1:] if word.text.istitle() else other
            edit = Edit(word.start, word.end, other)
            edits = sorted([*one.result.edits, edit], key=lambda each: each.start)
            asked.append((one, edit, applied(one.result.text, edits)))
    found = _asked(scores, [text for *_, text in asked])
    better = [
        i
        for i, (one, *_) in enumerate(asked)
        if found[i, one.result.answer] < one.result.after or found[i].argmax() != one.result.answer
    ]
    close = dict(zip(better, _asked(vectors, [asked[i][2] for i in better]), strict=True))
    best: dict[int, tuple[bool, float, int]] = {}
    for i, (one, *_) in enumerate(asked):
        one.result.queries += 1
        cosine = float(close[i] @ one.vector) if i in close else -1.0
        if cosine < bounds.similar:
            continue
        turned = bool(found[i].argmax() != one.result.answer)
        gain = cosine if turned else -float(found[i, one.result.answer])
        if id(one) not in best or (turned, gain) > best[id(one)][:2]:
            best[id(one)] = (turned, gain, i)
    for one in open_:
        if id(one) in best:
            _take(one, asked[best[id(one)][2]][1], found[best[id(one)][2]])
            one.result.similar = float(close[best[id(one)][2]] @ one.vector)
    return [one for one in open_ if not _done(one, bounds)]


def _take(one: _Open, edit: Edit, scores: np.ndarray) -> None:
    """Keep a replacement."""
    one.result.edits.append(edit)
    one.result.edits.sort(key=lambda each: each.start)
    one.result.found = int(scores.argmax())
    one.result.after = float(scores[one.result.answer])


def _done(one: _Open, bounds: Bounds) -> bool:
    """Return whether no more is tried on a text."""
    most = max(1, round(bounds.share * one.result.words))
    spent = one.result.queries >= bounds.queries or one.tried >= len(one.places)
    return one.result.turned or spent or len(one.result.edits) >= most


def figures(attacked: Iterable[Attacked]) -> Mapping[str, float]:
    """Return what attacks came to, over the texts that the model answered as it should.

    Returns:
        ``attacked`` texts, ``turned`` the share of them with another answer, and of those
        ``words_changed`` the mean share of words; ``queries`` a text, the mean.

    Example:
        >>> one = Attacked("a b", 2, 0, 0.9, [Edit(0, 1, "c")], found=1, queries=7)
        >>> figures([one])["words_changed"], figures([one])["turned"]
        (0.5, 1.0)
    """
    tried = [one for one in attacked if one.edits or one.found == one.answer]
    turned = [one for one in tried if one.turned]
    shares = [len(one.edits) / one.words for one in turned]
    return {
        "attacked": float(len(tried)),
        "turned": len(turned) / len(tried) if tried else 0.0,
        "words_changed": fmean(shares) if shares else 0.0,
        "queries": fmean(one.queries for one in tried) if tried else 0.0,
    }
