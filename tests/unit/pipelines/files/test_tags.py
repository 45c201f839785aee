"""Tag schemes: chunks equal to seqeval's, the scheme told from a file, and what breaks it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from pipelines.files import tags

SETTINGS = settings(deadline=None)  # the machine may be busy
TYPES = st.sampled_from(["PER", "LOC", "GPE-LOC"])
TAGS = st.lists(st.just("O") | st.builds("{}-{}".format, st.sampled_from("BIES"), TYPES))
BILOU = str.maketrans("ES", "LU")
BMES = str.maketrans("I", "M")


@SETTINGS
@given(TAGS)
def test_chunks_are_those_of_seqeval(sequence):
    expected = [(begin, last + 1, kind) for kind, begin, last in get_entities(sequence)]
    assert tags.chunks(sequence) == expected


@SETTINGS
@given(TAGS, st.sampled_from([BILOU, BMES]))
def test_the_letters_of_other_schemes_mean_the_same(sequence, letters):
    other = [tag[0].translate(letters) + tag[1:] for tag in sequence]
    assert tags.chunks(other) == tags.chunks(sequence)


def test_tags_without_type_are_chunks_too():
    assert tags.chunks(["B", "I", "O", "S"]) == [(0, 2, "_"), (3, 4, "_")]


@pytest.mark.parametrize("tag", ["PER", "B-", "-PER", ""])
def test_what_is_no_tag_is_refused(tag):
    with pytest.raises(ValueError, match="neither O nor like B-NAME"):
        tags.chunks(["O", tag])


@SETTINGS
@given(st.lists(st.tuples(st.integers(1, 3), TYPES, st.booleans()), max_size=8))
def test_well_formed_tags_of_any_scheme_are_read_back_and_not_broken(spans):
    """Chunks of some words, each with or without a word outside after it."""
    chunks, bio, iob1, bioes = [], [], [], []
    for length, kind, apart in spans:
        first = len(bio)
        touches = bool(chunks) and chunks[-1][1:] == (first, kind)
        chunks.append((first, first + length, kind))
        bio += [f"B-{kind}", *[f"I-{kind}"] * (length - 1)]
        iob1 += ["B-" + kind if touches else "I-" + kind, *[f"I-{kind}"] * (length - 1)]
        inner = [f"I-{kind}"] * (length - 2)
        bioes += [f"S-{kind}"] if length == 1 else [f"B-{kind}", *inner, f"E-{kind}"]
        for sequence in (bio, iob1, bioes) if apart else ():
            sequence.append("O")
    for scheme, sequence in (("BIO", bio), ("IOB1", iob1), ("BIOES", bioes)):
        assert tags.chunks(sequence) == chunks
        assert list(tags.broken(sequence, scheme)) == []
        if chunks:
            assert tags.scheme_of([sequence]) == scheme


@pytest.mark.parametrize(
    ("sentences", "scheme"),
    [
        (["B-A I-A O", "O I-A"], "BIO"),
        (["I-A I-A O I-B", "I-A B-A O"], "IOB1"),
        (["B-A E-A", "S-A"], "BIOES"),
        (["B-A L-A", "U-A"], "BIOES"),
        (["O O"], "BIO"),
    ],
)
def test_the_scheme_is_told_from_the_file(sentences, scheme):
    assert tags.scheme_of(sentence.split() for sentence in sentences) == scheme


@pytest.mark.parametrize(
    ("sequence", "scheme", "places"),
    [
        ("O I-A I-A", "BIO", [1]),
        ("B-A I-B", "BIO", [1]),
        ("I-A", "BIO", [0]),
        ("I-A I-B B-B", "IOB1", []),
        ("O B-A", "IOB1", [1]),
        ("B-A O", "BIOES", [0]),
        ("B-A I-A", "BIOES", [1]),
        ("O E-A S-A", "BIOES", [1]),
        ("B-A B-A E-A", "BIOES", [0]),
    ],
)
def test_broken_tags_are_told_by_place(sequence, scheme, places):
    assert [place for place, _ in tags.broken(sequence.split(), scheme)] == places


@pytest.mark.parametrize(
    ("column", "style"),
    [
        ("NN VBZ . DT", "words"),
        ("O O O", "chunks"),
        ("B-NP I-NP O", "chunks"),
        ("O NN B VB DT", "words"),
        ("B M E S", "chunks"),
        ("b-per i-per o o", "chunks"),
        ("B-PER I-PER 0 0 0 0 0", "chunks"),
        ("B-PER - - - -", "chunks"),
        ("PER_B PER_I - - - -", "chunks"),
        ("PER PER PER LOC O", "types"),
        ("art-film art-film 0 0", "types"),
        ("per o per o", "types"),
        ("N O V O , P", "words"),  # of Twitter: O is a pronoun
        ("0 1 0 0", "words"),
        ("_ _ SpaceAfter=No", "words"),
    ],
)
def test_how_tags_are_meant_is_told_from_their_column(column, style):
    assert tags.style_of(column.split()) == style


@pytest.mark.parametrize(
    "column", ["b-per i-per o b-per", "B_PER I_PER 0 B_PER", "PER-B PER-I - PER-B", "u:per e:per"]
)
def test_tags_written_otherwise_mean_the_same(column):
    expected = {"u:per e:per": [(0, 1), (1, 2)]}.get(column, [(0, 2), (3, 4)])
    assert [span[:2] for span in tags.chunks(column.split())] == expected
    assert {label.upper() for *_, label in tags.chunks(column.split())} == {"PER"}


def test_words_are_not_taken_for_tags():
    portuguese = ["o", "senhor", "disse", "o", "e-mail", "do", "S-Bahn", "era", "o", "melhor"]
    assert not tags.are_tagged(portuguese)
    assert tags.are_tagged(["O", "O", "B-X", "O"])
    assert not tags.are_tagged(["O", "O"])


@pytest.mark.parametrize(
    ("column", "word"),
    [
        ("B-PER I-PER OTHER OTHER OTHER", "OTHER"),
        ("I-PER I-PER None none None", "None"),
        ("B-PER E-PER S-LOC 外 外 外 外", "外"),
        ("B-PER I-PER B-LOC I-LOC I-LOC X X", "X"),
        ("B-PER I-PER O OTHER OTHER", ""),
        ("B-PER I-PER - OTHER OTHER", ""),
        ("NN VB NN DT E-N E-N NN", ""),  # parts of speech
        ("PER LOC NONE NONE", ""),
        ("", ""),
    ],
)
def test_a_word_for_outside_is_found(column, word):
    assert tags.outside_word(column.split()) == word
    assert tags.are_tagged(column.split()) is bool(word) or "B-PER" in column


def test_two_words_for_outside_make_no_labels_of_tags():
    names = ["B-PER", "I-PER", "B-LOC"]
    assert tags.style_of([*names, "O", "0", "_", "-"]) == "chunks"
    assert tags.style_of([*names, "0", *["NONE"] * 9]) == "chunks"  # whose rows are then refused
    assert tags.outside_word([*names, *["NONE"] * 4, *["OTHER"] * 3]) == "NONE"
    assert tags.found(
        ["PER", "PER", "_", "LOC", "O"], tags.style_of(["PER", "O", "_", "0", "LOC"])
    ) == [
        (0, 2, "PER"),
        (3, 4, "LOC"),
    ]
