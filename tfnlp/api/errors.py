"""Errors of a run: which, why, what it learned from that is near, and which errors are alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.atomic import replacing
from pipelines.errors import UserError
from pipelines.rows import Record, Rows
from tfnlp import extensions
from tfnlp.api.explaining import values
from tfnlp.evaluation import error_groups, explained_pages
from tfnlp.extensions import Attribution, Explanation, Piece, UnsuitableError, Wanted
from tfnlp.report import Report, Table, html

if TYPE_CHECKING:
    from tfnlp.runs.subject import LoadedSubject

MOST = 200  # errors that are explained


@dataclass(frozen=True, repr=False)
class Errors:
    """The errors of a model on rows with known answers.

    Attributes:
        rows: how many rows were answered.
        wrong: how many of them wrongly.
        explained: the errors, as `tfnlp.api.explaining.values` gives them, with ``right``, the
            right answer, and ``group``; the nearest training rows are their ``examples``.
        groups: errors that are alike, with their words.

    Example::

        errors = model.errors()
        errors.groups.rows[0], errors.explained[0]["text"]
    """

    rows: int
    wrong: int
    explained: Sequence[Mapping[str, Any]]
    groups: Table

    @property
    def report(self) -> Report:
        """The groups as a report."""
        share = {"accuracy": 1 - self.wrong / self.rows}
        few = len(self.explained) < self.wrong
        told = [f"{len(self.explained)} of {self.wrong} errors are explained, evenly spaced"] * few
        return Report(share, [self.groups], warnings=told)

    def __repr__(self) -> str:
        return f"Errors({self.wrong} of {self.rows} rows, {len(self.groups.rows)} groups)"

    def _repr_html_(self) -> str:
        """Return the groups and the errors with their words in colour, for a notebook."""
        shown = [_shown(one) for one in self.explained]
        return html(self.report) + explained_pages.fragment(shown)

    def write(self, path: str, about: Mapping[str, Any]) -> None:
        """Write a page.

        Raises:
            UserError: it cannot be written, or its suffix is not .html.

        Example::

            model.errors().write("errors.html", {"model": "trec"})
        """
        if Path(path).suffix.lower() != ".html":
            raise UserError(f"{path}: errors are written as a page (give a name in .html)")
        with replacing(Path(path)) as file:
            counted = {**about, "rows": self.rows, "errors": self.wrong}
            write = explained_pages.writer(file, "Errors", counted)
            write(html(dataclasses.replace(self.report, tables=[])))
            write(explained_pages.filtered(self.groups))
            for one in self.explained:
                write(explained_pages.answer(_shown(one)))
            explained_pages.end(write)


def _shown(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return an error as pages show it: what it is, and what would be right."""
    label = f"{one['label']} for {one['right']} (group {one['group']})"
    return {**{k: v for k, v in one.items() if k not in ("right", "group")}, "label": label}


def find(subject: LoadedSubject, rows: Rows, by: str = "integrated_gradients") -> Errors:
    """Return the errors of a run on rows with one label each.

    Args:
        subject: the run.
        rows: N rows with inputs and targets.
        by: the method that says why.

    Raises:
        UnsuitableError: the subject is no run, or its rows have not one label each.

    Example::

        find(subject, rows).groups
    """
    model = subject.model
    if model is None:
        raise UnsuitableError(
            f"errors are looked at with the rows that a run learned from, and {subject.name} is no "
            "run (name its folder, tensorboard_logs/NAME/RUN)"
        )
    targets = model.task.target_columns(model.context.options)
    if [column.kind for column in targets] != ["label"]:
        raise UnsuitableError(
            f"errors are of rows with one label, and --task {model.experiment.task} has others"
        )
    from pipelines import splits

    names = [column.name for column in subject.inputs]
    right = rows.columns[targets[0].name]
    answers = subject.answer({name: rows.columns[name] for name in names})
    wrong = [i for i, a in enumerate(answers) if a["label"] != right[i]]
    if not wrong:
        empty = Table(error_groups.TITLE, error_groups.HEADER, [])
        return Errors(len(rows), 0, [], empty)
    some = rows.take([wrong[place] for place in splits.evenly(len(wrong), MOST)])
    return _explained(subject, some, len(rows), len(wrong), targets[0].name, by)


def _explained(
    subject: LoadedSubject, some: Rows, rows: int, wrong: int, target: str, by: str
) -> Errors:
    """Explain errors, and put those together that are alike."""
    records = list(_records(subject, some))
    why = {found.row: found for found in _found(subject, records, by)}
    near = {found.row: found for found in _found(subject, records, "neighbours")}
    vectors = _vectors(subject, some)
    found = error_groups.groups(vectors)
    right = [str(label) for label in some.columns[target]]
    words = [_words(why[number]) for number in some.numbers]
    mistaken = [
        f"{why[number].label} for {label}"
        for number, label in zip(some.numbers, right, strict=True)
    ]
    explained = [
        {
            **values(dataclasses.replace(why[number], examples=near[number].examples)),
            "right": label,
            "group": int(group) + 1,
        }
        for number, label, group in zip(some.numbers, right, found, strict=True)
    ]
    explained.sort(key=lambda one: (one["group"], -one["score"]))
    table = error_groups.table(found, words, mistaken, some.numbers)
    return Errors(rows, wrong, explained, table)


def _records(subject: LoadedSubject, rows: Rows) -> Iterator[Record]:
    names = [column.name for column in subject.inputs]
    for number, *texts in zip(rows.numbers, *(rows.columns[n] for n in names), strict=True):
        yield Record(number, dict(zip(names, texts, strict=True)), {})


def _found(subject: LoadedSubject, records: Sequence[Record], by: str) -> Iterator[Attribution]:
    entry = extensions.load(Explanation, by)
    return entry.explain(subject, records, entry.options(), Wanted())


def _vectors(subject: LoadedSubject, rows: Rows) -> Any:
    """Return what the model's last layer reads of rows."""
    from tfnlp.training.last_layer import Vectors

    assert subject.model is not None
    return Vectors(subject.model)(rows)


def _words(found: Attribution) -> list[str]:
    """Return the words that speak for an answer, in lower case."""

    def text(piece: Piece) -> str:
        return found.inputs[piece.input][piece.start : piece.end].casefold()

    return [text(p) for p in found.pieces if p.weight > 0 and text(p)[:1].isalnum()]
