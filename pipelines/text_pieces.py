"""Texts in pieces: words or sentences, as places in the text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipelines.columns import MARKERS
from pipelines.encoding.scripts import UNSPACED

if TYPE_CHECKING:
    import numpy as np

Place = tuple[int, int]  # start, end [characters]

_SCRIPTS = "".join(f"{chr(first)}-{chr(last)}" for first, last in UNSPACED)
_UNSPACED = re.compile(f"[{_SCRIPTS}]")  # written without spaces
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
        return all(character.isdecimal() for character in around)
    return all(unicodedata.category(c)[0] in "LN" and not _UNSPACED.match(c) for c in around)


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


def blanked(text: str) -> str:
    """Return a text with spaces in place of its markers, so that all else stands where it did.

    Example:
        >>> blanked("<e1>Rome</e1>")
        '    Rome     '
    """
    return _MARKER.sub(lambda match: " " * len(match.group()), text)


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


def kept(text: str, gone: Sequence[Place]) -> str:
    """Return a text without some of its pieces, nor the spaces that would stand there twice.

    Example:
        >>> kept("not at all bad", [(0, 3), (7, 10)])
        'at bad'
    """
    parts, done = [], 0
    for start, end in sorted(gone):
        parts.append(text[done:start])
        done = end + (text[end : end + 1] == " ")
    return "".join([*parts, text[done:]])


def characters(text: str) -> list[Place]:
    """Return the characters of a text that are seen, each with its combining marks and joiners.

    Example:
        >>> characters("ab c")
        [(0, 1), (1, 2), (3, 4)]
    """
    found: list[Place] = []
    before = "space"
    for place, kind in enumerate(_kinds(text)):
        if kind == "joined" and before != "space":
            found[-1] = (found[-1][0], place + 1)
        elif kind not in ("space", "joined"):
            found.append((place, place + 1))
            before = kind
        else:
            before = "space"
    return found


def cut(text: str, unit: str) -> list[Place]:
    """Return the pieces of a text of a unit that depends on the text alone.

    Example:
        >>> cut("Hi. Bye.", "sentences")
        [(0, 3), (4, 8)]
    """
    return {"words": words, "sentences": sentences, "characters": characters}[unit](text)


def characters_before(text: str) -> np.ndarray:
    """Return how many characters stand before each byte of a text, and before its end: int64.

    Example:
        >>> characters_before("é!").tolist()
        [0, 1, 1, 2]
    """
    import numpy as np

    begun = np.frombuffer(text.encode("utf-8", "replace"), np.uint8) & 0xC0 != 0x80
    return np.concatenate([[0], np.cumsum(begun)])


def weighed(
    text: str, tokens: Sequence[tuple[int, int, float]], unit: str
) -> list[tuple[Place, float]]:
    """Return a text's pieces with what their tokens did: a token's weight goes by its characters.

    Args:
        text: what was read.
        tokens: start, end and weight of each, any number of times, in any order [characters].
        unit: words, sentences, characters or tokens.

    Example:
        >>> weighed("no way", [(0, 2, 0.5), (3, 4, 1.0), (4, 6, 2.0)], "words")
        [((0, 2), 0.5), ((3, 6), 3.0)]
    """
    if unit == "tokens":
        sums: dict[Place, float] = {}
        for start, end, weight in sorted(tokens):
            sums[start, end] = sums.get((start, end), 0.0) + weight
        return list(sums.items())
    pieces = cut(text, unit)
    owner = [-1] * len(text)
    for number, (start, end) in enumerate(pieces):
        owner[start:end] = [number] * (end - start)
    weights = [0.0] * len(pieces)
    for start, end, weight in tokens:
        owners = [owner[place] for place in range(start, end) if owner[place] >= 0]
        if not owners:  # what is not seen goes with what stands before it
            owners = [next((o for o in reversed(owner[:start]) if o >= 0), 0)][: len(pieces)]
        for number in owners:
            weights[number] += weight / len(owners)
    return list(zip(pieces, weights, strict=True))
