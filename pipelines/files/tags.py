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
    """Return whether a tag is O, or a chunk's position with or without a type (B-PER, B).

    Example:
        >>> is_tag("B-PER"), is_tag("NOUN")
        (True, False)
    """
    return _TAG.fullmatch(tag) is not None


def are_chunks(tags: Iterable[str]) -> bool:
    """Return whether tags are of chunks; otherwise (NOUN, VERB) each word is one of its own.

    Example:
        >>> are_chunks(["O", "B-PER"]), are_chunks(["NOUN", "VERB"])
        (True, False)
    """
    known = unknown = 0
    for tag in tags:
        known += is_tag(tag)
        unknown += not is_tag(tag)
    return known > unknown


def parsed(tag: str) -> tuple[str, str]:
    """Return the position in a chunk (B, I, E, S or O) and the type; ``_`` if there is none.

    Raises:
        ValueError: it is no tag.

    Example:
        >>> parsed("U-PER")  # of BILOU
        ('S', 'PER')
    """
    match = _TAG.fullmatch(tag)
    if not match:
        raise ValueError(f"the tag {tag!r} is neither O nor like B-NAME or I-NAME")
    letter = match[1] or "O"
    return _SAME.get(letter, letter), match[2] or "_"


def chunks(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """Return (first, end, type) of each chunk: indices of ``tags``, the end exclusive.

    Raises:
        ValueError: a tag is none.

    Example:
        >>> chunks(["B-PER", "I-PER", "O", "B-LOC"])
        [(0, 2, 'PER'), (3, 4, 'LOC')]
    """
    ended: list[tuple[int, int, str]] = []
    begin, before, kind = 0, "O", "_"
    for i, (letter, type_) in enumerate([*map(parsed, tags), ("O", "_")]):
        parted = type_ != kind or letter in "BSO" or before in "ESO"
        if before != "O" and parted:
            ended.append((begin, i, kind))
        if letter != "O" and parted:
            begin = i
        before, kind = letter, type_
    return ended


def scheme_of(sentences: Iterable[Sequence[str]]) -> Scheme:
    """Return the scheme of tagged sentences, recognised by how they write it.

    BIOES stands for BILOU and BMES too. In IOB1 a chunk begins with I, and with B only where it
    follows another of its type; a file is IOB1 if most of its other chunks begin with I.

    Example:
        >>> scheme_of([["O", "I-PER", "I-PER"]])
        'IOB1'
    """
    begun = {"B": 0, "I": 0}
    for tags in sentences:
        before = ("O", "_")
        for letter, kind in map(parsed, tags):
            if letter in "ES":
                return "BIOES"
            if letter != "O" and (before[0] == "O" or before[1] != kind):
                begun[letter] += 1
            before = letter, kind
    return "IOB1" if begun["I"] > begun["B"] else "BIO"


def broken(tags: Sequence[str], scheme: Scheme) -> Iterator[tuple[int, str]]:
    """Yield the index of each tag that its scheme forbids after the one before it, and why.

    Example:
        >>> list(broken(["O", "I-PER"], "BIO"))
        [(1, 'I-PER follows O')]
    """
    before, kind = "O", "_"
    for i, (letter, type_) in enumerate([*map(parsed, tags), ("O", "_")]):
        continues = before in "BI" and kind == type_
        previous = tags[i - 1] if i else "the beginning"
        if scheme == "IOB1":
            if letter == "B" and (before == "O" or kind != type_):
                yield i, f"{tags[i]} follows {previous}, where IOB1 writes I"
        elif letter in "IE" and not continues:
            yield i, f"{tags[i]} follows {previous}"
        elif scheme == "BIOES" and before in "BI" and not (letter in "IE" and continues):
            yield i - 1, f"{previous} is not closed"
        before, kind = letter, type_
