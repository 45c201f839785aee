"""What the tasks with labels share, be it one for a row, several, or one for each span."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from pipelines.rows import BadRow, Rows


def unseen_labels(rows: Rows, column: str, known: Collection[str]) -> Iterator[BadRow]:
    """Yield the rows with a label, or one of several, that is none of ``known``.

    Example:
        >>> rows = Rows("a.csv", {"label": ["dog", "cat"]}, [1, 2])
        >>> [bad.number for bad in unseen_labels(rows, "label", {"cat"})]
        [1]
    """
    for number, value in zip(rows.numbers, rows.columns[column], strict=True):
        for label in [value] if isinstance(value, str) else value:
            if label not in known:
                yield BadRow(
                    number,
                    f"label {label!r} is not among the training labels (correct it or add "
                    "training rows with that label)",
                )
                break


def grown(facts: Mapping[str, Any], labels: Iterable[str]) -> dict[str, Any]:
    """Return the facts of a model that goes on from an earlier one, on rows with these labels.

    New labels follow the earlier ones in alphabetical order, so that what the head has learned of a
    label keeps its place; ``grown`` tells how many there were before each time that some came.

    Example:
        >>> grown({"labels": ["cat", "dog"]}, ["dog", "bee"])
        {'labels': ['cat', 'dog', 'bee'], 'grown': [2]}
    """
    known = list(facts["labels"])
    new = sorted(set(labels) - set(known))
    counts = [*facts.get("grown", []), *([len(known)] if new else [])]
    return {**facts, "labels": known + new, **({"grown": counts} if counts else {})}


def spread(
    facts: Mapping[str, Any], own: Mapping[str, Any], name: str, otherwise: float
) -> list[float]:
    """Return a fact with a number a label, as new rows give it, in the order of grown labels.

    Args:
        facts: grown.
        own: facts that the new rows alone give, ``name`` among them.
        name: of the fact.
        otherwise: the number of labels that the new rows have none of.

    Example:
        >>> spread({"labels": ["b", "a"]}, {"labels": ["a"], "weights": [3.0]}, "weights", 1.0)
        [1.0, 3.0]
    """
    values = dict(zip(own["labels"], own[name], strict=True))
    return [values.get(label, otherwise) for label in facts["labels"]]
