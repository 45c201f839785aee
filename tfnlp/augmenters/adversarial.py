"""Words replaced so that a trained model errs, while the meaning stays: TextFooler with guards."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipelines import attack
from pipelines.attack import Ask, Bounds
from pipelines.augmentation import Edit, Span
from pipelines.errors import UserError
from pipelines.lexicons.words import Language, required
from tfnlp.extensions import Augmenter, Material
from tfnlp.extensions.attacking import scores_of, vectors_of
from tfnlp.options import option
from tfnlp.task import Task


@dataclass(frozen=True)
class Options:
    """Which model is attacked, and how far the attack goes.

    Example::

        python -m tfnlp.train --train rows.csv --augment adversarial --adversarial-model RUN
    """

    model: str | None = option(
        None, "model of --task classification that is attacked: a run, a SavedModel or a server"
    )
    similarity: str = option(
        "minilm-l6-en",
        "what tells how near texts are: a model of --task similarity, or an encoder's name",
    )
    similar: float = option(
        0.85, "least cosine of a text's vectors before and after", minimum=0.0, maximum=1.0
    )
    cosine: float = option(
        0.5, "least cosine of a word's vector and another's", minimum=0.0, maximum=1.0
    )
    share: float = option(
        0.25, "largest share of a text's words that is replaced", minimum=0.01, maximum=1.0
    )
    queries: int = option(
        300, "times that the model is asked about a text at most [queries]", minimum=3
    )


@dataclass(frozen=True)
class Opened:
    """What an attack asks, and how far it goes."""

    scores: Ask
    vectors: Ask
    languages: frozenset[Language]
    bounds: Bounds


def fits(task: Task, settings: Any, options: Options) -> None:
    """Refuse to begin without a model to attack.

    Raises:
        UserError: none is named, or the task reads several texts.

    Example::

        fits(load("classification"), settings, Options())  # raises
    """
    if options.model is None:
        raise UserError(
            "--augment adversarial has no model to attack (name one that was trained on such rows: "
            "--adversarial-model RUN)"
        )


def opened(material: Material, options: Options) -> Opened:
    """Load the model that is attacked, and the one that tells how near texts are.

    Raises:
        UserError: there is no such model, it gives no labels, or the texts are in a language
            without vectors.

    Example::

        opened(material, Options(model="trec-classification"))
    """
    languages = required(material.texts(), "adversarial", material.rows.source)
    scores, _ = scores_of(material.load(str(options.model)))
    vectors = vectors_of(options.similarity, material.load, languages)
    bounds = Bounds(
        options.cosine, options.similar, options.share, Bounds.candidates, options.queries
    )
    return Opened(scores, vectors, languages, bounds)


def edit_all(
    texts: Sequence[str],
    spans: Sequence[Sequence[Span]],
    randoms: Sequence[random.Random],
    opened: Opened,
) -> list[list[Edit]]:
    """Replace words of each text so that the model is less sure, or gives another answer.

    Args:
        texts: any.
        spans: of each text, which nothing is changed in.
        randoms: draw for each text which words are tried.
        opened: of `opened`.

    Returns:
        Replacements of single words; none of a text that withstands.

    Example::

        edit_all(["A good movie"], [[]], [random.Random(0)], opened)

    Source: Jin et al. 2020, "Is BERT really robust?", section 4.4, which trains on such texts
        (https://arxiv.org/abs/1907.11932).
    """
    found = attack.attack(
        texts,
        opened.scores,
        opened.vectors,
        opened.languages,
        bounds=opened.bounds,
        spans=spans,
        randoms=randoms,
    )
    return [one.edits for one in found]


AUGMENTER = Augmenter(
    summary="replace words so that a trained model errs, within bounds (TextFooler, with guards)",
    options=Options,
    edit_all=edit_all,
    open=opened,
    fits=fits,
)
