"""What the tasks with labels share, be it one for a row, several, or one for each span."""

from __future__ import annotations

from collections.abc import Collection, Iterator

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
