"""Typing mistakes: letters swapped, missed, doubled or hit beside, and in Chinese homophones."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from pipelines.augmentation import Edit, Span
from pipelines.lexicons import wordnet
from pipelines.lexicons.chinese import CILIN
from pipelines.lexicons.closed_words import FUNCTION_WORDS, NEGATORS
from pipelines.lexicons.words import Word
from pipelines.registry.packages import member
from tfnlp.augmenters import _words
from tfnlp.extensions import Augmenter
from tfnlp.options import option

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_COMMON = 12  # characters of a sound that are mistaken for one another
_SHORTEST = 4  # letters: in shorter words a mistake makes another word


@dataclass(frozen=True)
class Options:
    """How many words are mistyped.

    Example::

        python -m tfnlp.train --train rows.csv --augment typos --typos-share 0.2
    """

    share: float = option(
        0.1,
        "share of a text's words with a mistake, one word at least",
        minimum=0.01,
        maximum=1.0,
    )


def edit(
    text: str, spans: Sequence[Span], random: random.Random, opened: _words.Opened
) -> list[Edit]:
    """Mistype one letter of some words, or write a character for another that sounds the same.

    Words that a guard keeps are typed right, and no mistake makes another English word.

    Args:
        text: any.
        spans: that nothing is changed in.
        random: draws the words and the mistakes.
        opened: of `AUGMENTER.open`.

    Returns:
        Replacements of single words.

    Example::

        edit("wonderful", [], random.Random(1), opened)

    Source: Belinkov and Bisk 2018, "Synthetic and natural noise both break neural machine
        translation", section 3 (https://arxiv.org/abs/1711.02173); Chinese homophones of nlpcda.
    """
    read = _words.read(text, spans, opened.languages)

    def others(place: int) -> list[str]:
        found = _mistyped(read.words[place], random)
        return [found] if found else []

    return _words.swapped_words(read, opened.options.share, random, others)


def _mistyped(word: Word, generator: random.Random) -> str:
    """Return a word with a mistake, "" if there is none that leaves it readable."""
    text = word.text
    if word.kind == "zh":
        place = generator.randrange(len(text))
        found = _homophones().get(text[place], "")
        return text[:place] + generator.choice(found) + text[place + 1 :] if found else ""
    # Scripts of which letters join or stack are left alone.
    if len(text) < _SHORTEST or not text.isalpha() or ord(max(text)) > 0x24F:
        return ""
    place = generator.randrange(1, len(text) - 1)
    here, after = text[place], text[place + 1]
    made = generator.choice(
        [
            text[:place] + after + here + text[place + 2 :],
            text[:place] + text[place + 1 :],
            text[:place] + here + text[place:],
            text[:place] + generator.choice(_beside(here) or [here]) + text[place + 1 :],
        ]
    )
    lower = made.lower()
    if made == text or lower in FUNCTION_WORDS | NEGATORS:
        return ""
    return "" if word.kind == "en" and wordnet.load().bases(lower) else made


def _beside(letter: str) -> list[str]:
    """Return the letters beside a letter on a QWERTY keyboard."""
    for row in _ROWS:
        place = row.find(letter.lower())
        if place >= 0:
            near = row[max(0, place - 1) : place] + row[place + 1 : place + 2]
            return [one.upper() if letter.isupper() else one for one in near]
    return []


@cache
def _homophones() -> dict[str, str]:
    """Return Chinese characters with those that sound the same."""
    lines = member(CILIN, "nlpcda/data/同音意字.txt").read_text("utf-8").splitlines()
    found: dict[str, str] = {}
    for _, *alike in (line.split() for line in lines):  # a sound, and the most common first
        common = alike[:_COMMON]
        for one in common:
            found.setdefault(one, "".join(other for other in common if other != one))
    return found


AUGMENTER = Augmenter(
    summary="mistype words; in Chinese write characters that sound the same",
    options=Options,
    edit=edit,
    open=_words.any_language,
)
