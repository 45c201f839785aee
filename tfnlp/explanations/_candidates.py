"""Words that may stand in place of others: of training rows with other labels, or near ones.

`counterfactual` asks for candidates by `Candidates` alone, so that other sources take its place.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeAlias

from pipelines import text_pieces
from pipelines.lexicons import guards, neighbours
from pipelines.lexicons.words import Word, languages_of, words
from pipelines.rows import Rows

_COSINE, _LOOKED_AT = 0.5, 50  # of near words: the least that vectors have, and of how many

# (text, start and end of a word of it, the label that the text has) -> what may stand there.
Candidates: TypeAlias = Callable[[str, tuple[int, int], str], Sequence[str]]


def of_rows(rows: Rows, inputs: Sequence[str], target: str, most: int) -> Candidates:
    """Return the words that are most typical of other labels than the text's.

    Args:
        rows: training rows with one label each.
        inputs: the columns with texts.
        target: the column of labels.
        most: words of each label.

    Example:
        >>> rows = Rows("a.csv", {"text": ["bad film", "good film"], "label": ["-", "+"]}, [1, 2])
        >>> of_rows(rows, ["text"], "label", 1)("bad film", (0, 3), "-")
        ['good']
    """
    counts: dict[str, Counter[str]] = {}
    for place, label in enumerate(rows.columns[target]):
        words = {word for name in inputs for word in _words(rows.columns[name][place])}
        counts.setdefault(label, Counter()).update(words)
    total: Counter[str] = sum(counts.values(), Counter())
    typical = {label: _typical(own, total, most) for label, own in counts.items()}

    def candidates(text: str, place: tuple[int, int], label: str) -> list[str]:
        return [word for other, words in typical.items() if other != label for word in words]

    return candidates


def near(most: int) -> Candidates:
    """Return near words that keep the meaning, as an attack on words puts them in.

    Args:
        most: for each word.

    Example::

        near(10)("a funny film", (2, 7), "good")  # ["comic", "humorous", ...]
    """

    def candidates(text: str, place: tuple[int, int], label: str) -> list[str]:
        found = words(text, languages_of([text]))
        at = next((i for i, word in enumerate(found) if (word.start, word.end) == place), None)
        if at is None:
            return []
        word, before = found[at], found[at - 1].text.lower() if at else ""
        others = [*neighbours.synonyms(word, before)]
        by_vector = neighbours.near(word.text.lower(), word.kind, before, _COSINE, _LOOKED_AT)
        others += [other for other, _ in by_vector]
        return list(dict.fromkeys(others))[:most]

    return candidates


def free(text: str) -> list[Word]:
    """Return the words for which near ones may stand: no negators, numbers, units and names.

    Example::

        [word.text for word in free("It was not a funny film")]  # ["funny", "film"]
    """
    return guards.free(text, words(text, languages_of([text])), lambda start, end: False)


def _words(text: str) -> list[str]:
    return [text[a:b].casefold() for a, b in text_pieces.words(text) if text[a].isalpha()]


def _typical(own: Counter[str], total: Counter[str], most: int) -> list[str]:
    """Return the words with the largest log-odds of a label, with half a row added to each."""
    rows = max(total.values(), default=1)

    def odds(word: str) -> float:
        others = total[word] - own[word]
        return math.log((own[word] + 0.5) / (others + 0.5)) * math.sqrt(own[word] / rows)

    return sorted(own, key=odds, reverse=True)[:most]
