"""Sources, histories and shifted targets: nothing longer than asked, nothing lost unseen."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.columns import Column, joined, value_of
from pipelines.encoding import segments, sequences
from pipelines.encoding.turns import split
from pipelines.errors import UserError
from pipelines.tokenizers.wordpiece import WordPiece

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LETTERS = "abcdefghij"
BERT = WordPiece((*SPECIAL, *LETTERS), lowercase=True, strip_accents=True)
PAD, CLS, SEP = 0, 2, 3
SETTINGS = settings(max_examples=60, deadline=None)

words = st.lists(st.sampled_from(LETTERS), max_size=20).map(" ".join)
rows_of_words = st.lists(words, min_size=1, max_size=4)


def ids(text: str) -> list[int]:
    return [len(SPECIAL) + LETTERS.index(word) for word in text.split()]


def strings(texts):
    return tf.constant(texts, tf.string, [len(texts)])


def history(conversations, max_length):
    lines = [joined(turns) for turns in conversations]
    features, lost = sequences.history(BERT, strings(lines), max_length)
    return {name: value.numpy() for name, value in features.items()}, lost.numpy().tolist()


def target(texts, max_length):
    inputs, labels, lost = sequences.target(BERT, strings(texts), max_length)
    assert inputs.dtype == labels.dtype == tf.int32
    assert lost.dtype == tf.int64
    return inputs.numpy().tolist(), labels.numpy().tolist(), lost.numpy().tolist()


def test_a_target_is_read_one_place_late():
    inputs, labels, lost = target(["a b", ""], 8)
    assert inputs == [[CLS, *ids("a b")], [CLS, PAD, PAD]]
    assert labels == [[*ids("a b"), SEP], [SEP, -1, -1]]
    assert lost == [0, 0]


def test_a_target_that_is_cut_has_no_end():
    inputs, labels, lost = target(["a b c", "a b c d e"], 4)
    assert inputs == [[CLS, *ids("a b c")]] * 2
    assert labels == [[*ids("a b c"), SEP], [*ids("a b c"), -1]]
    assert lost == [0, 2]


@SETTINGS
@given(rows_of_words, st.integers(2, 24))
def test_targets_hold_each_token_or_count_it_as_lost(texts, max_length):
    inputs, labels, lost = target(texts, max_length)
    for text, read, say, cut in zip(texts, inputs, labels, lost, strict=True):
        assert len(read) == len(say) <= max_length
        said = [token for token in say if token != -1]
        whole = [*ids(text), SEP]
        assert said == (whole if not cut else whole[: max_length - 1])
        assert cut == max(len(ids(text)) - (max_length - 1), 0)
        # What was said is what is read next.
        kept = ids(text)[: max_length - 1]
        assert read == [CLS, *kept] + [PAD] * (len(read) - 1 - len(kept))


class Startless:
    """A tokenizer like T5's, which has no start."""

    pad_id, end_id = 0, 3

    @property
    def start_id(self):
        raise UserError("the SentencePiece vocabulary lacks <s>")

    def tokenize(self, strings):
        return BERT.tokenize(strings)


def test_padding_starts_where_there_is_no_start():
    inputs, labels, _ = sequences.target(Startless(), strings(["a", "b c"]), 8)
    assert inputs.numpy().tolist() == [[PAD, *ids("a"), PAD], [PAD, *ids("b c")]]
    assert labels.numpy().tolist() == [[*ids("a"), SEP, -1], [*ids("b c"), SEP]]


def test_a_source_is_a_text_of_its_own():
    features, lost = sequences.source(BERT, strings(["a b c d", "e"]), 5)
    wanted, same = segments.encode(BERT, [strings(["a b c d", "e"])], 5)
    assert {name: value.numpy().tolist() for name, value in features.items()} == {
        name: value.numpy().tolist() for name, value in wanted.items()
    }
    assert lost.numpy().tolist() == same.numpy().tolist() == [1, 0]


def test_a_separator_follows_each_turn():
    features, lost = history([["a b", "c"], ["d"]], 16)
    assert features["token_ids"].tolist() == [
        [CLS, *ids("a b"), SEP, *ids("c"), SEP],
        [CLS, *ids("d"), SEP, PAD, PAD, PAD],
    ]
    assert features["padding_mask"].tolist() == [[1] * 6, [1, 1, 1, 0, 0, 0]]
    assert not features["segment_ids"].any()
    assert {value.dtype for value in features.values()} == {np.dtype("int32")}
    assert lost == [0, 0]


def test_of_a_long_history_the_oldest_tokens_are_cut():
    features, lost = history([["a b c", "d e", "f"]], 6)
    assert features["token_ids"][0].tolist() == [CLS, *ids("d e"), SEP, *ids("f"), SEP]
    assert lost == [4]  # a b c and their separator


@SETTINGS
@given(
    st.lists(st.lists(words.filter(bool), min_size=1, max_size=5), min_size=1, max_size=4),
    st.integers(3, 40),
)
def test_histories_end_as_the_conversation_does(conversations, max_length):
    features, lost = history(conversations, max_length)
    assert features["token_ids"].shape[1] <= max_length
    for row, turns in enumerate(conversations):
        whole = [token for turn in turns for token in (*ids(turn), SEP)]
        kept = features["token_ids"][row][features["padding_mask"][row] == 1].tolist()
        assert kept == [CLS, *whole[-(max_length - 1) :]]
        assert lost[row] == len(whole) - (len(kept) - 1)


@pytest.mark.parametrize(
    "line", ["a\nb", " a \r\n\n\n b\n", "\na\n \nb", "a\rb", "\u3000a\xa0\r \u2028b\r"]
)
def test_blank_lines_of_a_request_are_no_turns(line):
    features, _ = sequences.history(BERT, strings([line]), 9)
    assert features["token_ids"].numpy().tolist() == [[CLS, *ids("a"), SEP, *ids("b"), SEP]]


TALK = st.text(
    ["a", "b", " ", "\n", "\r", "\t", "\x0b", "\x1c", "\x85", "\xa0", "\u2028", "\u3000"]
)
HISTORY = Column("history", "turns", "")


@SETTINGS
@given(st.lists(TALK | st.text(max_size=8), min_size=1, max_size=4))
def test_turns_of_a_request_are_those_of_a_file(texts):
    prompts, found = split(strings(texts))
    assert set(prompts.numpy()) == {b""}
    for text, said in zip(texts, found.to_list(), strict=True):
        keys = {"history": "history"}
        # In brackets it could be a list in JSON.
        if not text.strip().startswith("["):
            assert [t.decode() for t in said] == value_of(HISTORY, {"history": text}, keys, "")


def test_an_empty_request_is_an_empty_turn():
    features, lost = sequences.history(BERT, strings([""]), 9)
    assert features["token_ids"].numpy().tolist() == [[CLS, SEP]]
    assert lost.numpy().tolist() == [0]


def test_batches_without_rows():
    features, lost = sequences.history(BERT, strings([]), 9)
    assert features["token_ids"].shape[0] == lost.shape[0] == 0
    inputs, labels, lost = sequences.target(BERT, strings([]), 9)
    assert inputs.shape[0] == labels.shape[0] == lost.shape[0] == 0


def test_it_is_the_same_in_a_graph():
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def both(texts):
        return sequences.history(BERT, texts, 6), sequences.target(BERT, texts, 4)

    texts = strings(["a b c\nd e\nf", "g"])
    (features, lost), (inputs, labels, cut) = both(texts)
    wanted, same = sequences.history(BERT, texts, 6)
    for name, value in wanted.items():
        np.testing.assert_array_equal(features[name], value)
    np.testing.assert_array_equal(lost, same)
    for one, other in zip((inputs, labels, cut), sequences.target(BERT, texts, 4), strict=True):
        np.testing.assert_array_equal(one, other)


@SETTINGS
@given(st.lists(st.lists(st.integers(0, 9), max_size=8), min_size=1, max_size=4), st.data())
def test_a_tail_is_the_end_of_each_row(rows, data):
    ragged = tf.RaggedTensor.from_row_lengths(
        tf.constant([one for row in rows for one in row], tf.int32), [len(row) for row in rows]
    )
    room = data.draw(st.lists(st.integers(0, 9), min_size=len(rows), max_size=len(rows)))
    kept = sequences.tail(ragged, tf.constant(room))
    assert kept.dtype == tf.int32
    assert kept.to_list() == [
        row[max(len(row) - most, 0) :] for row, most in zip(rows, room, strict=True)
    ]
    assert sequences.tail(ragged, 3).to_list() == [row[-3:] for row in rows]


@pytest.mark.parametrize(
    ("length", "multiple", "width"), [(1, 8, 8), (8, 8, 8), (9, 8, 16), (5, 4, 8), (5, 1, 5)]
)
def test_each_length_is_rounded_up(length, multiple, width):
    names = ("token_ids", "segment_ids", "padding_mask", "decoder_ids", "labels")
    ones = {name: tf.ones([2, length], tf.int32) for name in names}
    rounded = sequences.rounded({**ones, "decoder_ids": ones["labels"][:, :1]}, 7, multiple)
    assert {name: int(value.shape[1]) for name, value in rounded.items()} == {
        **dict.fromkeys(names, width),
        "decoder_ids": multiple,
    }
    fill = {"token_ids": 7, "decoder_ids": 7, "labels": -1, "segment_ids": 0, "padding_mask": 0}
    for name, value in rounded.items():
        real = 1 if name == "decoder_ids" else length
        assert (value.numpy()[:, :real] == 1).all()
        assert (value.numpy()[:, real:] == fill[name]).all()
