"""Words that tell little replaced by others that tell little, as the training rows have them."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pipelines.augmentation import Edit, Span
from pipelines.lexicons import guards
from pipelines.lexicons.closed_words import FUNCTION_WORDS
from pipelines.lexicons.words import Language, languages_of
from tfnlp.augmenters import _words
from tfnlp.extensions import Augmenter, Material
from tfnlp.options import option


@dataclass(frozen=True)
class Options:
    """How many words are replaced.

    Example::

        python -m tfnlp.train --train rows.csv --augment tfidf --tfidf-share 0.3
    """

    share: float = option(
        0.2,
        "share of a text's words that are replaced on average; those that tell least most often",
        minimum=0.01,
        maximum=1.0,
    )


Fillers: TypeAlias = tuple[tuple[str, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Counts:
    """What the training rows say of words.

    Attributes:
        options: the augmenter's.
        languages: of the rows.
        idf: word -> logarithm of texts by texts with it [nats].
        tying: function words that tell little, each with how often it is drawn.
        others: other words that tell little, likewise.
        telling: words that rows of one label have more often than others.
    """

    options: Options
    languages: frozenset[Language]
    idf: Mapping[str, float]
    tying: Fillers
    others: Fillers
    telling: frozenset[str]


def opened(material: Material, options: Options) -> Counts:
    """Count the words of the training rows.

    A word is one that tells of the label, and is never changed or inserted, if some label's rows
    have it 1.5 times as often as all rows do; the paper has no such rule, and without it ``who``
    and ``how many`` are the first to go.

    Args:
        material: the training rows.
        options: of the augmenter.

    Example::

        opened(material, Options()).telling  # {"who", "many", ...}
    """
    texts = material.texts()
    languages = languages_of(texts)
    seen: Counter[str] = Counter()
    for text in texts:
        seen.update({key for _, key in _words.keys(text, (), languages)})
    idf = {word: math.log(len(texts) / count) for word, count in seen.items()}
    telling = _words.telling(material, languages)
    # Words that occur in many texts tell little, whatever the text is.
    spare = {word: count for word, count in seen.items() if count > 1 and word not in telling}
    spare = {word: count for word, count in spare.items() if not guards.judging(word)}
    tying = {word: count for word, count in spare.items() if word in FUNCTION_WORDS}
    other = {word: count for word, count in spare.items() if word not in FUNCTION_WORDS}
    return Counts(options, languages, idf, _draw(tying), _draw(other), telling)


def _draw(counts: Mapping[str, int]) -> Fillers:
    return tuple(counts), tuple(counts.values())


def edit(text: str, spans: Sequence[Span], random: random.Random, counts: Counts) -> list[Edit]:
    """Replace words with a probability that falls with what they tell.

    Function words are replaced by function words, others by others that many texts have; the paper
    draws from all words of little weight. Negators, numbers, units and names are neither replaced
    nor put in.

    Args:
        text: any.
        spans: that nothing is changed in.
        random: draws the words and what stands for them.
        counts: of `opened`.

    Returns:
        Replacements of single words.

    Example::

        edit("Who wrote the book", [], random.Random(0), counts)

    Source: Xie et al. 2020, "Unsupervised data augmentation for consistency training", appendix B
        (https://arxiv.org/abs/1904.12848).
    """
    found = [
        (word, key)
        for word, key in _words.keys(text, spans, counts.languages)
        if key not in counts.telling and not guards.judges(word)
    ]
    often = Counter(key for _, key in found)
    told = [often[key] * counts.idf.get(key, math.inf) for _, key in found]
    most = max((one for one in told if one < math.inf), default=0.0)
    spare = [max(most - one, 0.0) for one in told]  # of a word that no row has 0
    mean = sum(spare) / len(spare) if spare else 0.0
    edits = []
    for (word, key), one in zip(found, spare, strict=True):
        if mean and random.random() < min(1.0, counts.options.share * one / mean):
            fillers = counts.tying if key in FUNCTION_WORDS else counts.others
            other = random.choices(*fillers)[0] if fillers[0] else key
            if other != key and (word.kind == "zh") == (ord(other[0]) > 0x2E7F):
                other = other[:1].upper() + other[1:] if word.text.istitle() else other
                edits.append(Edit(word.start, word.end, other))
    return edits


AUGMENTER = Augmenter(
    summary="replace words that tell little by others that do (TF-IDF, as in UDA)",
    options=Options,
    edit=edit,
    open=opened,
)
