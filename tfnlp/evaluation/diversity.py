"""How varied texts are: words of any script, distinct n-grams, and BLEU against one another.

Of each text the first 10,000 characters are read, so that one endless line costs no minutes. All
is deterministic; empty texts, or no text at all, score 0.
"""

from __future__ import annotations

import math
import random
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from sacrebleu.metrics import BLEU

LONGEST = 10_000  # characters of a text that are read

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
# Other scripts without spaces between words: kana; Thai and Lao, Burmese, Khmer.
_UNSPACED = "\u3040-\u30ff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
BY_CHARACTER = re.compile(f"[{HAN}{_UNSPACED}]")


def words(text: str, punctuation: bool = True) -> list[str]:
    """Return the words of a text of any script; its first 10,000 characters are read.

    Letters, marks and digits in a row are a word; a symbol (an emoji) or a punctuation mark is one
    by itself, as is a character of a script without spaces.

    Example:
        >>> words("It's 5 o'clock!")
        ['It', "'", 's', '5', 'o', "'", 'clock', '!']
        >>> words("你好 world", punctuation=False)
        ['你', '好', 'world']
    """
    spaced = (f" {c} " if _is_alone(c) else c if _is_inside(c) else " " for c in text[:LONGEST])
    parts = "".join(spaced).split()
    return parts if punctuation else [x for x in parts if unicodedata.category(x[0])[0] != "P"]


@lru_cache(1 << 16)
def _is_alone(char: str) -> bool:
    """Return whether a character is a word by itself."""
    return unicodedata.category(char)[0] in "PS" or bool(BY_CHARACTER.match(char))


@lru_cache(1 << 16)
def _is_inside(char: str) -> bool:
    """Return whether a character is part of a word."""
    return unicodedata.category(char)[0] in "LMN"


def distinct(texts: Sequence[str], n: int) -> float:
    """Return the share of different n-grams among the n-grams of all texts, 0 to 1.

    Example:
        >>> distinct(["a b a", "a b"], 1)
        0.4

    Source: Li et al. 2016, "A diversity-promoting objective function for neural conversation
        models", section 5.2 (https://arxiv.org/abs/1510.03055), who divide by the number of words;
        by that of n-grams, as here, later work does.
    """
    counts = Counter[tuple[str, ...]]()
    for text in texts:
        counts.update(ngrams(words(text), n, n))
    return len(counts) / max(counts.total(), 1)


def self_bleu(texts: Sequence[str], n: int = 4, *, sample: int = 500, seed: int = 0) -> float:
    """Return how similar texts are: the mean BLEU-n of each against all others, 0 to 100.

    Lower is more varied. Of more texts than ``sample`` as many are drawn by the seed. Papers
    print hundredths of it. A single text scores 0.

    Example:
        >>> round(self_bleu(["the cat sat down"] * 2), 1)
        100.0

    Source: Zhu et al. 2018, "Texygen: a benchmarking platform for text generation models",
        section 2.2 (https://arxiv.org/abs/1802.01886); zero counts are smoothed by 0.1, as there.
    """
    places = range(len(texts))
    if len(texts) > sample:
        places = sorted(random.Random(seed).sample(places, sample))  # type: ignore[assignment]
    if len(places) < 2:
        return 0.0
    split = [words(texts[i]) for i in places]
    grams = [ngrams(row, 1, n) for row in split]
    # By n-gram: in which text it stands most often, how often there, and at most elsewhere.
    most: dict[tuple[str, ...], tuple[int, int, int]] = {}
    for i, counts in enumerate(grams):
        for gram, count in counts.items():
            where, first, second = most.get(gram, (-1, 0, 0))
            more = (i, count, first) if count > first else (where, first, max(second, count))
            most[gram] = more
    lengths = Counter(map(len, split))
    total = 0.0
    for i, counts in enumerate(grams):

        def elsewhere(gram: tuple[str, ...], i: int = i) -> int:
            where, first, second = most[gram]
            return second if where == i else first

        others = lengths - Counter([len(split[i])])
        total += _sentence_bleu(counts, len(split[i]), elsewhere, others, n)
    return total / len(split)


def bleu_against(texts: Sequence[str], corpus: Sequence[str], n: int) -> float:
    """Return the mean BLEU-n of texts against all of a corpus as references, 0 to 100.

    For samples that answer nothing: an n-gram is right if it stands anywhere in the corpus.

    Example:
        >>> round(bleu_against(["the cat ran"], ["the cat sat down", "a dog"], 1), 1)
        66.7

    Source: Yu et al. 2017, "SeqGAN", section 5.2 (https://arxiv.org/abs/1609.05473); Zhu et al.
        2018, as in `self_bleu`.
    """
    known: dict[tuple[str, ...], int] = {}
    lengths = Counter[int]()
    for text in corpus:
        row = words(text)
        lengths[len(row)] += 1
        for gram, count in ngrams(row, 1, n).items():
            known[gram] = max(known.get(gram, 0), count)
    if not lengths:
        return 0.0
    split = map(words, texts)
    scores = [
        _sentence_bleu(ngrams(row, 1, n), len(row), lambda gram: known.get(gram, 0), lengths, n)
        for row in split
    ]
    return math.fsum(scores) / max(len(scores), 1)


def ngrams(row: Sequence[str], shortest: int, longest: int) -> Counter[tuple[str, ...]]:
    """Return how often each n-gram stands in a text, those of all lengths from shortest to longest.

    Example:
        >>> ngrams(["a", "b", "a"], 1, 2)[("a",)]
        2
    """
    return Counter(
        tuple(row[i : i + n]) for n in range(shortest, longest + 1) for i in range(len(row) - n + 1)
    )


def _sentence_bleu(
    counts: Counter[tuple[str, ...]],
    length: int,
    known: Callable[[tuple[str, ...]], int],
    lengths: Iterable[int],
    n: int,
) -> float:
    """Return the BLEU-n of a text; one shorter than n words has no n-grams that could be wrong."""
    right, total = [0] * n, [0] * n
    for gram, count in counts.items():
        total[len(gram) - 1] += count
        right[len(gram) - 1] += min(count, known(gram))
    nearest = min(lengths, key=lambda other: (abs(other - length), other))
    found = BLEU.compute_bleu(right, total, length, nearest, "floor", 0.1, True, n)
    return float(found.score)
