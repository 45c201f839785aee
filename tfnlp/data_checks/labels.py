"""What rows' targets are: their labels, numbers, mentions and answers, counted by split."""

from __future__ import annotations

from collections import Counter

from pipelines.columns import Column
from pipelines.rows import BadRow, Rows
from tfnlp.data_checks.findings import Findings, histogram
from tfnlp.report import Table
from tfnlp.training.doubts import labels_of


def describe(rows: dict[str, Rows], column: Column, found: Findings) -> None:
    """Add what a target column holds, by its kind.

    Args:
        rows: by split, none empty; those that lack an optional column are left out.
        column: the column.
        found: tables, facts and warnings are added to it.

    Example::

        describe({"train": rows}, column, found)
    """
    rows = {split: part for split, part in rows.items() if column.name in part.columns}
    if not rows:
        return
    if column.kind == "number":
        _numbers(rows, column, found)
    elif column.kind in ("label", "labels", "spans"):
        _labels(rows, column, found)
    elif column.kind == "answers":
        _answers(rows, column, found)


def _labels(rows: dict[str, Rows], column: Column, found: Findings) -> None:
    """Count each label in each split: rows, or of spans the mentions."""
    spans = column.kind == "spans"
    counts: dict[str, Counter[str]] = {}
    for split in rows:
        several = labels_of(rows[split], column)
        # A row may have no label at all, if it may have several.
        none = [] if spans else [""]
        counts[split] = Counter(label for given in several for label in given or none)
    first = next(iter(counts))
    every = {label for count in counts.values() for label in count}
    names = sorted(every, key=lambda label: (-counts[first][label], label))
    whole = max(counts[first].total(), 1) if spans else len(rows[first])
    others = [split for split in counts if split != first]
    table = [
        (
            name or "(none)",
            counts[first][name],
            f"{counts[first][name] / whole:.1%}",
            *(counts[split][name] for split in others),
        )
        for name in names
    ]
    header = (column.name, first, f"share of {first}", *others)
    what = f"{'Mentions' if spans else 'Rows'} by {'label' if spans else column.name}"
    found.tables.append(Table(f"{what}, {len(names)} different", header, table))
    told = {split: dict(count) for split, count in counts.items()}
    found.facts.setdefault("targets", {})[column.name] = told
    if "train" in rows:
        alone = {label for label in names if label and counts["train"][label] == 1}
        _alone(rows["train"], column, alone, found)


def _alone(train: Rows, column: Column, alone: set[str], found: Findings) -> None:
    """Add findings on labels with a single row to learn from."""
    bad = []
    for number, given in zip(train.numbers, labels_of(train, column), strict=True):
        bad += [BadRow(number, f"{label!r}") for label in given if label in alone]
    if bad:
        single = "mention" if column.kind == "spans" else "row"
        found.warn(
            f"{train.source}: {len(bad)} label{'s have' if len(bad) > 1 else ' has'} a single "
            f"{single} to learn from (add rows, or join labels)",
            bad,
        )


def _numbers(rows: dict[str, Rows], column: Column, found: Findings) -> None:
    """Describe the numbers of each split, and draw the first's distribution."""
    import numpy as np

    facts: dict[str, dict[str, float]] = {}
    for split in rows:
        values = np.array(rows[split].columns[column.name])
        facts[split] = {
            "min": float(values.min()),
            "mean": float(values.mean()),
            "max": float(values.max()),
            "deviation": float(values.std()),
            "different": len(set(values)),
        }
    first = next(iter(facts))
    found.facts.setdefault("targets", {})[column.name] = facts
    table = [(split, *(f"{value:.6g}" for value in told.values())) for split, told in facts.items()]
    found.tables.append(Table(f"Numbers in {column.name}", ("split", *facts[first]), table))
    values = np.array(rows[first].columns[column.name])
    found.tables.append(histogram(f"{column.name} in {first}", values))


def _answers(rows: dict[str, Rows], column: Column, found: Findings) -> None:
    """Count questions with and without an answer in each split."""
    table, facts = [], {}
    for split, part in rows.items():
        counts = [len(answers) for answers in part.columns[column.name]]
        answered = sum(count > 0 for count in counts)
        lengths = [len(text) for answers in part.columns[column.name] for _, text in answers]
        facts[split] = {
            "answerable": answered,
            "unanswerable": len(counts) - answered,
            "several answers": sum(count > 1 for count in counts),
            "longest [characters]": max(lengths, default=0),
        }
        table.append((split, *facts[split].values()))
    header = ("split", *next(iter(facts.values())))
    found.tables.append(Table(f"Rows by {column.name}", header, table))
    found.facts.setdefault("targets", {})[column.name] = facts
