"""What is wrong with rows: bad, repeated, leaking, unusable ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pipelines.atomic import check_place
from pipelines.columns import Column
from pipelines.files import conll, tags
from pipelines.files.formats import format_of, opened, text_lines
from pipelines.rows import (
    BadRow,
    Rows,
    duplicates,
    find_columns,
    noted,
    quarantine_path,
    remedy_of,
)
from tfnlp import task
from tfnlp.config import Experiment
from tfnlp.data_checks import effects
from tfnlp.data_checks.findings import Findings, counted
from tfnlp.data_checks.labels import describe
from tfnlp.report import Table
from tfnlp.task import Task

if TYPE_CHECKING:
    from tfnlp.training.model import TrainedModel

SPLITS = ("train", "validation", "test")


def check(experiment: Experiment) -> Findings:
    """Return the findings on an experiment's data, continuing after each fault where possible.

    Example::

        check(experiment).errors
    """
    from tfnlp.data_checks import lengths
    from tfnlp.runs import folders
    from tfnlp.training import distribution, doubts

    found = Findings()
    chosen, options = task.load(experiment.task), experiment.options
    inputs, targets = chosen.input_columns(options), chosen.target_columns(options)
    training = experiment.training
    found.attempt(lambda: distribution.check(training.distribute, training.batch_size))
    found.attempt(lambda: folders.check_place(experiment))
    found.add(effects.without(effects.Known(experiment)))
    rows = _read(experiment, chosen, found)
    _bad_rows(rows, experiment, found)
    _leakage(rows, inputs, found)
    if "train" in rows:
        _repeated(rows["train"], inputs, targets, found)
        rows = _divided(rows, experiment, chosen, found)
    rows = {split: rows[split] for split in SPLITS if split in rows}
    found.facts["rows"] = {split: len(part) for split, part in rows.items()}
    if rows:
        sizes = [(split, len(part), part.source) for split, part in rows.items()]
        found.tables.append(Table("Rows", ("split", "rows", "from"), sizes))
    for column in targets if rows else ():
        describe(rows, column, found)
        if column.kind == "spans":
            _broken_tags(experiment, column, found)
    for doubt in doubts.of_texts(rows, inputs):
        found.warn(*doubt)
    facts = None
    if "train" in rows:
        for doubt in doubts.of_targets(rows, targets, experiment.data.label_separator):
            found.warn(*doubt)
        facts = found.attempt(lambda: _facts(rows["train"], chosen, experiment, found))
    if facts is not None:
        for part in {part.source: part for part in reversed(rows.values())}.values():
            found.notes[:0] = chosen.remarks(part, facts)
        _unusable(rows, chosen, facts, found)
    if rows:
        found.attempt(lambda: lengths.check(rows, chosen, experiment, facts, found))
    return found


def _facts(train: Rows, chosen: Task, experiment: Experiment, found: Findings) -> dict[str, Any]:
    """Return the facts that training would learn, or go on with from an earlier run."""
    from tfnlp.runs import origins, subject
    from tfnlp.training import continuing

    origin = origins.of(experiment, subject.load, found.warn)
    if origin is None:
        return chosen.learn(train, experiment.options)
    earlier = cast("TrainedModel", origin.model)
    continuing.check(experiment, earlier)
    return continuing.grown(experiment, train, earlier)


def _read(experiment: Experiment, chosen: Task, found: Findings) -> dict[str, Rows]:
    """Read what can be read; bad rows are left out and kept in each split's ``bad``."""
    from tfnlp.training import examples

    def read(*wanted: str) -> dict[str, Rows]:
        return found.attempt(lambda: examples.read(experiment, chosen, "skip", wanted)) or {}

    if experiment.data.dataset:
        return read()
    return {split: part for one in SPLITS for split, part in read(one).items()}


def _bad_rows(rows: dict[str, Rows], experiment: Experiment, found: Findings) -> None:
    """Add findings on unusable rows: an error unless the user asked to leave them out."""
    strict = experiment.data.on_bad_row == "error"
    for part in rows.values():
        if part.bad:
            remedy = remedy_of(part.bad, part.source) if strict else "left out"
            tell = found.error if strict else found.warn
            tell(f"{part.source}: {counted(part.bad)} cannot be used ({remedy})", part.bad)
            if experiment.data.on_bad_row == "quarantine" and experiment.data.train:
                found.attempt(partial(check_place, quarantine_path(part.source)))
        if part.notes:
            found.warn(noted(part), part.notes)


def _leakage(rows: dict[str, Rows], inputs: Sequence[Column], found: Findings) -> None:
    """Add findings on rows whose inputs stand in two splits."""
    names = [column.name for column in inputs]
    for seen, judged in (("train", "validation"), ("train", "test"), ("validation", "test")):
        if seen in rows and judged in rows:
            pairs = duplicates(rows[seen], rows[judged], names)
            if pairs:
                found.warn(
                    f"{rows[judged].source}: {counted(pairs)} with a text that also stands in "
                    f"{rows[seen].source}; scores on them say little about new text",
                    [BadRow(there, f"as row {here} of {seen}") for here, there in pairs],
                )


def _repeated(
    train: Rows, inputs: Sequence[Column], targets: Sequence[Column], found: Findings
) -> None:
    """Add findings on texts that stand in train twice, and of those with different targets."""
    place = {number: i for i, number in enumerate(train.numbers)}
    same, conflicts = [], []
    for first, again in duplicates(train, train, [column.name for column in inputs]):
        if first == again:
            continue
        before, now = (_targets(train, place[number], targets) for number in (first, again))
        if before == now:
            same.append(BadRow(again, f"as row {first}"))
        else:
            conflicts.append(BadRow(again, f"{now}, but the same text in row {first}: {before}"))
    if same:
        found.warn(f"{train.source}: {counted(same)} with the text of an earlier row", same)
    if conflicts:
        found.warn(
            f"{train.source}: {counted(conflicts)} with the text of an earlier row and another "
            "target",
            conflicts,
        )


def _targets(rows: Rows, place: int, targets: Sequence[Column]) -> str:
    """Return a row's targets for a sentence."""
    columns = [rows.columns[column.name] for column in targets if column.name in rows.columns]
    return ", ".join(repr(values[place]) for values in columns)


def _divided(
    rows: dict[str, Rows], experiment: Experiment, chosen: Task, found: Findings
) -> dict[str, Rows]:
    """Return the splits as training would have them, limited, with validation out of train."""
    from tfnlp.training import examples

    if experiment.data.validation and "validation" not in rows:  # it could not be read
        return rows
    taken = found.attempt(lambda: examples.divided(experiment, chosen, rows))
    if taken is None:
        return rows
    inputs = [column.name for column in chosen.input_columns(experiment.options)]
    for split in sorted(taken.keys() - rows.keys()):
        both = duplicates(taken["train"], taken[split], inputs)
        if both:
            found.warn(
                f"{taken[split].source}: training would take {counted(taken[split].numbers)} of it "
                f"for {split}, and the text of {len(both)} of them also stays in train (leave out "
                f"the repeated rows, or give --{split})"
            )
    return taken


def _broken_tags(experiment: Experiment, column: Column, found: Findings) -> None:
    """Add findings on tags in CoNLL columns that their scheme does not allow."""
    for split in SPLITS:
        path = getattr(experiment.data, split) if experiment.data.train else None
        if path and format_of(Path(path)) == "conll":
            told = found.attempt(lambda path=path: _broken_in(path, experiment, column))  # type: ignore[misc]
            scheme, bad, count = told or ("", [], 0)
            if bad:
                found.warn(
                    f"{path}: {count} tags in {counted(bad)} break the scheme {scheme}, in which "
                    "the file seems to be written; they are read as conlleval reads them (fix "
                    "them)",
                    bad,
                )


def _broken_in(
    path: str, experiment: Experiment, column: Column
) -> tuple[tags.Scheme, list[BadRow], int]:
    """Return a file's scheme, the sentences with broken tags, and how many tags are broken."""
    layout = experiment.data.layout()
    with opened(Path(path)) as file, text_lines(file, "conll", path, layout) as lines:
        read = [sentence for sentence in conll.sentences(lines, path) if not sentence.fault]
    header = ["text", *(read[0].columns if read else ())]
    key = find_columns(header, [column], experiment.data.columns, path)[column.name]
    read = [one for one in read if key in one.columns]
    if tags.style_of(tag for one in read for tag in one.columns[key]) != "chunks":
        return "BIO", [], 0
    read = [one for one in read if all(map(tags.is_tag, one.columns[key]))]
    scheme = tags.scheme_of(one.columns[key] for one in read)
    bad, count = [], 0
    for one in read:
        faults = list(tags.broken(one.columns[key], scheme))
        count += len(faults)
        if faults:
            why = "; ".join(f"word {i + 1} {one.words[i]!r}: {said}" for i, said in faults)
            bad.append(BadRow(one.number, why, one.line))
    return scheme, bad, count


def _unusable(rows: dict[str, Rows], chosen: Task, facts: dict[str, Any], found: Findings) -> None:
    """Add findings on rows that do not fit what train teaches; only validation's stop training."""
    for split, tell, what in (
        ("validation", found.error, "cannot be used"),
        ("test", found.warn, "will count as wrong"),
    ):
        if split not in rows:
            continue
        if split == "test" and rows["train"].columns.keys() - rows[split].columns.keys():
            continue  # of an optional column: what it is needed for is left out of the report
        bad = list(chosen.unusable_rows(rows[split], facts))
        if bad:
            tell(f"{rows[split].source}: {counted(bad)} {what}", bad)
