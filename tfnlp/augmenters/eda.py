"""EDA: synonyms replaced or inserted, words swapped or left out, but none that decides meaning."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.augmentation import Edit, Span
from pipelines.lexicons import guards, neighbours
from tfnlp.augmenters import _words
from tfnlp.extensions import Augmenter
from tfnlp.options import option


@dataclass(frozen=True)
class Options:
    """Shares of the words that each operation changes; 0 leaves an operation out.

    Example::

        python -m tfnlp.train --train rows.csv --augment eda --eda-deletion 0
    """

    synonym: float = option(
        0.1, "share of words replaced by synonyms; 0 is never", minimum=0.0, maximum=1.0
    )
    insertion: float = option(
        0.1, "share of words of which a synonym is inserted; 0 is never", minimum=0.0, maximum=1.0
    )
    swap: float = option(
        0.1, "share of words that change places; 0 is never", minimum=0.0, maximum=1.0
    )
    deletion: float = option(
        0.1, "share of words that are left out; 0 is never", minimum=0.0, maximum=1.0
    )


def edit(
    text: str, spans: Sequence[Span], random: random.Random, opened: _words.Opened
) -> list[Edit]:
    """Change a text by one operation that is drawn, or by another if that one changes nothing.

    Args:
        text: any.
        spans: that nothing is changed in.
        random: draws the operation, the words and their synonyms.
        opened: of `AUGMENTER.open`; languages without a thesaurus have no synonyms.

    Returns:
        Edits of one operation; none where no word may be changed.

    Example::

        edit("A good movie", [], random.Random(0), opened)

    Source: Wei and Zou 2019, "EDA: Easy data augmentation techniques", section 2
        (https://arxiv.org/abs/1901.11196). There negators, numbers and names are changed too.
    """
    read = _words.read(text, spans, opened.languages)
    operations = [
        (share, operation)
        for share, operation in (
            (opened.options.synonym, _replaced),
            (opened.options.insertion, _inserted),
            (opened.options.swap, _swapped),
            (opened.options.deletion, _deleted),
        )
        if share
    ]
    for share, operation in random.sample(operations, len(operations)):
        if edits := operation(read, share, random, opened.telling):
            return edits
    return []


def _replaced(
    read: _words.Text, share: float, generator: random.Random, telling: frozenset[str]
) -> list[Edit]:
    """Replace words by synonyms."""
    return _words.swapped_words(
        read, share, generator, lambda i: neighbours.synonyms(read.words[i], read.before(i))
    )


def _inserted(
    read: _words.Text, share: float, generator: random.Random, telling: frozenset[str]
) -> list[Edit]:
    """Insert synonyms of words before others."""
    places = [i for i in read.free if not read.within(read.words[i].start, read.words[i].start)]
    count = _words.wanted(share, len(read.words))
    edits: dict[int, Edit] = {}
    for place in generator.sample(read.free, len(read.free)):
        found = neighbours.synonyms(read.words[place], read.before(place))
        if not found or len(edits) == count:
            continue
        where = read.words[generator.choice(places)]
        space = "" if where.kind == "zh" else " "
        edits[where.start] = Edit(where.start, where.start, generator.choice(found) + space)
    return list(edits.values())


def _swapped(
    read: _words.Text, share: float, generator: random.Random, telling: frozenset[str]
) -> list[Edit]:
    """Let pairs of words of a clause change places."""
    pairs = []
    for clause in _words.clauses(read, telling):
        order = generator.sample(clause, len(clause))
        pairs += list(zip(order[::2], order[1::2], strict=False))
    edits: list[Edit] = []
    for first, second in generator.sample(pairs, len(pairs)):
        if len(edits) < 2 * _words.wanted(share, len(read.words)) and first.text != second.text:
            edits.append(Edit(first.start, first.end, second.text))
            edits.append(Edit(second.start, second.end, first.text))
    return edits


def _deleted(
    read: _words.Text, share: float, generator: random.Random, telling: frozenset[str]
) -> list[Edit]:
    """Leave words out that tell nothing of the label, each with the space before it; one stays."""
    spare = [
        i
        for i in read.free
        if read.words[i].text.lower() not in telling and not guards.judges(read.words[i])
    ]
    count = min(_words.wanted(share, len(read.words)), len(spare), len(read.free) - 1)
    edits = []
    for place in sorted(generator.sample(spare, max(count, 0))):
        word = read.words[place]
        start = word.start
        if read.text[start - 1 : start] == " " and not read.within(start - 1, start):
            start -= 1
        edits.append(Edit(start, word.end, ""))
    return edits


AUGMENTER = Augmenter(
    summary="replace, insert, swap or leave out words (EDA)",
    options=Options,
    edit=edit,
    open=_words.any_language,
)
