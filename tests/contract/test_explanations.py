"""Every explanation keeps its promises; occlusion finds the words that answers depend on."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
import tensorflow as tf

from pipelines import text_pieces
from pipelines.errors import UserError
from pipelines.rows import Column, Record, Rows
from tfnlp import explain, extensions
from tfnlp.api import errors, exporting
from tfnlp.extensions import Audit, Explanation, UnsuitableError, Wanted
from tfnlp.runs import subject as subjects
from tfnlp.training import attribution

NAMES = extensions.names(Explanation)
KEYS = ["pieces", "flags", "examples", "changed"]
OF_SAVED_MODELS = {"counterfactual", "occlusion", "shap"}
OPTIONS = {"counterfactual": {"candidates": 0}}  # a SavedModel does not tell any
TEXTS = [
    "Dr Ann says: it's a good film.",
    "这部电影很好看！",
    "wow 👩‍👩‍👧 👍🏽 ok 1️⃣",
    "",
    "two\r\nlines  and\ttabs",
]


def records(texts):
    return [Record(number, {"text": text}, {}) for number, text in enumerate(texts, 1)]


def explained(name, subject, texts=TEXTS, wanted=None, **options):
    if name == "shap":
        pytest.importorskip("shap")
    entry = extensions.load(Explanation, name)
    own = entry.options(**{**OPTIONS.get(name, {}), **options})
    return list(entry.explain(subject, records(texts), own, wanted or Wanted()))


def weights(found):
    """The text of each piece with its weight, those that do nothing left out."""
    pieces = {found.inputs[p.input][p.start : p.end]: round(p.weight, 4) for p in found.pieces}
    return {text: weight for text, weight in pieces.items() if abs(weight) > 1e-6}


@pytest.mark.parametrize("name", NAMES)
class TestEach:
    def test_it_says_what_it_is(self, name):
        entry = extensions.load(Explanation, name)
        assert entry.summary
        assert not entry.summary.endswith(".")
        assert all(field.metadata["help"] for field in dataclasses.fields(entry.options))

    def test_what_it_cannot_explain_it_refuses_in_a_sentence(self, name, word_models):
        for kind in ("generated", "vector"):
            with pytest.raises(UnsuitableError) as caught:
                explained(name, subjects.load(str(word_models / kind)))
            assert "\n" not in str(caught.value)

    def test_a_run_and_its_saved_model_are_explained_alike(self, name, run):
        saved = json.loads((run / "metrics.json").read_text())["saved_model"]
        ours = explained(name, subjects.load(str(run)))
        assert [found.row for found in ours] == [1, 2, 3, 4, 5]
        if name not in OF_SAVED_MODELS:
            with pytest.raises(UnsuitableError, match="tensorboard_logs/NAME/RUN"):
                explained(name, subjects.load(saved))
            return
        theirs = explained(name, subjects.load(saved))
        for one, other in zip(ours, theirs, strict=True):
            assert (one.label, one.inputs) == (other.label, other.inputs)
            assert one.score == pytest.approx(other.score, abs=1e-5)
            for a, b in zip(one.pieces, other.pieces, strict=True):
                assert (a.input, a.start, a.end) == (b.input, b.start, b.end)
                assert a.weight == pytest.approx(b.weight, abs=1e-5)
                assert 0 <= a.start < a.end <= len(one.inputs[a.input])


def test_an_unknown_one_is_refused():
    with pytest.raises(UserError, match="did you mean 'occlusion'"):
        extensions.load(Explanation, "oclusion")


@pytest.mark.parametrize("kind", ["label", "number"])
def test_the_weight_peaks_at_the_word_that_counts(kind, word_models):
    english, chinese, emoji, empty, other = explained(
        "occlusion", subjects.load(str(word_models / kind))
    )
    fall = 0.7 if kind == "label" else 2.0
    assert weights(english) == {"good": fall}
    assert weights(chinese) == {"好": fall}
    assert weights(emoji) == {"👍🏽": fall}
    assert (empty.pieces, weights(other)) == ([], {})
    assert english.label == ("fine" if kind == "label" else "value")
    assert english.score == pytest.approx(0.8 if kind == "label" else 3.0)


def test_each_label_given_is_explained(word_models):
    praise, person, *_, none = explained(
        "occlusion", subjects.load(str(word_models / "labels")), [TEXTS[0], "neither"]
    )
    assert (praise.label, weights(praise)) == ("praise", {"good": 0.7})
    assert (person.label, weights(person)) == ("person", {"Ann": 0.8})
    assert (none.row, none.label, list(none.pieces)) == (2, "", [])
    assert none.flags


def test_an_entity_is_followed_where_it_moves(word_models):
    texts = ["很 Dr Ann 👍🏽", "see Ann, Dr"]
    first, second = explained("occlusion", subjects.load(str(word_models / "people")), texts)
    assert first.label == "person: Ann"
    assert weights(first) == {"Dr": 0.4, "Ann": 0.9}
    assert weights(second) == {"Dr": 0.4, "Ann": 0.9}


def test_a_long_row_is_asked_about_in_larger_pieces(word_models):
    subject = subjects.load(str(word_models / "label"))
    text = "so " * 10 + "good " + "so " * 9
    (found,) = explained("occlusion", subject, [text], most=5)
    assert len(found.pieces) == 5
    assert weights(found) == {"so so good so": 0.7}
    assert found.flags == ("20 words, left out 4 at a time (--occlusion-most 5)",)
    (found,) = explained("occlusion", subject, ["So so. A good one! 好."], Wanted("sentences"))
    assert [found.inputs["text"][p.start : p.end] for p in found.pieces] == [
        "So so.",
        "A good one!",
        "好.",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's 3.5, well-known (e.g.) x^2", "It's|3.5|,|well-known|(|e|.|g|.|)|x|^|2"),
        ("我爱NLP2020和한국어 ไทย", "我|爱|NLP2020|和|한국어|ไ|ท|ย"),
        ("👩‍👩‍👧👍🏽 1️⃣ 🇩🇪", "👩‍👩‍👧👍🏽|1️⃣|🇩🇪"),
        ("cafe\u0301 हिन्दी", "cafe\u0301|हिन्दी"),
        (" \ufeff\u0301 ", ""),
    ],
)
def test_words(text, words):
    places = text_pieces.words(text)
    assert [text[start:end] for start, end in places] == [word for word in words.split("|") if word]


def test_markers_stay(word_models, tmp_path):
    text = "<e1>Ann</e1> met <e2>Bo</e2>"
    kept = text_pieces.unmarked(text, text_pieces.words(text))
    assert [text[start:end] for start, end in kept] == ["Ann", "met", "Bo"]


# What needs a run


@pytest.fixture(scope="module")
def trained(run):
    return subjects.load(str(run))


def test_gradients_that_are_integrated_add_up_to_the_difference_of_logits(trained):
    found = explained("integrated_gradients", trained)
    assert [one.flags for one in found if one.pieces] == [[]] * 4
    coarse = explained("integrated_gradients", trained, nodes=2, most=2, error=1e-4)
    assert any("the weights miss" in flag for one in coarse for flag in one.flags)
    texts = [one.inputs["text"] for one in found]
    network = attribution.network_of(trained, "test")
    raw = {"text": tf.constant(texts)}
    read = network.read(raw)
    names = trained.model.context.facts["labels"]
    shares = tf.one_hot([names.index(one.label) for one in found], len(names))
    given = (raw, read["features"], read["difference"], shares)
    rise = network.values(*given, tf.constant(1.0)) - network.values(*given, tf.constant(0.0))
    sums = np.array([sum(p.weight for p in one.pieces) for one in found])
    near = np.abs(sums - rise.numpy()) <= 0.05 * np.maximum(np.abs(rise), 1)
    assert near.mean() >= 0.95
    assert np.abs(rise).max() > 0.01


@pytest.mark.parametrize("name", ["integrated_gradients", "gradient_input", "occlusion"])
def test_one_label_rather_than_another_is_the_difference_of_both(name, trained):
    one, other = trained.model.context.facts["labels"][:2]

    def summed(wanted):
        found = explained(name, trained, TEXTS[:3], wanted)
        return [piece.weight for each in found for piece in each.pieces]

    both = summed(Wanted(label=one, rather_than=other))
    apart = np.subtract(summed(Wanted(label=one)), summed(Wanted(label=other)))
    assert both == pytest.approx(apart.tolist(), abs=2e-3)
    assert np.abs(both).max() > 1e-4
    with pytest.raises(UserError, match="has no label 'nowhere'"):
        summed(Wanted(label="nowhere"))


def test_words_are_sums_of_their_tokens_and_characters(trained):
    sums = {}
    for unit in ("words", "tokens", "characters", "sentences"):
        found = explained("gradient_input", trained, ["an apple, cafe\u0301 👍🏽"], Wanted(unit))
        sums[unit] = sum(piece.weight for piece in found[0].pieces)
        texts = [found[0].inputs["text"][p.start : p.end] for p in found[0].pieces]
        assert {
            "words": texts == ["an", "apple", ",", "cafe\u0301", "👍🏽"],
            "tokens": len(texts) > 6,
            "characters": texts[-2:] == ["e\u0301", "👍🏽"],
            "sentences": len(texts) == 1,
        }[unit]
    assert list(sums.values()) == pytest.approx([sums["words"]] * 4, abs=1e-5)


def test_the_nearest_row_of_a_training_row_is_itself(trained):
    rows = trained.trained_on()
    for name, score in (("neighbours", "similarity"), ("influence", "influence")):
        found = explained(name, trained, rows.columns["text"][:3], count=2)
        for place, one in enumerate(found):
            texts = [example["text"] for example in one.examples]
            assert len(texts) == 2
            assert one.examples[0][score] >= one.examples[1][score]
            if name == "neighbours":
                assert one.examples[0][score] == pytest.approx(1.0, abs=1e-4)
                assert rows.columns["text"][place] in texts


def test_weights_by_chance_change_what_is_explained(trained):
    audit = extensions.load(Audit, "faithfulness")
    rows = trained.trained_on().take(range(12))
    before = [weight.copy() for weight in trained.model.network.get_weights()]
    options = audit.options(by=("integrated_gradients",), rows=12)
    findings, report = audit.examine(trained, rows, options, audit.bounds)
    alike = next(found for found in findings if found.name == "randomised")
    assert alike.value < 0.5
    assert alike.n > 5
    assert [row[0] for row in report.tables[0].rows] == ["integrated_gradients", "random"]
    after = trained.model.network.get_weights()
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


def test_what_is_served_explains_as_the_run_does(run, trained, tmp_path):
    given = {"saved_models": str(tmp_path), "export_explain": True, "explain_by": "gradient_input"}
    folder = exporting.export([str(run)], given, "here")
    served = tf.saved_model.load(str(folder)).signatures["explain"]
    outputs = served(text=tf.constant(TEXTS))
    found = explained("gradient_input", trained)
    for row, one in enumerate(found):
        count = int(outputs["pieces"][row])
        assert outputs["label"][row].numpy().decode() == one.label
        assert float(outputs["score"][row]) == pytest.approx(one.score, abs=1e-5)
        starts, ends = (outputs[f"pieces/{n}"][row, :count].numpy() for n in ("start", "end"))
        assert list(zip(starts, ends, strict=True)) == [(p.start, p.end) for p in one.pieces]
        weights = outputs["pieces/weight"][row, :count].numpy()
        assert weights == pytest.approx([p.weight for p in one.pieces], abs=1e-4)
        texts = [text.decode() for text in outputs["pieces/text"][row, :count].numpy()]
        assert texts == [one.inputs["text"][p.start : p.end] for p in one.pieces]
    with pytest.raises(UserError, match="--explain-by has no effect"):
        exporting.export([str(run)], {"explain_by": "gradient_input"}, "here")


def test_errors_are_put_together_and_told(run, trained, tmp_path):
    rows = trained.trained_on()
    wrong = Rows("here", {**rows.columns, "label": rows.columns["label"][::-1]}, rows.numbers)
    found = errors.find(trained, wrong, "occlusion")
    assert found.wrong == len(found.explained) > 3
    assert sum(row[1] for row in found.groups.rows) == found.wrong
    assert all(one["label"] != one["right"] and one["examples"] for one in found.explained)
    found.write(str(tmp_path / "errors.html"), {"model": "here"})
    page = (tmp_path / "errors.html").read_text("utf-8")
    assert "Groups of errors" in page
    assert page.count("<article") == found.wrong
    assert "<mark" in found._repr_html_()


# The command


def test_pages_and_words(word_models, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = tmp_path / "rows.jsonl"
    texts = ["good <b>day</b>", "a good one", "the good", "a day", "the day", "one"]
    rows.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    model = str(word_models / "label")
    for words in ("words.html", "words.csv"):
        given = ["--input", str(rows), "--output", "why.html", "--words", words]
        assert explain.main([model, *given]) == 0
    page = (tmp_path / "why.html").read_text("utf-8")
    assert page.count("<article") == 6
    assert "&lt;" in page
    assert "<b>" not in page
    lines = (tmp_path / "words.csv").read_text("utf-8").splitlines()
    assert lines[0] == "label,word,weight,low,high,rows,shown"
    best = next(line for line in lines[1:] if line.startswith("fine"))
    assert best.startswith("fine,good,0.7,0.7,0.7,3,1: good")
    assert 'class="filtered"' in (tmp_path / "words.html").read_text("utf-8")
    for given, told in (
        (["--words", "a.txt"], "a page (.html) or a table (.csv)"),
        (["--tensorboard"], "is none"),
        (["--errors", "a.txt"], "texts cannot be given with --errors"),
        (["--unit", "tokens"], "of which a model tells no tokens"),
    ):
        with pytest.raises(UserError, match=re.escape(told)):
            explain.main([model, "good", *given])


def test_a_change_that_turns_the_answer(word_models):
    subject = subjects.load(str(word_models / "label"))
    one, none, empty = explained("counterfactual", subject, ["a good 好 day", "a day", ""])
    assert one.changed["label"] == "bad"
    assert one.changed["text"] == "a day"
    assert sorted(one.changed["edits"]) == ["without good", "without 好"]
    for other in (none, empty):
        assert other.changed is None
        assert "no change" in other.flags[0]


def test_near_words_alone_are_put_in():
    class Strict:
        name = "strict"
        inputs = (Column("text", "text", "the text"),)
        model = None

        def answer(self, raw):
            right = [("comic" in text or "humorous" in text) for text in raw["text"]]
            return [
                {"label": "b" if r else "a", "score": 1.0, "scores": {"a": 1.0 - r, "b": 1.0 * r}}
                for r in right
            ]

    entry = extensions.load(Explanation, "counterfactual")
    text = "It was not a very funny film about London"
    texts = [text, "not in London"]
    records = [Record(n, {"text": one}, {}) for n, one in enumerate(texts, 1)]
    options = entry.options(near=True)
    found, none = entry.explain(Strict(), records, options, Wanted())
    assert found.changed["label"] == "b"
    assert re.sub("comic|humorous", "funny", found.changed["text"]) == text
    assert none.changed is None
    assert none.flags


def test_lines_of_json(word_models, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"said": text}) + "\n" for text in TEXTS[:3]), "utf-8")
    model = str(word_models / "label")
    arguments = ["--input", str(rows), "--column", "text=said", "--output", "out.jsonl"]
    assert explain.main([model, *arguments]) == 0
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert [line["row"] for line in lines] == [1, 2, 3]
    assert list(lines[0]) == ["row", "text", "label", "score", *KEYS]
    for line in lines:
        for piece in line["pieces"]:
            assert line["text"][piece["start"] : piece["end"]] == piece["text"]
    assert explain.main([model, "good", "--by", "occlusion", "bad", "--occlusion-most", "3"]) == 0
    shown = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["text"] for line in shown] == ["good", "bad"]


def test_rows_that_are_left_out_are_counted_and_kept(word_models, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "good"}\n{"text": null}\n{"text": "bad"}\n', "utf-8")
    model = str(word_models / "label")
    asked = ["--input", str(rows), "--on-bad-row", "quarantine", "--occlusion-most", "3"]
    assert explain.main([model, *asked]) == 0
    shown = capsys.readouterr()
    assert [json.loads(line)["row"] for line in shown.out.splitlines()] == [1, 3]
    kept = tmp_path / "rows.jsonl.bad.jsonl"
    assert f"warning: bad rows left out: 1, kept in {kept}, the first: row 2: " in shown.err
    assert len(kept.read_text("utf-8").splitlines()) == 1
    rows.write_text("\n", "utf-8")
    assert explain.main([model, "--input", str(rows)]) == 0
    assert "warning: no rows to answer" in capsys.readouterr().err


def test_a_model_that_writes_leaves_no_file(word_models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no label, number or entity"):
        explain.main([str(word_models / "generated"), "a", "--output", "out.jsonl"])
    assert not list(tmp_path.iterdir())


def test_rows_are_read_as_they_are_needed(word_models):
    subject = subjects.load(str(word_models / "label"))
    read = []

    def stream():
        for record in records(["good " * 50] * 200):
            read.append(record.number)
            yield record

    entry = extensions.load(Explanation, "occlusion")
    next(entry.explain(subject, stream(), entry.options(), Wanted()))
    assert len(read) < 50
