"""Sentences translated into another language and back."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines import text_pieces
from pipelines.augmentation import Edit, Span, touches
from pipelines.errors import UserError
from pipelines.lexicons import guards
from pipelines.lexicons.words import Language, languages_of, words
from tfnlp.extensions import Augmenter, Material
from tfnlp.options import option
from tfnlp.task import Task

if TYPE_CHECKING:
    from tfnlp.inference.served import Served

_SEEDS = 2**31 - 1


@dataclass(frozen=True)
class Options:
    r"""Which models translate.

    Example::

        python -m tfnlp.train --train rows.csv --augment back_translation \
            --back-translation-there en-es --back-translation-back es-en
    """

    there: str | None = option(
        None, "SavedModel of --task translation out of the rows' language, or a server"
    )
    back: str | None = option(
        None, "SavedModel of --task translation that goes back into it, or a server"
    )
    temperature: float = option(
        0.7, "temperature of the sampled translations; 0 is always the same", minimum=0.0
    )


@dataclass(frozen=True)
class Opened:
    """Both models, and the languages of the rows."""

    there: Served
    back: Served
    options: Options
    languages: frozenset[Language]


def fits(task: Task, settings: Any, options: Options) -> None:
    """Refuse to begin without both models.

    Raises:
        UserError: one of them is not named.

    Example::

        fits(load("classification"), settings, Options())  # raises
    """
    if options.there is None or options.back is None:
        raise UserError(
            "--augment back_translation needs two models of --task translation (give "
            "--back-translation-there MODEL and --back-translation-back MODEL)"
        )


def opened(material: Material, options: Options) -> Opened:
    """Open both models.

    Raises:
        UserError: there is no such model, or it does not translate.

    Example::

        opened(material, Options(there="en-es", back="es-en"))
    """
    from tfnlp.inference import served

    models = [served.open(str(name)) for name in (options.there, options.back)]
    for model in models:
        if not model.settings:
            raise UserError(
                f"{model.name} does not write (name a SavedModel of --task translation, which "
                "python -m tfnlp.train writes below saved_models)"
            )
    return Opened(models[0], models[1], options, languages_of(material.texts()))


def edit_all(
    texts: Sequence[str],
    spans: Sequence[Sequence[Span]],
    randoms: Sequence[random.Random],
    opened: Opened,
) -> list[list[Edit]]:
    """Translate one sentence of each text there and back; of short texts that is all of it.

    A sentence with a span in it is left alone. So is one that comes back with other numbers, names,
    units or addresses, or with more or fewer negators: models of translation lose such things.

    Args:
        texts: any.
        spans: of each text, which nothing is changed in.
        randoms: draw for each text the sentence, and the seeds of its translations.
        opened: of `opened`.

    Returns:
        Replacements of whole sentences, one a text at most.

    Example::

        edit_all(["It rained."], [[]], [random.Random(0)], opened)

    Source: Xie et al. 2020, "Unsupervised data augmentation for consistency training", section 2.2
        (https://arxiv.org/abs/1904.12848), who sample at 0.9.
    """
    chosen = []
    for i, text in enumerate(texts):
        within = touches(spans[i])
        free = [
            place
            for place in text_pieces.sentences(text)
            if not within(*place) and re.search(r"\w", text[slice(*place)])
        ]
        if free:
            chosen.append((i, randoms[i].choice(free)))
    edits: list[list[Edit]] = [[] for _ in texts]
    if not chosen:
        return edits
    before = [texts[i][slice(*place)] for i, place in chosen]
    # One seed a call: a row's own would want a call a row.
    seed = randoms[chosen[0][0]].randrange(_SEEDS)
    after = _translated(opened.back, _translated(opened.there, before, opened, seed), opened, seed)
    for (i, place), one, other in zip(chosen, before, after, strict=True):
        if other.strip() and _kept(one, opened.languages) == _kept(other, opened.languages):
            edits[i].append(Edit(*place, other.strip()))
    return edits


def _translated(model: Served, texts: Sequence[str], opened: Opened, seed: int) -> list[str]:
    """Return the translations of texts; of an empty one nothing."""
    there = [text for text in texts if text.strip()]
    how: dict[str, Any] = {"temperature": opened.options.temperature, "sampling_seed": seed}
    answers = iter(model.predict(there, **how) if there else [])
    return [str(next(answers)["generated"]) if text.strip() else "" for text in texts]


def _kept(text: str, languages: frozenset[Language]) -> Counter[str]:
    """Return what a translation must not lose: negators counted, the rest by themselves."""
    found = words(text, languages)
    kept: Counter[str] = Counter()
    for word, why in zip(found, guards.reasons(text, found), strict=True):
        if why == "negator":
            kept["a negator"] += 1
        elif why in ("number", "unit", "name") or word.kind == "fixed":
            kept[word.text.casefold()] += 1
    return kept


AUGMENTER = Augmenter(
    summary="translate sentences into another language and back",
    options=Options,
    edit_all=edit_all,
    open=opened,
    fits=fits,
)
