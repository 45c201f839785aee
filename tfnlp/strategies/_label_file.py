"""A file of labels, with descriptions if it has any: the rows of a model without training rows."""

from __future__ import annotations

import re

from pipelines import rows as files
from pipelines.errors import UserError
from pipelines.rows import BadRow, Column, Rows
from tfnlp.config import Experiment

_LABEL = Column("label", "text", "a label", ("text", "name", "class", "category", "intent"))
_DESCRIPTION = Column(
    "description", "labels", "what it means", ("definition", "meaning"), optional=True
)


def read(experiment: Experiment) -> Rows | None:
    """Return the labels that ``--labels`` names, a row each; None if it names none.

    Returns:
        The columns ``text``, a label's description or else its name in words, and ``label``. What
        stands there twice is among the bad ones; a label with several descriptions has several
        rows.

    Raises:
        UserError: the file cannot be read, or holds fewer than two labels, or two that read alike.

    Example::

        read(experiment).columns  # {"text": ["card arrival"], "label": ["card_arrival"]}
    """
    data = experiment.data
    if data.labels is None:
        return None
    columns_read = (_LABEL, _DESCRIPTION)  # a cell is one description, or none
    found = files.read(data.labels, columns_read, label_separator="\n", layout=data.layout())
    names = [name.strip() for name in found.columns["label"]]
    told = found.columns.get("description", [[]] * len(names))
    texts = [" ".join(d).strip() or in_words(n) for d, n in zip(told, names, strict=True)]
    places: dict[tuple[str, str], int] = {}
    bad = list(found.bad)
    owner: dict[str, str] = {}
    for place, (name, text) in enumerate(zip(names, texts, strict=True)):
        number = found.numbers[place]
        if (name, text) in places:
            bad.append(BadRow(number, f"the label {name!r} stands there twice, and counts once"))
            continue
        if owner.setdefault(text.casefold(), name) != name:
            raise UserError(
                f"{data.labels}, row {number}: the labels {owner[text.casefold()]!r} and {name!r} "
                "read the same, so no text can be told apart by them (describe them in a column "
                "description)"
            )
        places[name, text] = place
    if len(set(names)) < 2:
        raise UserError(f"{data.labels} holds {len(set(names))} label, too few to choose from")
    kept = list(places.values())
    columns = {"text": [texts[i] for i in kept], "label": [names[i] for i in kept]}
    return Rows(data.labels, columns, [found.numbers[i] for i in kept], bad, found.notes)


def in_words(name: str) -> str:
    """Return a label's name as a person would write it.

    Example:
        >>> in_words("card_arrival"), in_words("LostOrStolenCard"), in_words("卡_到达")
        ('card arrival', 'Lost Or Stolen Card', '卡 到达')
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.sub(r"[_\s]+", " ", spaced).strip() or name
