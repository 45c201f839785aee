"""Tag schemes of chunks: BIO (IOB2), IOB1, BIOES, BILOU, BMES -> chunks, as conlleval reads them.

All are read by one lenient rule, so that no word with a type is lost, whatever the scheme.

Source: conlleval.pl of the CoNLL-2000 shared task (Tjong Kim Sang and Buchholz 2000,
https://aclanthology.org/W00-0726), whose rule seqeval follows
(https://github.com/chakki-works/seqeval).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

Scheme = Literal["BIO", "IOB1", "BIOES"]
_TAG = re.compile(r"O|([BIESLUM])(?:-(.+))?")
_SAME = {"L": "E", "U": "S", "M": "I"}  # BILOU's and BMES's letters in BIOES


def is_tag(tag: str) -> bool:
    """Say whether a tag is O, or a chunk's place with or without a type (B-PER, B)."""
    return _TAG.fullmatch(tag) is not None


def are_chunks(tags: Iterable[str]) -> bool:
    """Say whether tags are of chunks; otherwise (NOUN, VERB) each word is one of its own."""
    known = unknown = 0
    for tag in tags:
        known += is_tag(tag)
        unknown += not is_tag(tag)
    return known > unknown


def parsed(tag: str) -> tuple[str, str]:
    """Return the place in a chunk (B, I, E, S or O) and the type; ``_`` if there is none.

    Raises:
        ValueError: it is no tag.
    """
    found = _TAG.fullmatch(tag)
    if not found:
        raise ValueError(f"the tag {tag!r} is neither O nor like B-NAME or I-NAME")
    letter = found[1] or "O"
    return _SAME.get(letter, letter), found[2] or "_"


def chunks(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """Return (first, end, type) of each chunk: places in ``tags``, the end exclusive.

    Raises:
        ValueError: a tag is none.
    """
    found: list[tuple[int, int, str]] = []
    begin, before, kind = 0, "O", "_"
    for i, (place, type_) in enumerate([*map(parsed, tags), ("O", "_")]):
        parted = type_ != kind or place in "BSO" or before in "ESO"
        if before != "O" and parted:
            found.append((begin, i, kind))
        if place != "O" and parted:
            begin = i
        before, kind = place, type_
    return found


def scheme_of(sentences: Iterable[Sequence[str]]) -> Scheme:
    """Tell the scheme of tagged sentences by how they write it.

    BIOES stands for BILOU and BMES too. In IOB1 a chunk begins with I, and with B only where it
    follows another of its type; a file is IOB1 if most of its other chunks begin with I.
    """
    begun = {"B": 0, "I": 0}
    for tags in sentences:
        before = ("O", "_")
        for place, kind in map(parsed, tags):
            if place in "ES":
                return "BIOES"
            if place != "O" and (before[0] == "O" or before[1] != kind):
                begun[place] += 1
            before = place, kind
    return "IOB1" if begun["I"] > begun["B"] else "BIO"


def broken(tags: Sequence[str], scheme: Scheme) -> Iterator[tuple[int, str]]:
    """Yield the place of each tag that its scheme forbids after the one before it, and why."""
    before, kind = "O", "_"
    for i, (place, type_) in enumerate([*map(parsed, tags), ("O", "_")]):
        goes_on = before in "BI" and kind == type_
        previous = tags[i - 1] if i else "the beginning"
        if scheme == "IOB1":
            if place == "B" and (before == "O" or kind != type_):
                yield i, f"{tags[i]} follows {previous}, where IOB1 writes I"
        elif place in "IE" and not goes_on:
            yield i, f"{tags[i]} follows {previous}"
        elif scheme == "BIOES" and before in "BI" and not (place in "IE" and goes_on):
            yield i - 1, f"{previous} is not closed"
        before, kind = place, type_
