"""Quality against diversity of texts generated without a prompt, and two models compared by it.

Quality alone says little: a model that always writes one good sentence has it. Any model gives up
diversity for quality when its temperature falls, so two models are compared at equal diversity,
each as a curve over temperatures. Everything is measured on two samples of the same size; how far
they lie apart is how far a number can be trusted.

Source: Caccia et al. 2020, "Language GANs falling short", section 3
    (https://arxiv.org/abs/1811.02549).

Dimensions: N texts, V vocabulary.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfnlp.evaluation import diversity, plots
from tfnlp.report import Table

N_GRAM = 4  # of BLEU and self-BLEU
_ORDER = 3  # of the model of n-grams

Rows = Sequence[Sequence[int]]  # token ids, each row with its end token


@dataclass(frozen=True)
class Measured:
    """Measures of one sample of texts.

    Attributes:
        bleu: mean BLEU-4 against all references, 0 to 100; more is better.
        self_bleu: mean BLEU-4 of each against the others, 0 to 100; less is more varied.
        reverse_perplexity: of held-out text by a model of the sample's trigrams, a token; less is
            better, and only what is both good and varied has little.
    """

    bleu: float
    self_bleu: float
    reverse_perplexity: float


@dataclass(frozen=True)
class Point:
    """Two samples of one source.

    Attributes:
        label: what is written next to it: a temperature.
        halves: the two.
    """

    label: str
    halves: tuple[Measured, Measured]

    def mean(self, name: str) -> float:
        """Average a measure over both."""
        return sum(float(getattr(half, name)) for half in self.halves) / 2


@dataclass(frozen=True)
class Held:
    """Held-out text that others are measured against.

    Attributes:
        texts: the references of BLEU.
        rows: the same as token ids.
        size: V.

    Example::

        held = Held(texts, rows, size=len(vocabulary))
        held.point("0.8", written, written_rows).mean("bleu")
    """

    texts: Sequence[str]
    rows: Rows
    size: int

    def measure(self, texts: Sequence[str], rows: Rows) -> Measured:
        """Measure one sample; of others to be compared with it, N must be the same.

        Args:
            texts: N texts.
            rows: the same as token ids.
        """
        return Measured(
            diversity.bleu_against(texts, self.texts, N_GRAM),
            diversity.self_bleu(texts, N_GRAM, sample=len(texts)),
            reverse_perplexity(rows, self.rows, self.size),
        )

    def point(self, label: str, texts: Sequence[str], rows: Rows) -> Point:
        """Measure two samples, the first and the second half of N texts."""
        middle = len(texts) // 2
        halves = (slice(0, middle), slice(middle, 2 * middle))
        first, second = (self.measure(texts[half], rows[half]) for half in halves)
        return Point(label, (first, second))


def reverse_perplexity(written: Rows, held: Rows, size: int) -> float:
    """Return the perplexity per token of held-out text, by trigrams of written text.

    Each order's model is mixed with that of the order below by the number of different tokens seen
    after its history; the lowest is even over the vocabulary, so that it is always finite.

    Args:
        written: token ids of what a model wrote.
        held: token ids of real text.
        size: V.

    Example:
        >>> round(reverse_perplexity([[0, 1]] * 50, [[0, 1]], size=4), 1)
        1.0

    Source: Zhao et al. 2018, "Adversarially regularized autoencoders", section 6
        (https://arxiv.org/abs/1706.04223), by a recurrent network; Witten and Bell 1991, "The
        zero-frequency problem", method C; Chen and Goodman 1999, "An empirical study of smoothing
        techniques for language modeling", section 2.5.
    """
    after: dict[tuple[int, ...], Counter[int]] = {}
    for row in written:
        for history, token in _histories(row):
            for length in range(_ORDER):
                context = history[len(history) - length :]
                after.setdefault(context, Counter())[token] += 1
    totals = {history: (counts.total(), len(counts)) for history, counts in after.items()}
    nats, tokens = 0.0, 0
    for row in held:
        for history, token in _histories(row):
            share = 1 / size
            for length in range(_ORDER):
                context = history[len(history) - length :]
                if context not in after:
                    break
                count, different = totals[context]
                share = (after[context][token] + different * share) / (count + different)
            nats -= math.log(share)
            tokens += 1
    return math.exp(nats / max(tokens, 1))


def _histories(row: Sequence[int]) -> list[tuple[tuple[int, ...], int]]:
    """Return each token of a row with the two before it; -1 is before the first."""
    padded = [-1] * (_ORDER - 1) + list(row)
    places = range(_ORDER - 1, len(padded))
    return [(tuple(padded[i - _ORDER + 1 : i]), padded[i]) for i in places]


@dataclass(frozen=True)
class Gap:
    """How far one curve lies above another at equal self-BLEU.

    Attributes:
        halves: the mean difference of BLEU-4, on each of the two samples.
        low: self-BLEU from which both have been measured.
        high: self-BLEU up to which.
    """

    halves: tuple[float, float]
    low: float
    high: float


def gap(curve: Sequence[Point], other: Sequence[Point]) -> Gap | None:
    """Return how far one curve lies above another, by straight lines between their points.

    Returns:
        How much better the first is than the second; None if no diversity is common to both.

    Example::

        gap(curves["gan"], curves["mle"])  # None if they have no diversity in common
    """
    differences = []
    ranges = []
    for half in (0, 1):
        lines = [_line(points, half) for points in (curve, other)]
        low, high = max(x[0] for x, _ in lines), min(x[-1] for x, _ in lines)
        if low >= high:
            return None
        grid = np.linspace(low, high, 50)
        first, second = (np.interp(grid, x, y) for x, y in lines)
        differences.append(float((first - second).mean()))
        ranges.append((low, high))
    lows, highs = zip(*ranges, strict=True)
    return Gap((differences[0], differences[1]), sum(lows) / 2, sum(highs) / 2)


def _line(points: Sequence[Point], half: int) -> tuple[list[float], list[float]]:
    """Return self-BLEU, increasing, and BLEU of one sample of each point."""
    pairs = sorted((p.halves[half].self_bleu, p.halves[half].bleu) for p in points)
    return [x for x, _ in pairs], [y for _, y in pairs]


def verdict(name: str, other: str, found: Gap | None) -> str:
    """Return a sentence on which of two is better at equal diversity, as measured.

    Example:
        >>> verdict("gan", "mle", Gap((1.0, 0.8), 20.0, 30.0)).partition(" (gan minus")[0]
        'at equal diversity (self-BLEU-4 20.0 to 30.0) gan is better than mle by 0.90 BLEU-4'
    """
    if found is None:
        return (
            f"at no temperature measured are {name} and {other} equally varied (self-BLEU), so "
            "neither can be called better"
        )
    first, second = found.halves
    mean = (first + second) / 2
    where = f"at equal diversity (self-BLEU-{N_GRAM} {found.low:.1f} to {found.high:.1f})"
    shown = f"{first:+z.2f} and {second:+z.2f} on two samples of one run"
    if abs(mean) <= abs(first - second):  # two standard errors of a mean of two
        return f"{where} neither is better: {name}'s BLEU-{N_GRAM} minus {other}'s is {shown}"
    better, worse = (name, other) if mean > 0 else (other, name)
    return (
        f"{where} {better} is better than {worse} by {abs(mean):.2f} BLEU-{N_GRAM} ({name} minus "
        f"{other}: {shown})"
    )


def table(title: str, curves: Mapping[str, Sequence[Point]]) -> Table:
    """Return a table of all points: means of two samples, and half of how far they lie apart.

    Example::

        print(markdown(table("Curves", {"gan": points})))
    """
    header = (
        "written by",
        "temperature",
        f"BLEU-{N_GRAM}",
        f"self-BLEU-{N_GRAM}",
        "reverse perplexity",
    )
    measures = {"bleu": 2, "self_bleu": 2, "reverse_perplexity": 1}
    rows = [
        (name, point.label, *(_shown(point, *m) for m in measures.items()))
        for name, points in curves.items()
        for point in points
    ]
    return Table(title, header, rows)


def _shown(point: Point, name: str, digits: int) -> str:
    """Write a measure with its spread."""
    first, second = (getattr(half, name) for half in point.halves)
    return f"{(first + second) / 2:.{digits}f} ± {abs(first - second) / 2:.{digits}f}"


def picture(curves: Mapping[str, Sequence[Point]]) -> Any:
    """Return a Matplotlib figure of the curves: better is higher, more varied to the left.

    Example::

        picture({"gan": points, "mle": others}).savefig("curves.png")
    """
    return plots.plane(
        "quality and diversity",
        f"self-BLEU-{N_GRAM} (less is more varied)",
        f"BLEU-{N_GRAM} against held-out text (more is better)",
        {
            name: [(p.mean("self_bleu"), p.mean("bleu"), p.label) for p in points]
            for name, points in curves.items()
        },
    )
