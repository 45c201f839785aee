"""Rows are written back as their files were laid out, and read the same again."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.columns import Column
from pipelines.errors import UserError
from pipelines.files import rewriting
from pipelines.files.formats import raw_rows

TEXT = Column("text", "text", "the text")
SPANS = Column("entities", "spans", "the entities")


def written(form, rows, delimiter=","):
    file = io.StringIO(newline="")
    rewriting.write(file, form, iter(rows), "text", "entities", delimiter)
    return file.getvalue()


def again(form, rows, **given):
    data = io.BytesIO(written(form, rows, **given).encode())
    return [row.fields for row in raw_rows(data, form, f"a.{form}")[1]]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\r")), max_size=5))
@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl"])
def test_tables_are_read_as_they_were_written(form, texts):
    rows = [{"text": f"a{text}", "source_row": i} for i, text in enumerate(texts)]
    found = again(form, rows, delimiter="\t" if form == "tsv" else ",") if rows else []
    assert [row["text"] for row in found] == [row["text"] for row in rows]
    assert [str(row["source_row"]) for row in found] == [str(i) for i in range(len(rows))]


@given(
    st.lists(st.sampled_from(["Ada", "Rome", ",", "字", "电影", "x.", "(", "é"]), min_size=1),
    st.data(),
)
def test_tags_are_read_as_they_were_written(words, data):
    text = " ".join(words)
    edges = [i for i in range(len(text) + 1) if text[i - 1 : i] != " " and text[i : i + 1] != " "]
    cuts = sorted(data.draw(st.sets(st.sampled_from(edges), max_size=4)))
    spans = [
        {"start": a, "end": b, "label": "A"}
        for a, b in zip(cuts[::2], cuts[1::2], strict=False)
        if text[a:b].strip() == text[a:b]
    ]
    row = {"text": text, "entities": spans, "source_row": 3}
    (found,) = again("conll", [row])
    seen = [found["text"][s["start"] : s["end"]] for s in found["entities"]]
    assert [one.replace(" ", "") for one in seen] == [
        text[s["start"] : s["end"]].replace(" ", "") for s in spans
    ]
    assert found["text"].replace(" ", "") == text.replace(" ", "")
    assert written("conll", [row]).startswith("# source_row = 3\n")


def test_questions_are_read_as_they_were_written():
    row = {"id": "q", "title": "T", "question": "Who?", "context": "Ada did."}
    answered = {**row, "answers": [{"answer_start": 0, "text": "Ada"}], "source_row": 1}
    first, second, third = again("squad", [answered, answered, {**row, "source_row": 2}])
    assert (first["id"], second["id"], third["id"]) == ("q", "q-1", "q-2")
    assert first["answers"] == answered["answers"]
    assert third["answers"] == []
    held = json.loads(written("squad", [answered]))
    assert held["data"][0]["paragraphs"][0]["qas"][0]["source_row"] == 1


def test_only_what_was_changed_is_changed():
    fields = {"Review": "Ada sings", "tags": "[]", "id": "7"}
    keys = {"text": "Review", "entities": "tags"}
    values = {"text": "Grace sings", "entities": [(0, 5, "PER")]}
    found = rewriting.changed(fields, keys, [TEXT, SPANS], values)
    assert found == {
        "Review": "Grace sings",
        "tags": [{"start": 0, "end": 5, "label": "PER"}],
        "id": "7",
    }
    assert fields["Review"] == "Ada sings"


def test_arguments_that_are_marked_now_are_not_told_apart_too():
    column = Column("text", "marked", "the text")
    fields = {"text": "Ada sings", "head": {"start": 0, "end": 3}, "tail": {"start": 4, "end": 9}}
    found = rewriting.changed(fields, {"text": "text"}, [column], {"text": "<e1>Ada</e1> ..."})
    assert found == {"text": "<e1>Ada</e1> ..."}


@pytest.mark.parametrize(
    ("given_", "turns", "found"),
    [
        ("Hi!\nYou?", ["Hi!", "Me?"], "Hi!\nMe?"),
        (["Hi!", "You?"], ["Ho!", "You?"], ["Ho!", "You?"]),
        ('["Hi!", "You?"]', ["Ho!", "You?"], ["Ho!", "You?"]),
        (
            [{"role": "system", "content": "Be."}, {"role": "user", "content": "Hi"}],
            ["\x01Be.", "Ho"],
            [{"role": "system", "content": "Be."}, {"role": "user", "content": "Ho"}],
        ),
    ],
)
def test_conversations_keep_their_shape(given_, turns, found):
    column = Column("history", "turns", "what was said")
    fields = rewriting.changed(
        {"history": given_}, {"history": "history"}, [column], {"history": turns}
    )
    assert fields["history"] == found


@pytest.mark.parametrize(
    ("source", "forms", "output", "header", "said"),
    [
        ("a.csv", ("csv", "csv"), "./a.csv", [], "is the input"),
        ("a.csv", ("csv", "csv"), "b.csv.gz", [], "cannot be written"),
        ("a.txt", ("text", "text"), "b.txt", [], "cannot be written"),
        ("a.csv", ("csv", "conll"), "b.conll", [], "cannot hold"),
        ("a.conllu", ("conllu", "conllu"), "b.conllu", [], "cannot be written"),
        ("a.csv", ("csv", "csv"), "b.csv", ["source_row"], "already"),
    ],
)
def test_what_cannot_be_written_is_refused(source, forms, output, header, said):
    with pytest.raises(UserError, match=said):
        rewriting.check(source, forms, output, header)
