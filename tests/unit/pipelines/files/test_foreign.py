"""Layouts of other programs, which are refused with what to make of them."""

from __future__ import annotations

import json

import pytest

from pipelines.errors import UserError
from pipelines.rows import Column, read

TEXT, LABEL = Column("text", "text", ""), Column("label", "label", "")
LABELS = Column("labels", "labels", "")
ENTITIES = Column("entities", "spans", "", ("spans", "labels", "tags"))
QA = (
    Column("question", "text", ""),
    Column("context", "text", ""),
    Column("answers", "answers", "", of="context"),
)
ANSWERS = {"text": ["1903"], "answer_start": [3]}
QUESTION = {"question": "When?", "context": "In 1903.", "answers": ANSWERS}
PRINTED = f'question,context,answers\nWhen?,In 1903.,"{ANSWERS}"\n'
LINES = [{"text": "good", "label": "yes"}, {"text": "bad", "label": "no"}]
DOCCANO = {"text": "Ann sang", "label": [[0, 3, "PER"]]}
RELATED = {"text": "Ann sang", "entities": [{"start_offset": 0, "end_offset": 3, "label": "PER"}]}
STUDIO = {"text": "Ann sang", "label": [{"start": 0, "end": 3, "labels": ["PER"]}]}
TAGGED = {"tokens": ["Ann", "sang"], "ner_tags": ["B-PER", "O"]}


@pytest.mark.parametrize(
    ("name", "content", "columns", "said"),
    [
        ("a.json", "\n".join(map(json.dumps, LINES)), (TEXT, LABEL), "so that it ends in .jsonl"),
        ("a.json", json.dumps(LINES), (TEXT, LABEL), "go into .jsonl, one object a line"),
        ("a.json", '{"text": "a"', (TEXT,), "fetch or write it again"),
        ("a.jsonl", json.dumps(DOCCANO), (TEXT, ENTITIES), r"\(use --entities-column label\)"),
        ("a.jsonl", json.dumps(RELATED), (TEXT, ENTITIES), "rename start_offset and end_offset"),
        ("a.jsonl", json.dumps(STUDIO), (TEXT, ENTITIES), "use --entities-column label"),
        ("a.jsonl", json.dumps(TAGGED), (TEXT, ENTITIES), "write tokens and ner_tags as .conll"),
        ("a.json", json.dumps({"data": [QUESTION]}), QA, "a question an item: .* in .jsonl"),
        ("a.json", json.dumps([QUESTION]), QA, "a question an item: .* in .jsonl"),
        ("a.json", json.dumps([{"context": "a", "qas": []}]), QA, "holds paragraphs: put the list"),
        ("a.csv", PRINTED, QA, "use json.dumps"),
        ("a.csv", "text,food,staff\nA,0,1\n", (TEXT, LABELS), "0 and 1 for each label"),
    ],
)  # fmt: skip
def test_other_layouts_are_refused_in_one_sentence(tmp_path, name, content, columns, said):
    path = tmp_path / name
    path.write_text(content, "utf-8")
    with pytest.raises(UserError, match=said) as caught:
        read(path, columns)
    assert "\n" not in str(caught.value)


def test_what_the_sentences_say_helps(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(DOCCANO))
    rows = read(path, (TEXT, ENTITIES), names={"entities": "label"})
    assert rows.columns["entities"] == [[(0, 3, "PER")]]
    path.write_text(json.dumps(STUDIO))
    with pytest.raises(UserError, match='give one "label" in place of the list "labels"'):
        read(path, (TEXT, ENTITIES), names={"entities": "label"})
    path.write_text(json.dumps(QUESTION))
    assert read(path, QA).columns["answers"] == [[(3, "1903")]]
