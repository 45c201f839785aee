"""CoNLL columns, CoNLL-U, SQuAD and plain text: words and tags -> texts and spans."""

from __future__ import annotations

import gzip
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import UserError
from pipelines.files import conll
from pipelines.rows import Column, read, stream

SETTINGS = settings(deadline=None)  # the machine may be busy
TEXT = Column("text", "text", "")
ENTITIES = Column("entities", "spans", "", ("upos",))
QUESTION, CONTEXT = Column("question", "text", ""), Column("context", "text", "")
ANSWERS = Column("answers", "answers", "", of="context")
# Nothing invisible; no "#", which may begin a note.
WORD = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cf", "Zs", "Zl", "Zp"), exclude_characters="#"),
    min_size=1,
    max_size=6,
)


def read_text(tmp_path, name, content, columns=(TEXT, ENTITIES), **options):
    path = tmp_path / name
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return read(path, columns, **options)


def named(rows):
    """Return each row's mentions by their texts."""
    pairs = zip(rows.columns["text"], rows.columns["entities"], strict=True)
    return [[(text[s:e], label) for s, e, label in spans] for text, spans in pairs]


@SETTINGS
@given(
    st.lists(
        st.lists(st.tuples(WORD, st.sampled_from(["O", "B-A", "I-A", "B-B"])), min_size=1),
        min_size=1,
    ),
    st.sampled_from(["\t", " "]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_columns_are_read_back(sentences, separator, end):
    if any(word == "-DOCSTART-" for sentence in sentences for word, _ in sentence):
        return
    lines = [[f"{word}{separator}{tag}" for word, tag in sentence] for sentence in sentences]
    content = (end * 2).join(end.join(sentence) for sentence in lines)
    got = list(stream(io.BytesIO(content.encode()), [TEXT, ENTITIES], source="a.conll"))
    assert [record.number for record in got] == list(range(1, len(sentences) + 1))
    for record, sentence in zip(got, sentences, strict=True):
        text, spans = record.values["text"], record.values["entities"]
        assert text.replace(" ", "") == "".join(word for word, _ in sentence)
        tagged = "".join(word for word, tag in sentence if tag != "O")
        covered = "".join(text[start:stop] for start, stop, _ in spans).replace(" ", "")
        assert covered == tagged


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("Ann lives .", "Ann lives ."),
        ("中 国 人", "中国人"),
        ("在 Rome 市 。", "在 Rome 市。"),
        ("東京 タワー へ", "東京タワーへ"),
        ("한국 사람", "한국 사람"),
    ],
)
def test_words_of_scripts_without_spaces_are_joined(words, text):
    parts = words.split()
    joined, places = conll.joined(parts, [True] * len(parts))
    assert joined == text
    assert [joined[start:end] for start, end in places] == parts


@pytest.mark.parametrize("scheme", ["B I O B", "I I O I", "B E O S", "B L O U", "B M O S"])
def test_every_scheme_gives_the_same_spans(tmp_path, scheme):
    types = ["PER", "PER", "", "LOC"]
    words = ["Ann", "Lee", "in", "Rome"]
    tags = [
        place + (f"-{kind}" if kind else "")
        for place, kind in zip(scheme.split(), types, strict=True)
    ]
    content = "\n".join(map(" ".join, zip(words, tags, strict=True)))
    assert named(read_text(tmp_path, "a.bio", content)) == [[("Ann Lee", "PER"), ("Rome", "LOC")]]


def test_columns_of_conll_2003(tmp_path):
    content = (
        "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\n\n-DOCSTART- -X- -X- O\n"
        "\n# # O O\n"
    )
    rows = read_text(tmp_path, "eng.iob2", content)
    assert rows.columns["text"] == ["EU rejects", "#"]
    assert named(rows) == [[("EU", "ORG")], []]
    speech = read_text(tmp_path, "eng.iob2", content, names={"entities": "column_2"})
    assert named(speech) == [[("EU", "NNP"), ("rejects", "VBZ")], [("#", "#")]]
    chunks = read_text(tmp_path, "eng.conll.gz", content, names={"entities": "column_3"})
    assert named(chunks) == [[("EU", "NP"), ("rejects", "VP")], []]


PEOPLE = [
    [("Ann", "B-PER"), ("Lee", "I-PER"), ("in", "O"), ("Rome", "B-LOC")],
    [("So", "O"), ("1", "O")],
]
MENTIONS = [[("Ann Lee", "PER"), ("Rome", "LOC")], []]


def tabbed(line, sentences=PEOPLE, between="\n\n", head=""):
    """Write sentences by a pattern of a line: {i} is a word's number, {w} it, {t} its tag."""
    parts = [
        head + "\n".join(line.format(i=i, w=w, t=t) for i, (w, t) in enumerate(one, 1))
        for one in sentences
    ]
    return between.join(parts) + "\n"


@pytest.mark.parametrize(
    ("line", "head"),
    [
        ("{i}\t{w}\t{t}", ""),
        ("{i} {w} {t}", ""),
        ("{i}\t{w}\t{t}\t-\tann1", "# sent_id = 0\n# text = ...\n"),  # Universal NER
        ("{i}\t{w}\t{t}\tO", "#\thttp://de.wikipedia.org/wiki/Rom [2009-10-17]\n"),  # GermEval
        ("{w}\t{t}\t", ""),
        ("{w}\t{t}\t\t", ""),
        ("{i}\t{w}\t\t{t}\t", ""),
        ("{t}\t{w}", ""),
        ("{t} {w}", ""),
        ("{t}\t{w}\tNN", ""),
    ],
)
def test_words_and_tags_are_found_in_any_column(tmp_path, line, head):
    rows = read_text(tmp_path, "a.conll", tabbed(line, head=head))
    assert rows.columns["text"] == ["Ann Lee in Rome", "So 1"]
    assert named(rows) == MENTIONS


def test_word_numbers_from_nought_over_the_file_and_with_short_lines(tmp_path):
    lines = "0\tAnn\tB-PER\t-\tann1\n1\tsang\tO\n\n2\tIn\tO\n3\tRome\tB-LOC\t-\tann2\n"
    rows = read_text(tmp_path, "a.iob2", lines)
    assert rows.columns["text"] == ["Ann sang", "In Rome"]
    assert named(rows) == [[("Ann", "PER")], [("Rome", "LOC")]]


def test_word_numbers_that_jump_are_named(tmp_path):
    content = tabbed("{i}\t{w}\t{t}", PEOPLE * 10) + "\n1-2\tzum\tO\n1\tzu\tO\n2\tdem\tO\n"
    with pytest.raises(UserError, match=r"row 21 .* are numbered 1-2, 1, 2, not one after"):
        read_text(tmp_path, "a.conll", content)


def test_numbers_that_are_words_stay_words(tmp_path):
    rows = read_text(tmp_path, "a.conll", "1\tB-YEAR\n2\tO\n\nAnn\tO\n")
    assert rows.columns["text"] == ["1 2", "Ann"]
    rows = read_text(tmp_path, "a.conll", "1\tB-YEAR\n2\tO\n")
    assert rows.columns["text"] == ["1 2"]


def test_word_numbers_are_left_out_of_texts_without_tags():
    records = stream(io.BytesIO(b"1\tAnn\n2\tsang\n\n1\tSo\n"), [TEXT], source="a.conll")
    assert [record.values["text"] for record in records] == ["Ann sang", "So"]


def test_outer_names_are_learned_where_inner_ones_stand_beside_them(tmp_path):
    content = (
        "1\tUni\tB-ORG\tO\n2\tKoeln\tI-ORG\tB-LOC\n3\tsiegt\tO\tO\n\n"
        "1\tAnn\tB-LOC\tO\n2\tda\tO\tO\n"
    )
    assert named(read_text(tmp_path, "a.tsv.conll", content)) == [
        [("Uni Koeln", "ORG")],
        [("Ann", "LOC")],
    ]
    inner = read_text(tmp_path, "a.conll", content, names={"entities": "column_4"})
    assert named(inner) == [[("Koeln", "LOC")], []]


@pytest.mark.parametrize(
    "swap",
    [
        {"B-": "b-", "I-": "i-", "O": "o"},
        {"O": "0"},
        {"B-": "", "I-": ""},
        {"B-": "", "I-": "", "O": "0"},
        {"O": "-"},
    ],
)
def test_tags_written_otherwise_are_the_same_spans(tmp_path, swap):
    written = [
        [
            (
                word,
                next(
                    (tag.replace(a, b) for a, b in swap.items() if tag.startswith(a) and a != "O"),
                    swap.get(tag, tag),
                ),
            )
            for word, tag in one
        ]
        for one in PEOPLE
    ]
    assert named(read_text(tmp_path, "a.conll", tabbed("{w}\t{t}", written))) == MENTIONS


def test_parts_of_speech_in_the_last_column_are_a_span_a_word(tmp_path):
    rows = read_text(tmp_path, "a.conll", "The\tDT\ndog\tNN\nbarks\tVBZ\n.\t.\n")
    assert named(rows) == [[("The", "DT"), ("dog", "NN"), ("barks", "VBZ"), (".", ".")]]


def test_notes_before_a_sentence_are_none_of_its_words(tmp_path):
    rows = read_text(tmp_path, "a.conll", "# id 7 domain=en\nAnn _ _ B-PER\n\nis _ _ O\n")
    assert rows.columns["text"] == ["Ann", "is"]


def test_a_line_of_another_width_is_a_bad_row_with_its_place(tmp_path):
    content = "Ann B-PER\nsaid O\n\nhello\nworld O\n\nRome PER\n\nbye O\n"
    with pytest.raises(UserError, match=r"row 2 \(line 4\): line 4 has 1 columns where the first"):
        read_text(tmp_path, "a.conll", content)
    rows = read_text(tmp_path, "a.conll", content, on_bad_row="skip")
    assert rows.numbers == [1, 4]
    assert "'PER' is neither O nor like" in rows.bad[1].reason
    assert rows.bad[1].line == 7


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.conll", b"", "is empty"),
        ("a.conll", b"\n\n-DOCSTART- O\n", "is empty"),
        ("a.conllu", b"# text = a\n\n", "is empty"),
        ("a.conll", b"Ann B-PER\n\xff O\n", "not UTF-8: byte 0xff"),
        ("a.conllu", b"1\tAnn\t_\n", "line 1 has 3 columns where CoNLL-U has 10"),
        ("a.conllu", b"x\tAnn" + b"\t_" * 8, "begins with 'x', which is not a word number"),
        ("a.txt", b"a\n\xff\n", "row 2: not UTF-8"),
        ("a.txt", b"\n \n", "has no rows"),
    ],
)
def test_broken_files_are_told(tmp_path, name, content, said):
    columns = (TEXT,) if "txt" in name else (TEXT, ENTITIES)
    with pytest.raises(UserError, match=said):
        read_text(tmp_path, name, content, columns)


def token(number, form, upos="_", misc="_"):
    return f"{number}\t{form}\t_\t{upos}\t_\t_\t_\t_\t_\t{misc}\n"


def test_conllu_words_stand_where_the_text_has_them(tmp_path):
    content = (
        "# sent_id = 1\n# text = Vámonos al  mar.\n"
        + token("1-2", "Vámonos")
        + token(1, "Vamos", "VERB")
        + token(2, "nos", "PRON")
        + token("3-4", "al")
        + token(3, "a", "ADP")
        + token(4, "el", "DET")
        + token(5, "mar", "NOUN", "SpaceAfter=No")
        + token("5.1", "ghost", "VERB")
        + token(6, ".", "PUNCT")
    )
    rows = read_text(tmp_path, "a.conllu", content)
    assert rows.columns["text"] == ["Vámonos al  mar."]
    expected = [("Vámonos", "VERB+PRON"), ("al", "ADP+DET"), ("mar", "NOUN"), (".", "PUNCT")]
    assert named(rows) == [expected]
    # A text that says something else is not used: SpaceAfter says where spaces are.
    rows = read_text(tmp_path, "a.conllu", content.replace("al  mar", "al rio"))
    assert rows.columns["text"] == ["Vámonos al mar."]
    assert named(rows) == [expected]


@pytest.mark.parametrize("key", ["NER", "Entity"])
def test_entities_of_conllu(tmp_path, key):
    content = (
        token(1, "Ann", "PROPN", f"{key}=B-PER")
        + token(2, "Lee", "PROPN", f"{key}=I-PER|X=y")
        + token(3, "ran", "VERB", f"{key}=O")
        + "\n"
        + token(1, "So", "ADV")
        + "\n"
    )
    rows = read_text(tmp_path, "a.conllu", content)
    assert rows.columns["text"] == ["Ann Lee ran", "So"]
    assert named(rows) == [[("Ann Lee", "PER")], []]


# SQuAD


def squad(*questions, context="Ann lives in Rome"):
    paragraphs = [{"context": context, "qas": list(questions)}]
    return json.dumps({"version": "v2.0", "data": [{"title": "T", "paragraphs": paragraphs}]})


def test_squad_questions_are_rows(tmp_path):
    there = {"text": "Rome", "answer_start": 13}
    content = squad(
        {"id": "a", "question": "Where?", "answers": [there, there]},
        {"id": "b", "question": "When?", "answers": [], "is_impossible": True},
        {"id": "c", "question": "Who?", "answers": [there], "is_impossible": True},
    )
    columns = (QUESTION, CONTEXT, ANSWERS, Column("id", "label", ""), Column("title", "text", ""))
    for name in ("a.json", "a.json.gz"):
        rows = read_text(tmp_path, name, content, columns)
        assert rows.columns["answers"] == [[(13, "Rome")], [], []]
        assert rows.columns["question"] == ["Where?", "When?", "Who?"]
        assert rows.columns["id"] == ["a", "b", "c"]
        assert rows.columns["title"] == ["T"] * 3


@pytest.mark.parametrize(
    ("value", "answers"),
    [("true", []), ("True", []), (1, []), ("false", [(13, "Rome")]), (0, [(13, "Rome")])],
)
def test_truth_values_that_are_strings(tmp_path, value, answers):
    there = {"text": "Rome", "answer_start": 13}
    question = {"id": "a", "question": "Where?", "answers": [there], "is_impossible": value}
    columns = (QUESTION, CONTEXT, ANSWERS)
    rows = read_text(tmp_path, "a.json", squad(question), columns)
    assert rows.columns["answers"] == [answers]
    line = json.dumps({**question, "context": "Ann lives in Rome"})
    assert read_text(tmp_path, "a.jsonl", line, columns).columns["answers"] == [answers]


def test_what_is_no_truth_value_is_a_bad_row(tmp_path):
    question = {"id": "a", "question": "Where?", "answers": [], "is_impossible": "perhaps"}
    with pytest.raises(UserError, match="'is_impossible' is neither true nor false: 'perhaps'"):
        read_text(tmp_path, "a.json", squad(question), (QUESTION, CONTEXT, ANSWERS))


def test_squad_without_answers_can_be_asked(tmp_path):
    file = io.BytesIO(squad({"id": "a", "question": "Where?"}).encode())
    records = list(stream(file, [QUESTION, CONTEXT], source="a.json"))
    assert records[0].values == {"question": "Where?", "context": "Ann lives in Rome"}


def test_squad_answers_off_their_place_are_bad_rows(tmp_path):
    good = {"id": "a", "question": "Where?", "answers": [{"text": "Rome", "answer_start": 13}]}
    bad = {"id": "b", "question": "Who?", "answers": [{"text": "Ann", "answer_start": 1}]}
    rows = read_text(
        tmp_path, "a.json", squad(good, bad, "x"), (QUESTION, CONTEXT, ANSWERS), on_bad_row="skip"
    )
    assert rows.numbers == [1]
    assert [bad.number for bad in rows.bad] == [2, 3]
    assert "it stands at 0: correct the offset" in rows.bad[0].reason
    assert "not an object" in rows.bad[1].reason


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        (squad({"question": "Where?"})[:-9], "is not whole JSON: .*line 1 column"),
        ("[]", "its top level is no object"),
        ('{"rows": []}', "its top level is an object with 'rows'"),
        ('{"data": [1]}', "article 1 has no list 'paragraphs'"),
        ('{"data": [{"title": "T", "paragraphs": [{}]}]}', "a paragraph of 'T' has no list 'qas'"),
        (b'{"data": "\xff"}', "not UTF-8: byte 0xff"),
        ('{"data": []}', "has no rows"),
    ],
)
def test_what_is_not_squad_is_told(tmp_path, content, said):
    with pytest.raises(UserError, match=said):
        read_text(tmp_path, "a.json", content, (QUESTION, CONTEXT, ANSWERS))


# Plain text


def test_blank_lines_are_no_rows_to_learn_from_but_are_answered(tmp_path):
    content = "one\n\n two \r\n\u2028\nthree"
    rows = read_text(tmp_path, "a.txt", content, (TEXT,))
    assert rows.columns["text"] == ["one", " two ", "three"]
    assert rows.numbers == [1, 2, 3]
    records = list(stream(io.BytesIO(content.encode()), [TEXT], source="a.txt"))
    assert [record.values["text"] for record in records] == ["one", "", " two ", "\u2028", "three"]
