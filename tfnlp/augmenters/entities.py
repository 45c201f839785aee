"""Entities replaced by others of their type that the training rows have."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.augmentation import Edit, Span
from pipelines.errors import UserError
from tfnlp.extensions import Augmenter, Material
from tfnlp.options import option
from tfnlp.task import Task


@dataclass(frozen=True)
class Options:
    """How many entities are replaced.

    Example::

        python -m tfnlp.train --task ner --train rows.conll --augment entities
    """

    share: float = option(
        0.5, "share of a text's entities that are replaced, one at least", minimum=0.01, maximum=1.0
    )


@dataclass(frozen=True)
class Mentions:
    """The options, and by type what the training rows name, each once, in its capitals."""

    options: Options
    by_type: Mapping[str, Sequence[str]]


def fits(task: Task, settings: Any, options: Options) -> None:
    """Refuse a task whose rows have no entities.

    Raises:
        UserError: the task's targets are something else.

    Example::

        fits(load("classification"), settings, Options())  # raises
    """
    if not any(one.kind == "spans" for one in task.target_columns(settings)):
        raise UserError(
            "--augment entities is for rows with entities, which those of this task are not (take "
            "--task ner, or another augmenter)"
        )


def opened(material: Material, options: Options) -> Mentions:
    """Collect the entities of the training rows.

    Raises:
        UserError: no type has two entities.

    Example::

        opened(material, Options()).by_type["PER"]  # ("Ada Lovelace", "Alan Turing")
    """
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for target in (one for one in material.targets if one.kind == "spans"):
        texts = material.rows.columns[target.of]
        for text, spans in zip(texts, material.rows.columns[target.name], strict=True):
            for start, end, label in spans:
                found[label][text[start:end]] = None
    by_type = {label: tuple(texts) for label, texts in found.items() if len(texts) > 1}
    if not by_type:
        raise UserError(
            f"{material.rows.source} has no two entities of one type, so --augment entities has "
            "nothing to replace one by (add rows, or leave it out)"
        )
    return Mentions(options, by_type)


def edit(text: str, spans: Sequence[Span], random: random.Random, mentions: Mentions) -> list[Edit]:
    """Replace some entities as a whole by others of their type.

    Two that overlap are left alone.

    Args:
        text: any.
        spans: its entities.
        random: draws which are replaced, and by what.
        mentions: of `opened`.

    Returns:
        Replacements of whole spans; none of a text without entities.

    Example::

        edit("Ada sings", [Span(0, 3, "PER")], random.Random(0), mentions)

    Source: mention replacement of Dai and Adel 2020, "An analysis of simple data augmentation for
        named entity recognition", section 3 (https://aclanthology.org/2020.coling-main.343).
    """
    alone = [
        one
        for one in spans
        if one.end > one.start
        and one.label in mentions.by_type
        and not any(s is not one and s.start < one.end and one.start < s.end for s in spans)
    ]
    count = max(1, round(mentions.options.share * len(alone)))
    edits = []
    for one in random.sample(alone, min(count, len(alone))):
        here = text[one.start : one.end]
        others = [other for other in mentions.by_type[one.label] if other != here]
        if others:
            edits.append(Edit(one.start, one.end, random.choice(others)))
    return edits


AUGMENTER = Augmenter(
    summary="replace entities by others of their type",
    options=Options,
    edit=edit,
    open=opened,
    fits=fits,
)
