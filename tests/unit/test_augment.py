"""The command writes rows and those made of them, in the layout of the input."""

from __future__ import annotations

import csv
import json

import pytest

from pipelines.errors import UserError
from tfnlp.augment import main

REVIEWS = """text,label,id
"The movie was long, and I didn't like it",neg,7
"Quickly buy a big car",pos,8
"这部电影很好看",pos,9
"""
TAGS = "Ada B-PER\nbought O\na O\nbig O\ncar O\n\nAlan B-PER\nTuring I-PER\nquickly O\nleft O\n"
QUESTIONS = {
    "data": [
        {
            "title": "T",
            "paragraphs": [
                {
                    "context": "The doctor quickly bought a big car in Rome.",
                    "qas": [
                        {
                            "id": "q1",
                            "question": "Where did the doctor buy a car?",
                            "answers": [{"text": "Rome", "answer_start": 39}],
                        }
                    ],
                }
            ],
        }
    ]
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text(REVIEWS)
    (tmp_path / "a.conll").write_text(TAGS)
    (tmp_path / "a.json").write_text(json.dumps(QUESTIONS))
    return tmp_path


def run(*line):
    return main(list(line))


def test_originals_come_first_and_each_row_names_its_source(folder, capsys):
    line = ["--input", "a.csv", "--output", "b.csv", "--augment", "synonyms", "--augment", "typos"]
    assert run(*line, "--augment-times", "2") == 0
    rows = list(csv.DictReader((folder / "b.csv").open()))
    given = list(csv.DictReader((folder / "a.csv").open()))
    assert [{**row, "source_row": str(i)} for i, row in enumerate(given, 1)] == rows[:3]
    assert len(rows) == 3 + 6 + 6
    for row in rows[3:]:
        origin = given[int(row["source_row"]) - 1]
        assert row["text"] != origin["text"]
        assert (row["label"], row["id"]) == (origin["label"], origin["id"])
    assert "didn't" in rows[3]["text"]
    assert "这部影片很好看" in [row["text"] for row in rows]
    assert "synonyms: 6 rows made (0 could not be changed)" in capsys.readouterr().out


def test_the_same_seed_writes_the_same_and_another_does_not(folder):
    def written(name, seed):
        run("--input", "a.csv", "--output", name, "--augment", "typos", "--seed", str(seed))
        return (folder / name).read_text()

    assert written("b.csv", 1) == written("c.csv", 1)
    assert written("b.csv", 1) != written("d.csv", 2)


def test_tags_stay_with_their_words(folder):
    line = ["--task", "ner", "--input", "a.conll", "--output", "b.conll"]
    assert run(*line, "--augment", "entities", "--augment", "synonyms", "--seed", "3") == 0
    text = (folder / "b.conll").read_text()
    assert text.startswith("# source_row = 1\nAda\tB-PER\nbought\tO\n")
    blocks = text.split("\n\n")
    assert "# source_row = 1\nAlan\tB-PER\nTuring\tI-PER\nbought\tO\na\tO" in text
    made = next(b for b in blocks[4:] if b.startswith("# source_row = 1\nAda\tB-PER\n"))
    assert made != blocks[0]
    assert [line.split("\t")[1:] for line in made.splitlines()] == [
        line.split("\t")[1:] for line in blocks[0].splitlines()
    ]
    run("--task", "ner", "--input", "b.conll", "--output", "c.jsonl", "--augment", "typos")
    first = json.loads((folder / "c.jsonl").read_text().splitlines()[0])
    assert first["entities"] == [{"start": 0, "end": 3, "label": "PER"}]


def test_answers_stay_where_they_stand(folder):
    line = ["--task", "extractive_qa", "--input", "a.json", "--output", "b.json"]
    assert run(*line, "--augment", "synonyms", "--augment-times", "3") == 0
    data = json.loads((folder / "b.json").read_text())["data"]
    assert len(data) == 4
    for article in data:
        (paragraph,) = article["paragraphs"]
        (question,) = paragraph["qas"]
        (answer,) = question["answers"]
        place = answer["answer_start"]
        assert paragraph["context"][place : place + 4] == answer["text"] == "Rome"
        assert question["source_row"] == 1


def test_rows_that_are_held_out_are_not_made(folder):
    (folder / "test.csv").write_text("text,label\nthe film was LONG and i didn't like it,neg\n")
    (folder / "a.csv").write_text("text,label\nThe movie was long and I didn't like it,neg\n")
    run("--input", "a.csv", "--output", "b.csv", "--augment", "synonyms")
    assert "film" in (folder / "b.csv").read_text()
    run("--input", "a.csv", "--output", "b.csv", "--augment", "synonyms", "--held-out", "test.csv")
    assert "film" not in (folder / "b.csv").read_text()


def test_a_semicolon_stays_one(folder):
    (folder / "a.csv").write_text("text;label\nThe movie was long;neg\n")
    line = ["--input", "a.csv", "--output", "b.csv", "--augment", "synonyms", "--delimiter", ";"]
    run(*line)
    assert (folder / "b.csv").read_text().splitlines()[0] == "text;label;source_row"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["--output", "b.csv", "--augment", "aeda"], "--input is missing"),
        (["--input", "a.csv", "--augment", "aeda"], "--output is missing"),
        (["--input", "a.csv", "--output", "b.csv"], "--augment is missing"),
        (["--input", "a.csv", "--output", "a.csv", "--augment", "aeda"], "is the input"),
        (["--input", "a.csv", "--output", "b.conll", "--augment", "aeda"], "cannot hold"),
        (["--input", "a.csv", "--output", "b.csv", "--augment", "nope"], "no augmenter 'nope'"),
        (["--input", "a.csv", "--output", "b.csv", "--augment", "entities"], "rows with entities"),
        (["--input", "a.csv", "--output", "b.csv", "--augment", "masked_lm"], "--masked-lm-model"),
        (["--input", "x.csv", "--output", "b.csv", "--augment", "aeda"], "there is no file x.csv"),
        (
            ["--input", "a.csv", "--output", "b.csv", "--augment", "aeda", "--text-column", "x"],
            "has no column 'x'",
        ),
    ],
)
def test_mistakes_are_said_in_a_sentence(folder, line, said):
    with pytest.raises(UserError, match=said):
        run(*line)
    assert not (folder / "b.csv").exists()


def test_texts_in_another_language_are_refused(folder):
    (folder / "a.csv").write_text("text,label\n¿Qué hora es en Madrid ahora mismo?,q\n")
    with pytest.raises(UserError, match=r"texts of a\.csv look like neither"):
        run("--input", "a.csv", "--output", "b.csv", "--augment", "synonyms")
