"""A file of labels, with descriptions if it has any: the rows of a model without training rows."""

from __future__ import annotations

import re

from pipelines import rows as files
from pipelines.errors import UserError
from pipelines.rows import Column, Rows
from tfnlp.config import Experiment

_LABEL = Column("label", "text", "a label", ("text", "name", "class", "category", "intent"))
_DESCRIPTION = Column(
    "description", "labels", "what it means", ("definition", "meaning"), optional=True
)


def read(experiment: Experiment) -> Rows | None:
    """Return the labels that ``--labels`` names, a row each; None if it names none.

    Returns:
        The columns ``text``, a label's description or else its name in words, and ``label``. What
        stands there twice is there once; a label with several descriptions has several rows.

    Raises:
        UserError: the file cannot be read, or holds fewer than two labels, or two that read alike.

    Example::

        read(experiment).columns  # {"text": ["card arrival"], "label": ["card_arrival"]}
    """
    data = experiment.data
    if data.labels is None:
        return None
    found, pairs = _pairs(experiment)
    owner: dict[str, str] = {}
    for (name, text), number in zip(pairs, found.numbers, strict=True):
        if owner.setdefault(text.casefold(), name) != name:
            raise UserError(
                f"{data.labels}, row {number}: the labels {owner[text.casefold()]!r} and {name!r} "
                "read the same, so no text can be told apart by them (describe them in a column "
                "description)"
            )
    if len(set(owner.values())) < 2:
        raise UserError(
            f"{data.labels} holds {len(set(owner.values()))} label, too few to choose from"
        )
    kept = [i for i, pair in enumerate(pairs) if pair not in pairs[:i]]
    columns = {"text": [pairs[i][1] for i in kept], "label": [pairs[i][0] for i in kept]}
    return Rows(data.labels, columns, [found.numbers[i] for i in kept], found.bad, found.notes)


def repeated(experiment: Experiment) -> list[str]:
    """Return the labels that stand in the file more than once with the same description.

    Example::

        repeated(experiment)  # ["lost card"]
    """
    _, pairs = _pairs(experiment)
    return sorted({name for i, (name, text) in enumerate(pairs) if (name, text) in pairs[:i]})


def _pairs(experiment: Experiment) -> tuple[Rows, list[tuple[str, str]]]:
    """Return the file's rows, and of each the label and what it means in words."""
    data = experiment.data
    columns = (_LABEL, _DESCRIPTION)  # a cell is one description, or none
    found = files.read(str(data.labels), columns, label_separator="\n", layout=data.layout())
    names = [name.strip() for name in found.columns["label"]]
    told = found.columns.get("description", [[]] * len(names))
    texts = [" ".join(d).strip() or in_words(n) for d, n in zip(told, names, strict=True)]
    return found, list(zip(names, texts, strict=True))


def in_words(name: str) -> str:
    """Return a label's name as a person would write it.

    Example:
        >>> in_words("card_arrival"), in_words("LostOrStolenCard"), in_words("卡_到达")
        ('card arrival', 'Lost Or Stolen Card', '卡 到达')
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.sub(r"[_\s]+", " ", spaced).strip() or name
