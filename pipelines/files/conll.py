"""CoNLL columns and CoNLL-U -> one row a sentence, its words as text and its tags as spans."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from pipelines.cells import is_visible
from pipelines.errors import UserError
from pipelines.files import conll_columns, tags
from pipelines.files.raw import HEADER_ROWS, RawRow, header_and_rows, undecodable

_BLANK = " \t\r\n"
_DOCUMENT = "-DOCSTART-"
# Scripts that put no space between words.
_CJK = re.compile(r"CJK|HIRAGANA|KATAKANA|IDEOGRAPHIC|FULLWIDTH|BOPOMOFO")
# A note before a sentence (MultiCoNER's "# id ...", CoNLL-U's "# text = ..."), not the word #.
_COMMENT = re.compile(r"#\s*(id\s|\S+\s*=\s)")
_WIDTH = 10  # columns of CoNLL-U
_SPACE = re.compile(r"\s*")
_MISC_TAG = re.compile(r"(?:^|\|)(?:NER|Entity)=([^|]*)")

Line = tuple[int, str]  # its number, and its characters


@dataclass(frozen=True)
class Sentence:
    """A sentence of CoNLL columns.

    Attributes:
        number: its number in the file; the first is 1.
        line: the line of its first word.
        text: its lines.
        words: W words.
        columns: by name, in the file's order, the tags of the other columns, W each: ``entities``,
            and ``column_2`` and so on by the column's place in the file.
        fault: why it cannot be used; words and columns are then empty, unless it is the encoding.
    """

    number: int
    line: int
    text: str
    words: list[str]
    columns: dict[str, list[str]]
    fault: str = ""


def sentences(lines: TextIO, source: str) -> Iterator[Sentence]:
    r"""Yield the sentences of CoNLL columns, which tabs or else white space separate.

    Raises:
        UserError: there is none, or something else separates the columns.

    Example:
        >>> import io
        >>> [one.words for one in sentences(io.StringIO("Ada B-PER\nsings O\n"), "a.conll")]
        [['Ada', 'sings']]
    """
    blocks = _cut(lines)
    first = list(itertools.islice(blocks, HEADER_ROWS))
    if not first:
        raise UserError(f"{source} is empty (give a word and its tags on each line)")
    if between := conll_columns.other_delimiter("".join(text for text, *_ in first)):
        raise UserError(
            f"{source} has {between!r} between words and tags (write a tab in its place)"
        )
    order = conll_columns.arranged([[cells for _, cells in block] for _, _, block in first])
    for number, (text, line, block) in enumerate(itertools.chain(first, blocks), 1):
        fault = order.fault(block)
        if fault:
            yield Sentence(number, line, text, [], {}, undecodable(text) or fault)
        else:
            words, columns = order.taken([cells for _, cells in block])
            yield Sentence(number, line, text, words, columns, undecodable(text))


def _cut(lines: Iterable[str]) -> Iterator[tuple[str, int, list[tuple[int, list[str]]]]]:
    """Yield each block's text, its first line's number, and its lines cut into cells."""
    tabs: bool | None = None
    for block in _blocks(lines):
        kept = [line for line in block if not line[1].startswith(_DOCUMENT)]
        while kept and _COMMENT.match(kept[0][1]):
            del kept[0]
        if kept and tabs is None:
            tabs = "\t" in kept[-1][1]
        rows = [(place, _cells(line, bool(tabs))) for place, line in kept]
        # Any other note, as GermEval's "#\thttps://..."; the word # has as many columns as others.
        while len(rows) > 1 and rows[0][1][0][:1] == "#" and len(rows[0][1]) != len(rows[-1][1]):
            del rows[0], kept[0]
        if rows:
            yield "".join(line for _, line in kept), rows[0][0], rows


def _blocks(lines: Iterable[str]) -> Iterator[list[Line]]:
    """Yield the lines between blank lines and document marks, with their numbers."""
    block: list[Line] = []
    for number, line in enumerate(lines, 1):
        blank = not line.strip(_BLANK)
        if (blank or line.startswith(_DOCUMENT)) and block:
            yield block
            block = []
        if not blank:
            block.append((number, line))
    if block:
        yield block


def _cells(line: str, tabs: bool) -> list[str]:
    """Cut a line; only spaces and tabs separate, as other white space may be a word."""
    if tabs:
        return [cell.strip(" ") or cell for cell in line.rstrip("\r\n").split("\t")]
    return re.split(r"[ \t]+", line.strip(_BLANK))


def column_rows(lines: TextIO, source: str) -> Iterator[RawRow]:
    r"""Yield the header as row 0, then each sentence: text, entities, and other columns as spans.

    A column whose tags are of chunks, as its first 1,000 sentences say, becomes a span for each
    chunk; of another (parts of speech) each word becomes one. Words stand a space apart, but for
    those of scripts without spaces.

    Raises:
        UserError: there is no sentence, or another tag stands for O.

    Example:
        >>> import io
        >>> header, row = column_rows(io.StringIO("Ada B-PER\nsings O\n"), "a.conll")
        >>> row.fields
        {'text': 'Ada sings', 'entities': [{'start': 0, 'end': 3, 'label': 'PER'}]}
    """
    parts = sentences(lines, source)
    first = list(itertools.islice(parts, HEADER_ROWS))
    # In another encoding than is told there may be no other sentences.
    good = [one for one in first if not one.fault] or [one for one in first if one.words]
    columns = {
        name: [tag for one in good for tag in one.columns[name]]
        for name in (good[0].columns if good else ())
    }
    for column in columns.values():
        if word := tags.outside_word(column):
            raise UserError(
                f"{source}: no tag is O; is {word!r} what stands outside? (write O for it)"
            )
    styles = {name: tags.style_of(column) for name, column in columns.items()}
    yield RawRow(0, 0, "", {"text": None, **dict.fromkeys(styles)})
    for one in itertools.chain(first, parts):
        fields: dict[str, Any] = {}
        fault = one.fault
        if not fault:
            text, places = joined(one.words, [True] * len(one.words))
            fields["text"] = text
            try:
                for name, column in one.columns.items():
                    fields[name] = _spans(text, places, tags.found(column, styles[name]))
            except ValueError as error:
                fields, fault = {}, str(error)
        yield RawRow(one.number, one.line, one.text, fields, fault)


def joined(words: Sequence[str], spaced: Sequence[bool]) -> tuple[str, list[tuple[int, int]]]:
    """Return words as a text; no space stands between two letters of scripts without spaces.

    Args:
        words: W words.
        spaced: W times whether a space may follow.

    Returns:
        The text, and for each word where it starts and ends there [characters].

    Example:
        >>> joined(["Hi", "!"], [False, True])
        ('Hi!', [(0, 2), (2, 3)])
    """
    pieces: list[str] = []
    places = []
    length = 0
    for i, word in enumerate(words):
        if i and spaced[i - 1] and not (_is_cjk(words[i - 1][-1:]) and _is_cjk(word[:1])):
            pieces.append(" ")
            length += 1
        pieces.append(word)
        places.append((length, length + len(word)))
        length += len(word)
    return "".join(pieces), places


def _is_cjk(letter: str) -> bool:
    """Return whether a character is of a script without spaces, or of its punctuation."""
    return letter >= "\u2e80" and _CJK.match(unicodedata.name(letter, "")) is not None


def _spans(
    text: str, places: Sequence[tuple[int, int]], found: Iterable[tuple[int, int, str]]
) -> list[dict[str, Any]]:
    """Turn (first word, end, label) into spans of characters; those without a visible one go."""
    spans = []
    for begin, end, label in found:
        first, last = places[begin][0], places[end - 1][1]
        if any(map(is_visible, text[first:last])):
            spans.append({"start": first, "end": last, "label": label})
    return spans


# --- CoNLL-U


def conllu_rows(lines: TextIO, source: str) -> Iterator[RawRow]:
    """Yield the columns as row 0, then each sentence: text, upos and xpos, and entities if any.

    Entities are those that MISC tags as ``NER=B-PER`` or ``Entity=B-PER``. A multiword token (2-3)
    is one word, its label those of its parts joined with ``+``; empty nodes (8.1) are left out.

    Raises:
        UserError: there is no sentence.

    Example::

        with open("en-ud-dev.conllu", encoding="utf-8") as file:
            header, *rows = conllu_rows(file, "en-ud-dev.conllu")

    Source: https://universaldependencies.org/format.html.
    """
    rows = header_and_rows(
        _conllu_row(number, block) for number, block in enumerate(_conllu_blocks(lines), 1)
    )
    header = next(rows)
    if not header.fields:
        following = next(rows, None)
        if following is None:
            raise UserError(f"{source} is empty (give sentences in CoNLL-U)")
        rows = itertools.chain([following], rows)
    yield header
    for row in rows:
        for name in header.fields if row.fields else ():
            row.fields.setdefault(name, [])
        yield row


def _conllu_blocks(lines: TextIO) -> Iterator[list[Line]]:
    """Yield sentences, without blocks that hold only comments."""
    for block in _blocks(lines):
        if any(not line.startswith("#") for _, line in block):
            yield block


def _conllu_row(number: int, block: list[Line]) -> RawRow:
    """Return a sentence as a row."""
    text = "".join(line for _, line in block)
    place = next(place for place, line in block if not line.startswith("#"))
    try:
        if fault := undecodable(text):
            raise ValueError(fault)
        fields = _conllu_fields(block)
    except ValueError as error:
        return RawRow(number, place, text, {}, str(error))
    return RawRow(number, place, text, fields)


@dataclass
class _Token:
    """A surface token, its last part's number, and the columns of its parts."""

    form: str
    last: int
    spaced: bool
    upos: list[str]
    xpos: list[str]
    entity: list[str]


def _conllu_fields(block: list[Line]) -> dict[str, Any]:
    """Return text, upos, xpos and, if there are any, entities; ValueError says what is wrong."""
    stated_text = ""
    tokens: list[_Token] = []
    for place, line in block:
        if line.startswith("#"):
            name, _, value = line[1:].partition("=")
            stated_text = value.strip() if name.strip() == "text" else stated_text
            continue
        cells = line.rstrip("\r\n").split("\t")
        if len(cells) != _WIDTH:
            raise ValueError(f"line {place} has {len(cells)} columns where CoNLL-U has {_WIDTH}")
        numbers = re.fullmatch(r"(\d+)(?:-(\d+)|(\.\d+))?", cells[0])
        if not numbers:
            raise ValueError(
                f"line {place} begins with {cells[0][:20]!r}, which is not a word number"
            )
        if numbers[3]:
            continue
        first, last = int(numbers[1]), int(numbers[2] or numbers[1])
        entity = _MISC_TAG.search(cells[9])
        if not tokens or first > tokens[-1].last:
            spaced = "SpaceAfter=No" not in cells[9].split("|")
            tokens.append(_Token(cells[1], last, spaced, [], [], []))
        if not numbers[2]:
            tokens[-1].upos.append(cells[3])
            tokens[-1].xpos.append(cells[4])
        if entity and tags.is_tag(entity[1]):
            tokens[-1].entity.append(entity[1])
    text, places = joined([one.form for one in tokens], [one.spaced for one in tokens])
    if found_places := _placed([one.form for one in tokens], stated_text):
        text, places = stated_text, found_places
    fields: dict[str, Any] = {
        "text": text,
        "upos": _spans(text, places, tags.found([_label(one.upos) for one in tokens], "words")),
        "xpos": _spans(text, places, tags.found([_label(one.xpos) for one in tokens], "words")),
    }
    if any(one.entity for one in tokens):
        labels = [next((tag for tag in one.entity if tag != "O"), "O") for one in tokens]
        fields["entities"] = _spans(text, places, tags.chunks(labels))
    return fields


def _label(parts: Sequence[str]) -> str:
    """Join the labels of a token's parts."""
    return "+".join(part for part in parts if part != "_")


def _placed(words: Sequence[str], text: str) -> list[tuple[int, int]]:
    """Find words in a text with nothing but white space between them; nothing if they differ."""
    places = []
    end = 0
    for word in words:
        space = _SPACE.match(text, end)
        start = space.end() if space else end
        if not text.startswith(word, start):
            return []
        end = start + len(word)
        places.append((start, end))
    return [] if text[end:].strip() else places
