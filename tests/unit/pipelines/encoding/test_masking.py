"""Packing loses and adds no token; masking hides what it says, and the same for the same seed."""

from functools import cache, partial

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2 as schema

from pipelines.encoding import masking, packing
from pipelines.tokenizers import sentencepiece
from pipelines.tokenizers.wordpiece import WordPiece

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LETTERS = tuple("abcdefghij")
TAILS = tuple(f"##{letter}" for letter in LETTERS)
BERT = WordPiece((*SPECIAL, "[unused7]", *LETTERS, *TAILS), lowercase=True, strip_accents=True)
FIRST = 6  # the first ordinary id
PAD, UNK, CLS, SEP, MASK = range(5)


def sentence_piece():
    model = schema.ModelProto()
    for piece in ("<pad>", "<unk>", "<s>", "</s>", "<mask>", "▁", "▁h", "i", "中", "▁国", ","):
        kind = 2 if piece == "<unk>" else 3 if piece.startswith("<") else 1
        model.pieces.add(piece=piece, score=-1.0, type=kind)
    return sentencepiece._made(model)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text("abcj 中", max_size=40), max_size=8), st.integers(3, 12))
def test_blocks_hold_every_token_once_with_a_separator_between_texts(texts, length):
    blocks = packing.pack(BERT, texts, length)
    assert blocks.dtype == np.int32
    assert blocks.shape[1] == length
    want = []
    for text in texts:
        ids = BERT.tokenize(tf.constant([text])).to_list()[0]
        want += [*ids, SEP] if ids else []
    want = want[:-1]
    inside = [row[row != PAD] for row in blocks]
    assert all(row[0] == CLS and row[-1] == SEP for row in inside)
    assert [i for row in inside for i in row[1:-1].tolist()] == want
    assert all(len(row) == length for row in inside[:-1])  # no padding but in the last


def test_texts_are_joined_across_the_steps_in_which_they_are_tokenized(monkeypatch):
    together = packing.pack(BERT, ["a b", "c", "d e f", "", "g"], 6)
    monkeypatch.setattr(packing, "_TEXTS", 2)
    np.testing.assert_array_equal(packing.pack(BERT, ["a b", "c", "d e f", "", "g"], 6), together)


def _blocks(rows=64, width=40, seed=0):
    """Blocks of random words of one to four pieces, the last half padded."""
    random = np.random.default_rng(seed)
    ids = random.integers(FIRST, FIRST + 20, (rows, width))
    ids[:, 0], ids[:, -1] = CLS, SEP
    ids[:, 10], ids[:, 20] = UNK, SEP
    ids[-1, width // 2 :] = PAD
    return ids.astype("int32")


@cache
def _compiled(tokenizer, rate, whole_words):
    mask = partial(masking.mask, tokenizer, rate=rate, whole_words=whole_words)
    signature = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int64)]
    return tf.function(mask, input_signature=signature)


def _mask(ids, seeds=None, rate=0.15, whole_words=False, tokenizer=BERT):
    seeds = np.arange(len(ids)) if seeds is None else seeds
    hidden, labels = _compiled(tokenizer, rate, whole_words)(ids, seeds.astype("int64"))
    return hidden.numpy(), labels.numpy()


def _words(row):
    """Start and end of each word of a block, special tokens left out."""
    words = []
    for i, piece in enumerate(row):
        if piece < FIRST:
            continue
        if piece >= FIRST + 10 and words and words[-1][1] == i:
            words[-1][1] = i + 1
        else:
            words.append([i, i + 1])
    return words


@pytest.mark.parametrize("whole_words", [False, True])
def test_the_share_is_kept_and_special_tokens_never_hidden(whole_words):
    ids = _blocks()
    hidden, labels = _mask(ids, whole_words=whole_words)
    chosen = labels != masking.NOTHING
    np.testing.assert_array_equal(labels[chosen], ids[chosen])
    np.testing.assert_array_equal(hidden[~chosen], ids[~chosen])
    assert (ids[chosen] >= FIRST).all()
    wanted = np.maximum(np.round(0.15 * (ids >= FIRST).sum(1)), 1)
    if whole_words:
        for row, mark, count in zip(ids, chosen, wanted, strict=True):
            words = _words(row)
            assert all(mark[a:b].all() or not mark[a:b].any() for a, b in words)
            taken = [b - a for a, b in words if mark[a]]
            assert mark.sum() >= count > mark.sum() - max(taken)
    else:
        np.testing.assert_array_equal(chosen.sum(1), wanted)


def test_of_the_hidden_80_10_10_are_mask_random_and_kept():
    ids = _blocks(rows=1500)
    hidden, labels = _mask(ids, rate=0.5)
    chosen = labels != masking.NOTHING
    got, was = hidden[chosen], labels[chosen]
    assert abs((got == MASK).mean() - 0.8) < 0.01
    changed = (got != MASK) & (got != was)
    # A random piece of the 20 is the true one in a twentieth of the cases.
    assert abs(changed.mean() - 0.1 * 19 / 20) < 0.01
    assert set(got[changed]) == set(range(FIRST, FIRST + 20))


def test_every_place_is_hidden_equally_often():
    ids = np.tile(_blocks(rows=1), (4000, 1))
    _, labels = _mask(ids, seeds=np.arange(4000))
    share = (labels != masking.NOTHING).mean(0)[ids[0] >= FIRST]
    assert abs(share - share.mean()).max() < 0.03


@pytest.mark.parametrize("whole_words", [False, True])
def test_a_blocks_mask_depends_on_its_seed_alone(whole_words):
    ids = _blocks(rows=6)
    seeds = np.array([5, 2**40, 7, 0, 1, 3])
    together = _mask(ids, seeds, whole_words=whole_words)
    again = _mask(ids, seeds, whole_words=whole_words)
    other = _mask(ids, seeds + 1, whole_words=whole_words)
    padded = np.pad(ids, [(0, 0), (0, 9)], constant_values=PAD)
    wide = _mask(padded, seeds, whole_words=whole_words)
    for i, part in enumerate(together):
        np.testing.assert_array_equal(part, again[i])
        assert (part != other[i]).any(1).all()
        np.testing.assert_array_equal(wide[i][:, :40], part)
        for row in range(6):
            alone = _mask(ids[row : row + 1], seeds[row : row + 1], whole_words=whole_words)
            np.testing.assert_array_equal(alone[i][0], part[row])


def test_a_block_with_nothing_to_hide_stays():
    ids = np.array([[CLS, UNK, SEP, PAD], [CLS, SEP, PAD, PAD]], "int32")
    hidden, labels = _mask(ids, whole_words=True)
    np.testing.assert_array_equal(hidden, ids)
    assert (labels == masking.NOTHING).all()


def test_where_words_begin_in_sentencepiece():
    tokenizer = sentence_piece()
    begins = masking.begins_word(tokenizer)[5:].tolist()
    assert begins == [True, True, False, True, True, False]
    assert masking.ordinary(tokenizer).tolist() == [False] * 5 + [True] * 6
    ids = np.array([[2, 6, 7, 10, 8, 8, 9, 3]] * 50, "int32")  # "hi, 中中国"
    _, labels = _mask(ids, rate=0.2, whole_words=True, tokenizer=tokenizer)
    marks = {tuple(np.flatnonzero(row != masking.NOTHING)) for row in labels}
    assert marks == {(1, 2, 3), (4,), (5,), (6,)}


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.text("ab 中", max_size=6), min_size=1, max_size=4), max_size=4))
def test_gaps_in_a_text_become_the_mask(rows):
    texts = tf.constant(["[MASK]".join(parts) for parts in rows], tf.string, [len(rows)])
    ids = masking.tokenize_marked(BERT, texts)
    want = []
    for parts in rows:
        pieces = [BERT.tokenize(tf.constant([part])).to_list()[0] for part in parts]
        want.append([i for k, p in enumerate(pieces) for i in ([MASK] if k else []) + p])
    assert ids.to_list() == want


def test_a_tokenizers_own_mask_is_a_gap_too():
    ids = masking.tokenize_marked(sentence_piece(), tf.constant(["hi<mask>中", "hi [MASK]中"]))
    assert ids.to_list() == [[6, 7, 4, 5, 8]] * 2


def test_places_are_compacted_in_their_order():
    values = tf.reshape(tf.range(10), [2, 5])
    flags = tf.constant([[0, 1, 0, 1, 1], [0, 0, 1, 0, 0]])
    kept = masking.compact(values, flags).numpy()
    assert kept[0].tolist() == [1, 3, 4]
    assert kept[1, 0] == 7
    assert masking.compact(values, flags * 0).shape == (2, 0)
