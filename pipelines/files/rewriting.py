"""Rows written as the files that they came from are laid out, with some values changed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from pipelines.cells import is_visible
from pipelines.columns import IMPOSSIBLE, Column
from pipelines.conversations import SYSTEM, is_list, joined
from pipelines.errors import UserError
from pipelines.files.writers import csv_writer, json_text, jsonl_writer

SOURCE_ROW = "source_row"  # the number of the row that a row was made of
_SAID = ("content", "value", "text")
_FORMS = ("csv", "tsv", "jsonl", "conll", "squad")
_GAP = 0x2E80  # scripts from here on put no space between words


def check(source: str, forms: tuple[str, str], output: str, header: Sequence[str]) -> None:
    """Refuse, before any work is done, what cannot be written.

    Args:
        source: the file that rows come from.
        forms: its format, and that of the output.
        output: the file to write.
        header: the columns of the source.

    Raises:
        UserError: the output is the source, of a format that no rows are written in, or of another
            than the source where that would lose columns; or the source has been augmented.

    Example::

        check("rows.csv", ("csv", "csv"), "more.csv", ["text", "label"])
    """
    given, wanted = forms
    if Path(source).resolve() == Path(output).resolve():
        raise UserError(f"--output {output} is the input (name another file)")
    if output.endswith(".gz") or wanted not in _FORMS:
        raise UserError(
            f"--output {output} cannot be written (name a file of {', '.join(_FORMS[:3])}, .conll "
            "for tags, or .json for SQuAD)"
        )
    if wanted in ("conll", "squad") and given != wanted:
        raise UserError(
            f"{source} is {given}, which {output} cannot hold (give --output the ending of the "
            "input, or .jsonl)"
        )
    if SOURCE_ROW in header:
        raise UserError(
            f"{source} has a column {SOURCE_ROW!r} already (augment the file that it was made of, "
            "or rename the column)"
        )


def changed(
    fields: Mapping[str, Any],
    keys: Mapping[str, str],
    columns: Sequence[Column],
    values: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the fields of a row with some of its values changed.

    Args:
        fields: of the row, as they stand in the file.
        keys: by the task's column name, the file's.
        columns: whose values were changed.
        values: of them, by the task's column name.

    Raises:
        UserError: a conversation's turns cannot be put back where they came from.

    Example:
        >>> column = Column("text", "text", "a review")
        >>> changed({"review": "Good.", "id": "7"}, {"text": "review"}, [column], {"text": "Fine."})
        {'review': 'Fine.', 'id': '7'}
    """
    found = dict(fields)
    for column in columns:
        key, value = keys[column.name], values[column.name]
        if column.kind == "turns":
            found[key] = _turns(found[key], value, key)
        elif column.kind == "spans":
            found[key] = [{"start": s, "end": e, "label": label} for s, e, label in value]
        elif column.kind == "answers":
            found[key] = [{"answer_start": start, "text": text} for start, text in value]
        else:
            found[key] = value
            if column.kind == "marked":  # the marks say now what these said
                found = {n: v for n, v in found.items() if n not in ("head", "tail")}
    return found


def _turns(given: Any, turns: Sequence[str], key: str) -> Any:
    """Return a conversation in the shape that it had."""
    if not is_list(given):
        return joined(turns)
    items = json.loads(given) if isinstance(given, str) else list(given)
    said = [text.removeprefix(SYSTEM) for text in turns]
    places = [i for i, item in enumerate(items) if _said(item).strip()][: len(said)]
    before = [_said(items[i]) for i in places]
    if len(places) < len(said) or any(not isinstance(text, str) for text in before):
        raise UserError(
            f"{key!r} has several messages of one role in a row, which cannot be changed one by "
            "one (join them in the file)"
        )
    for place, text in zip(places, said, strict=True):
        item = items[place]
        name = next((n for n in _SAID if isinstance(item, dict) and item.get(n)), "")
        items[place] = {**item, name: text} if name else text
    return items


def _said(item: Any) -> str:
    if isinstance(item, Mapping):
        return str(next((item[name] for name in _SAID if item.get(name)), ""))
    return str(item)


def write(
    file: TextIO, form: str, rows: Iterator[dict[str, Any]], text: str, spans: str, delimiter: str
) -> int:
    """Write rows, the last of whose fields is ``source_row``; returns how many.

    Args:
        file: open for writing.
        form: csv, tsv, jsonl, conll or squad.
        rows: as `changed` returns them.
        text: of CoNLL the column of the text.
        spans: of CoNLL the column of its spans.
        delimiter: of CSV.

    Example::

        write(file, "csv", rows, "", "", ",")
    """
    count = 0
    if form == "squad":
        every = list(rows)
        file.write(f"{json_text(_squad(every))}\n")
        return len(every)
    if form == "conll":
        for row in rows:
            count += 1
            file.write(_sentence(row[text], row[spans], row[SOURCE_ROW]))
        return count
    writer = jsonl_writer(file) if form == "jsonl" else csv_writer(file, delimiter)
    for row in rows:
        count += 1
        writer([row])
    return count


def _squad(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return questions as SQuAD's JSON, a paragraph each; of those made ids end in a number."""
    seen: dict[str, int] = {}
    data = []
    for row in rows:
        number = seen[row["id"]] = seen.get(row["id"], -1) + 1
        answers = row.get("answers", [])
        question = {
            "id": f"{row['id']}-{number}" if number else row["id"],
            "question": row["question"],
            "answers": answers,
            IMPOSSIBLE: not answers,
            SOURCE_ROW: row[SOURCE_ROW],
        }
        paragraph = {"context": row["context"], "qas": [question]}
        data.append({"title": row.get("title", ""), "paragraphs": [paragraph]})
    return {"version": "augmented", "data": data}


def _sentence(text: str, spans: Sequence[Mapping[str, Any]], source: int) -> str:
    """Return a text as lines of a word and its tag (BIO), after the number of its row."""
    lines = [f"# {SOURCE_ROW} = {source}"]
    edges = {edge for one in spans for edge in (one["start"], one["end"])}
    for start, end in _words(text, edges):
        span = next((s for s in spans if s["start"] < end and start < s["end"]), None)
        tag = f"{'B' if span['start'] >= start else 'I'}-{span['label']}" if span else "O"
        lines.append(f"{text[start:end]}\t{tag}")
    return "\n".join(lines) + "\n\n"


def _words(text: str, edges: set[int]) -> Iterator[tuple[int, int]]:
    """Yield what stands between spaces; of scripts without spaces each character; cut at edges."""
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        end = place + 1
        while (
            end < len(text)
            and not text[end].isspace()
            and end not in edges
            and not (ord(text[end]) >= _GAP and text[end].isalpha())
            and not (ord(text[end - 1]) >= _GAP and text[end - 1].isalpha())
        ):
            end += 1
        if any(map(is_visible, text[place:end])):
            yield place, end
        place = end
