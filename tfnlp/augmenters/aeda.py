"""AEDA: punctuation marks inserted between words, which leaves the words and their order alone."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tfnlp.extensions import Augmenter, Edit, Span
from tfnlp.options import option

MARKS = ".;?:!,"
WIDE_MARKS = "。；？：！，"  # as Chinese and Japanese write them

# Han characters and kana: scripts that are written without spaces.
_UNSPACED = re.compile("[々〇ぁ-ゟァ-ヺー-ヿㇰ-ㇿㄅ-ㄯ㐀-䶿一-鿿豈-\ufaffｦ-ﾝ\U00020000-\U0003ffff]")
_JOINER = "\u200d"  # as in emoji of several people
_JOINED = _JOINER + "\u200c\uff9e\uff9f"  # the last two are the voicing marks of narrow kana


@dataclass(frozen=True)
class Options:
    """Options of AEDA.

    Example::

        python -m tfnlp.train --train rows.csv --augment aeda --aeda-ratio 0.2
    """

    ratio: float = option(
        1 / 3,
        "marks inserted, at most, for each word of a text, or for each Chinese character or kana",
        minimum=0.01,
        maximum=1.0,
    )


def edit(text: str, spans: Sequence[Span], random: random.Random, options: Options) -> list[Edit]:
    """Insert between one mark and ``ratio`` times as many as there are words, at random places.

    Args:
        text: any.
        spans: that nothing is inserted into.
        random: draws their number, places and kinds.
        options: of AEDA.

    Returns:
        Insertions; none where the text has no two words, or a span holds all of it. The paper
        also inserts before the first word, which would change how a text begins.

    Example:
        >>> [(one.start, one.end) for one in edit("It rained", [], random.Random(0), Options())]
        [(3, 3)]

    Source: Karimi et al. 2021, "AEDA: An easier data augmentation technique for text
        classification", section 3 (https://arxiv.org/abs/2108.13230). Texts that are written
        without spaces are not in the paper.
    """
    places = list(_places(text))
    free = [(p, mark) for p, mark in places if not any(s.start < p < s.end for s in spans)]
    if not free:
        return []
    most = max(1, int(options.ratio * (len(places) + 1)))
    count = min(random.randint(1, most), len(free))
    return [
        Edit(place, place, random.choice(WIDE_MARKS) if unspaced else f"{random.choice(MARKS)} ")
        for place, unspaced in sorted(random.sample(free, count))
    ]


def _places(text: str) -> Iterator[tuple[int, bool]]:
    """Yield where words begin but the first, and whether without a space before them."""
    begun = False
    last = ""  # the character before, without its combining marks
    for place, character in enumerate(text):
        if _combines(character):
            continue
        before = text[place - 1 : place]
        if last and not character.isspace() and before != _JOINER:
            if last.isspace() and begun:
                yield place, False
            elif last.isalnum() and character.isalnum() and _UNSPACED.search(last + character):
                yield place, True
        begun = begun or not character.isspace()
        last = character


def _combines(character: str) -> bool:
    """Return whether a character combines with the one before it."""
    return character in _JOINED or unicodedata.category(character).startswith("M")


AUGMENTER = Augmenter(
    summary="insert punctuation marks between words (AEDA)", options=Options, edit=edit
)
