"""English words in their forms: what a word is in a text, and other words in the same form."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

from pipelines.lexicons import wordnet
from pipelines.lexicons.wordnet import ADJECTIVE, ADVERB, NOUN, VERB

Form = Literal["base", "s", "ed", "ing"]

_DETERMINERS = """
    a an the this these that those my your his her its our their some any each every no of in on
    at for with from by about into what which whose
"""
_BEFORE_NOUN = frozenset(_DETERMINERS.split())
_AUXILIARIES = """
    to will would can could should shall may might must i you we they he she it who do does did
    don't doesn't didn't won't can't cannot let please not
"""
_BEFORE_VERB = frozenset(_AUXILIARIES.split())
_MOST = 0.8  # share of the counted uses that a word must have as one part of speech
_VOWELS = "aeiou"
# Words whose first sound is not that of their first letter.
_CONSONANTS = ("uni", "use", "usu", "eu", "one", "once", "ubi")
_SILENT = ("hour", "honest", "honor", "honour", "heir")


class Use(NamedTuple):
    """What a word is in a text: its base form, part of speech, and form."""

    base: str
    kind: str
    form: Form


@lru_cache(100_000)
def use(word: str, before: str) -> Use | None:
    """Return what a word is; None if it may be several things.

    Args:
        word: in small letters.
        before: the word before it in small letters, "" if there is none.

    Example:
        >>> use("rooms", "clean"), use("book", "")
        (Use(base='room', kind='n', form='s'), Use(base='book', kind='n', form='base'))
        >>> use("book", "to") is None  # it is rarely a verb, and is one here
        True
    """
    net = wordnet.load()
    bases = net.bases(word)
    if not bases:
        return None
    counts = {found: net.count(*found) + 0.1 for found in bases}
    best = max(bases, key=lambda found: counts[found])
    of_kind = sum(count for (_, kind), count in counts.items() if kind == best[1])
    if of_kind < _MOST * sum(counts.values()):
        return None
    base, kind = best
    if (before in _BEFORE_VERB and kind in (NOUN, ADJECTIVE)) or (
        before in _BEFORE_NOUN and kind == VERB
    ):
        return None
    form = _form(word, base, kind)
    return Use(base, kind, form) if form else None


def _form(word: str, base: str, kind: str) -> Form | None:
    """Return which form of a base a word is; None of one that follows no rule."""
    if word == base:
        # "put" may be past, "sheep" several.
        return None if base in wordnet.load().irregular(base, kind) else "base"
    forms: tuple[Form, ...] = {NOUN: ("s",), VERB: ("s", "ed", "ing")}.get(kind, ())  # type: ignore[assignment]
    return next((form for form in forms if _regular(base, form) == word), None)


def inflected(base: str, kind: str, form: Form) -> str | None:
    """Return a base in a form; None if that follows no rule.

    Example:
        >>> inflected("city", "n", "s"), inflected("stop", "v", "ing"), inflected("go", "v", "ed")
        ('cities', 'stopping', None)
    """
    irregular = wordnet.load().irregular(base, kind)
    if form == "base":
        return base
    if kind in (ADJECTIVE, ADVERB):
        return None
    made = _regular(base, form)
    own = [one for one in irregular if kind == NOUN or _ending(one) == form]
    if not own or made in own:
        return made
    return own[0] if len(own) == 1 else None  # "bought" is both, "went" and "gone" are two


def _ending(form: str) -> Form:
    """Return which form an irregular form of a verb is."""
    return "ing" if form.endswith("ing") else "s" if form.endswith("s") else "ed"


def _regular(base: str, form: Form) -> str:
    """Return a base in a form, by the rules of spelling."""
    last, before = base[-1:], base[-2:-1]
    if form == "s":
        if base.endswith(("s", "x", "z", "ch", "sh")):
            return f"{base}es"
        return f"{base[:-1]}ies" if last == "y" and before not in _VOWELS else f"{base}s"
    if form == "ed" and last == "y" and before not in _VOWELS:
        return f"{base[:-1]}ied"
    if last == "e" and not (form == "ing" and before in ("e", "o", "y")):
        return f"{base[:-1]}{form}"
    vowels = sum(letter in _VOWELS for letter in base)
    doubles = last not in f"{_VOWELS}wxy" and before in _VOWELS and before and vowels == 1
    return f"{base}{last}{form}" if doubles else f"{base}{form}"


@lru_cache(100_000)
def synonyms(word: str, before: str) -> tuple[str, ...]:
    """Return words that mean the same as a word in its most frequent meaning, in its form.

    A word that means so only rarely itself is none of them, nor one that would want ``an`` for
    ``a``.

    Args:
        word: in small letters.
        before: the word before it in small letters.

    Example:
        >>> synonyms("movie", "a"), synonyms("purchased", "he")
        (('film',), ('bought',))
    """
    found = use(word, before)
    if found is None:
        return ()
    net = wordnet.load()
    first = net.senses(found.base, found.kind)[:1]
    alike = []
    for other in (w for synset in first for w in synset.words):
        senses = net.senses(other, found.kind)[:2]
        if other == found.base or not other.isalpha() or not other.islower():
            continue
        known = net.count(other, found.kind) > 0
        if known and first[0].place in [s.place for s in senses]:
            alike.append(inflected(other, found.kind, found.form))
    return tuple(one for one in alike if one and fits_article(word, one, before))


def fits_article(word: str, other: str, before: str) -> bool:
    """Return whether another word may follow the word before, which may be ``a`` or ``an``.

    Example:
        >>> fits_article("good", "excellent", "a"), fits_article("good", "great", "a")
        (False, True)
    """
    return before not in ("a", "an") or _vocal(word) == _vocal(other)


def _vocal(word: str) -> bool:
    """Return whether a word begins with the sound of a vowel."""
    if word.startswith(_SILENT):
        return True
    return word[:1] in _VOWELS and not word.startswith(_CONSONANTS)


@lru_cache(200_000)
def same_use(word: str, other: str, before: str) -> bool:
    """Return whether two words can be in the same place: part of speech and form are the same.

    Words that are two things under one (a comedy and a drama are plays) do not mean the same, and
    a narrower word (a surgeon for a doctor) says what the text does not.

    Example:
        >>> same_use("great", "terrific", ""), same_use("movie", "movies", "")
        (True, False)
    """
    one, two = use(word, before), use(other, before)
    if one is None or two is None or one.base == two.base:
        return False
    if (one.kind, one.form) != (two.kind, two.form):
        return False
    return _says_no_more(one, two)


def _says_no_more(one: Use, two: Use) -> bool:
    """Return whether the second word's first meaning is not another thing, nor a narrower one."""
    net = wordnet.load()
    first, second = (net.senses(each.base, each.kind)[0] for each in (one, two))
    if one.kind not in (NOUN, VERB):
        return True
    above = first.places("@", "@i")
    if first.place == second.place or second.place in above:
        return True
    if first.place in second.places("@", "@i"):
        return False
    return one.kind == VERB and not above & second.places("@", "@i")
