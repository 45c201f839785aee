"""The rows of a run: train, validation and test, from files or a data set."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.columns import Column, value_of
from pipelines.errors import UserError
from pipelines.files.layout import USUAL
from pipelines.rows import BadRow, Layout, OnBadRow, Rows, duplicates, find_columns, read
from pipelines.sources import load_dataset

# Numbers of at most this many different values are divided like labels.
GRADES = 100
FIXED_SEED = 2_026  # draws what is to be the same for runs of all seeds


@dataclass(frozen=True)
class Splits:
    """The rows of a run.

    Attributes:
        train: what the model learns from.
        validation: what decides when to stop, and calibrates.
        test: what it is evaluated on once, at the end; None if there is none.
        warnings: sentences the user should read.
    """

    train: Rows
    validation: Rows
    test: Rows | None
    warnings: list[str] = field(default_factory=list)


def from_files(
    files: Mapping[str, str],
    columns: Sequence[Column],
    names: Mapping[str, str],
    on_bad_row: OnBadRow,
    label_separator: str,
    layout: Layout = USUAL,
) -> dict[str, Rows]:
    """Return the rows of the files of some splits: split name -> path.

    Raises:
        UserError: a file cannot be used.

    Example::

        from_files({"train": "train.csv"}, columns, {}, "error", "|")["train"]
    """
    return {
        split: read(
            path,
            columns,
            names=names,
            on_bad_row=on_bad_row,
            label_separator=label_separator,
            layout=layout,
        )
        for split, path in files.items()
    }


def from_dataset(
    name: str,
    columns: Sequence[Column],
    names: Mapping[str, str],
    on_bad_row: OnBadRow,
    label_separator: str,
    training: bool = True,
) -> dict[str, Rows]:
    """Return the splits of a data set, with its features under the task's column names.

    Raises:
        UserError: it cannot be used; ``training`` says whether it must have a split to train with.

    Example::

        from_dataset("trec", columns, {}, "error", "|")["train"]
    """
    splits = load_dataset(name)
    if training and "train" not in splits:
        others = ", ".join(splits)
        raise UserError(
            f"the data set {name} has no split to train with, only {others} (evaluate a model on "
            f"it: python -m tfnlp.evaluate MODEL --dataset {name})"
            if splits
            else f"the data set {name} has no split named train, validation or test"
        )
    return {
        split: _select(rows, columns, names, on_bad_row, label_separator)
        for split, rows in splits.items()
    }


def _select(
    rows: Rows,
    columns: Sequence[Column],
    names: Mapping[str, str],
    on_bad_row: OnBadRow,
    separator: str,
) -> Rows:
    """Check a data set's values as a file's are checked."""
    keys = find_columns(list(rows.columns), columns, names, rows.source)
    bad = list(rows.bad)
    columns = [column for column in columns if column.name in keys]
    chosen = Rows(rows.source, {column.name: [] for column in columns}, [], bad, names=keys)
    for i, number in enumerate(rows.numbers):
        fields = {key: values[i] for key, values in rows.columns.items()}
        try:
            values = {c.name: value_of(c, fields, keys, separator) for c in columns}
        except ValueError as error:
            bad.append(BadRow(number, str(error)))
            continue
        chosen.numbers.append(number)
        for column, value in values.items():
            chosen.columns[column].append(value)
    if bad and on_bad_row == "error":
        raise UserError(
            f"{rows.source}, {bad[0]} ({len(bad)} such rows; --on-bad-row skip leaves them out)"
        )
    if not chosen.numbers:
        raise UserError(f"{rows.source} has no usable row")
    return chosen


def divide(
    read_rows: Mapping[str, Rows],
    targets: Sequence[Column],
    share: float | None,
    seed: int,
    limit: int | None = None,
) -> tuple[Rows, Rows]:
    """Return rows for training and for validation, taking the latter from train if need be.

    Without a share a twentieth is taken, or 200 rows if that is more, but at most a fifth. Rows
    are drawn evenly from every label (or, for numbers, from the whole), by the seed; of each
    label at least one row stays in train. The ``limit`` that rows were taken by, if any, is for
    messages.

    Raises:
        UserError: there are too few rows to divide.

    Example:
        >>> rows = Rows("a.csv", {"label": ["a", "b"] * 10}, list(range(1, 21)))
        >>> column = Column("label", "label", "a label")
        >>> train, validation = divide({"train": rows}, [column], 0.1, 0)
        >>> len(train), len(validation)
        (18, 2)
    """
    train = read_rows["train"]
    if "validation" in read_rows:
        return train, read_rows["validation"]
    few = min(200, len(train) // 5)
    wanted = max(len(train) // 20, few, 1) if share is None else max(round(share * len(train)), 1)
    return _parted(train, targets, wanted, seed, "validation", limit)


def alone(read_rows: Mapping[str, Rows], targets: Sequence[Column]) -> bool:
    """Return whether each row is the only one with some label, and there are none to validate with.

    Example:
        >>> rows = Rows("a.csv", {"label": ["a", "b"]}, [1, 2])
        >>> alone({"train": rows}, [Column("label", "label", "a label")])
        True
    """
    if "validation" in read_rows:
        return False
    marks = labels_of(read_rows["train"], targets)
    count = Counter(mark for row in marks for mark in row)
    return all(any(count[mark] == 1 for mark in row) for row in marks)


def set_aside(rows: Rows, targets: Sequence[Column], share: float) -> tuple[Rows, Rows]:
    """Return the rows that are left to train and validate with, and test rows taken out of them.

    They are drawn as `divide` draws rows for validation, but the same ones whatever the seed of a
    run is: runs with other seeds can be judged on them.

    Raises:
        UserError: there are too few rows.

    Example:
        >>> rows = Rows("a.csv", {"label": ["a", "b"] * 10}, list(range(1, 21)))
        >>> left, test = set_aside(rows, [Column("label", "label", "a label")], 0.2)
        >>> len(left), sorted(test.columns["label"])
        (16, ['a', 'a', 'b', 'b'])
    """
    return _parted(rows, targets, max(round(share * len(rows)), 1), FIXED_SEED, "test")


def fold(rows: Rows, targets: Sequence[Column], number: int, folds: int) -> tuple[Rows, Rows]:
    """Return rows for training and for validation: all folds but one, and that one.

    The folds are the same whatever the seed of a run is. They share out the rows evenly, those of
    every label too; a row that alone has some label stays in train with every fold.

    Args:
        rows: to be divided.
        targets: of which train keeps every one.
        number: of the fold; the first is 1.
        folds: how many there are.

    Raises:
        UserError: there are too few rows.

    Example:
        >>> rows = Rows("a.csv", {"label": ["a", "b"] * 10}, list(range(1, 21)))
        >>> train, validation = fold(rows, [Column("label", "label", "a label")], 1, 5)
        >>> len(train), sorted(validation.columns["label"])
        (16, ['a', 'a', 'b', 'b'])
    """
    chance = random.Random(FIXED_SEED)
    marks = labels_of(rows, targets)
    order: list[int] = []
    for places in _groups(marks):
        chance.shuffle(places)
        order += places
    left = Counter(mark for row in marks for mark in row)
    held: set[int] = set()
    for i in order[number - 1 :: folds]:
        if all(left[mark] > 1 for mark in marks[i]):
            held.add(i)
            left.subtract(marks[i])
    if not held or folds > len(rows):  # most of so many would have no row
        raise UserError(
            f"{rows.source} has {len(rows)} row{'s' * (len(rows) != 1)} to train with, too few for "
            f"{folds} folds (add rows, or ask for fewer folds)"
        )
    kept = [i for i in range(len(rows)) if i not in held]
    return rows.take(kept), rows.take(sorted(held))


def _parted(
    rows: Rows,
    targets: Sequence[Column],
    wanted: int,
    seed: int,
    split: str,
    limit: int | None = None,
) -> tuple[Rows, Rows]:
    """Return the rows that are kept, and as many as are wanted for another split."""
    limited = limit is not None and limit <= len(rows)
    name = f"{rows.source} with --limit {limit}" if limited else rows.source
    remedy = f"({'raise --limit' if limited else 'add rows'}, or give --{split})"
    verb = "validate" if split == "validation" else split
    if len(rows) < 2:
        raise UserError(f"{name} has {len(rows)} row, too few to train and {verb} with {remedy}")
    chance = random.Random(seed)
    marks = labels_of(rows, targets)
    left = Counter(mark for row in marks for mark in row)
    # The places of each group spread over 0..1; the lowest share of all is held.
    ranked: list[tuple[float, int]] = []
    for places in _groups(marks):
        chance.shuffle(places)
        # A label's last row stays in train: it could not be learned otherwise.
        ranked += [((j + chance.random()) / len(places), i) for j, i in enumerate(places[1:])]
    held: set[int] = set()
    for _, i in sorted(ranked):
        if len(held) < wanted and all(left[mark] > 1 for mark in marks[i]):
            held.add(i)
            left.subtract(marks[i])
    if not held:
        raise UserError(
            f"{name} has one row for each label, so none can be kept for {split} {remedy}"
        )
    kept = [i for i in range(len(rows)) if i not in held]
    return rows.take(kept), rows.take(sorted(held))


def _groups(marks: Sequence[Sequence[tuple[str, Any]]]) -> list[list[int]]:
    """Return the places of rows by their mark; one of several labels counts for its rarest."""
    count = Counter(mark for row in marks for mark in row)
    groups: dict[Any, list[int]] = {}
    for i, row in enumerate(marks):
        rarest = min(row, key=lambda mark: (count[mark], mark), default=None)
        groups.setdefault(rarest, []).append(i)
    return list(groups.values())


def labels_of(rows: Rows, targets: Sequence[Column]) -> list[list[tuple[str, Any]]]:
    """Return what each row must be represented by in train: (column, label) pairs.

    Numbers count as labels where they are grades: few, and each in several rows. Spans count by
    their labels; texts and answers by nothing.

    Example:
        >>> column = Column("label", "label", "a label")
        >>> labels_of(Rows("a.csv", {"label": ["a", "b"]}, [1, 2]), [column])
        [[('label', 'a')], [('label', 'b')]]
    """
    marks: list[list[tuple[str, Any]]] = [[] for _ in range(len(rows))]
    for column in targets:
        if column.optional and column.name not in rows.columns:
            continue
        values = rows.columns[column.name]
        if column.kind == "number" and len(set(values)) > min(GRADES, len(values) // 2):
            continue
        if column.kind in ("text", "marked", "answers"):
            continue
        for row, value in zip(marks, values, strict=True):
            several = [value]
            if column.kind == "labels":
                several = value
            elif column.kind == "spans":
                several = sorted({label for *_, label in value})
            row += [(column.name, one) for one in several]
    return marks


def limited(rows: Rows, targets: Sequence[Column], limit: int | None, seed: int) -> Rows:
    """Return at most ``limit`` rows, drawn by the seed, in their old order.

    Where a label would be missing, a row that has it is drawn first.

    Example:
        >>> rows = Rows("a.csv", {"label": ["a"] * 9 + ["b"]}, list(range(1, 11)))
        >>> limited(rows, [Column("label", "label", "a label")], 2, 0).columns["label"]
        ['a', 'b']
    """
    if limit is None or limit >= len(rows):
        return rows
    places = random.Random(seed).sample(range(len(rows)), len(rows))
    marks = labels_of(rows, targets)
    seen: set[tuple[str, Any]] = set()
    first = set()
    for i in places:
        if not seen.issuperset(marks[i]):
            seen.update(marks[i])
            first.add(i)
    chosen = sorted(places, key=lambda i: i not in first)[:limit]
    return rows.take(sorted(chosen))


def leakage(found: Mapping[str, Rows], inputs: Sequence[str]) -> list[str]:
    """Return a warning for each split of which rows also stand in train.

    Example:
        >>> rows = Rows("a.csv", {"text": ["Good."]}, [1])
        >>> leakage({"train": rows}, ["text"])
        []
    """
    warnings = []
    for split in ("validation", "test"):
        if split in found:
            pairs = duplicates(found["train"], found[split], inputs)
            if pairs:
                warnings.append(
                    f"{len(pairs)} rows of {found[split].source} also stand in "
                    f"{found['train'].source} (the first: row {pairs[0][1]} is row {pairs[0][0]} "
                    "there); scores on them say little about new text"
                )
    return warnings


def evenly(rows: int, wanted: int) -> list[int]:
    """Return the indices of this many of N rows, evenly spaced.

    Example:
        >>> evenly(9, 3)
        [0, 4, 8]
    """
    last = rows - 1
    count = min(rows, wanted)
    return [round(i * last / max(count - 1, 1)) for i in range(count)]


def shortened(rows: Rows, limit: int | None) -> Rows:
    """Return at most this many rows of a split that is held out, evenly spaced; None is all.

    Example:
        >>> rows = Rows("r", {"text": list("abcde")}, [1, 2, 3, 4, 5])
        >>> shortened(rows, 3).numbers
        [1, 3, 5]
    """
    return rows if limit is None else rows.take(evenly(len(rows), limit))
