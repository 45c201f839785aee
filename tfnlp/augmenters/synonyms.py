"""Some words replaced by words that mean the same: WordNet's in English, Cilin's in Chinese."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.augmentation import Edit, Span
from pipelines.lexicons import neighbours
from tfnlp.augmenters import _words
from tfnlp.extensions import Augmenter
from tfnlp.options import option


@dataclass(frozen=True)
class Options:
    """How many words are replaced.

    Example::

        python -m tfnlp.train --train rows.csv --augment synonyms --synonyms-share 0.2
    """

    share: float = option(
        0.2, "share of a text's words that are replaced, one at least", minimum=0.01, maximum=1.0
    )


def edit(
    text: str, spans: Sequence[Span], random: random.Random, opened: _words.Opened
) -> list[Edit]:
    """Replace some words that the guards leave free by synonyms of their most frequent meaning.

    Args:
        text: any.
        spans: that nothing is changed in.
        random: draws the words and their synonyms.
        opened: of `AUGMENTER.open`.

    Returns:
        Replacements; none where no word has a synonym that is sure.

    Example::

        edit("A good movie", [], random.Random(0), opened)  # [Edit(start=7, end=12, text="film")]

    Source: WordNet (Miller 1995, https://doi.org/10.1145/219717.219748); Cilin, extended (Mei 1983;
        HIT-SCIR).
    """
    read = _words.read(text, spans, opened.languages)

    def others(place: int) -> tuple[str, ...]:
        return neighbours.synonyms(read.words[place], read.before(place))

    return _words.swapped_words(read, opened.options.share, random, others)


AUGMENTER = Augmenter(
    summary="replace words by synonyms (WordNet; Cilin in Chinese)",
    options=Options,
    edit=edit,
    open=_words.known_language("synonyms"),
)
