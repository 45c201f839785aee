"""Kinds of columns that are more than a text: spans, answers, marked arguments, turns."""

from __future__ import annotations

import json

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import batching
from pipelines.cells import is_visible
from pipelines.columns import Column, joined, value_of
from pipelines.errors import UserError
from pipelines.rows import Rows, read

SETTINGS = settings(deadline=None)  # the machine may be busy
TEXT = Column("text", "text", "")
SPANS = Column("entities", "spans", "")
ANSWERS = Column("answers", "answers", "", of="context")
MARKED = Column("text", "marked", "")
HISTORY = Column("history", "turns", "", ("dialog",))
RESPONSE = Column("response", "text", "", of="history")
KEYS = {
    "history": "history",
    "text": "text",
    "entities": "entities",
    "context": "context",
    "answers": "answers",
}

# Letters of 1 to 4 bytes, combining ones and joined emoji among them.
WORDS = st.text(st.sampled_from("ab \u0301é汉字😀👩\u200d🚀ß"), min_size=1, max_size=8)


def spans_of(value, text="Ann lives in Rome"):
    return value_of(SPANS, {"text": text, "entities": value}, KEYS, "|")


def answers_of(value, context="Ann lives in Rome"):
    return value_of(ANSWERS, {"context": context, "answers": value}, KEYS, "|")


def turns_of(value):
    return value_of(HISTORY, {"history": value}, KEYS, "|")


def chat(path, rows, *columns, **options):
    path.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    return read(path, columns or [HISTORY, RESPONSE], **options).columns


def marked_of(**fields):
    return value_of(MARKED, fields, KEYS, "|")


@st.composite
def labelled(draw):
    """A text and flat spans of visible characters in it."""
    text, spans = "", []
    for word in draw(st.lists(WORDS, min_size=1, max_size=6)):
        if is_visible(word[0]) and is_visible(word[-1]) and draw(st.booleans()):
            spans.append((len(text), len(text) + len(word), draw(st.sampled_from("AB"))))
        text += word
    return text, spans


@SETTINGS
@given(labelled(), st.permutations(range(3)), st.sampled_from(["label", "type", "label_name"]))
def test_spans_of_any_shape_are_read_in_order(row, order, name):
    text, spans = row
    shuffled = [spans[i] for i in order if i < len(spans)] + spans[3:]
    lists = [list(span) for span in shuffled]
    objects = [{"start": start, "end": end, name: label} for start, end, label in shuffled]
    assert spans_of(lists, text) == spans_of(objects, text) == spans
    assert spans_of(json.dumps(objects), text) == spans  # as in a cell of CSV
    assert spans_of(lists + lists, text) == spans


@pytest.mark.parametrize("before", ["", " ", "\u200b", "\ufeff\u00ad", "\t\u200e"])
@pytest.mark.parametrize("after", ["", " ", "  ", "\u00a0", "\u200b\n", "\u2060", "\u3000"])
def test_spans_and_answers_end_where_something_is_seen(before, after):
    name = "Ann\u200bLee"  # what stands inside of a span stays
    text = f"x{before}{name}{after}y"
    span, begin = [1, len(text) - 1, "A"], 1 + len(before)
    assert spans_of([span], text) == [(begin, begin + len(name), "A")]
    told = {"start": 1, "end": len(text) - 1, "label": "A", "text": text[1:-1]}
    assert spans_of([told], text) == [(begin, begin + len(name), "A")]
    assert answers_of([{"text": text[1:-1], "answer_start": 1}], text) == [(begin, name)]
    touching = [[1, len(text) - 1, "A"], [len(text) - 1 - len(after), len(text), "B"]]
    assert [one[2] for one in spans_of(touching, text)] == ["A", "B"]


@SETTINGS
@given(st.lists(labelled(), min_size=1, max_size=4))
def test_tensors_count_bytes(rows):
    texts, spans = zip(*rows, strict=True)
    answers = [[(s, text[s:e]) for s, e, _ in one] for text, one in rows]
    columns = {"text": list(texts), "context": list(texts)}
    columns |= {"entities": list(spans), "answers": answers}
    held = batching.tensors(
        Rows("it", columns, list(range(len(rows)))),
        (TEXT, SPANS, Column("context", "text", ""), ANSWERS),
    )
    assert held["entities/start"].dtype == held["answers/end"].dtype == tf.int32
    for name in ("entities", "answers"):
        for i, (text, one) in enumerate(rows):
            starts, ends = (held[f"{name}/{edge}"][i].numpy() for edge in ("start", "end"))
            cut = [
                text.encode()[start:end].decode() for start, end in zip(starts, ends, strict=True)
            ]
            assert cut == [text[start:end] for start, end, _ in one]
    assert [[label.decode() for label in row] for row in held["entities/label"].numpy()] == [
        [label for *_, label in one] for one in spans
    ]
    assert held["answers/text"].shape == (len(rows), None)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([[0, 18, "A"]], "outside 'text', which has 17 characters"),
        ([[-1, 3, "A"]], "outside 'text'"),
        ([[3, 3, "A"]], "ends before it begins"),
        ([[5, 3, "A"]], "ends before it begins"),
        ([[3, 4, "A"]], "only white space"),
        ([[0, 3, "A\0"]], "NUL"),
        ([[0, 3]], "neither"),
        ([[0, 3, ""]], "neither"),
        ([[0.5, 3, "A"]], "neither"),
        ([[True, 3, "A"]], "neither"),
        ([{"start": 0, "end": 3}], "neither"),
        (["Ann"], "neither"),
        ("Ann", "not a JSON list"),
        (7, "not a list"),
        ({"start": 0, "end": 3, "label": "A"}, "not a list"),
        (None, "is missing"),
        ([[0, 9, "A"], [4, 9, "B"]], "two spans that overlap: 0-9 'A' and 4-9 'B'"),
        ([[0, 3, "A"], [0, 3, "B"]], "overlap"),
        ([{"start": 0, "end": 4, "label": "A", "text": "Rome"}], "stands at 13: correct"),
        ([{"start": 0, "end": 4, "label": "A", "text": "Oslo"}], "stands nowhere in it"),
    ],
)
def test_spans_that_do_not_fit_are_bad(value, reason):
    with pytest.raises(ValueError, match=reason):
        spans_of(value)


def test_no_spans_and_touching_ones_are_good():
    assert spans_of([]) == spans_of("") == spans_of("[]") == []
    assert spans_of([[2, 9, "B"], [0, 2, "A"]]) == [(0, 2, "A"), (2, 9, "B")]
    assert spans_of([{"start": 13, "end": 17, "type": "LOC", "text": "Rome"}]) == [(13, 17, "LOC")]


@pytest.mark.parametrize(
    "value",
    [
        [{"text": "Rome", "answer_start": 13}, {"text": "Rome", "answer_start": 13}],
        [{"text": "Rome", "start": 13}],
        {"text": ["Rome"], "answer_start": [13]},
        [[13, "Rome"]],
        '[{"text": "Rome", "answer_start": 13}]',
    ],
)
def test_answers_of_any_shape(value):
    assert answers_of(value) == [(13, "Rome")]


@pytest.mark.parametrize("value", [[], "", {"text": [], "answer_start": []}])
def test_a_question_may_have_no_answer(value):
    assert answers_of(value) == []


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([[12, "Rome"]], "begins at 12, but there 'context' has ' Rom' .it stands at 13: correct"),
        ([[13, "Romes"]], "it stands nowhere"),
        ([[-4, "Rome"]], "it stands at 13"),
        ([[99, "Rome"]], "but there 'context' has ''"),
        ([[0, ""]], "empty answer"),
        ([{"text": "Rome"}], "neither"),
        ([{"text": "Rome", "answer_start": "13"}], "neither"),
        ({"text": "Rome", "answer_start": 13}, "not a list"),
        ({"text": ["Rome"], "answer_start": []}, "not a list"),
    ],
)
def test_answers_that_are_not_there_are_bad(value, reason):
    with pytest.raises(ValueError, match=reason):
        answers_of(value)


@SETTINGS
@given(labelled(), st.booleans())
def test_arguments_by_offsets_are_marked(row, reverse):
    text, spans = row
    if len(spans) < 2:
        return
    head, tail = (spans[1], spans[0]) if reverse else (spans[0], spans[1])
    got = marked_of(
        text=text,
        head={"start": head[0], "end": head[1]},
        tail={"start": tail[0], "end": tail[1]},
    )
    assert got.count("<e1>") == got.count("</e2>") == 1
    for mark, (start, end, _) in (("e1", head), ("e2", tail)):
        assert got.split(f"<{mark}>")[1].split(f"</{mark}>")[0] == text[start:end]
    assert marked_of(text=got) == got
    plain = got
    for mark in ("<e1>", "</e1>", "<e2>", "</e2>"):
        plain = plain.replace(mark, "")
    assert plain == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Ann in Rome", "it has none: 'Ann in Rome'"),
        ("<e1>Ann</e1> in Rome", "it has <e1> </e1>"),
        ("<e1>Ann <e2>in</e2></e1>", "side by side; it has <e1> <e2>"),
        ("<e1>a</e1><e2>b</e2><e1>c</e1>", "must have one"),
        ("</e1>a<e1> <e2>b</e2>", "must have one"),
        ("<e1> </e1> in <e2>Rome</e2>", "nothing between <e1> and </e1>"),
        ("<e2>Rome</e2> has <e1></e1>", "nothing between <e1> and </e1>"),
    ],
)
def test_texts_without_two_arguments_are_bad(text, reason):
    with pytest.raises(ValueError, match=reason):
        marked_of(text=text)


@pytest.mark.parametrize(
    ("head", "tail", "reason"),
    [
        ((0, 3), (13, 18), "'tail' is 13-18 outside 'text'"),
        ((0, 9), (4, 9), "'head' and 'tail' overlap"),
        ((0, 3), (0, 3), "overlap"),
        ((3, 3), (4, 9), "ends before it begins"),
        ((0, 3), ("13", 17), "'tail' is .*not"),
    ],
)
def test_arguments_that_do_not_fit_are_bad(head, tail, reason):
    with pytest.raises(ValueError, match=reason):
        marked_of(
            text="Ann lives in Rome",
            head=dict(zip(("start", "end"), head, strict=True)),
            tail=dict(zip(("start", "end"), tail, strict=True)),
        )


def test_offsets_count_characters_of_a_renamed_column(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [{"Sentence": "👩\u200d🚀 in 罗马", "slots": [[7, 9, "LOC"]]}]
    path.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    text = Column("text", "text", "", ("sentence",))
    entities = Column("entities", "spans", "", ("slots",))
    got = read(path, [text, entities])
    assert got.columns["entities"] == [[(7, 9, "LOC")]]


SAID = st.sampled_from('a[" \r\n') | st.characters(
    exclude_categories=("Cs",), exclude_characters="\x01"
)
TURNS = st.lists(st.text(SAID, max_size=12).map(str.strip).filter(bool), max_size=5)
ONE_LINE = TURNS.filter(lambda turns: not any({"\n", "\r"} & {*turn} for turn in turns))


@SETTINGS
@given(ONE_LINE)
def test_turns_of_any_shape_are_read(turns):
    roles = [("user", "assistant")[i % 2] for i in range(len(turns))][::-1]
    messages = [{"role": r, "content": t} for r, t in zip(roles, turns, strict=True)]
    shared = [{"from": r, "value": t} for r, t in zip(roles, turns, strict=True)]
    for value in (turns, messages, shared):
        assert turns_of(value) == turns
        assert turns_of(json.dumps(value)) == turns  # as in a cell of CSV
    columns = {"role": roles, "content": turns}  # as Hugging Face holds them
    assert turns_of(columns) == turns


@SETTINGS
@given(TURNS)
def test_a_string_of_turns_is_the_turns(turns):
    line = joined(turns)
    assert line.count("\n") == max(len(turns) - 1, 0)
    if turns and not line.startswith("["):
        same = [turn.replace("\r\n", "\n").replace("\r", "\n") for turn in turns]
        assert turns_of(line) == [turn.replace("\u2028", "\n").strip() for turn in same]


def test_what_looks_like_a_list_but_is_a_turn():
    assert turns_of("[laughs] Hi\n[nods]") == ["[laughs] Hi", "[nods]"]
    assert turns_of("[laughs]") == ["[laughs]"]
    assert turns_of("Hi\r\n\n  you ") == ["Hi", "you"]
    assert turns_of("[]") == turns_of([]) == turns_of(" \n ") == turns_of(["", " "]) == []


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([1], "'history' has 1, which is neither a string nor"),
        ([["Hi"]], "which is neither"),
        ([{"role": "user"}], "which is neither"),
        ([{"role": "user", "content": ["Hi"]}], "which is neither"),
        ('["Hi", "you]', "not a JSON list"),
        ("[{]", "not a JSON list"),
        (7, "not a list"),
        ({"role": "user", "content": "Hi"}, "not a list"),
        (None, "is missing"),
    ],
)
def test_turns_that_cannot_be_read_are_bad(value, reason):
    with pytest.raises(ValueError, match=reason):
        turns_of(value)


@pytest.mark.parametrize("value", [[], "", " ", [""], [{"role": "system", "content": "Hi"}]])
def test_a_conversation_without_turns_is_a_bad_row(tmp_path, value):
    rows = [{"history": value, "response": "Hello"}]
    with pytest.raises(UserError, match="row 1: 'history' is empty"):
        chat(tmp_path / "a.jsonl", rows)


@pytest.mark.parametrize("name", ["messages", "Conversations"])
def test_chat_files_hold_the_turns_and_the_answer(tmp_path, name):
    said = [("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello"), ("user", "How?")]
    said += [("assistant", None), ("assistant", " Well. "), ("user", "Bye")]
    messages = [{"role": role, "content": text} for role, text in said]
    path = tmp_path / "a.jsonl"
    got = chat(path, [{"id": 1, name: messages}])
    assert got == {"history": [["\x01Be kind.", "Hi", "Hello", "How?"]], "response": ["Well."]}
    # A request asks for an answer to the last turn.
    assert chat(path, [{name: messages}], HISTORY)["history"][0][-2:] == ["Well.", "Bye"]
    # A response in a column of its own is the response.
    own = chat(path, [{name: messages[:2], "response": "Yes"}])
    assert own == {"history": [["\x01Be kind.", "Hi"]], "response": ["Yes"]}
    # Under another name the user says so.
    names = {"history": "chat", "response": "chat"}
    assert chat(path, [{"chat": messages}], names=names) == got


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "user", "content": "Hi"}],
        [{"role": "assistant", "content": "Hi"}, {"role": "user", "content": "Hello"}],
        [{"role": "system", "content": "x"}, {"role": "assistant", "content": "Hi"}],
        ["Hi", "Hello"],
    ],
)
def test_chats_without_an_answer_are_bad(tmp_path, messages):
    with pytest.raises(UserError, match=r"'messages' has no message of the assistant after"):
        chat(tmp_path / "a.jsonl", [{"messages": messages}])


def test_turns_do_not_stand_in_for_a_missing_response(tmp_path):
    path = tmp_path / "a.jsonl"
    with pytest.raises(UserError, match=r"has no column 'response'.*--response-column"):
        chat(path, [{"dialog": ["Hi", "Hello"]}])
    with pytest.raises(UserError, match="has no column 'said'"):
        chat(path, [{"messages": []}], names={"response": "said"})
    # Two texts of one field are no chat.
    summary = Column("summary", "text", "")
    got = chat(path, [{"text": "a"}], TEXT, summary, names={"summary": "text"})
    assert got == {"text": ["a"], "summary": ["a"]}
