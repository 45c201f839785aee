from __future__ import annotations

import csv
import gc
import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipelines.cells import is_visible
from pipelines.errors import UserError
from pipelines.rows import BadRow, Column, Rows, duplicates, read, stream

TEXT = Column("text", "text", "what to classify", aliases=("sentence", "review"))
LABEL = Column("label", "label", "its class", aliases=("class", "tag"))
LABELS = Column("labels", "labels", "its classes")
NUMBER = Column("score", "number", "its value")

# Every character of Unicode that UTF-8 can hold, NUL and line ends among them.
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
FILLED = TEXTS.filter(lambda text: any(map(is_visible, text)))
NAMES = FILLED.filter(lambda text: "\0" not in text)  # which no label has
SETTINGS = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def error(path: Path, *columns: Column, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        read(path, columns or (TEXT, LABEL), **options)  # type: ignore[arg-type]
    return str(caught.value)


# What is written is read back


# Quoted line ends and delimiters that look like rows, and that are not by the file's line ends or
# because too few rows say so.
@example(pairs=[("\t0\r0", "a")], suffix=".tsv", bom=False, quoting=csv.QUOTE_MINIMAL)
@example(pairs=[('0\t\n"', "a")], suffix=".tsv", bom=True, quoting=csv.QUOTE_ALL)
@example(pairs=[("a,0\r\n0", "b")], suffix=".csv", bom=False, quoting=csv.QUOTE_MINIMAL)
@example(pairs=[("a", "0,b\n0")] * 9, suffix=".csv.gz", bom=False, quoting=csv.QUOTE_MINIMAL)
@example(
    pairs=[*[("a", "b"), ("c", "b")] * 4, ("0,b\n0", "b")],
    suffix=".csv",
    bom=False,
    quoting=csv.QUOTE_MINIMAL,
)
@SETTINGS
@given(
    pairs=st.lists(st.tuples(FILLED, NAMES), min_size=1),
    suffix=st.sampled_from([".csv", ".tsv", ".csv.gz"]),
    bom=st.booleans(),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_csv_is_read_back(tmp_path, pairs, suffix, bom, quoting):
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter="\t" if "tsv" in suffix else ",", quoting=quoting)
    writer.writerow(["text", "label"])
    writer.writerows(pairs)
    content = out.getvalue().encode("utf-8-sig" if bom else "utf-8")
    path = write(tmp_path / f"a{suffix}", gzip.compress(content) if "gz" in suffix else content)
    rows = read(path, [TEXT, LABEL])
    assert rows.columns["text"] == [text for text, _ in pairs]
    assert rows.columns["label"] == [label.strip() for _, label in pairs]
    assert rows.numbers == list(range(1, len(pairs) + 1))
    assert rows.bad == []


@SETTINGS
@given(
    rows=st.lists(st.tuples(FILLED, st.lists(NAMES)), min_size=1),
    ascii_only=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_jsonl_is_read_back(tmp_path, rows, ascii_only, end):
    lines = [
        json.dumps({"text": text, "labels": labels}, ensure_ascii=ascii_only)
        for text, labels in rows
    ]
    path = write(tmp_path / "a.jsonl", end.join(lines))
    got = read(path, [TEXT, LABELS])
    assert got.columns["text"] == [text for text, _ in rows]
    assert got.columns["labels"] == [
        list(dict.fromkeys(label.strip() for label in labels)) for _, labels in rows
    ]


@SETTINGS
@given(rows=st.lists(st.tuples(TEXTS, TEXTS), min_size=1))
def test_stream_keeps_empty_texts_and_other_columns_as_they_stand(rows):
    out = io.StringIO(newline="")
    csv.writer(out).writerows([("extra", "text"), *rows])
    file = io.BytesIO(out.getvalue().encode())
    got = list(stream(file, [TEXT], source="<stdin>", form="csv"))
    assert [record.fields for record in got] == [{"extra": a, "text": b} for a, b in rows]
    assert [record.values for record in got] == [{"text": b} for _, b in rows]


@SETTINGS
@given(
    content=st.binary(max_size=200), suffix=st.sampled_from([".csv", ".tsv", ".jsonl", ".csv.gz"])
)
def test_any_bytes_are_rows_or_a_clear_error(tmp_path, content, suffix):
    for start in (b"", b"text,label\n", b'{"text": "a", "label": "b"}\n'):
        path = write(tmp_path / f"a{suffix}", start + content)
        try:
            rows = read(path, [TEXT, LABEL], on_bad_row="skip")
        except UserError:
            continue
        "".join(rows.columns["text"]).encode()
        assert len(rows.numbers) == len(rows.columns["text"]) > 0


def test_lines_of_text_are_rows_even_if_empty():
    file = io.BytesIO("a\r\n\n汉字 😀\x00\u2028b".encode())
    records = list(stream(file, [TEXT], source="<stdin>", form="text"))
    assert [record.values["text"] for record in records] == ["a", "", "汉字 😀\x00\u2028b"]
    assert [record.number for record in records] == [1, 2, 3]


def test_long_fields_are_read(tmp_path):
    text = "long " * 40_000
    path = write(tmp_path / "a.csv", f'text,label\n"{text}",x\n')
    assert read(path, [TEXT, LABEL]).columns["text"] == [text]


def test_semicolons_of_spreadsheets_are_read(tmp_path):
    path = write(tmp_path / "a.csv", "text;label\na, b;x\n")
    assert read(path, [TEXT, LABEL]).columns == {"text": ["a, b"], "label": ["x"]}


@pytest.mark.parametrize("name", ["<stdin>", "a.csv.gz"])
def test_a_stream_leaves_the_file_open(name):
    content = b"text\nx\n"
    file = io.BytesIO(gzip.compress(content) if name.endswith("gz") else content)
    assert len(list(stream(file, [TEXT], source=name, form="csv"))) == 1
    gc.collect()
    assert not file.closed
    file.seek(0)
    next(stream(file, [TEXT], source=name, form="csv"))
    gc.collect()
    assert not file.closed


# Columns


@pytest.mark.parametrize(
    ("header", "names", "text"),
    [
        ("text,label", {}, "first"),
        ("TEXT,Label", {}, "first"),
        (" text , label ", {}, "first"),
        ("Sentence,label", {}, "first"),
        ("review,class", {}, "first"),
        ("label,text", {}, "second"),
        ("label,sentence", {}, "second"),
        ("text,label", {"text": "label", "label": "text"}, "second"),
        ("text,body", {"text": "body", "label": "text"}, "second"),
    ],
)
def test_columns_are_found(tmp_path, header, names, text):
    path = write(tmp_path / "a.csv", f"{header}\nfirst,second\n")
    assert read(path, [TEXT, LABEL], names=names).columns["text"] == [text]


def test_one_header_is_not_taken_for_two_columns(tmp_path):
    a = Column("text_a", "text", "", aliases=("text",))
    b = Column("text_b", "text", "", aliases=("text",))
    message = error(write(tmp_path / "a.csv", "text\nx\n"), a, b)
    assert "no column 'text_b'" in message
    assert "--text-b-column" in message


def test_a_missing_column_is_named_with_its_remedy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("data.csv"), "text,topic\na,b\n")
    assert error(Path("data.csv")) == (
        "data.csv has no column 'label'; it has: text, topic (use --label-column)"
    )
    assert error(Path("data.csv"), names={"label": "kind"}) == (
        "data.csv has no column 'kind'; it has: text, topic (use --label-column)"
    )
    assert error(Path("data.csv"), LABEL, TEXT, names={"text": "body", "label": "topic"}) == (
        "data.csv has no column 'body'; it has: text, topic (use --text-column)"
    )


def test_two_texts_in_a_row_are_recognised(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("nli.jsonl"), '{"Premise": "a", "hypothesis": "b", "gold": "c"}\n')
    assert error(Path("nli.jsonl")) == (
        "nli.jsonl has no column 'text'; it has: Premise, hypothesis, gold (give --pair if each "
        "row has two texts, else --text-column)"
    )


def test_a_file_without_header_is_recognised(tmp_path):
    path = write(tmp_path / "a.csv", "What is this ?,HUM\nWho,NUM\n")
    message = error(path)
    assert "it has: What is this ?, HUM" in message
    assert "name the columns on the first line if that is data" in message


def test_two_columns_of_one_name_are_an_error_and_unnamed_ones_are_not(tmp_path):
    assert "two columns named 'text'" in error(write(tmp_path / "a.csv", "text,text\na,b\n"))
    path = write(tmp_path / "b.csv", ",text,label,\n0,a,x,\n")
    with path.open("rb") as file:
        record = next(stream(file, [TEXT], source=str(path)))
    assert record.fields == {"column_1": "0", "text": "a", "label": "x", "column_4": ""}


# Bad rows

BAD_CSV = (
    b"text,label\r\n"
    b'"two\r\nlines",x\r\n'  # 1
    b"caf\xe9,x\r\n"  # 2, line 4
    b"a,b,c\r\n"  # 3
    b"\r\n"
    b"a\r\n"  # 4, line 7
    b" ,x\r\n"  # 5
    b"a, \r\n"  # 6
    b'"a"b,x\r\n'  # 7
    b"last,y\r\n"  # 8
    b'"open,y\r\n\r\n'  # 9
)
BAD_CSV_REASONS = {
    2: (4, "not UTF-8: byte 0xe9 at character 4"),
    3: (5, "3 fields where the header has 2"),
    4: (7, "1 fields where the header has 2"),
    5: (8, "'text' is empty"),
    6: (9, "'label' is empty"),
    7: (10, "text between a closing quote and the next ','"),
    9: (12, "a quote is opened and never closed (the row runs to line 13)"),
}


def test_bad_rows_stop_the_run_with_their_place(tmp_path):
    path = write(tmp_path / "a.csv", BAD_CSV)
    assert error(path) == (
        f"{path}, row 2 (line 4): not UTF-8: byte 0xe9 at character 4 "
        "(save the file as UTF-8, or use --encoding windows-1252, as it seems to be written, or "
        "use --on-bad-row skip or quarantine)"
    )
    assert not list(tmp_path.glob("*.bad.jsonl"))


@pytest.mark.parametrize("mode", ["skip", "quarantine"])
def test_bad_rows_are_left_out_and_told(tmp_path, mode):
    path = write(tmp_path / "a.csv", BAD_CSV)
    rows = read(path, [TEXT, LABEL], on_bad_row=mode)
    assert rows.columns == {"text": ["two\r\nlines", "last"], "label": ["x", "y"]}
    assert rows.numbers == [1, 8]
    assert [bad.number for bad in rows.bad] == list(BAD_CSV_REASONS)
    for bad in rows.bad:
        line, reason = BAD_CSV_REASONS[bad.number]
        assert bad.line == line
        assert bad.reason.startswith(reason)
    assert str(rows.bad[0]).startswith("row 2 (line 4): not UTF-8")
    assert (tmp_path / "a.csv.bad.jsonl").exists() == (mode == "quarantine")


def test_quarantine_keeps_the_raw_rows_and_forgets_fixed_ones(tmp_path):
    folder = tmp_path / "bad"
    folder.mkdir()
    path = write(tmp_path / "a.csv", BAD_CSV)
    read(path, [TEXT, LABEL], on_bad_row="quarantine", quarantine=folder)
    kept = [json.loads(line) for line in (folder / "a.csv.bad.jsonl").read_text().splitlines()]
    assert [row["number"] for row in kept] == list(BAD_CSV_REASONS)
    assert kept[0] == {
        "number": 2,
        "line": 4,
        "reason": "not UTF-8: byte 0xe9 at character 4",
        "raw": "caf\\xe9,x\r\n",
    }
    assert kept[-1]["raw"] == '"open,y\r\n\r\n'
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "bad"]
    write(path, "text,label\na,x\n")
    read(path, [TEXT, LABEL], on_bad_row="quarantine", quarantine=folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"text": "a", "label": "x"', "invalid JSON"),
        ('["a", "x"]', 'not a JSON object but ["a", "x"]'),
        ('"text label"', "not a JSON object"),
        ('{"text": "a"}', "'label' is missing"),
        ('{"text": null, "label": "x"}', "'text' is missing"),
        ('{"text": {"en": "a"}, "label": "x"}', "'text' is an object, not a string"),
        ('{"text": "a", "label": ["x"]}', "'label' is a list, not a string"),
        ('{"text": "a", "label": NaN}', "NaN is not a JSON value"),
        ('{"text": "\\ud83d", "label": "x"}', "half of a surrogate pair"),
        ('{"text": "", "label": "x"}', "'text' is empty"),
        ('{"text": " \\u3000", "label": "x"}', "'text' is empty"),
        (
            '{"text": "\\u200b \\ufeff", "label": "x"}',
            r"'text' is empty: it has only '\u200b \ufeff'",
        ),
        ('{"text": "\ufffd\ufffd", "label": "x"}', r"'text' is empty: it has only '\ufffd\ufffd'"),
        ('{"text": "\\u0000", "label": "x"}', "'text' is empty: it has only"),
        ("[" * 100_000, "invalid JSON"),
        ('{"text": "a", "label": ' + "1" * 5000 + "}", "invalid JSON"),
    ],
)
def test_bad_jsonl_rows(tmp_path, line, reason):
    good = '{"text": "a", "label": "x"}'
    path = write(tmp_path / "a.jsonl", f"{good}\n\n{line}\n{good}")
    rows = read(path, [TEXT, LABEL], on_bad_row="skip")
    assert rows.numbers == [1, 3]
    assert [(bad.number, bad.line) for bad in rows.bad] == [(2, 3)]
    assert reason in rows.bad[0].reason
    assert "row 2 (line 3): " in error(path)


def test_jsonl_columns_may_be_missing_from_the_first_row(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"text": "a"}\n{"text": "b", "label": 3}\n')
    rows = read(path, [TEXT, LABEL], on_bad_row="skip")
    assert rows.columns == {"text": ["b"], "label": ["3"]}


# Values


def test_duplicates_ignore_case_and_white_space():
    a = Rows("a", {"text": ["One  two", "three", "ONE two"], "n": ["1", "2", "3"]}, [1, 4, 9])
    b = Rows("b", {"text": ["three!", " one\ttwo ", "THREE"], "n": ["1", "1", "7"]}, [5, 6, 7])
    assert duplicates(a, b, ["text"]) == [(1, 6), (4, 7)]
    assert duplicates(a, b, ["text", "n"]) == [(1, 6)]
    assert duplicates(b, a, ["text"]) == [(6, 1), (7, 4), (6, 9)]


def test_take_keeps_the_numbers():
    rows = Rows("a", {"text": ["x", "y", "z"]}, [1, 3, 4], [BadRow(2, "empty")])
    taken = rows.take([2, 0])
    assert (taken.columns, taken.numbers, taken.bad) == ({"text": ["z", "x"]}, [4, 1], [])


def test_rows_are_read_without_numpy_or_tensorflow():
    program = "import sys, pipelines.rows; print({'numpy', 'tensorflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


OPTIONAL = Column("score", "number", "", ("label",), optional=True, truth=True)


def test_an_optional_column_is_read_where_it_is(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\na,TRUE\nb,no\nc,0.5\n", "utf-8")
    rows = read(path, [TEXT, OPTIONAL])
    assert rows.columns == {"text": ["a", "b", "c"], "score": [1.0, 0.0, 0.5]}
    assert rows.take([1]).names == {"text": "text", "score": "label"}
    path.write_text("text\na\n", "utf-8")
    rows = read(path, [TEXT, OPTIONAL])
    assert rows.columns == {"text": ["a"]}
    assert rows.names == {"text": "text"}
    with pytest.raises(UserError, match="has no column 'gold'"):
        read(path, [TEXT, OPTIONAL], names={"score": "gold"})


def test_a_file_without_a_header_is_told_which_line_it_lacks(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("A plane is taking off.,5.0\n", "utf-8")
    with pytest.raises(UserError, match="on the first line if that is data: text,score"):
        read(path, [TEXT, OPTIONAL])


def test_lines_of_which_nothing_is_seen_are_blank(tmp_path):
    path = write(tmp_path / "a.txt", "one\n \u200b\n\n\ufeff\ntwo \u200b\n")
    assert read(path, [TEXT]).columns == {"text": ["one", "two \u200b"]}
