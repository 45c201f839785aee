"""Texts in pieces: words or sentences, as places in the text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from pipelines.columns import MARKERS

Place = tuple[int, int]  # start, end [characters]

# Blocks of scripts that are written without spaces: Thai, Lao, Myanmar, Khmer, kana, and Han.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)
_SKIN = re.compile("[\U0001f3fb-\U0001f3ff]")
_END = ".!?。！？…"
_SENTENCE = re.compile(rf"[^\s{_END}](?:[^{_END}\n]|[.!?](?=\S))*[{_END}]*[\"'”’)）」』]*|\S")
_MARKER = re.compile("|".join(MARKERS))
_INSIDE = {"'": "letter", "’": "letter", "-": "letter", ".": "digit", ",": "digit"}


def words(text: str) -> list[Place]:
    """Return the words of a text, in its order.

    Each punctuation mark, each character of a script without spaces, and each run of other symbols
    (an emoji with its joiners) is a word of its own. Combining marks stay with their letters.

    Example:
        >>> words("It's 3.5!")
        [(0, 4), (5, 8), (8, 9)]
    """
    found: list[Place] = []
    before = "space"
    for place, kind in enumerate(_kinds(text)):
        if kind == "joined":  # to whatever stands before it
            kind = before
            alone = before == "space"
        else:
            alone = kind != before or kind in ("unspaced", "mark")
        if kind != "space" and alone:
            found.append((place, place + 1))
        elif kind != "space":
            found[-1] = (found[-1][0], place + 1)
        before = kind
    return found


def _kinds(text: str) -> Iterator[str]:
    """Yield what each character is for `words`."""
    for place, character in enumerate(text):
        category = unicodedata.category(character)
        if character.isspace() or category == "Cc":
            yield "space"
        elif category[0] == "M" or category == "Cf" or _SKIN.match(character):
            yield "joined"
        elif _UNSPACED.match(character):
            yield "unspaced"
        elif category[0] in "LN" or _inside(text, place):
            yield "word"
        else:
            yield "mark" if category[0] == "P" else "symbol"


def _inside(text: str, place: int) -> bool:
    """Return whether a mark belongs to its word, as in ``don't``, ``well-known`` and ``3.5``."""
    kind = _INSIDE.get(text[place])
    if kind is None or not 0 < place < len(text) - 1:
        return False
    around = (text[place - 1], text[place + 1])
    if kind == "digit":
        return all(character.isdigit() for character in around)
    return all(c.isalnum() and not _UNSPACED.match(c) for c in around)


def sentences(text: str) -> list[Place]:
    """Return the sentences of a text; a line's end ends one, a point within a word does not.

    Example:
        >>> sentences("Hi. Bye.")
        [(0, 3), (4, 8)]
    """
    return [match.span() for match in _SENTENCE.finditer(text)]


def unmarked(text: str, places: list[Place]) -> list[Place]:
    """Return the places without those that touch a marker such as ``<e1>``.

    Example:
        >>> unmarked("<e1>Rome</e1>", [(0, 4), (4, 8)])
        [(4, 8)]
    """
    marks = [match.span() for match in _MARKER.finditer(text)]
    return [(s, e) for s, e in places if all(e <= start or s >= end for start, end in marks)]


def without(text: str, start: int, end: int) -> tuple[str, Place]:
    """Leave out characters [start, end) of a text, with a space that would stand there twice.

    Returns:
        What is left, and the characters that are gone.

    Example:
        >>> without("not bad", 0, 3)
        ('bad', (0, 4))
    """
    after = end < len(text) and text[end] == " "
    before = start > 0 and text[start - 1] == " "
    if after and (before or start == 0):
        end += 1
    elif before and end == len(text):
        start -= 1
    return text[:start] + text[end:], (start, end)
