"""SQuAD's JSON, versions 1 and 2 -> one row a question.

Source: https://rajpurkar.github.io/SQuAD-explorer/ (Rajpurkar et al. 2016, 2018).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TextIO

from pipelines.cells import truth
from pipelines.columns import IMPOSSIBLE
from pipelines.errors import UserError
from pipelines.files import foreign
from pipelines.files.layout import encoding_remedy
from pipelines.files.raw import RawRow, encodable, refuse_constant, undecodable

_SHAPE = '{"data": [{"title": ..., "paragraphs": [{"context": ..., "qas": [...]}]}]}'


def rows(file: TextIO, source: str) -> Iterator[RawRow]:
    """Yield a row for each question: id, title, question, context, answers.

    The file is held in memory as a whole. ``answers`` is as in the file, without repetitions, and
    empty if the question is marked ``is_impossible``; a question without answers has no such field.

    Raises:
        UserError: it is not whole JSON, or not of this shape.

    Example::

        with open("dev-v2.0.json", encoding="utf-8") as file:
            for row in rows(file, "dev-v2.0.json"):
                print(row.fields["question"])
    """
    text = file.read()
    if not text.strip():
        raise UserError(f"{source} is empty (give SQuAD's JSON: {_SHAPE})")
    if fault := undecodable(text):
        raise UserError(f"{source} is {fault} ({encoding_remedy(source)})")
    try:
        top = json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        remedy = foreign.json_rows(text) or "fetch or write it again"
        raise UserError(f"{source} is not whole JSON: {error} ({remedy})") from error
    if remedy := foreign.questions(top.get("data") if isinstance(top, dict) else top):
        raise UserError(f"{source} is not SQuAD's JSON ({remedy})")
    if not isinstance(top, dict) or not isinstance(top.get("data"), list):
        has = ", ".join(map(repr, list(top)[:5])) if isinstance(top, dict) else ""
        what = f"an object with {has or 'nothing'}" if isinstance(top, dict) else "no object"
        raise UserError(
            f"{source} is not SQuAD's JSON {_SHAPE}: its top level is {what} (rows of other shapes "
            "go into .jsonl, one object a line)"
        )
    number = 0
    for title, paragraph in _paragraphs(top["data"], source):
        context, questions = paragraph.get("context"), paragraph.get("qas")
        if not isinstance(questions, list):
            raise UserError(f"{source}: a paragraph of {title!r} has no list 'qas'")
        for question in questions:
            number += 1
            yield _row(number, title, context, question)


def _paragraphs(articles: list[Any], source: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each paragraph with its article's title."""
    for place, article in enumerate(articles, 1):
        paragraphs = article.get("paragraphs") if isinstance(article, dict) else None
        if not isinstance(paragraphs, list) or not all(isinstance(one, dict) for one in paragraphs):
            raise UserError(f"{source}: article {place} has no list 'paragraphs' of objects")
        for paragraph in paragraphs:
            yield str(article.get("title", "")), paragraph


def _row(number: int, title: str, context: Any, question: Any) -> RawRow:
    """Return a question as a row."""
    text = json.dumps(question, ensure_ascii=False)
    if not isinstance(question, dict):
        return RawRow(number, None, text, {}, f"the question is not an object but {text[:40]}")
    fields = {
        "id": str(question.get("id", number)),
        "title": title,
        "question": question.get("question"),
        "context": context,
    }
    answers = question.get("answers")
    try:
        if truth(question.get(IMPOSSIBLE), IMPOSSIBLE):
            answers = []
    except ValueError as error:
        return RawRow(number, None, text, {}, str(error))
    if isinstance(answers, list):
        # Several people gave the same answer.
        answers = list({json.dumps(one): one for one in answers}.values())
    if answers is not None:
        fields["answers"] = answers
    fault = "" if encodable(fields) else "half of a surrogate pair, which is not a character"
    return RawRow(number, None, text, {} if fault else fields, fault)
