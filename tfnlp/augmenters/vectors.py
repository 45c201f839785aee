"""Some words replaced by words with near vectors, which are no opposites."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.augmentation import Edit, Span
from pipelines.lexicons import neighbours
from tfnlp.augmenters import _words
from tfnlp.extensions import Augmenter
from tfnlp.options import option

_LOOKED_AT = 30  # of the nearest words


@dataclass(frozen=True)
class Options:
    """How many words are replaced, and by how near ones.

    Example::

        python -m tfnlp.train --train rows.csv --augment vectors --vectors-cosine 0.7
    """

    share: float = option(
        0.2, "share of a text's words that are replaced, one at least", minimum=0.01, maximum=1.0
    )
    cosine: float = option(
        0.6, "least cosine of a word's vector and another's", minimum=0.0, maximum=1.0
    )


def edit(
    text: str, spans: Sequence[Span], random: random.Random, opened: _words.Opened
) -> list[Edit]:
    """Replace some words that the guards leave free by near ones of the same form.

    Args:
        text: any.
        spans: that nothing is changed in.
        random: draws the words and their neighbours.
        opened: of `AUGMENTER.open`.

    Returns:
        Replacements; none where no word has a neighbour that passes the guards.

    Example::

        edit("A funny play", [], random.Random(0), opened)  # [Edit(2, 7, "hilarious")]

    Source: Wang and Yang 2015, "That's so annoying!!!", section 3.2
        (https://aclanthology.org/D15-1306); vectors of Mikolov et al. 2013 (Google News), in
        Chinese of the package ``synonyms``.
    """
    read = _words.read(text, spans, opened.languages)

    def others(place: int) -> tuple[str, ...]:
        word = read.words[place]
        lower = word.text.lower()
        cosine = opened.options.cosine
        found = neighbours.near(lower, word.kind, read.before(place), cosine, _LOOKED_AT)
        return tuple(other for other, _ in found)

    return _words.swapped_words(read, opened.options.share, random, others)


AUGMENTER = Augmenter(
    summary="replace words by those with near vectors, never by an opposite",
    options=Options,
    edit=edit,
    open=_words.known_language("vectors"),
)
