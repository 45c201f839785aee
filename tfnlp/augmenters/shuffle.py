"""The order of words, or of sentences, changed a little."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines import text_pieces
from pipelines.augmentation import Edit, Span, touches
from tfnlp.augmenters import _words
from tfnlp.extensions import Augmenter
from tfnlp.options import option


@dataclass(frozen=True)
class Options:
    """What changes places.

    Example::

        python -m tfnlp.train --train rows.csv --augment shuffle --shuffle-unit sentence
    """

    unit: Literal["word", "sentence"] = option("word", "what changes places")
    distance: int = option(
        1, "how far a word moves at most, among those that may move [words]", minimum=1
    )


def edit(
    text: str, spans: Sequence[Span], random: random.Random, opened: _words.Opened
) -> list[Edit]:
    """Give words that are free, or sentences without a span, another order.

    Words stay within what marks, negators and words such as ``but`` enclose, so that none moves
    into or out of a negation. Those that a guard keeps stay where they are.

    Args:
        text: any.
        spans: that stay where they are.
        random: draws the order.
        opened: of `AUGMENTER.open`.

    Returns:
        Replacements of words by words, or of sentences by sentences.

    Example::

        edit("It rained. We stayed.", [], random.Random(0), opened)

    Source: the noise of Lample et al. 2018, "Unsupervised machine translation using monolingual
        corpora only", section 2.3 (https://arxiv.org/abs/1711.00043), for words.
    """
    if opened.options.unit == "sentence":
        within = touches(spans)
        free = [place for place in text_pieces.sentences(text) if not within(*place)]
        order = random.sample(free, len(free))
        return [Edit(*to, text[slice(*of)]) for to, of in zip(free, order, strict=True)]
    found: list[Edit] = []
    read = _words.read(text, spans, opened.languages)
    for clause in _words.clauses(read, opened.telling):
        places = [(word.start, word.end) for word in clause]
        keys = [i + random.uniform(0, opened.options.distance + 1) for i in range(len(places))]
        order = [places[i] for i in sorted(range(len(places)), key=keys.__getitem__)]
        pairs = zip(places, order, strict=True)
        found += [Edit(*to, text[slice(*of)]) for to, of in pairs if to != of]
    return found


AUGMENTER = Augmenter(
    summary="change the order of words a little, or of sentences",
    options=Options,
    edit=edit,
    open=_words.any_language,
)
