"""Edits are applied, and targets follow their texts."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.augmentation import Edit, Span, Together, applied, augmented, touches
from pipelines.columns import Column
from pipelines.rows import BadRow, Rows

TEXT = Column("text", "text", "the text")
LABEL = Column("label", "label", "the label")
ENTITIES = Column("entities", "spans", "the entities")
ANSWERS = Column("answers", "answers", "the answers", of="context")


def longer(text, spans, random):
    """Replace each x by three, as an editor does."""
    return [Edit(i, i + 1, "xxx") for i, c in enumerate(text) if c == "x"]


def drawn(text, spans, random):
    return [Edit(len(text), len(text), str(random.random()))]


def made(columns, inputs, targets, editors, times=1, seed=(1, 0)):
    count = len(next(iter(columns.values())))
    rows = Rows("file", columns, list(range(1, count + 1)), [BadRow(9, "bad")])
    return augmented(rows, inputs, targets, editors, times, seed)


def test_originals_come_first_and_rows_that_cannot_be_changed_are_left_out():
    columns = {"text": ["ax", "b", "x"], "label": ["A", "B", "C"]}
    found = made(columns, [TEXT], [LABEL], [longer, drawn], times=2)
    assert found.columns["text"][:7] == ["ax", "b", "x", "axxx", "xxx", "axxx", "xxx"]
    assert found.columns["label"] == [*"ABC", *"ACAC", *"ABCABC"]
    assert found.numbers == [1, 2, 3, 1, 3, 1, 3, 1, 2, 3, 1, 2, 3]
    assert (found.source, found.bad) == ("file", [BadRow(9, "bad")])
    assert columns == {"text": ["ax", "b", "x"], "label": ["A", "B", "C"]}


def test_rows_are_a_function_of_seed_and_epoch():
    def texts(seed):
        return made({"text": ["a", "b"]}, [TEXT], [], [drawn], seed=seed).columns["text"]

    assert texts((1, 0)) == texts((1, 0))
    assert len({*texts((1, 0)), *texts((1, 1)), *texts((2, 0))}) == 8  # and two originals


def test_spans_move_with_their_text():
    columns = {"text": ["xaxbx"], "entities": [[(1, 2, "A"), (3, 4, "B")]]}
    found = made(columns, [TEXT], [ENTITIES], [longer])
    assert found.columns["text"][1] == "xxxaxxxbxxx"
    assert found.columns["entities"][1] == [(3, 4, "A"), (7, 8, "B")]


def test_what_is_inserted_right_before_a_span_moves_it_and_right_after_does_not():
    columns = {"text": ["ab"], "entities": [[(0, 1, "A"), (1, 2, "B")]]}
    between = lambda text, spans, random: [Edit(1, 1, "--")]  # noqa: E731
    found = made(columns, [TEXT], [ENTITIES], [between])
    assert found.columns["entities"][1] == [(0, 1, "A"), (3, 4, "B")]


def test_answers_follow_the_text_that_they_are_of():
    question, context = (Column(name, "text", "a text") for name in ("question", "context"))
    columns = {"question": ["x"], "context": ["x abc"], "answers": [[(2, "abc"), (3, "b")]]}
    found = made(columns, [question, context], [ANSWERS], [longer])
    assert found.columns["question"][1] == "xxx"
    assert found.columns["context"][1] == "xxx abc"
    assert found.columns["answers"][1] == [(4, "abc"), (5, "b")]


def test_marks_stay_and_texts_that_are_targets_too():
    marked = Column("text", "marked", "the text")
    summary = Column("summary", "text", "the short one")
    columns = {"text": ["x <e2>a</e2> x <e1>b</e1>"], "summary": ["x"]}
    found = made(columns, [marked], [summary], [longer])
    assert found.columns["text"][1] == "xxx <e2>a</e2> xxx <e1>b</e1>"
    assert found.columns["summary"] == ["x", "x"]
    columns = {"text": ["<e1>x</e1> <e2>b</e2>"], "summary": ["x"]}
    with pytest.raises(ValueError, match="touches"):
        made(columns, [marked], [summary], [longer])


def test_each_turn_is_edited():
    turns = Column("history", "turns", "what was said")
    found = made({"history": [["x", "b", "x"], ["b"]]}, [turns], [], [longer])
    assert found.columns["history"][2:] == [["xxx", "b", "xxx"]]


def test_a_system_prompt_is_not_edited():
    turns = Column("history", "turns", "what was said")
    found = made({"history": [["\x01x", "x"]]}, [turns], [], [longer])
    assert found.columns["history"][1:] == [["\x01x", "xxx"]]


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ([Edit(0, 2, ""), Edit(1, 3, "")], "overlap"),
        ([Edit(4, 6, "")], "touches"),
        ([Edit(6, 6, "!")], "touches"),
    ],
)
def test_edits_that_overlap_or_touch_a_span_are_an_error(edits, message):
    columns = {"text": ["abcdefgh"], "entities": [[(5, 7, "A")]]}
    with pytest.raises(ValueError, match=message):
        made(columns, [TEXT], [ENTITIES], [lambda text, spans, random: edits])


def test_the_edges_of_a_span_are_no_part_of_it():
    columns = {"text": ["abcdefgh"], "entities": [[(5, 7, "A")]]}
    edits = [Edit(5, 5, "!"), Edit(7, 8, "?")]
    found = made(columns, [TEXT], [ENTITIES], [lambda text, spans, random: edits])
    assert found.columns["text"][1] == "abcde!fg?"
    assert found.columns["entities"][1] == [(6, 8, "A")]


@st.composite
def edited(draw):
    """A text with spans, and edits outside of them, or of all of one."""
    text = draw(st.text(st.sampled_from("abc \U0001f642字"), min_size=1, max_size=30))
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=8)))
    spans = [(a, b, "A") for a, b in zip(cuts[::2], cuts[1::2], strict=False)]
    edits, place = [], 0
    for end in sorted(draw(st.lists(st.integers(0, len(text)), max_size=6))):
        if end >= place and not any(place < b and a < end for a, b, _ in spans):
            edits.append(Edit(place, end, draw(st.text("xyz", max_size=3))))
            place = end + 1
    for start, end, _ in spans:
        if draw(st.booleans()) and not any(e.start < end and start < e.end for e in edits):
            edits.append(Edit(start, end, draw(st.text("QR", min_size=1, max_size=4))))
    return text, spans, sorted(edits, key=lambda e: (e.start, e.end))


@given(edited())
def test_spans_follow_any_edits(given_):
    text, spans, edits = given_
    columns = {"text": [text], "entities": [spans]}
    found = made(columns, [TEXT], [ENTITIES], [lambda *_: edits])
    whole = {(edit.start, edit.end): edit.text for edit in edits}
    after = applied(text, edits)
    if len(found) == 1:
        assert after == text or not after.strip()
        return
    assert found.columns["text"][1] == after
    for (start, end, _), (a, b, _) in zip(spans, found.columns["entities"][1], strict=True):
        before = [edit for edit in edits if edit.end <= start]
        assert a == len(applied(text[:start], before))
        assert after[a:b] == whole.get((start, end), text[start:end])


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=4), st.data())
def test_touching_is_sharing_a_character_or_standing_within(pairs, data):
    spans = [Span(min(pair), max(pair)) for pair in pairs]
    start = data.draw(st.integers(0, 9))
    end = data.draw(st.integers(start, 9))
    wanted = any(s.start < end and start < s.end for s in spans if s.end > s.start)
    assert touches(spans)(start, end) == wanted


def test_a_span_with_a_label_may_be_replaced_and_an_answer_may_not():
    columns = {"text": ["Ada in Rome"], "entities": [[(0, 3, "PER"), (7, 11, "LOC")]]}
    edits = [Edit(0, 3, "Grace"), Edit(7, 11, "Oslo")]
    found = made(columns, [TEXT], [ENTITIES], [lambda *_: edits])
    assert found.columns["text"][1] == "Grace in Oslo"
    assert found.columns["entities"][1] == [(0, 5, "PER"), (9, 13, "LOC")]
    columns = {"context": ["Ada in Rome"], "answers": [[(0, "Ada")]]}
    with pytest.raises(ValueError, match="touches"):
        made(columns, [Column("context", "text", "")], [ANSWERS], [lambda *_: edits[:1]])


def test_texts_are_edited_together_each_by_its_own_draws():
    def several(texts, spans, randoms):
        assert len(texts) == len(spans) == len(randoms) == 4
        return [[Edit(0, 0, f"{random.random():.6f} ")] for random in randoms]

    found = made({"text": ["a", "b"]}, [TEXT], [], [Together(several)], times=2)
    assert len(set(found.columns["text"])) == 6
    assert found.numbers == [1, 2, 1, 2, 1, 2]


def test_no_row_is_made_that_equals_one_held_out():
    rows = Rows("file", {"text": ["ax", "bx"], "label": ["A", "B"]}, [1, 2])
    held_out = Rows("test", {"text": ["A  XXX", "AXXX"], "label": ["A", "A"]}, [1, 2])
    found = augmented(rows, [TEXT], [LABEL], [longer], 1, (0, 0), [held_out])
    assert found.columns["text"] == ["ax", "bx", "bxxx"]
    assert found.numbers == [1, 2, 2]


def test_a_text_of_which_nothing_is_left_is_no_row():
    empties = lambda text, spans, random: [Edit(0, len(text), " ")]  # noqa: E731
    assert len(made({"text": ["a", "b"]}, [TEXT], [], [empties])) == 2


def test_an_editor_draws_row_by_row():
    seen = []

    def noted(text, spans, generator):
        seen.append((text, generator.random()))
        return []

    made({"text": ["a", "b"]}, [TEXT], [], [noted], seed=(3, 1))
    generator = random.Random(repr((3, 1)))
    assert seen == [("a", generator.random()), ("b", generator.random())]
