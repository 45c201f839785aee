"""Words that may stand for a word: by a thesaurus, or by vectors and the guards."""

from __future__ import annotations

from functools import lru_cache

from pipelines.lexicons import chinese, english, guards, vectors
from pipelines.lexicons.words import Kind, Word

# Cosine from which two words of one group mean the same in most sentences: groups of Cilin are
# wide, and WordNet has `bump` among the words for `find`.
_ALIKE = {"zh": 0.5, "en": 0.4}


def synonyms(word: Word, before: str) -> tuple[str, ...]:
    """Return the synonyms of a word in a text: WordNet's in English, Cilin's in Chinese.

    Only those are taken whose vectors are near too.

    Args:
        word: the word.
        before: the word before it in small letters, "" if there is none.

    Returns:
        Words in the same form; none of a word of several meanings, or in another language.

    Example:
        >>> synonyms(Word(0, 5, "Movie", "en"), "the")
        ('film',)
    """
    if word.kind == "en":
        lower, near = word.text.lower(), vectors.english()
        found = tuple(
            other
            for other in english.synonyms(lower, before)
            if near.cosine(lower, other) >= _ALIKE["en"]
        )
    elif word.kind == "zh":
        lower = word.text
        found = _chinese(lower)
    else:
        return ()
    return tuple(other for other in found if _passes(lower, other, word.kind))


def _passes(word: str, other: str, kind: Kind) -> bool:
    """Return whether a word may stand for another: it is no opposite, and no word that decides."""
    return not guards.opposed(word, other, kind) and not guards.decides(other.lower(), kind)


@lru_cache(100_000)
def _chinese(word: str) -> tuple[str, ...]:
    """Return the words of a Chinese word's group that are as common and near by their vectors."""
    near, known = vectors.chinese(), chinese.vocabulary()
    return tuple(
        other
        for other in chinese.thesaurus().synonyms(word)
        if near.cosine(word, other) >= _ALIKE["zh"] and len(other) == len(word) and known.tag(other)
    )


@lru_cache(200_000)
def near(
    word: str, kind: Kind, before: str, cosine: float, count: int
) -> tuple[tuple[str, float], ...]:
    """Return the words that are near a word by their vectors and may stand for it.

    They are of its part of speech and form, no opposite, and no other thing of the same kind: in
    Chinese they stand in the same branch of the thesaurus.

    Args:
        word: in small letters.
        kind: ``en`` or ``zh``.
        before: the word before it in small letters.
        cosine: the least that two vectors have.
        count: how many of the nearest are looked at.

    Example::

        near("funny", "en", "very", 0.6, 20)  # (("hilarious", 0.80), ("humorous", 0.73), ...)
    """
    if kind == "en":
        found = [
            (other, value)
            for other, value in vectors.english().near(word, count)
            if value >= cosine
            and english.same_use(word, other, before)
            and english.fits_article(word, other, before)
        ]
    elif kind == "zh":
        thesaurus, known = chinese.thesaurus(), chinese.vocabulary()
        found = [
            (other, value)
            for other, value in vectors.chinese().near(word, count)
            if value >= cosine
            and thesaurus.related(word, other, known.tag(word)[:1] == "n")
            and known.tag(word)[:1] == known.tag(other)[:1]
        ]
    else:
        return ()
    return tuple(one for one in found if _passes(word, one[0], kind))
