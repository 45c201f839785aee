"""CoNLL files that cannot be read as they are: the sentence names the cause and the remedy."""

from __future__ import annotations

import pytest

from pipelines.errors import UserError
from pipelines.rows import Column, Layout, read

TEXT, ENTITIES = Column("text", "text", ""), Column("entities", "spans", "")


def read_text(tmp_path, name, content, **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read(path, [TEXT, ENTITIES], **options)


@pytest.mark.parametrize("line", ["{word} {tag}", "{word} NN {tag}", "{tag} {word}"])
@pytest.mark.parametrize("word", ["OTHER", "none", "外"])
def test_another_word_for_outside_is_refused(tmp_path, line, word):
    tagged = [("Ada", "B-PER"), ("Byron", "I-PER"), ("sings", word), ("well", word)] * 3
    lines = "\n".join(line.format(word=text, tag=tag) for text, tag in tagged)
    with pytest.raises(UserError, match=f"no tag is O; is '{word}' what stands outside\\? "):
        read_text(tmp_path, "a.conll", lines)


@pytest.mark.parametrize(
    ("words", "encoding"),
    [
        (["Jürgen", "Müller"], "windows-1252"),
        (["Привет", "Москва"], "windows-1251"),
        (["東京都", "日本語"], "shift_jis"),
    ],
)
@pytest.mark.parametrize("suffix", ["conll", "bio", "conllu"])
@pytest.mark.parametrize("skipped", [False, True])
def test_another_encoding_is_named(tmp_path, words, encoding, suffix, skipped):
    line = "{i}\t{word}\t_\t{tag}" + 6 * "\t_" if suffix == "conllu" else "{word} {tag}"
    lines = [line.format(i=i, word=word, tag=f"B-{i}") for i, word in enumerate([*words, "x"], 1)]
    content = ("\n".join(lines) + "\n\n") * 9
    options = {"on_bad_row": "skip"} if skipped else {}
    with pytest.raises(UserError) as caught:
        read_text(tmp_path, f"a.{suffix}", content.encode(encoding), **options)
    assert "row 1: not UTF-8: byte 0x" in str(caught.value)
    assert "--encoding" in str(caught.value)
    rows = read_text(
        tmp_path, "a.conll", content.encode(encoding), layout=Layout(encoding=encoding)
    )
    assert len(rows) == 9


def test_tags_are_read_where_the_first_sentences_have_other_bytes(tmp_path):
    content = b"J\xfcrgen B-PER\nsings O\n\n" * 1_001 + b"Ada B-PER\nsings O\n"
    rows = read_text(tmp_path, "a.conll", content, on_bad_row="skip")
    assert rows.columns["entities"] == [[(0, 3, "PER")]]


@pytest.mark.parametrize("between", [",", ";", "|", "/", ", ", " ; ", "，"])
@pytest.mark.parametrize("head", ["", "word{}tag\n"])
def test_other_delimiters_are_named(tmp_path, between, head):
    lines = [("Ada", "B-PER"), ("lives", "O"), ("in", "O"), ("Rome", "B-LOC"), (",", "O")]
    content = "\n".join(f"{word}{between}{tag}" for word, tag in lines) + "\n"
    with pytest.raises(UserError) as caught:
        read_text(tmp_path, "a.conll", head.format(between) + content * 3)
    assert str(caught.value).endswith(
        f"a.conll has {between.strip()!r} between words and tags (write a tab in its place)"
    )


def test_delimiters_that_are_words_or_parts_of_them_are_no_delimiters(tmp_path):
    lines = ["1,000 O", ", O", "a/b O", "; O", "Rome B-LOC", "x;y\tO".replace("\t", " ")]
    rows = read_text(tmp_path, "a.conll", "\n".join(lines))
    assert rows.columns["text"] == ["1,000 , a/b ; Rome x;y"]
