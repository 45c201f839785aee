"""Layouts of other programs that are not read: how to recognise them, and what to make of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.cells import shown
from pipelines.columns import Column
from pipelines.files.delimited import delimiter_in

# What columns of two texts are called.
_PAIRS = (
    {"text_a", "text_b"},
    {"text1", "text2"},
    {"sentence1", "sentence2"},
    {"sentence_a", "sentence_b"},
    {"question1", "question2"},
    {"premise", "hypothesis"},
    {"question", "sentence"},
)


def missing_column(column: Column, header: Sequence[str], flag: str) -> str:
    """Return the remedy for a file without a column, by what it has instead.

    Args:
        column: what is looked for.
        header: the file's columns.
        flag: names a column.

    Example:
        >>> missing_column(Column("entities", "spans", ""), ["text", "label"], "--entities-column")
        'use --entities-column label'
    """
    if len(header) == 1 and (delimiter := delimiter_in(header[0])):
        return f"use --delimiter {shown(delimiter)}, if that is what separates the columns"
    words = next((name for name in header if name in ("tokens", "words")), None)
    tags = next((name for name in header if name.endswith(("tags", "labels"))), None)
    if words and tags:
        return (
            f"write {words} and {tags} as .conll, a word and its tag on each line, or as a text "
            "and spans with offsets"
        )
    if column.kind == "spans" and "label" in header:
        return f"use {flag} label"
    here = {name.casefold() for name in header}
    if column.name == "text" and any(pair <= here for pair in _PAIRS):
        return f"give --pair if each row has two texts, else {flag}"
    if column.kind == "labels" and len(header) > 2:
        return (
            f"use {flag}; a column of 0 and 1 for each label must become one column with the "
            "labels' names, such as food|staff"
        )
    return f"use {flag}"


def json_rows(text: str) -> str:
    r"""Return the remedy for a .json file that holds rows and is not one JSON value, or "".

    Example:
        >>> json_rows('{"text": "a"}\n{"text": "b"}')
        'it holds an object a line: rename it so that it ends in .jsonl'
    """
    try:
        first = json.loads(text.lstrip().partition("\n")[0])
    except (ValueError, RecursionError):
        return ""
    if not isinstance(first, dict):
        return ""
    return "it holds an object a line: rename it so that it ends in .jsonl"


def questions(items: Any) -> str:
    """Return the remedy for a list of questions, or of paragraphs, in place of articles, or "".

    Example:
        >>> questions([{"question": "Who?", "context": "Ann sang."}]).partition(":")[0]
        'it holds a question an item'
    """
    first = items[0] if isinstance(items, list) and items else None
    if not isinstance(first, Mapping):
        return ""
    if "qas" in first:
        return 'it holds paragraphs: put the list into {"data": [{"title": "", "paragraphs": ...}]}'
    if "question" in first:
        return (
            "it holds a question an item: write each on a line of its own, in a file that ends in "
            ".jsonl"
        )
    return ""
