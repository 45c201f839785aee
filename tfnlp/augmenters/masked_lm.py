"""Words hidden and filled in anew by a masked language model."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipelines import text_pieces
from pipelines.augmentation import Edit, Span, applied
from pipelines.errors import UserError
from pipelines.lexicons import chinese, english, guards
from pipelines.lexicons.words import Language, Word, required
from tfnlp.augmenters import _words
from tfnlp.extensions import Augmenter, Material, Subject
from tfnlp.options import option
from tfnlp.task import Task

_MASK = "[MASK]"
_LONGEST = 400  # characters that the model is asked about together, whole sentences


@dataclass(frozen=True)
class Options:
    """Which model fills in, and how much.

    Example::

        python -m tfnlp.train --train rows.csv --augment masked_lm --masked-lm-model RUN
    """

    model: str | None = option(
        None, "model of --task masked_lm that fills in: a run, a SavedModel or a server"
    )
    share: float = option(
        0.15, "share of a text's words that are hidden, one at least", minimum=0.01, maximum=1.0
    )
    score: float = option(
        0.02, "least probability of a word that is filled in", minimum=0.0, maximum=1.0
    )


@dataclass(frozen=True)
class Opened:
    """What fills in, and the languages of the rows."""

    subject: Subject
    options: Options
    languages: frozenset[Language]


class _Gap(NamedTuple):
    """A text's number, a word that is hidden, and the word before it."""

    text: int
    word: Word
    before: str


def fits(task: Task, settings: Any, options: Options) -> None:
    """Refuse to begin without a model.

    Raises:
        UserError: none is named.

    Example::

        fits(load("classification"), settings, Options())  # raises
    """
    if options.model is None:
        raise UserError(
            "--augment masked_lm has no model to fill in with (train one on texts like these: "
            "python -m tfnlp.train --task masked_lm; then --masked-lm-model RUN)"
        )


def opened(material: Material, options: Options) -> Opened:
    """Load the model.

    Raises:
        UserError: there is no such model, it fills no gaps, or the language has no guards.

    Example::

        opened(material, Options(model="wikitext2-masked_lm"))
    """
    languages = required(material.texts(), "masked_lm", material.rows.source)
    subject = material.load(str(options.model))
    names = [column.name for column in subject.inputs]
    answer = subject.answer({"text": [f"It is {_MASK}."]})[0] if names == ["text"] else {}
    if not isinstance(answer.get("masks"), list) or len(answer["masks"]) != 1:
        raise UserError(
            f"{options.model} does not fill in {_MASK} (name a model of --task masked_lm)"
        )
    return Opened(subject, options, languages)


def edit_all(
    texts: Sequence[str],
    spans: Sequence[Sequence[Span]],
    randoms: Sequence[random.Random],
    opened: Opened,
) -> list[list[Edit]]:
    """Hide some words that the guards leave free, and put in what the model expects instead.

    What is put in is of the same part of speech and form, no opposite, and nothing that a guard
    would keep; a model of gaps is otherwise as ready to say ``bad`` as ``good``.

    Args:
        texts: any.
        spans: of each text, which nothing is changed in.
        randoms: draw for each text the words, and what of the five likeliest is put in.
        opened: of `opened`.

    Returns:
        Replacements of single words.

    Example::

        edit_all(["A good movie"], [[]], [random.Random(0)], opened)

    Source: Kobayashi 2018, "Contextual augmentation", section 2 (https://arxiv.org/abs/1805.06201);
        Wu et al. 2019, "Conditional BERT contextual augmentation" (https://arxiv.org/abs/1812.06705).
    """
    asked: list[tuple[str, list[_Gap]]] = []
    for number, text in enumerate(texts):
        if _MASK not in text:
            asked += _hidden(number, text, spans[number], randoms[number], opened)
    edits: list[list[Edit]] = [[] for _ in texts]
    if not asked:
        return edits
    answers = opened.subject.answer({"text": [text for text, _ in asked]})
    for (_, gaps), answer in zip(asked, answers, strict=True):
        masks = iter(answer["masks"])
        for gap in gaps:
            size = _size(gap.word)
            filled = list(itertools.islice(masks, size))
            found = list(_fillings(gap, filled, opened)) if len(filled) == size else []
            if found:
                other = randoms[gap.text].choice(found)
                other = other[:1].upper() + other[1:] if gap.word.text.istitle() else other
                edits[gap.text].append(Edit(gap.word.start, gap.word.end, other))
    return edits


def _hidden(
    number: int, text: str, spans: Sequence[Span], generator: random.Random, opened: Opened
) -> Iterator[tuple[str, list[_Gap]]]:
    """Yield parts of a text with gaps, and the words that were there."""
    read = _words.read(text, spans, opened.languages)
    count = min(_words.wanted(opened.options.share, len(read.words)), len(read.free))
    gaps = [
        _Gap(number, read.words[place], read.before(place))
        for place in sorted(generator.sample(read.free, count))
    ]
    for start, end in _parts(text):
        inside = [gap for gap in gaps if start <= gap.word.start and gap.word.end <= end]
        if inside:
            places = [
                # In Chinese a gap for each character.
                Edit(g.word.start - start, g.word.end - start, _MASK * _size(g.word))
                for g in inside
            ]
            yield applied(text[start:end], places), inside


def _size(word: Word) -> int:
    """Return how many gaps stand for a word."""
    return len(word.text) if word.kind == "zh" else 1


def _parts(text: str) -> Iterator[tuple[int, int]]:
    """Yield neighbouring sentences together, as many as the model is asked about at once."""
    begin = last = 0
    for start, end in text_pieces.sentences(text):
        if end - begin > _LONGEST and last > begin:
            yield begin, last
            begin = start
        last = end
    yield begin, len(text)


def _fillings(gap: _Gap, filled: Sequence[Any], opened: Opened) -> Iterator[str]:
    """Yield the words that may stand in a gap."""
    word, least = gap.word, opened.options.score
    if word.kind == "zh":
        other = "".join(one["token"].lstrip("▁#") for one in filled)
        tags = [chinese.vocabulary().tag(each)[:1] for each in (word.text, other)]
        fits = tags[0] == tags[1] and all(one["score"] >= least for one in filled)
        if fits and other != word.text and _passes(word.text, other, "zh"):
            yield other
        return
    lower = word.text.lower()
    for token, score in zip(filled[0]["tokens"], filled[0]["scores"], strict=True):
        other = token.lstrip("▁")
        fits = english.same_use(lower, other, gap.before)
        fits = fits and english.fits_article(lower, other, gap.before)
        if score >= least and other.isalpha() and fits and _passes(lower, other, "en"):
            yield other


def _passes(word: str, other: str, language: Language) -> bool:
    """Return whether no guard would keep a word that is to be put in, and it is no opposite."""
    return not guards.decides(other, language) and not guards.opposed(word, other, language)


AUGMENTER = Augmenter(
    summary="hide words and let a masked language model fill them in",
    options=Options,
    edit_all=edit_all,
    open=opened,
    fits=fits,
)
