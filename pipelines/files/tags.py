"""Tag schemes of chunks: BIO (IOB2), IOB1, BIOES, BILOU, BMES -> chunks, as conlleval reads them.

All are read by one lenient rule, so that no word with a type is lost, whatever the scheme.

Source: conlleval.pl of the CoNLL-2000 shared task (Tjong Kim Sang and Buchholz 2000,
https://aclanthology.org/W00-0726), whose rule seqeval follows
(https://github.com/chakki-works/seqeval).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

Scheme = Literal["BIO", "IOB1", "BIOES"]
Style = Literal["chunks", "types", "words"]
# A position and a type in either order, as B-PER, b-per, B_PER, PER-B and PER_B; or a position.
_TAG = re.compile(r"([BIESLUMbieslum])[-_:](.+)|(.+)[-_:]([BIES])|([BIESLUM])")
_OUTSIDE = ("O", "o", "0", "-", "_")  # the first is what it should be
# What stands for O where tags are words, in lower case.
OUTSIDE_WORDS = frozenset(
    [
        *("none", "null", "nil", "na", "n/a", "nan", "no", "not", "nothing", "empty", "void"),
        *("out", "outside", "other", "others", "else", "default", "blank", "non", "no_entity"),
    ]
)
_MEANT = 0.9  # share of the tags besides one that must have a position, if that one stands for O
_SAME = {"L": "E", "U": "S", "M": "I"}  # BILOU's and BMES's letters in BIOES


def is_tag(tag: str) -> bool:
    """Return whether a tag is O, or a chunk's position with or without a type (B-PER, B).

    Example:
        >>> is_tag("B-PER"), is_tag("NOUN")
        (True, False)
    """
    return tag in _OUTSIDE[:2] or _TAG.fullmatch(tag) is not None


def style_of(tags: Iterable[str]) -> Style:
    """Return how the tags of a column are meant.

    ``chunks``: they say where one begins, in any scheme; 0, - and _ among them stand for O.
    ``types``: O, or a type without a position (O, PER): words of one side by side are one chunk.
    ``words``: each labels its word (NOUN, VERB).

    Example:
        >>> style_of(["O", "B-PER"]), style_of(["O", "PER"]), style_of(["NOUN", "VERB"])
        ('chunks', 'types', 'words')
    """
    counts = Counter(tags)
    outside = sum(counts[tag] for tag in _OUTSIDE[:2])
    typed = sum(n for tag, n in counts.items() if _typed(tag))
    bare = sum(n for tag, n in counts.items() if len(tag) == 1 and _TAG.fullmatch(tag))
    known = outside + typed + bare
    if typed:
        known += sum(counts[tag] for tag in _OUTSIDE[2:])
        # 0 is no label of words, of which some of one letter, an X and a type look like chunks.
        zero = counts[_OUTSIDE[2]]
        if outside or zero or 2 * known > counts.total() or outside_word(counts.elements()):
            return "chunks"
    others = [tag for tag in counts if tag not in _OUTSIDE]
    marked = any(counts[tag] for tag in _OUTSIDE[:3])
    # Some sets of parts of speech have an O too; all of their labels are single characters.
    if marked and others and not typed and all(len(tag) > 1 for tag in others):
        return "types"
    return "chunks" if 2 * known > counts.total() else "words"


def outside_word(tags: Iterable[str]) -> str:
    """Return the tag that seems to stand for O where no tag is O, or "".

    It is the most frequent of those without a position, and nearly all others have one.

    Example:
        >>> outside_word(["B-PER", "I-PER", "OTHER", "OTHER"]), outside_word(["B-PER", "O", "X"])
        ('OTHER', '')
    """
    counts = Counter(tags)
    plain = Counter({tag: n for tag, n in counts.items() if tag and not _typed(tag)})
    typed = counts.total() - plain.total() - counts[""]
    if not plain or typed < 2 or any(is_outside(tag) for tag in counts):
        return ""
    word, most = plain.most_common(1)[0]
    alike = sum(
        n
        for tag, n in plain.items()
        if tag.casefold() == word.casefold() or tag.casefold() in OUTSIDE_WORDS
    )
    known = word.casefold() in OUTSIDE_WORDS
    enough = most > 1 and (known or 20 * alike > counts.total())
    return word if enough and typed >= _MEANT * (counts.total() - alike) else ""


def is_outside(tag: str) -> bool:
    """Return whether a tag is O, or one of the characters that stand for it.

    Example:
        >>> is_outside("0"), is_outside("NONE")
        (True, False)
    """
    return tag in _OUTSIDE


def _typed(tag: str) -> bool:
    """Return whether a tag has a position and a type."""
    return len(tag) > 1 and _TAG.fullmatch(tag) is not None


def are_tagged(tags: Iterable[str]) -> bool:
    """Return whether the tags of a column can only be of chunks, as words and labels are not.

    Example:
        >>> are_tagged(["O", "B-PER"]), are_tagged(["O", "Romeo"]), are_tagged(["O", "O", "PER"])
        (True, False, True)
    """
    counts = Counter(tags)
    if counts.keys() <= set(_OUTSIDE):
        return False
    known = sum(n for tag, n in counts.items() if tag in _OUTSIDE or _typed(tag))
    if outside_word(counts.elements()):
        return True
    return style_of(counts.elements()) != "words" and 2 * known > counts.total()


def parsed(tag: str) -> tuple[str, str]:
    """Return the position in a chunk (B, I, E, S or O) and the type; ``_`` if there is none.

    Raises:
        ValueError: it is no tag.

    Example:
        >>> parsed("U-PER")  # of BILOU
        ('S', 'PER')
    """
    if tag in _OUTSIDE:
        return "O", "_"
    match = _TAG.fullmatch(tag)
    if not match:
        raise ValueError(f"the tag {tag!r} is neither O nor like B-NAME or I-NAME")
    letter = (match[1] or match[4] or match[5]).upper()
    return _SAME.get(letter, letter), match[2] or match[3] or "_"


def found(tags: Sequence[str], style: Style) -> list[tuple[int, int, str]]:
    """Return (first, end, label) of what tags mark, by their style: indices, the end exclusive.

    Raises:
        ValueError: a tag of chunks is none.

    Example:
        >>> found(["NOUN", "_", "VERB"], "words")
        [(0, 1, 'NOUN'), (2, 3, 'VERB')]
        >>> found(["PER", "PER", "O"], "types")
        [(0, 2, 'PER')]
    """
    if style == "chunks":
        return chunks(tags)
    if style == "types":
        return chunks([tag if tag in ("", *_OUTSIDE) else f"I-{tag}" for tag in tags])
    return [(i, i + 1, tag) for i, tag in enumerate(tags) if tag not in ("", "_")]


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
