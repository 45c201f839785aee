"""The words of a text in whatever language, and what in it is no word at all.

English and Chinese words are told apart, as only those can be looked up; of texts in other
languages words are what stands between spaces, or single characters of scripts without spaces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from pipelines import text_pieces
from pipelines.errors import UserError
from pipelines.lexicons import chinese, wordnet
from pipelines.lexicons.closed_words import FUNCTION_WORDS

Language = Literal["en", "zh"]
Kind = Literal["en", "zh", "other", "mark", "fixed"]

# What is not language, and would be spoilt by any change: addresses, markup, handles, placeholders.
_FIXED = re.compile(
    r"(?:https?|ftp)://\S+|www\.\S+|[\w.+-]+@[\w-]+\.[\w.-]+|</?\w[^<>]*>|&#?\w+;"
    r"|[@#][\w_]+|\$?\{[^{}\s]*\}|\[[A-Z_]{2,}\]|`[^`]*`"
    r"|(?<![\w.])[\w-]+(?:\.[\w-]+)*\.(?:com|org|net|edu|gov|io|cn|de|uk|html?|pdf|py|jpg|png)\b"
)
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_KANA = re.compile("[\u3041-\u30ff]")
_LATIN = re.compile(r"[A-Za-z]+(?:['’-][A-Za-z]+)*")
_ENGLISH_SHARE = 0.05  # of the words in Latin letters of a column; Spanish has 0.00, Dutch 0.02
_FEW, _KNOWN_SHARE = 200, 0.7  # of so few words, the share that WordNet has of English ones
_READ = 200_000  # characters of a column that its languages are told by


class Word(NamedTuple):
    """Characters [start, end) of a text, and what they are.

    ``en`` and ``zh`` are words that can be looked up, ``other`` are those of other languages and
    numbers, ``mark`` is punctuation or a symbol, and ``fixed`` is an address, markup, a handle or a
    placeholder, of which nothing may be changed.
    """

    start: int
    end: int
    text: str
    kind: Kind


def words(text: str, languages: frozenset[Language]) -> list[Word]:
    """Return the words of a text in its order.

    Args:
        text: any.
        languages: those that its column is in, as `languages_of` tells.

    Example:
        >>> [(word.text, word.kind) for word in words("See www.a.org, Ann!", frozenset({"en"}))]
        [('See', 'en'), ('www.a.org,', 'fixed'), ('Ann', 'en'), ('!', 'mark')]
    """
    fixed = [match.span() for match in _FIXED.finditer(text)]
    kana = bool(_KANA.search(text))
    reads_chinese = "zh" in languages and not kana
    found: list[Word] = []
    run: list[tuple[int, int]] = []
    following = iter(fixed)
    here = next(following, None)
    for start, end in text_pieces.words(text):
        while here and here[1] <= start:
            found.extend(_cut(text, run))
            run = []
            found.append(Word(*here, text[slice(*here)], "fixed"))
            here = next(following, None)
        if here and here[0] < end:
            continue  # a part of what is fixed
        whole = text[start:end]
        if reads_chinese and _HAN.fullmatch(whole) and (not run or run[-1][1] == start):
            run.append((start, end))
            continue
        found.extend(_cut(text, run))
        run = []
        if reads_chinese and _HAN.fullmatch(whole):
            run.append((start, end))
        elif not any(map(str.isalnum, whole)):
            found.append(Word(start, end, whole, "mark"))
        else:
            english = "en" in languages and _LATIN.fullmatch(whole)
            found.append(Word(start, end, whole, "en" if english else "other"))
    found.extend(_cut(text, run))
    while here:
        found.append(Word(*here, text[slice(*here)], "fixed"))
        here = next(following, None)
    return found


def _cut(text: str, run: list[tuple[int, int]]) -> Iterator[Word]:
    """Yield the words of a run of Chinese characters."""
    if not run:
        return
    place = run[0][0]
    for word in chinese.vocabulary().cut(text[place : run[-1][1]]):
        yield Word(place, place + len(word), word, "zh")
        place += len(word)


def languages_of(texts: Sequence[str]) -> frozenset[Language]:
    """Return which of the languages that are known here texts are in; several, one or none.

    English is told by its words without meaning of their own (the, what, could ...), as its letters
    are those of many languages; Chinese by its characters where there are no kana.

    Example:
        >>> sorted(languages_of(["What is the time?"])), sorted(languages_of(["¿Qué hora es?"]))
        (['en'], [])
    """
    found: set[Language] = set()
    latin = told = han = kana = read = 0
    for text in texts:
        for match in _LATIN.finditer(text[:_READ]):
            word = match.group().lower()
            latin += 1
            told += (len(word) > 2 or word in ("of", "to", "it")) and word in FUNCTION_WORDS
        han += len(_HAN.findall(text[:_READ]))
        kana += len(_KANA.findall(text[:_READ]))
        read += len(text)
        if read > _READ:
            break
    if latin and (told >= _ENGLISH_SHARE * latin or _in_wordnet(texts)):
        found.add("en")
    if han and kana < 0.05 * han:
        found.add("zh")
    return frozenset(found)


def _in_wordnet(texts: Sequence[str]) -> bool:
    """Return whether texts that are too short to tell by have mostly English words."""
    found = [match.group().lower() for text in texts for match in _LATIN.finditer(text[:_READ])]
    if not found or len(found) > _FEW:
        return False
    net = wordnet.load()
    known = [word in FUNCTION_WORDS or bool(net.bases(word)) for word in found]
    return sum(known) >= _KNOWN_SHARE * len(found)


def required(texts: Sequence[str], name: str, source: str) -> frozenset[Language]:
    """Return the languages of texts as `languages_of`, if an augmenter knows one of them.

    Args:
        texts: of the training rows.
        name: the augmenter's.
        source: where the rows come from.

    Raises:
        UserError: the texts are in neither language.

    Example::

        required(rows.columns["text"], "synonyms", rows.source)
    """
    found = languages_of(texts)
    if not found:
        raise UserError(
            f"--augment {name} knows English and Chinese words, and the texts of {source} look "
            "like neither (take an augmenter that needs no lexicon: aeda, shuffle, typos or tfidf)"
        )
    return found
