"""Additional rows made of existing ones: texts are edited, and their targets move with them.

What edits a text only says which characters it replaces. Here the edits are applied, and offsets
into the text are moved, so that every span still holds the same characters.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

from pipelines.columns import MARKERS, Column
from pipelines.conversations import SYSTEM, Turns
from pipelines.rows import Rows


@dataclass(frozen=True)
class Span:
    """Characters [start, end) of a text that a target refers to."""

    start: int
    end: int


@dataclass(frozen=True)
class Edit:
    """Characters [start, end) of a text replaced; it lies outside of all spans."""

    start: int
    end: int
    text: str


Editor: TypeAlias = Callable[[str, Sequence[Span], random.Random], Sequence[Edit]]


def augmented(
    rows: Rows,
    inputs: Sequence[Column],
    targets: Sequence[Column],
    editors: Sequence[Editor],
    times: int,
    seed: tuple[int, int],
) -> Rows:
    """Return the rows, and after them edited ones with the same targets.

    Args:
        rows: to start from.
        inputs: the columns whose texts are edited, each by itself; of ``turns`` each turn.
        targets: the columns that are kept; offsets into an edited text follow it.
        editors: each is (text, its spans, random) -> edits outside of the spans, none where the
            text cannot be changed.
        times: texts that each editor makes of each row; of a row of which it can change no text
            there are none.
        seed: of the run, and the epoch; the same seed makes the same rows.

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
        for i in [*range(len(rows))] * times:
            row = {name: values[i] for name, values in rows.columns.items()}
            changed = _changed(row, inputs, targets, editor, generator)
            if changed:
                numbers.append(rows.numbers[i])
                for name, value in (row | changed).items():
                    columns[name].append(value)
    return Rows(rows.source, columns, numbers, rows.bad)


def _changed(
    row: dict[str, Any],
    inputs: Sequence[Column],
    targets: Sequence[Column],
    editor: Editor,
    generator: random.Random,
) -> dict[str, Any]:
    """Return the values of a row that editing its texts changed; empty if none did."""
    changed: dict[str, Any] = {}
    for column in inputs:
        text = row[column.name]
        if column.kind == "turns":
            turns = [_said(turn, editor, generator) for turn in text]
            changed |= {column.name: Turns(turns)} if turns != text else {}
            continue
        own = [c for c in targets if c.kind in ("spans", "answers") and c.of == column.name]
        spans = [span for target in own for span in _spans(target, row[target.name])]
        spans += _marked(text) if column.kind == "marked" else []
        edits = _edits(text, spans, editor, generator)
        if applied(text, edits) != text:
            changed[column.name] = applied(text, edits)
            changed |= {target.name: _moved(target, row[target.name], edits) for target in own}
    return changed


def _said(turn: str, editor: Editor, generator: random.Random) -> str:
    """Return an edited turn; a system prompt stays as it is."""
    if turn.startswith(SYSTEM):
        return turn
    return applied(turn, _edits(turn, (), editor, generator))


def _edits(
    text: str, spans: Sequence[Span], editor: Editor, generator: random.Random
) -> list[Edit]:
    """Return a text's edits in its order; raises ValueError if they overlap or touch a span."""
    edits = sorted(editor(text, spans, generator), key=lambda edit: (edit.start, edit.end))
    for edit, following in pairwise(edits):
        if following.start < edit.end:
            raise ValueError(f"{edit} and {following} overlap")
    for edit in edits:
        for span in spans:
            if edit.start < span.end and span.start < edit.end:
                raise ValueError(f"{edit} touches {span}")
    return edits


def applied(text: str, edits: Sequence[Edit]) -> str:
    """Return a text with its edits made, which are in its order and do not overlap."""
    for edit in reversed(edits):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def _spans(column: Column, values: Sequence[tuple[Any, ...]]) -> list[Span]:
    """Return where spans, or answers, stand in their text."""
    if column.kind == "answers":
        return [Span(start, start + len(text)) for start, text in values]
    return [Span(start, end) for start, end, _ in values]


def _marked(text: str) -> list[Span]:
    """Return the two arguments of a marked text, with their marks."""
    opening, closing = MARKERS[::2], MARKERS[1::2]
    return [
        Span(text.index(first), text.index(last) + len(last))
        for first, last in zip(opening, closing, strict=True)
    ]


def _moved(column: Column, values: Sequence[tuple[Any, ...]], edits: Sequence[Edit]) -> list[Any]:
    """Return spans, or answers, where they stand in the edited text."""

    def shift(start: int) -> int:
        # What is inserted right before a span moves it.
        return sum(len(e.text) - (e.end - e.start) for e in edits if e.end <= start)

    if column.kind == "answers":
        return [(start + shift(start), text) for start, text in values]
    return [(start + shift(start), end + shift(start), label) for start, end, label in values]
