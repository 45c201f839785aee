"""Kinds of columns: a field as a file gives it -> a checked value."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias, TypeGuard, get_args

from pipelines import cells, conversations
from pipelines.conversations import CHATS as CHATS
from pipelines.conversations import joined as joined

Kind = Literal["text", "marked", "label", "labels", "number", "spans", "answers", "turns"]
KINDS = frozenset(get_args(Kind))
Span: TypeAlias = tuple[int, int, str]  # start, end [characters], label
Answer: TypeAlias = tuple[int, str]  # start [characters], text

IN_MEMORY = "the data"  # what rows are called in messages that are in no file
FLOAT32_MAX = 3.4028234e38
IMPOSSIBLE = "is_impossible"  # the field of a question without an answer, as SQuAD names it
MARKERS = ("<e1>", "</e1>", "<e2>", "</e2>")
_BETWEEN = re.compile(f"[{re.escape(cells.LISTING + cells.LOOSE)}]+")
_MARKER = re.compile("|".join(MARKERS))
_TRUTHS = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
_STARTS = ("start", "answer_start")
_LABELS = ("label", "type", "label_name")


@dataclass(frozen=True)
class Column:
    """A raw column that a task reads.

    Attributes:
        name: the task's name for it, also the SavedModel argument's name if it is an input.
        kind: what its values are:
            ``text`` str;
            ``marked`` str, a text with one ``<e1>...</e1>`` and one ``<e2>...</e2>``, as in
            SemEval-2010 task 8, or made from the row's fields ``head`` and ``tail``;
            ``label`` str; ``labels`` list of str; ``number`` float;
            ``spans`` list of (start, end, label), by start, none overlapping;
            ``answers`` list of (start, text), empty if the text holds no answer; both without
            what cannot be seen at their ends: white space and characters of no width;
            ``turns`` `pipelines.conversations.Turns`, a conversation in its order, the last turn
            being what is to be answered. A file has it as a list of strings, or of messages
            (``{"role": "user", "content": "Hi"}`` or ``{"from": "human", "value": "Hi"}``), as such
            a list in JSON, or as a text, one turn a line.
            Offsets count characters (Unicode code points) from 0; the end is exclusive.
        help: what it holds, in a few words.
        aliases: other header names under which it is recognised, the most likely first.
        of: the name of the text column that the offsets of spans and answers point into; of a
            text that answers ``turns``, their name. Chat files have both in one field: the text
            is then the assistant's last message, and the turns are what precedes it.
        optional: whether a file may lack it; rows then do too.
        truth: whether a ``number`` may also be true or false, 1 and 0.

    Example::

        Column("text", "text", "the text to classify", aliases=("sentence", "review"))
    """

    name: str
    kind: Kind
    help: str
    aliases: tuple[str, ...] = ()
    of: str = "text"
    optional: bool = False
    truth: bool = False


def value_of(
    column: Column, fields: Mapping[str, Any], keys: Mapping[str, str], separator: str
) -> Any:
    """Return a field's checked value.

    Args:
        column: what to read.
        fields: the row's fields as they stand in the file.
        keys: by the task's column name, the file's.
        separator: between the labels in one cell of a ``labels`` column; also ``tab`` and so on,
            as `pipelines.cells.separator` reads it.

    Raises:
        ValueError: it cannot be used; says what is wrong with it.

    Example:
        >>> column = Column("text", "text", "a review")
        >>> value_of(column, {"review": "Good."}, {"text": "review"}, "|")
        'Good.'
    """
    key = keys[column.name]
    value = fields.get(key)
    if column.kind == "answers" and cells.truth(fields.get(IMPOSSIBLE), IMPOSSIBLE):
        return []
    if value is None:
        raise ValueError(f"{key!r} is missing")
    if column.kind == "labels":
        return _labels(value, key, separator)
    if column.kind == "number":
        return _truth_or_number(value, key) if column.truth else _number(value, key)
    if column.kind == "turns":
        shared = list(keys.values()).count(key) > 1
        if not shared and not conversations.is_list(value):
            return conversations.from_lines(value)
        items = _items(value, key)
        return (
            conversations.answered(items, key)[0]
            if shared
            else conversations.from_items(items, key)
        )
    if column.kind == "text" and column.of != Column.of and keys.get(column.of) == key:
        return conversations.answered(_items(value, key), key)[1]
    if column.kind in ("spans", "answers"):
        of = keys.get(column.of, column.of)
        text = _scalar(fields.get(of, ""), of)
        return (_spans if column.kind == "spans" else _answers)(value, key, text, of)
    text = _scalar(value, key)
    if column.kind == "text":
        return text
    if column.kind == "marked":
        return _marked(text, key, fields)
    if text.lstrip()[:1] == "[" and cells.is_list(text):
        raise ValueError(f"{key!r} is a list, not one label: {text[:60]}")
    return _label(text, key)


def _label(text: str, key: str) -> str:
    """Return a label without white space around it."""
    if not text.strip():
        raise ValueError(f"{key!r} is empty")
    if "\0" in text:  # tensors end there
        raise ValueError(f"{key!r} has a NUL character: {text[:60]!r}")
    return text.strip()


def _scalar(value: Any, key: str) -> str:
    """Return a string, or or a JSON number or truth value as one."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    kind = "a list" if isinstance(value, list) else "an object"
    raise ValueError(f"{key!r} is {kind}, not a string")


def _labels(value: Any, key: str, separator: str) -> list[str]:
    """Return the labels, each once; none at all is a legitimate answer."""
    if isinstance(value, str) and value.strip().startswith("[") and value.strip().endswith("]"):
        numbers = re.fullmatch(r"\s*\[([01]\.?\s*)+\]\s*", value)  # as NumPy writes them
        value = re.findall("[01]", value) if numbers else _parsed(value, key)
    if not isinstance(value, list):
        value = _scalar(value, key).split(cells.separator(separator))
    elif any(item is None for item in value):
        raise ValueError(f"{key!r} has a null in it")
    given = [_scalar(item, key) for item in value]
    if cells.is_vector(_BETWEEN.split(given[0]) if len(given) == 1 else given):
        raise ValueError(
            f"{key!r} has {_shown(value)}, a 0 or 1 for each label, not the labels (give their "
            'names: ["food", "staff"], or [] for none)'
        )
    return list(dict.fromkeys(_label(label, key) for label in given if label.strip()))


def _parsed(value: str, key: str) -> Any:
    """Return the JSON in a cell."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        how = " (it is as Python prints it: use json.dumps)" * cells.is_python(value)
        raise ValueError(f"{key!r} is not a JSON list: {value[:60]}{how}") from None


def _number(value: Any, key: str) -> float:
    """Return a finite float."""
    if isinstance(value, (list, dict, bool)):
        raise ValueError(f"{key!r} is not a number: {json.dumps(value)[:60]}")
    try:
        # float() takes 1_000, which no file means.
        number = math.nan if "_" in str(value) else float(value)
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{key!r} is not a finite number: {str(value)[:60]!r}")
    if abs(number) > FLOAT32_MAX:
        raise ValueError(f"{key!r} is larger than a float32 can hold: {str(value)[:60]!r}")
    return number


def _truth_or_number(value: Any, key: str) -> float:
    """Return a finite float, of a truth value 1 or 0."""
    said = str(value).strip().casefold()
    if said in _TRUTHS:
        return _TRUTHS[said]
    try:
        return _number(value, key)
    except ValueError:
        if not isinstance(value, str):
            raise
        raise ValueError(
            f"{key!r} is neither a number nor true or false: {value[:60]!r} (write 1 for yes and 0 "
            "for no, or rename the column if it says something else)"
        ) from None


def _items(value: Any, key: str) -> list[Any]:
    """Return the items of a list, of a cell that holds one as JSON, or of an empty cell."""
    if isinstance(value, str):
        value = _parsed(value, key) if value.strip() else []
    if isinstance(value, Mapping):
        # Columns in place of rows, as Hugging Face writes SQuAD.
        columns = [column for column in value.values() if isinstance(column, Sequence)]
        if not columns or len(columns) < len(value) or len({*map(len, columns)}) != 1:
            raise ValueError(f"{key!r} is not a list: {_shown(value)}")
        return [dict(zip(value, item, strict=True)) for item in zip(*columns, strict=True)]
    if not isinstance(value, list):
        raise ValueError(f"{key!r} is not a list: {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    """Return the beginning of a JSON value."""
    return json.dumps(value, ensure_ascii=False, default=str)[:60]


def _first(item: Mapping[str, Any], names: Iterable[str]) -> Any:
    """Return the first of these fields that an item has."""
    return next((item[name] for name in names if item.get(name) is not None), None)


def _is_offset(value: Any) -> TypeGuard[int]:
    """Return whether a JSON value is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def _spans(value: Any, key: str, text: str, of: str) -> list[Span]:
    """Return labelled spans in the order of the text, each once."""
    spans: list[Span] = []
    for item in _items(value, key):
        told = None
        if isinstance(item, Mapping):
            start, end, label = item.get("start"), item.get("end"), _first(item, _LABELS)
            told = item.get("text")
        elif isinstance(item, (list, tuple)) and len(item) == 3:
            start, end, label = item
        else:
            start = end = label = None
        if not (_is_offset(start) and _is_offset(end) and isinstance(label, str) and label.strip()):
            how = cells.span_remedy(item)
            raise ValueError(
                f"{key!r} has {_shown(item)}, which is neither "
                '{"start": 0, "end": 5, "label": "NAME"} nor [0, 5, "NAME"]'
                + f" ({how})"
                * bool(how)
            )
        _check_span(start, end, text, f"{key!r} has a span {start}-{end} {label!r}", of)
        if isinstance(told, str) and told != text[start:end]:
            raise ValueError(
                f"{key!r} has a span {start}-{end} {label!r} with the text {told[:60]!r}, but "
                f"there {of!r} has {text[start:end][:60]!r} ({_remedy(told, text, start)})"
            )
        spans.append((*cells.trimmed(text, start, end), _label(label, key)))
    spans = sorted(set(spans))
    for (start, end, label), (after, until, other) in pairwise(spans):
        if after < end:
            raise ValueError(
                f"{key!r} has two spans that overlap: {start}-{end} {label!r} and "
                f"{after}-{until} {other!r} (only flat ones can be learned: leave one out)"
            )
    return spans


def _check_span(start: int, end: int, text: str, what: str, of: str) -> None:
    """Raise ValueError unless a span holds visible characters of a text."""
    if start >= end:
        raise ValueError(f"{what}, which ends before it begins (the end is exclusive)")
    if start < 0 or end > len(text):
        raise ValueError(
            f"{what} outside {of!r}, which has {len(text)} characters (offsets count characters "
            "from 0, not bytes)"
        )
    if not any(map(cells.is_visible, text[start:end])):
        raise ValueError(f"{what}, where {of!r} has only white space (correct the offsets)")


def _remedy(told: str, text: str, start: int) -> str:
    """Return how to correct an offset: the nearest place at which the string really stands."""
    places = [place.start() for place in re.finditer(re.escape(told), text)] if told else []
    if not places:
        return "it stands nowhere in it: correct it"
    return f"it stands at {min(places, key=lambda place: abs(place - start))}: correct the offset"


def _answers(value: Any, key: str, text: str, of: str) -> list[Answer]:
    """Return answers as they stand in the text, each once; none if it cannot be answered."""
    answers: list[Answer] = []
    for item in _items(value, key):
        if isinstance(item, Mapping):
            start, said = _first(item, _STARTS), item.get("text")
        elif isinstance(item, (list, tuple)) and len(item) == 2:
            start, said = item
        else:
            start = said = None
        if not (_is_offset(start) and isinstance(said, str)):
            raise ValueError(
                f"{key!r} has {_shown(item)}, which is neither "
                '{"text": "Rome", "answer_start": 7} nor [7, "Rome"]'
            )
        if not any(map(cells.is_visible, said)):
            raise ValueError(f"{key!r} has an empty answer (of an unanswerable question, write [])")
        if start < 0 or text[start : start + len(said)] != said:
            there = text[start : start + len(said)] if start >= 0 else ""
            raise ValueError(
                f"{key!r} says that {said[:60]!r} begins at {start}, but there {of!r} has "
                f"{there[:60]!r} ({_remedy(said, text, start)})"
            )
        start, end = cells.trimmed(text, start, start + len(said))
        answers.append((start, text[start:end]))
    return list(dict.fromkeys(answers))


def _marked(text: str, key: str, fields: Mapping[str, Any]) -> str:
    """Return a text with both arguments marked."""
    if isinstance(fields.get("head"), Mapping) and isinstance(fields.get("tail"), Mapping):
        return _with_markers(text, key, fields)
    parts = _MARKER.split(text)
    found = tuple(_MARKER.findall(text))
    if found not in (MARKERS, MARKERS[2:] + MARKERS[:2]):
        raise ValueError(
            f"{key!r} must have one <e1>...</e1> and one <e2>...</e2>, side by side; "
            + (f"it has {' '.join(found)[:60]}" if found else f"it has none: {text[:60]!r}")
        )
    for place in (1, 3):
        if not parts[place].strip():
            raise ValueError(f"{key!r} has nothing between {found[place - 1]} and {found[place]}")
    return text


def _with_markers(text: str, key: str, fields: Mapping[str, Any]) -> str:
    """Mark the arguments that a row names by their offsets."""
    if found := _MARKER.search(text):
        raise ValueError(f"{key!r} has the marker {found[0]}, and also 'head' and 'tail'")
    spans = []
    for name, opening, closing in zip(("head", "tail"), MARKERS[::2], MARKERS[1::2], strict=True):
        start, end = fields[name].get("start"), fields[name].get("end")
        if not (_is_offset(start) and _is_offset(end)):
            raise ValueError(
                f'{name!r} is {_shown(fields[name])}, not {{"start": 0, "end": 5}} [characters]'
            )
        _check_span(start, end, text, f"{name!r} is {start}-{end}", key)
        spans.append((start, end, opening, closing))
    first, second = sorted(spans)
    if second[0] < first[1]:
        raise ValueError(
            f"'head' and 'tail' overlap: {first[0]}-{first[1]} and {second[0]}-{second[1]} "
            "(a relation has two arguments side by side)"
        )
    for start, end, opening, closing in (second, first):
        text = text[:start] + opening + text[start:end] + closing + text[end:]
    return text


def as_request(value: Any) -> str:
    r"""Return a checked value of an input column as the one string that a request holds.

    Example:
        >>> as_request(["Hi!", "Hello."])
        'Hi!\nHello.'
    """
    return joined(value) if isinstance(value, list) else str(value)
