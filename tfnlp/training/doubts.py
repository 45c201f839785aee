"""Texts and targets that are perhaps not as meant: `validate` and `train` warn of them."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TypeAlias

from pipelines import cells
from pipelines.cells import LOST, is_visible
from pipelines.columns import Column
from pipelines.files.tags import OUTSIDE_WORDS
from pipelines.rows import BadRow, Rows

Doubt: TypeAlias = tuple[str, list[BadRow]]  # a sentence, and the rows it is about

# What programs write for a label that is not there.
_MISSING = ("None", "nan", "NaN", "NULL", "null", "<NA>", "#N/A", "N/A", "-")
# Letters of Cyrillic and Greek that look like Latin ones.
_CYRILLIC = str.maketrans("АВЕКМНОРСТУХІЈЅасеорухіјѕһԁ", "ABEKMHOPCTYXIJSaceopyxijshd")
_GREEK = str.maketrans("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧαικνορυ", "ABEZHIKMNOPTYXaikvopu")
# Signs that look alike in most fonts, and Turkish letters, whose case Unicode folds otherwise.
_LOOKS = str.maketrans(
    dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2043", "-")
    | dict.fromkeys("\u2018\u2019\u02bc\u2032", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u2033", '"')
    | {"ı": "i"}
)
_RARE = 0.1  # share of the labels below which -1 beside 0 and more is no class of a scale
_LABELLED = ("label", "labels", "gold_label", "gold")  # names of columns of classes
_WHOLE = 0.9  # share of texts whose every word must have a label, if one stands for none
_BETWEEN = re.compile(r"[][()\s,;/|:_-]+|\.(?!\d)")  # what a vector's numbers are written with
_NAMED = 5  # labels that a sentence names


def of_targets(
    rows: Mapping[str, Rows], columns: Sequence[Column], separator: str
) -> Iterator[Doubt]:
    """Yield what may be wrong with the targets of rows that are about to be learned from.

    Args:
        rows: by split, ``train`` and perhaps ``validation``, as training takes them.
        columns: the targets; an optional one that ``train`` lacks is passed over.
        separator: between the labels in one cell.

    Example:
        >>> rows = {"train": Rows("a.csv", {"label": ["yes", "Yes", "no"]}, [1, 2, 3])}
        >>> [doubt for doubt, _ in of_targets(rows, [Column("label", "label", "")], "|")]
        ["a.csv: labels that look the same are different ones: 'yes' (1), 'Yes' (1) (write them \
alike)"]
    """
    train, held = rows["train"], rows.get("validation")
    for column in columns:
        if column.name not in train.columns:
            continue
        if column.kind == "number":
            yield from _equal_numbers(train, column)
            yield from _inference(train, column)
        elif column.kind in ("label", "labels", "spans"):
            several = labels_of(train, column)
            yield from _alike(train, several)
            outside = list(_outside(train, column)) if column.kind == "spans" else []
            yield from outside or _missing(train, several)
            if column.kind != "spans":
                yield from _vectors(train, column)
            if column.kind == "labels":
                yield from _unseparated(train, several, separator)
            if column.kind == "label":
                yield from _together(train, several)
            if held is not None and column.name in held.columns:
                yield from _unjudged(several, held, column)


def of_texts(rows: Mapping[str, Rows], columns: Sequence[Column]) -> Iterator[Doubt]:
    r"""Yield what may be wrong with the texts of rows.

    Args:
        rows: by split.
        columns: what a model is given.

    Example:
        >>> rows = {"train": Rows("a.csv", {"text": ["caf\ufffd", "tea"]}, [1, 2])}
        >>> [bad for _, bad in of_texts(rows, [Column("text", "text", "")])]
        [[BadRow(number=1, reason="'caf\\ufffd'", line=None)]]
    """
    lost: dict[str, list[BadRow]] = defaultdict(list)
    for part in rows.values():
        given = [c.name for c in columns if c.kind == "text" and c.name in part.columns]
        for name in given:
            lost[part.source] += [
                BadRow(number, ascii(text[max(text.index(LOST) - 20, 0) :][:40]))
                for number, text in zip(part.numbers, part.columns[name], strict=True)
                if LOST in text
            ]
    for source, bad in lost.items():
        if bad:
            several = "texts hold" if len(bad) > 1 else "text holds"
            yield (
                f"{source}: {len(bad)} {several} U+FFFD, which stands for a letter that was lost "
                "when a file was read in another encoding (read the file as it was before, with "
                "--encoding)",
                sorted(bad, key=lambda row: row.number),
            )


def labels_of(rows: Rows, column: Column) -> list[list[str]]:
    """Return each row's labels; of spans, one for each.

    Example:
        >>> labels_of(Rows("a.csv", {"label": ["yes"]}, [1]), Column("label", "label", ""))
        [['yes']]
    """
    values = rows.columns[column.name]
    if column.kind == "spans":
        return [[label for *_, label in value] for value in values]
    return values if column.kind == "labels" else [[value] for value in values]


def _rows_with(rows: Rows, several: Sequence[Sequence[str]], labels: set[str]) -> list[BadRow]:
    """Return the rows that have one of these labels."""
    return [
        BadRow(number, ascii(label))
        for number, given in zip(rows.numbers, several, strict=True)
        for label in sorted(labels & set(given))
    ]


def _listed(labels: Sequence[str], counts: Mapping[str, int]) -> str:
    """Name the first labels, and say how many others there are."""
    # Where only a composed character, an invisible one or the script differs, escapes show it.
    plain = {_visible(_latin(unicodedata.normalize("NFC", label))) for label in labels}
    show = repr if len(plain) == len(labels) else ascii
    named = ", ".join(f"{show(label)} ({counts[label]})" for label in labels[:_NAMED])
    return named + (f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else "")


def _visible(text: str) -> str:
    return "".join(character for character in text if is_visible(character) or character == " ")


def _key(label: str) -> str:
    """Return what is the same of labels that look the same or are one number."""
    latin = _latin(unicodedata.normalize("NFKC", label))
    folded = unicodedata.normalize("NFKC", latin.casefold())
    folded = folded.replace("i\u0307", "i").translate(_LOOKS)
    text = " ".join(_visible(folded).split())
    with suppress(ValueError):
        return text if "_" in text else repr(float(text))
    return text


def _latin(text: str) -> str:
    """Return a text in Latin letters, if all of its letters look like such."""
    for letters in (_CYRILLIC, _GREEK):
        latin = text.translate(letters)
        if latin.isascii():
            return latin
    return text


def _alike(train: Rows, several: Sequence[Sequence[str]]) -> Iterator[Doubt]:
    """Find labels that differ in case, composition, dashes, what is not seen, or as 1 and 1.0."""
    counts = Counter(label for given in several for label in given)
    groups: dict[str, list[str]] = defaultdict(list)
    for label in counts:
        groups[_key(label)].append(label)
    same = [sorted(group, key=lambda label: -counts[label]) for group in groups.values()]
    same = [group for group in same if len(group) > 1]
    if same:
        named = "; ".join(_listed(group, counts) for group in same[:_NAMED])
        more = f"; and {len(same) - _NAMED} such groups more" if len(same) > _NAMED else ""
        yield (
            f"{train.source}: labels that look the same are different ones: {named}{more} (write "
            "them alike)",
            _rows_with(train, several, {label for group in same for label in group[1:]}),
        )


def _missing(train: Rows, several: Sequence[Sequence[str]]) -> Iterator[Doubt]:
    """Find labels that usually stand for none, as -1 does beside classes that are numbers."""
    counts = Counter(label for given in several for label in given)
    found = {label for label in counts if label in _MISSING}
    if all(re.fullmatch(r"-?\d+(\.0)?", label) for label in counts):
        found |= {label for label in counts if label in ("-100", "-100.0")}
        below = {label for label in counts if label.startswith("-")} - found
        few = sum(counts[label] for label in below) < _RARE * counts.total()
        # Two classes may be -1 and 1, or 0 and -1; a scale may have other negative grades too.
        if below in ({"-1"}, {"-1.0"}) and few and len(counts) > 2:
            found |= below
    if found:
        yield (
            f"{train.source}: labels that usually stand for a missing one are learned as others "
            f"are: {_listed(sorted(found), counts)} (leave these rows out, or name the label)",
            _rows_with(train, several, found),
        )


def _vectors(train: Rows, column: Column) -> Iterator[Doubt]:
    """Find labels that are a 0 or 1 for each label, not names: 010, or [1] and [0] in every row."""
    several = labels_of(train, column)
    counts = Counter(label for given in several for label in given)
    plain = [_BETWEEN.sub("", label) for label in counts]
    digits = all(re.fullmatch("[01]+", label) for label in plain)
    widths = set(map(len, plain))
    lists = column.kind == "labels"
    # A program that takes them for numbers drops leading zeros.
    alike = len(widths) == 1 or (lists and len(counts) > 2)
    joined = len(counts) > 1 and max(widths) > 2 and alike
    flags = counts.keys() in ({"0", "1"}, {"0.0", "1.0"}, {"false", "true"}, {"False", "True"})
    alone = lists and flags and len({len(given) for given in several}) == 1
    if (digits and joined) or alone:
        shown = ", ".join(map(repr, list(counts)[:_NAMED]))
        how = "give their names: food|staff, nothing for none"
        how = how if lists else "give its name, or use --task multi_label with names"
        yield (
            f"{train.source}: {column.name!r} seems to have a 0 or 1 for each label ({shown}), and "
            f"each of these is learned as a label ({how})",
            _rows_with(train, several, set(counts)),
        )


def _outside(train: Rows, column: Column) -> Iterator[Doubt]:
    """Find a label of words outside of all names: of many words, or where every word has one."""
    texts, several = train.columns.get(column.of, []), train.columns[column.name]
    whole = sum(map(_is_covered, texts, several))
    counts = Counter(label for spans in several for *_, label in spans)
    if len(counts) < 2:
        return
    if whole < _WHOLE * len(several):
        yield from _second_outside(train, several)
        return
    label, most = counts.most_common(1)[0]
    # Na is the most frequent part of speech of CKIP, whose nouns it names.
    said = label.casefold() in OUTSIDE_WORDS and label != "Na"
    if said or 2 * most >= counts.total():
        yield (
            f"{train.source}: every word has a label, and {label!r}, which {most} of "
            f"{counts.total()} have, is learned like the others (if it is for words outside of "
            "names, write O for it or leave these spans out)",
            _rows_with(train, labels_of(train, column), {label}),
        )


def _second_outside(
    train: Rows, several: Sequence[Sequence[tuple[int, int, str]]]
) -> Iterator[Doubt]:
    """Find words for outside beside O, as of a file that was put together from two."""
    lengths: Counter[str] = Counter()
    for start, end, label in (span for spans in several for span in spans):
        lengths[label] += end - start
    label, most = lengths.most_common(1)[0]
    if label.casefold() in OUTSIDE_WORDS and label != "Na" and 2 * most >= lengths.total():
        yield (
            f"{train.source}: {label!r} is on {most / lengths.total():.0%} of the labelled text, "
            "and is learned like the other labels (if it is for words outside of names, as those "
            "without a label are, write O for it or leave these spans out)",
            [
                BadRow(number, ascii(label))
                for number, spans in zip(train.numbers, several, strict=True)
                if any(name == label for *_, name in spans)
            ],
        )


def _is_covered(text: str, spans: Sequence[tuple[int, int, str]]) -> bool:
    """Return whether all that is seen of a text lies in spans."""
    edges = [0, *(edge for start, end, _ in spans for edge in (start, end)), len(text)]
    gaps = zip(edges[::2], edges[1::2], strict=True)
    return not any(any(map(is_visible, text[start:end])) for start, end in gaps)


def _unseparated(train: Rows, several: Sequence[Sequence[str]], separator: str) -> Iterator[Doubt]:
    """Find labels that are several, put together by another separator than the one that is told."""
    told = cells.separator(separator)
    counts = Counter(label for given in several for label in given)
    for other in cells.LISTING + cells.LOOSE:
        parts = {
            label: [part.strip() for part in label.split(other)]
            for label in counts
            if other != told and other in label
        }
        together = Counter(part for several in parts.values() for part in set(several))
        # A comma may be part of a name; what stands alone or in several lists is a label.
        least = 2 if other in cells.LISTING else len(parts) + 1
        lists = {
            label
            for label, own in parts.items()
            if all(part in counts or together[part] >= least for part in own if part)
        }
        if lists and 2 * len(lists) >= len(parts):
            yield (
                f"{train.source}: each of these is one label, but seems to be several with "
                f"{cells.shown(other)} between: {_listed(sorted(lists), counts)} (use "
                f"--label-separator {cells.shown(other)})",
                _rows_with(train, several, lists),
            )
            return


def _together(train: Rows, several: Sequence[Sequence[str]]) -> Iterator[Doubt]:
    """Find labels of a column of single ones that are several of the others, put together."""
    counts = Counter(label for given in several for label in given)
    for separator in cells.LISTING:
        parts = {label: [part.strip() for part in label.split(separator)] for label in counts}
        lists = {
            label
            for label, own in parts.items()
            if len(own) > 1 and all(part in counts for part in own)
        }
        if lists:
            yield (
                f"{train.source}: each of these is one label, but seems to be several of the "
                f"others with {cells.shown(separator)} between: {_listed(sorted(lists), counts)} "
                f"(use --task multi_label --label-separator {cells.shown(separator)} if a text may "
                "have several)",
                _rows_with(train, several, lists),
            )
            return


def _unjudged(several: Sequence[Sequence[str]], held: Rows, column: Column) -> Iterator[Doubt]:
    """Find labels of the training rows that no validation row has."""
    counts = Counter(label for given in several for label in given)
    there = {label for given in labels_of(held, column) for label in given}
    absent = sorted(counts.keys() - there, key=lambda label: (-counts[label], label))
    if absent:
        what = "types" if column.kind == "spans" else "labels"
        yield (
            f"{len(absent)} of {len(counts)} {what} have no row in validation and are not judged "
            f"there (rows to learn from): {_listed(absent, counts)} (add rows, or give a larger "
            "--validation-share)",
            [],
        )


def _equal_numbers(train: Rows, column: Column) -> Iterator[Doubt]:
    """Find numbers that differ in the file and not in float32."""
    import numpy as np  # `--help` does without it

    groups: dict[float, dict[float, int]] = defaultdict(dict)
    values = train.columns[column.name]
    for number, value, held in zip(
        train.numbers, values, np.array(values, np.float32).tolist(), strict=True
    ):
        groups[held].setdefault(value, number)
    same = [group for group in groups.values() if len(group) > 1]
    if same:
        one, other, *_ = same[0]
        yield (
            f"{train.source}: {sum(map(len, same))} different numbers in {column.name!r} are the "
            f"same as others in float32, in which they are learned, as {one!r} and {other!r} "
            "(subtract a constant from all)",
            [BadRow(number, repr(value)) for group in same for value, number in group.items()],
        )


def _inference(train: Rows, column: Column) -> Iterator[Doubt]:
    """Find numbers that are classes of natural language inference, whose order is no scale's."""
    counts = Counter(train.columns[column.name])
    name = train.names.get(column.name, column.name)
    named = {train.names.get(text, text).casefold() for text in ("text_a", "text_b")}
    # Sets whose texts have other names have the three classes in a column named as one of labels.
    pairs = named & {"premise", "hypothesis"} or (
        "text_b" in train.columns and name.casefold() in _LABELLED and {0, 1, 2} <= counts.keys()
    )
    if pairs and len(counts) > 1 and counts.keys() <= {-1, 0, 1, 2}:
        shown = ", ".join(f"{number:g}: {n} rows" for number, n in sorted(counts.items()))
        unknown = "; leave out rows with -1, which have no class" * (-1 in counts)
        yield (
            f"{train.source}: {name!r} ({shown}) is read as a scale on which {max(counts):g} is "
            "most, but seems to be classes of inference, of which 0 is entailment and 2 "
            "contradiction (write 1 for entailment, 0.5 for neutral and 0 for contradiction, or "
            f"use --task classification --pair{unknown})",
            [],
        )
