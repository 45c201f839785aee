"""Texts -> token_ids, segment_ids, padding_mask: nothing longer than asked, nothing lost unseen."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.encoding import segments
from pipelines.tokenizers.wordpiece import WordPiece

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LETTERS = "abcdefghij"
BERT = WordPiece((*SPECIAL, *LETTERS), lowercase=True, strip_accents=True)
PAD, CLS, SEP = 0, 2, 3


def _ids(text: str) -> list[int]:
    return [len(SPECIAL) + LETTERS.index(word) for word in text.split()]


def _encode(texts, max_length, windows=1, overlap=0):
    columns = [tf.constant(column, tf.string, [len(column)]) for column in texts]
    features, lost = segments.encode(BERT, columns, max_length, windows, overlap)
    return {name: value.numpy() for name, value in features.items()}, lost.numpy().tolist()


words = st.lists(st.sampled_from(LETTERS), max_size=30).map(" ".join)


def test_one_text():
    features, lost = _encode([["a b c", ""]], 8)
    assert features["token_ids"].tolist() == [
        [CLS, *_ids("a b c"), SEP],
        [CLS, SEP, PAD, PAD, PAD],
    ]
    assert features["padding_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
    assert not features["segment_ids"].any()
    assert lost == [0, 0]


def test_two_texts():
    features, lost = _encode([["a b"], ["c"]], 16)
    assert features["token_ids"].tolist() == [[CLS, *_ids("a b"), SEP, *_ids("c"), SEP]]
    assert features["segment_ids"].tolist() == [[0, 0, 0, 0, 1, 1]]
    assert lost == [0]


def test_a_text_that_does_not_fit_is_cut_at_its_end_and_counted():
    features, lost = _encode([["a b c d e f g"]], 5)
    assert features["token_ids"].tolist() == [[CLS, *_ids("a b c"), SEP]]
    assert lost == [4]


def test_a_long_first_text_leaves_half_of_the_room_to_the_second():
    features, lost = _encode([["a a a a a a a a"], ["b b b b b b"]], 11)
    assert features["token_ids"].tolist() == [[CLS, *_ids("a a a a"), SEP, *_ids("b b b b"), SEP]]
    assert lost == [4 + 2]


def test_windows_overlap_and_cover_the_text():
    features, lost = _encode([["a b c d e f g", "a"]], 5, windows=4, overlap=1)
    windows = features["token_ids"][0].tolist()
    assert windows == [
        [CLS, *_ids("a b c"), SEP],
        [CLS, *_ids("c d e"), SEP],
        [CLS, *_ids("e f g"), SEP],
    ]
    assert features["padding_mask"][1].tolist() == [[1, 1, 1, 0, 0], [0] * 5, [0] * 5]
    assert lost == [0, 0]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(words, min_size=1, max_size=4),
    max_length=st.integers(4, 12),
    windows=st.integers(1, 4),
    overlap=st.integers(0, 3),
)
def test_windows_hold_each_token_or_count_it_as_lost(rows, max_length, windows, overlap):
    features, lost = _encode([rows], max_length, windows, overlap)
    ids = features["token_ids"].reshape(len(rows), -1, features["token_ids"].shape[-1])
    mask = features["padding_mask"].reshape(ids.shape)
    assert ids.shape[-1] <= max_length
    assert ids.shape[1] <= windows
    step = max(max_length - 2 - overlap, 1)
    for row, text in enumerate(rows):
        wanted = _ids(text)
        seen: dict[int, int] = {}
        for window in range(ids.shape[1]):
            tokens = ids[row, window][mask[row, window] == 1].tolist()
            if not tokens:
                continue
            assert tokens[0] == CLS
            assert tokens[-1] == SEP
            seen |= {window * step + i: token for i, token in enumerate(tokens[1:-1])}
        assert [seen[i] for i in sorted(seen)] == wanted[: len(seen)]
        assert lost[row] == len(wanted) - len(seen)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(words, words), min_size=1, max_size=4), max_length=st.integers(6, 40)
)
def test_pairs_fill_the_room_they_have(rows, max_length):
    first, second = ([row[i] for row in rows] for i in (0, 1))
    features, lost = _encode([first, second], max_length)
    for row, (a, b) in enumerate(rows):
        used = int(features["padding_mask"][row].sum())
        total = len(_ids(a)) + len(_ids(b)) + 3
        assert used == min(total, max_length)
        assert lost[row] == total - used
        inside = features["token_ids"][row][:used]
        assert (inside == SEP).sum() == 2
        ids = features["segment_ids"][row][:used]
        assert (np.diff(ids) >= 0).all()
        assert ids[np.flatnonzero(inside == SEP)[0]] == 0


@pytest.mark.parametrize("texts", [[[]], [[], []]])
def test_a_batch_without_rows(texts):
    features, lost = _encode(texts, 8)
    assert features["token_ids"].shape[0] == 0
    assert lost == []
