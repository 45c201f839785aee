"""CSV and TSV whose quotes, delimiters or encodings are not what one would expect."""

from __future__ import annotations

import csv
import gzip
import io

import pytest

from pipelines.errors import UserError
from pipelines.files.layout import Layout, encoding_remedy
from pipelines.rows import Column, noted, read, stream

TEXT, LABEL = Column("text", "text", ""), Column("label", "label", "")
SCORE, OTHER = Column("score", "number", ""), Column("target", "text", "")
WORDS = [
    f"{word} {noun}" for word in ("A kind", "Ein guter", "很好的") for noun in ("Koch", "服务")
]


def texts(tmp_path, lines, suffix=".tsv", columns=(TEXT, LABEL), **options):
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(lines if isinstance(lines, bytes) else ("\n".join(lines) + "\n").encode())
    return read(path, columns, **options)


@pytest.mark.parametrize(("suffix", "delimiter"), [(".tsv", "\t"), (".csv", ","), (".csv", ";")])
@pytest.mark.parametrize("closing", ['the end "', "no end"])
@pytest.mark.parametrize("between", [0, 1, 9])
def test_rows_between_two_stray_quotes_stay_rows(tmp_path, suffix, delimiter, closing, between):
    several = [*WORDS, '"an open quote', *WORDS[:1] * between, closing, *WORDS]
    lines = ["text" + delimiter + "label"]
    lines += [f"{text}{delimiter}{'pos' if i % 2 else 'neg'}" for i, text in enumerate(several)]
    rows = texts(tmp_path, lines, suffix)
    assert rows.columns["text"] == several
    assert rows.columns["label"] == [("neg", "pos")[i % 2] for i in range(len(several))]
    assert rows.numbers == list(range(1, len(several) + 1))
    assert [(note.number, note.line) for note in rows.notes] == [(7, 8)]
    assert "--quoting none" in noted(rows)


@pytest.mark.parametrize(
    ("columns", "header", "row"),
    [
        ((LABEL, TEXT), "label\ttext", "{b}\t{a}"),  # the quoted column is the last
        ((TEXT, SCORE), "text,score", "{a},{n}.5"),
        ((TEXT, OTHER), "text\ttarget", "{a}\tagain {n}"),  # prose on both sides
        ((TEXT, LABEL), "id,text,label", "{n},{a},{b}"),
    ],
)
def test_swallowed_rows_of_other_columns(tmp_path, columns, header, row):
    several = [*WORDS, '"an open quote', *WORDS, 'and one at an end"', *WORDS]
    lines = [row.format(a=a, b="xy"[n % 2], n=n) for n, a in enumerate(several)]
    suffix = ".tsv" if "\t" in header else ".csv"
    assert texts(tmp_path, [header, *lines], suffix, columns).columns["text"] == several


def test_a_swallowed_row_with_a_comma_too_many_is_the_only_bad_one(tmp_path):
    lines = ["text,label", *["fine,x", "bad,y"] * 3, '"open, not closed,x', *["fine,x"] * 9]
    rows = texts(tmp_path, lines, ".csv", on_bad_row="skip")
    assert [bad.number for bad in rows.bad] == [7]
    assert len(rows) == 15


LETTERS = [
    "Dear Sir, hello\nyours, Ann",  # each line has the header's one comma
    "Dear all,\nbest,",
    "It cost 1,000\nand more",
    "two\n\nparagraphs, with a comma",
    "你好,世界\n再见",
    'she said "no", and\nleft',
]


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_quoted_fields_of_several_lines_stay_fields(tmp_path, quoting):
    several = [*LETTERS, "plain", "plainer", *LETTERS, "plainest", "not, plain"]
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=quoting)
    writer.writerow(["text", "label"])
    writer.writerows([text, "xy"[i % 2]] for i, text in enumerate(several))
    rows = texts(tmp_path, out.getvalue().encode(), ".csv")
    assert rows.columns["text"] == several


def test_lines_that_may_be_rows_or_a_field_are_named(tmp_path):
    rows = texts(tmp_path, b'text\nplain\n"one\nmore"\nplain\n', ".csv", (TEXT,))
    assert rows.columns["text"] == ["plain", "one\nmore", "plain"]
    assert "the first: row 2 (line 3): its quotes hold 2 lines" in noted(rows)
    assert noted(texts(tmp_path, b'text\nplain\n"one"\n', ".csv", (TEXT,))) == ""


def test_quotes_are_read_as_the_user_says(tmp_path):
    lines = ["text,label", "a,x", "b,y", "c,x", "d,y", '"open,x', 'shut",y', '"whole",x']
    none = texts(tmp_path, lines, ".csv", layout=Layout(quoting="none"))
    assert none.columns["text"][4:] == ['"open', 'shut"', '"whole"']
    minimal = texts(tmp_path, lines, ".csv", layout=Layout(quoting="minimal"))
    assert minimal.columns["text"][4:] == ["open,x\nshut", "whole"]
    assert none.notes == minimal.notes == []


@pytest.mark.parametrize(
    ("lines", "first"),
    [
        (['"text, cleaned, lower";label', '"a, b, c";x', "d;y"], "text, cleaned, lower"),
        (["text|label", "a, b|x", "c|y"], "text"),
        (["id;name, first;label", "1;Ann, Lee;x", "2;Bo, Li;y"], "id"),
        (["text;score", "a;1,5", "b, c;2,5"], "text"),
        (["text,label", "a; b; c,x", "d,y"], "text"),
        (["text\tlabel", "a, b\tx", "c, d\ty"], "text"),
    ],
)
def test_the_delimiter_is_the_one_that_rows_agree_on(lines, first):
    file = io.BytesIO("\n".join(lines).encode())
    records = list(stream(file, [], source="rows.csv"))
    assert next(iter(records[0].fields)) == first
    assert len(records) == len(lines) - 1


@pytest.mark.parametrize(
    ("told", "between"), [("tab", "\t"), (r"\t", "\t"), ("space", " "), ("~", "~")]
)
def test_the_delimiter_is_the_one_that_is_told(tmp_path, told, between):
    rows = texts(tmp_path, f"text{between}label\na,b{between}x\n".encode(), layout=Layout(told))
    assert rows.columns == {"text": ["a,b"], "label": ["x"]}


@pytest.mark.parametrize("told", ["", "ab", "\n", '"', "\0"])
def test_what_cannot_separate_fields_is_refused(told):
    with pytest.raises(UserError, match=r"--delimiter .* is not one character"):
        Layout(delimiter=told)


@pytest.mark.parametrize("told", ["latin-99", "hex", "", "../x"])
def test_what_is_no_encoding_is_refused(told):
    with pytest.raises(UserError, match=r"--encoding .* is not the name of an encoding"):
        Layout(encoding=told)


PROSE = {
    "windows-1252": "Das Mädchen fährt über die Brücke nach Köln",
    "windows-1251": "Привет, как дела? Сегодня хорошая погода",
    "shift_jis": "今日はとても天気がいいので、公園に行きましょう",
    "gb18030": "今天天气很好,我们去公园玩吧",
    "euc_kr": "오늘은 날씨가 좋아서 공원에 갔습니다",
}


@pytest.mark.parametrize("encoding", PROSE)
@pytest.mark.parametrize("suffix", [".tsv", ".jsonl", ".txt", ".tsv.gz"])
def test_another_encoding_is_refused_with_its_name_and_read_by_it(tmp_path, encoding, suffix):
    line = PROSE[encoding]
    content = {".jsonl": f'{{"text": "{line}"}}\n', ".txt": f"{line}\n"}.get(
        suffix, f"text\n{line}\n"
    )
    path = tmp_path / f"rows{suffix}"
    packed = gzip.compress if suffix.endswith("gz") else bytes
    path.write_bytes(packed((content).encode(encoding)))
    with pytest.raises(
        UserError, match=r"row 1.*: not UTF-8: byte .*save the file as UTF-8"
    ) as said:
        read(path, [TEXT])
    assert f"--encoding {encoding}, as it seems" in str(said.value)
    assert read(path, [TEXT], layout=Layout(encoding=encoding)).columns["text"] == [line]


def test_wide_characters(tmp_path):
    path = tmp_path / "rows.csv"
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        path.write_bytes("text,label\nnaïve,x\n".encode(encoding))
        with pytest.raises(UserError, match=f"is UTF-16, not UTF-8 .*--encoding {encoding}"):
            read(path, [TEXT])
        rows = read(path, [TEXT], layout=Layout(encoding=encoding))
        assert rows.columns["text"] == ["naïve"]
    path.write_bytes("text,label\nnaïve,x\n".encode("utf-16")[:-1])
    with pytest.raises(UserError, match=r"is not utf-16: .*give another --encoding"):
        read(path, [TEXT], layout=Layout(encoding="utf-16"))


def test_bytes_that_an_encoding_lacks_are_named(tmp_path):
    with pytest.raises(UserError, match=r"row 1 .*: not ascii: byte 0xc3 at character 1"):
        texts(tmp_path, "text\né\n".encode(), columns=(TEXT,), layout=Layout(encoding="ascii"))


def test_the_remedy_needs_no_file():
    assert encoding_remedy("<stdin>").startswith("save the file as UTF-8, or use --encoding")


@pytest.mark.parametrize(
    ("layout", "forms", "said"),
    [
        (Layout(delimiter=";"), ["jsonl", "conll"], "--delimiter is for CSV and TSV"),
        (Layout(quoting="none"), [], "--quoting is for CSV and TSV"),
        (Layout(encoding="cp1252"), [], "--encoding is for files"),
    ],
)
def test_a_layout_that_no_file_has_is_refused(layout, forms, said):
    layout.check(["csv", "jsonl"])
    with pytest.raises(UserError, match=said):
        layout.check(forms)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_nul_stays_in_a_text_and_is_refused_in_a_label(tmp_path, suffix):
    def rows(text, label):
        line = (
            f"{text},{label}" if suffix == ".csv" else f'{{"text": "{text}", "label": "{label}"}}'
        )
        return texts(tmp_path, ["text,label"] * (suffix == ".csv") + [line], suffix)

    nul = "\0" if suffix == ".csv" else r"\u0000"
    assert rows(f"a{nul}b", "x").columns["text"] == ["a\0b"]
    with pytest.raises(UserError, match="'label' has a NUL character"):
        rows("a", f"x{nul}")


@pytest.mark.parametrize("between", [";", ",", "|", "\t"])
@pytest.mark.parametrize("names", [["text", "label"], ["Satz", "Klasse", "id"]])
@pytest.mark.parametrize("inside", [False, True])
def test_a_header_in_one_piece_names_the_delimiter(tmp_path, between, names, inside):
    wrong = ";" if between != ";" else "|"
    rows = [between.join(names), between.join(f"a{wrong * inside} kind {n}" for n in names)]
    told = "tab" if between == "\t" else f"'{between}'"
    with pytest.raises(UserError) as caught:
        texts(tmp_path, rows, ".csv", layout=Layout(wrong))
    assert f"use --delimiter {told}, if that is what separates the columns" in str(caught.value)
    assert "-column" not in str(caught.value)


@pytest.mark.parametrize("between", [";", ",", "|"])
def test_a_tsv_file_without_tabs_names_the_delimiter(tmp_path, between):
    with pytest.raises(UserError, match="use --delimiter "):
        texts(tmp_path, [f"text{between}label", f"A kind cook{between}yes"], ".tsv")
