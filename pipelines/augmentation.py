"""Additional rows made of existing ones: texts are edited, and their targets move with them.

What edits a text only says which characters it replaces. Here the edits are applied, and offsets
into the text are moved, so that every span still holds the same characters, or what replaced all of
them.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

from pipelines.columns import MARKERS, Column
from pipelines.conversations import SYSTEM, Turns
from pipelines.rows import Rows, duplicates


@dataclass(frozen=True)
class Span:
    """Characters [start, end) of a text that a target refers to.

    One with a label may be replaced as a whole; an answer, or a marked argument, has none.
    """

    start: int
    end: int
    label: str = ""


@dataclass(frozen=True)
class Edit:
    """Characters [start, end) of a text replaced.

    They lie outside of all spans, or are all of one that has a label.
    """

    start: int
    end: int
    text: str


Editor: TypeAlias = Callable[[str, Sequence[Span], random.Random], Sequence[Edit]]


@dataclass(frozen=True)
class Together:
    """What edits many texts at once, as a model is asked about many at once.

    Attributes:
        edit: (N texts, the spans of each, N random generators) -> the edits of each.
    """

    edit: Callable[
        [Sequence[str], Sequence[Sequence[Span]], Sequence[random.Random]], Sequence[Sequence[Edit]]
    ]


class _Job(NamedTuple):
    """A text to edit: a row's place, its column, and of turns which one."""

    row: int
    column: Column
    turn: int
    text: str
    spans: list[Span]


def augmented(
    rows: Rows,
    inputs: Sequence[Column],
    targets: Sequence[Column],
    editors: Sequence[Editor | Together],
    times: int,
    seed: tuple[int, int],
    held_out: Sequence[Rows] = (),
) -> Rows:
    """Return the rows, and after them edited ones with the same targets.

    Args:
        rows: to start from.
        inputs: the columns whose texts are edited, each by itself; of ``turns`` each turn.
        targets: the columns that are kept; offsets into an edited text follow it.
        editors: each is (text, its spans, random) -> edits, none where the text cannot be changed,
            or a `Together`.
        times: texts that each editor makes of each row; of a row of which it can change no text
            there are none.
        seed: of the run, and the epoch; the same seed makes the same rows.
        held_out: rows for validation and testing; none that is made has the inputs of one of them,
            but for white space and case.

    Returns:
        All of them; a row that was made has the number of the row that it was made of.

    Raises:
        ValueError: an editor's edits overlap, or touch a span.

    Example::

        text = Column("text", "text", "the text")
        label = Column("label", "label", "the label")
        rows = Rows("file", {"text": ["good"], "label": ["+"]}, [1])
        shout = lambda text, spans, random: [Edit(len(text), len(text), "!")]
        augmented(rows, [text], [label], [shout], 1, (0, 0)).columns["text"]  # ["good", "good!"]
    """
    generator = random.Random(repr(seed))
    columns = {name: list(values) for name, values in rows.columns.items()}
    numbers = list(rows.numbers)
    for editor in editors:
        for place, changed in _made(rows, inputs, targets, times, editor, generator):
            numbers.append(rows.numbers[place])
            for name, values in columns.items():
                values.append(changed.get(name, values[place]))
    every = Rows(rows.source, columns, [*range(len(numbers))])
    names = [column.name for column in inputs]
    known = {place for held in held_out for _, place in duplicates(held, every, names)}
    kept = [i for i in every.numbers if i < len(rows) or i not in known]
    found = every.take(kept)
    return Rows(rows.source, found.columns, [numbers[i] for i in kept], rows.bad, names=rows.names)


def _made(
    rows: Rows,
    inputs: Sequence[Column],
    targets: Sequence[Column],
    times: int,
    editor: Editor | Together,
    generator: random.Random,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the places of rows that an editor changes, with the values that it changed."""
    places = [*range(len(rows))] * times
    jobs = [
        job._replace(row=number)
        for number, place in enumerate(places)
        for job in _jobs(rows, inputs, targets, place)
    ]
    if isinstance(editor, Together):
        texts, spans = [job.text for job in jobs], [job.spans for job in jobs]
        each = [random.Random(generator.random()) for _ in jobs]
        found = editor.edit(texts, spans, each)
    else:
        found = [editor(job.text, job.spans, generator) for job in jobs]
    changes: dict[int, dict[str, Any]] = {}
    for job, several in zip(jobs, found, strict=True):
        edits = _checked(several, job.spans)
        text = applied(job.text, edits)
        if text == job.text or not text.strip():
            continue
        changed, place = changes.setdefault(job.row, {}), places[job.row]
        name = job.column.name
        if job.column.kind == "turns":
            turns = [*changed.get(name, rows.columns[name][place])]
            turns[job.turn] = text
            changed[name] = Turns(turns)
            continue
        changed[name] = text
        for target in _own(job.column, targets):
            changed[target.name] = _moved(target, rows.columns[target.name][place], edits)
    for number in sorted(changes):
        yield places[number], changes[number]


def _jobs(
    rows: Rows, inputs: Sequence[Column], targets: Sequence[Column], place: int
) -> Iterator[_Job]:
    """Yield the texts of a row with their spans; a system prompt is no text to edit."""
    for column in inputs:
        text = rows.columns[column.name][place]
        if column.kind == "turns":
            for turn, said in enumerate(text):
                if not said.startswith(SYSTEM):
                    yield _Job(place, column, turn, said, [])
            continue
        own = _own(column, targets)
        spans = [span for one in own for span in _spans(one, rows.columns[one.name][place])]
        spans += _marked(text) if column.kind == "marked" else []
        yield _Job(place, column, 0, text, spans)


def _own(column: Column, targets: Sequence[Column]) -> list[Column]:
    """Return the targets whose offsets point into a column."""
    return [one for one in targets if one.kind in ("spans", "answers") and one.of == column.name]


def _checked(found: Sequence[Edit], spans: Sequence[Span]) -> list[Edit]:
    """Return a text's edits in its order; raises ValueError if they overlap or touch a span."""
    edits = sorted(found, key=lambda edit: (edit.start, edit.end))
    for edit, following in pairwise(edits):
        if following.start < edit.end:
            raise ValueError(f"{edit} and {following} overlap")
    within = touches(spans)
    whole = {(span.start, span.end) for span in spans if span.label}
    for edit in edits:
        if within(edit.start, edit.end) and (edit.start, edit.end) not in whole:
            span = next(s for s in spans if edit.start < s.end and s.start < edit.end)
            raise ValueError(f"{edit} touches {span}")
    return edits


def touches(spans: Sequence[Span]) -> Callable[[int, int], bool]:
    """Return whether characters [start, end) touch a span; an insertion does so within one only.

    Example:
        >>> within = touches([Span(2, 4)])
        >>> within(0, 2), within(3, 5), within(2, 2), within(3, 3)
        (False, True, False, True)
    """
    ordered = sorted((span.start, span.end) for span in spans if span.end > span.start)
    starts = [start for start, _ in ordered]
    reach: list[int] = []  # the furthest end so far: spans of two targets may overlap
    for _, end in ordered:
        reach.append(max(end, reach[-1] if reach else 0))

    def within(start: int, end: int) -> bool:
        before = bisect_left(starts, end)
        return before > 0 and reach[before - 1] > start

    return within


def applied(text: str, edits: Sequence[Edit]) -> str:
    """Return a text with its edits made, which are in its order and do not overlap."""
    parts, place = [], 0
    for edit in edits:
        parts += [text[place : edit.start], edit.text]
        place = edit.end
    return "".join([*parts, text[place:]])


def _spans(column: Column, values: Sequence[tuple[Any, ...]]) -> list[Span]:
    """Return where spans, or answers, stand in their text."""
    if column.kind == "answers":
        return [Span(start, start + len(text)) for start, text in values]
    return [Span(start, end, label) for start, end, label in values]


def _marked(text: str) -> list[Span]:
    """Return the two arguments of a marked text, with their marks."""
    opening, closing = MARKERS[::2], MARKERS[1::2]
    return [
        Span(text.index(first), text.index(last) + len(last))
        for first, last in zip(opening, closing, strict=True)
    ]


def _moved(column: Column, values: Sequence[tuple[Any, ...]], edits: Sequence[Edit]) -> list[Any]:
    """Return spans, or answers, where they stand in the edited text."""
    ends = [edit.end for edit in edits]
    grown = [0]
    for edit in edits:
        grown.append(grown[-1] + len(edit.text) - (edit.end - edit.start))
    whole = {(edit.start, edit.end): edit.text for edit in edits if edit.end > edit.start}

    def moved(start: int) -> int:
        # What is inserted right before a span moves it.
        return start + grown[bisect_right(ends, start)]

    if column.kind == "answers":
        return [(moved(start), text) for start, text in values]
    found = []
    for start, end, label in values:
        size = len(whole.get((start, end), "")) if (start, end) in whole else end - start
        found.append((moved(start), moved(start) + size, label))
    return found
