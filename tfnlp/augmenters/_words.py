"""What augmenters that work on words share: which may be changed, and how many are."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.augmentation import Edit, Span, touches
from pipelines.lexicons import guards
from pipelines.lexicons.closed_words import NEGATORS
from pipelines.lexicons.words import Language, Word, languages_of, required, words
from tfnlp.extensions import Material

# Source: Longpre et al. 2020, who find that simple edits give pretrained models next to nothing, so
# no augmenter is on by default; https://arxiv.org/abs/2010.01764.


_LIFT = 1.5  # how much more often than others a label may have a word that tells nothing of it
_TURNS = frozenset({"but", "than", "although", "though", "while", "但", "但是", "可是", "不过"})


@dataclass(frozen=True)
class Opened:
    """An augmenter's options, the languages of the rows, and words that tell of their labels."""

    options: Any
    languages: frozenset[Language]
    telling: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Text:
    """A text with its words.

    Attributes:
        text: the text.
        words: all of its words.
        why: of each why it must stay as it is, "" if it need not.
        free: places among them of those that may be changed: no guard and no span holds them.
        within: whether characters [start, end) touch a span.
    """

    text: str
    words: list[Word]
    why: list[str]
    free: list[int]
    within: Callable[[int, int], bool]

    def before(self, place: int) -> str:
        """Return the word before another in small letters, "" if a mark or nothing is there."""
        word = self.words[place - 1] if place else None
        return word.text.lower() if word and word.kind in ("en", "zh", "other") else ""

    def replaced(self, place: int, other: str) -> Edit:
        """Return the edit that puts another word in a word's place, in its capitals."""
        word = self.words[place]
        if word.text.istitle() and len(word.text) > 1:
            other = other[:1].upper() + other[1:]
        return Edit(word.start, word.end, other)


def any_language(material: Material, options: Any) -> Opened:
    """Note which languages the rows are in, if any that is known, and which words tell of labels.

    Example::

        any_language(material, Options()).telling  # {"who", "many", ...}
    """
    languages = languages_of(material.texts())
    return Opened(options, languages, telling(material, languages))


def known_language(name: str) -> Callable[[Material, Any], Opened]:
    """Return what opens an augmenter that needs English or Chinese words, and refuses others."""

    def opened(material: Material, options: Any) -> Opened:
        return Opened(options, required(material.texts(), name, material.rows.source))

    return opened


def read(text: str, spans: Sequence[Span], languages: frozenset[Language]) -> Text:
    """Return a text with its words, and which of them may be changed."""
    found = words(text, languages)
    within = touches(spans)
    why = guards.reasons(text, found)
    free = [i for i, w in enumerate(found) if not why[i] and not within(w.start, w.end)]
    return Text(text, found, why, free, within)


def clauses(text: Text, telling: frozenset[str]) -> Iterator[list[Word]]:
    """Yield the words that may change places with one another.

    They stand between marks, negators and words such as ``but``: none moves into a negation. Words
    that tell of the label, as ``long`` does after ``how``, stay where they are.
    """
    clause: list[Word] = []
    free = set(text.free)
    for place, word in enumerate(text.words):
        if text.why[place] in ("fixed", "negator") or word.text.lower() in _TURNS:
            yield clause
            clause = []
        elif place in free and word.text.lower() not in telling:
            clause.append(word)
    yield clause


def wanted(share: float, of: int) -> int:
    """Return how many of a text's words are to be changed: a share of them, one at least."""
    return max(1, round(share * of))


def swapped_words(
    text: Text,
    share: float,
    generator: random.Random,
    others: Callable[[int], Sequence[str]],
) -> list[Edit]:
    """Return edits that put other words in the place of some.

    Args:
        text: with its words.
        share: of the words that are to be replaced.
        generator: draws which, and by what.
        others: the place of a word -> the words that may stand there.
    """
    count = wanted(share, len(text.words))
    edits: list[Edit] = []
    for place in generator.sample(text.free, len(text.free)):
        if len(edits) == count:
            break
        if found := others(place):
            edits.append(text.replaced(place, generator.choice(list(found))))
    return edits


def keys(
    text: str, spans: Sequence[Span], languages: frozenset[Language]
) -> list[tuple[Word, str]]:
    """Return the words that may be changed, function words too, with their small letters."""
    found, within = words(text, languages), touches(spans)
    return [
        (word, word.text.lower())
        for word, why in zip(found, guards.reasons(text, found), strict=True)
        if why in ("", "function word") and not within(word.start, word.end)
    ]


def telling(material: Material, languages: frozenset[Language]) -> frozenset[str]:
    """Return the words that rows of one label have more often than others do."""
    labelled = [column.name for column in material.targets if column.kind in ("label", "labels")]
    if not labelled:
        return frozenset(NEGATORS)
    seen: Counter[str] = Counter()
    by_label: dict[Any, Counter[str]] = defaultdict(Counter)
    rows: Counter[Any] = Counter()
    for i in range(len(material.rows)):
        labels = material.rows.columns[labelled[0]][i]
        texts = [material.rows.columns[column.name][i] for column in material.inputs]
        said = [s for text in texts for s in ([text] if isinstance(text, str) else text)]
        found = {key for text in said for _, key in keys(text, (), languages)}
        seen.update(found)
        for label in [labels] if isinstance(labels, str) else labels:
            rows[label] += 1
            by_label[label].update(found)
    told = set(NEGATORS)
    for label, counts in by_label.items():
        for word, count in counts.items():
            expected = seen[word] * rows[label] / len(material.rows)
            # With few rows a word is with one label by accident: 2 more are not told from that.
            if count > _LIFT * expected and count - expected > 2:
                told.add(word)
    return frozenset(told)
