"""What must stay as it is when a text is to keep its meaning, and which words may stand for which.

Vectors call antonyms near, as they occur in the same sentences (jin2019's TextFooler,
jind11/TextFooler#24; LinyangLee/BERT-Attack#2), and thesauri say nothing of negation. So words that
decide what is said are kept, and one word stands for another only if neither is its opposite.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache, lru_cache

from pipelines.lexicons import chinese, wordnet
from pipelines.lexicons.closed_words import DATES, FUNCTION_WORDS, NEGATORS, NUMBERS
from pipelines.lexicons.words import Kind, Word
from pipelines.registry.packages import Package, member

# How good or bad people hold words to be, from -4 to 4 (Hutto and Gilbert 2014).
_VALENCE = Package(
    "vaderSentiment",
    "3.3.2",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    "vaderSentiment-3.3.2.tar.gz",
)

# Synsets under which units stand: of measurement, of money, of time.
_UNITS = ("unit of measurement", "monetary unit", "time unit", "time period", "calendar month")
_CHINESE_NEGATORS = frozenset("不没沒未无無非别別莫勿否甭休毋缺免防反禁拒勿仅僅只少")
_CHINESE_FIXED = re.compile(
    "[0-9０-９零〇一二三四五六七八九十百千万亿萬億两兩半双雙几幾数數第年月日号號时時点點分秒元块塊角]"
)
# Tags of names, numbers, measures, times, and of words that tie others together.
_PLACES, _OTHER_NAMES, _UNIT_TAGS = ("ns", "nt"), ("nr", "nz"), ("m", "q", "t")
_TYING_TAGS = ("r", "p", "c", "u", "y", "e", "o", "k", "f")
_PAIRS = (
    "大小高低长短好坏多少上下左右前后男女老少新旧快慢早晚远近轻重冷热开关买卖进出"
    "有无是非美丑胖瘦贵贱强弱真假难易正反升降增减加减涨跌输赢胜负生死爱恨喜怒来去"
    "内外东西南北父母夫妻深浅厚薄宽窄"
)
_OPPOSITE = {frozenset(_PAIRS[i : i + 2]) for i in range(0, len(_PAIRS), 2)}
_PREFIXES = ("un", "in", "im", "ir", "il", "dis", "non", "mis", "re", "over", "under", "out", "de")
_SENTENCE_END = ".!?。！？\n"


def reasons(text: str, words: Sequence[Word]) -> list[str]:
    """Return for each word of a text why it must stay as it is, "" if it may be replaced.

    Args:
        text: the text.
        words: all of its words, as `pipelines.lexicons.words.words` returns them.

    Returns:
        ``negator``, ``number``, ``unit``, ``name``, ``function word``, ``fixed`` or "".

    Example:
        >>> from pipelines.lexicons.words import words
        >>> text = "It was not 3 km to Bonn"
        >>> reasons(text, words(text, frozenset()))
        ['', '', 'negator', 'number', '', '', 'name']
    """
    shouts = _in_capitals(words)
    found = []
    begins = True  # a sentence
    for word in words:
        found.append(_reason(word, begins, shouts))
        begins = word.kind == "mark" and (begins or word.text in _SENTENCE_END)
        begins = begins or "\n" in text[word.end : word.end + 1]
    return found


@lru_cache(200_000)
def decides(word: str, kind: Kind) -> bool:
    """Return whether a word in small letters is one that must not be put into a text either.

    Example:
        >>> decides("none", "en"), decides("film", "en")
        (True, False)
    """
    return _reason(Word(0, len(word), word, kind), True, False) != ""


def _in_capitals(words: Sequence[Word]) -> bool:
    """Return whether capitals tell nothing, as most words have one."""
    letters = [word.text for word in words if word.text[:1].isalpha() and word.text.isascii()]
    capitals = [text for text in letters if not text.islower()]
    return len(letters) > 3 and len(capitals) > 0.6 * len(letters)


def _reason(word: Word, begins: bool, shouts: bool) -> str:
    """Return why a word must stay."""
    if word.kind in ("mark", "fixed"):
        return "fixed"
    if word.kind == "zh":
        return _chinese_reason(word.text)
    lower = word.text.lower().replace("’", "'")
    if any(map(str.isdigit, lower)) or lower in NUMBERS:
        return "number"
    if lower in NEGATORS or lower.endswith("n't"):
        return "negator"
    if word.kind == "other":
        return "name" if lower != word.text and not begins else ""
    if lower in FUNCTION_WORDS:
        return "function word"
    if lower in DATES or _is_unit(lower):
        return "unit"
    capital = lower != word.text
    if (capital and (shouts or not begins)) or not word.text[1:].islower() * bool(word.text[1:]):
        return "name"
    return "name" if _is_name(lower) else ""


def _chinese_reason(word: str) -> str:
    """Return why a Chinese word must stay."""
    if _CHINESE_NEGATORS & set(word):
        return "negator"
    if _CHINESE_FIXED.search(word):
        return "number"
    tag = chinese.vocabulary().tag(word)
    # Common words are tagged as persons' and brands' names too.
    if tag in _PLACES or (tag in _OTHER_NAMES and not chinese.thesaurus().codes(word)):
        return "name"
    if tag in _UNIT_TAGS:
        return "unit"
    return "function word" if tag.startswith(_TYING_TAGS) else ""


@lru_cache(100_000)
def _is_unit(word: str) -> bool:
    """Return whether the first meaning of a word is a unit, of money and time too."""
    net = wordnet.load()
    for base in (base for base, kind in net.bases(word) if kind == wordnet.NOUN):
        first = net.senses(base, wordnet.NOUN)[0]
        if first.place in _units():
            return True
    return False


@cache
def _units() -> frozenset[tuple[str, int]]:
    net = wordnet.load()
    waiting = [net.senses(name, wordnet.NOUN)[0].place for name in _UNITS]
    found = set(waiting)
    while waiting:
        new = net.synset(waiting.pop()).places("~", "~i") - found
        found |= new
        waiting += new
    return frozenset(found)


@lru_cache(100_000)
def _is_name(word: str) -> bool:
    """Return whether a word in small letters is the name of something, as far as is known.

    A word that WordNet lacks may be one.
    """
    net = wordnet.load()
    bases = net.bases(word)
    if not bases:
        return True
    base, kind = max(bases, key=lambda one: net.count(*one))
    if kind != wordnet.NOUN:
        return False
    senses = net.senses(base, kind)
    written = [w for synset in senses[:1] for w in synset.words if w.lower() == base]
    return bool(written) and not written[0].islower()


@lru_cache(200_000)
def opposed(one: str, other: str, kind: str) -> bool:
    """Return whether two words are opposites, or one negates what the other says.

    Args:
        one: a word.
        other: what may stand for it.
        kind: ``en`` or ``zh``.

    Example:
        >>> opposed("高", "低", "zh"), opposed("高兴", "开心", "zh")
        (True, False)
    """
    if kind == "zh":
        return _chinese_opposed(one, other)
    net = wordnet.load()
    ours = {one.lower(), *(base for base, _ in net.bases(one))}
    theirs = {other.lower(), *(base for base, _ in net.bases(other))}
    ours |= {word.removeprefix("re") for word in ours}  # to resell is no way to buy
    theirs |= {word.removeprefix("re") for word in theirs}
    if ours & theirs:
        return False
    if any(_negates(a, b) or _negates(b, a) for a in ours for b in theirs):
        return True
    if min(map(_valence, ours)) * max(map(_valence, theirs)) < 0:
        return True
    if max(map(_valence, ours)) * min(map(_valence, theirs)) < 0:
        return True
    return any(theirs & _opposites(a) for a in ours) or any(ours & _opposites(b) for b in theirs)


@lru_cache(100_000)
def _opposites(base: str) -> frozenset[str]:
    return wordnet.load().opposites(base)


def _valence(word: str) -> float:
    return _valences().get(word, 0.0)


def judges(word: Word) -> bool:
    """Return whether an English word says by itself how good or bad something is.

    Example:
        >>> judges(Word(0, 6, "Boring", "en")), judges(Word(0, 4, "book", "en"))
        (True, False)
    """
    return word.kind == "en" and judging(word.text.lower())


def judging(word: str) -> bool:
    """Return the same of a word in small letters."""
    return abs(_valence(word)) >= 1


@cache
def _valences() -> dict[str, float]:
    lines = member(_VALENCE, "vaderSentiment/vader_lexicon.txt").read_text("utf-8").splitlines()
    cells = (line.split("\t") for line in lines)
    return {word: float(mean) for word, mean, *_ in cells}


def _negates(one: str, other: str) -> bool:
    """Return whether a word is another with a prefix or suffix that turns its meaning round."""
    if any(one == prefix + other for prefix in _PREFIXES) or one == f"{other}less":
        return True
    stems = {one.removeprefix(p) for p in _PREFIXES} & {other.removeprefix(p) for p in _PREFIXES}
    if any(len(stem) > 3 for stem in stems):  # disappear and reappear
        return True
    return one.endswith("less") and other == one.removesuffix("less") + "ful"


def _chinese_opposed(one: str, other: str) -> bool:
    """Return whether two Chinese words differ in a negator or in opposite characters."""
    if bool(_CHINESE_NEGATORS & set(one)) != bool(_CHINESE_NEGATORS & set(other)):
        return True
    return any(frozenset((a, b)) in _OPPOSITE for a in one for b in other if a != b)


def free(text: str, words: Sequence[Word], held: Callable[[int, int], bool]) -> list[Word]:
    """Return the words that may be replaced: no guard keeps them, and no span holds them.

    Args:
        text: the text.
        words: all of its words.
        held: whether characters [start, end) touch a span.

    Example::

        free("Good film", words("Good film", frozenset({"en"})), lambda start, end: False)
    """
    kept = reasons(text, words)
    return [w for w, why in zip(words, kept, strict=True) if not why and not held(w.start, w.end)]
