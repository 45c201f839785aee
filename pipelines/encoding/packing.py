"""Texts -> blocks of token ids without padding, for training on plain text.

Source: Liu et al. 2019, "RoBERTa", section 4.2, FULL-SENTENCES
    (https://arxiv.org/abs/1907.11692): an input is filled with text that continues across the ends
    of documents, which a separator marks.

Dimensions: N blocks, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from pipelines.encoding.masking import NOTHING
from pipelines.tokenizers.tokenizer import Tokenizer

_TEXTS = 1024  # tokenized at a time


def pack(tokenizer: Tokenizer, texts: Sequence[str], max_length: int) -> np.ndarray:
    """Return texts joined by separators and cut into blocks.

    Args:
        tokenizer: the vocabulary.
        texts: in the order in which they are joined; a text of no tokens leaves no trace.
        max_length: T, special tokens included [tokens].

    Returns:
        int32 (N, T), each ``[CLS] tokens [SEP]``. A text that is longer than what is left of a
        block runs on in the next. The last block alone ends in padding, and there is none if no
        text has a token.

    Example::

        pack(tokenizer, ["One text.", "Another."], 128)  # int32 (N, 128)
    """
    stream = _joined(tokenizer, texts, [tokenizer.end_id])[:-1]
    room = max_length - 2
    blocks = np.full((-(-len(stream) // room), max_length), tokenizer.pad_id, np.int32)
    if len(blocks):
        blocks[:, 0] = tokenizer.start_id
        whole = len(stream) // room
        blocks[:whole, 1:-1] = stream[: whole * room].reshape(whole, room)
        blocks[:whole, -1] = tokenizer.end_id
        rest = stream[whole * room :]
        if len(rest):
            blocks[-1, 1 : len(rest) + 1] = rest
            blocks[-1, len(rest) + 1] = tokenizer.end_id
    return blocks


def _joined(tokenizer: Tokenizer, texts: Sequence[str], after: Sequence[int]) -> np.ndarray:
    """Return the tokens of all texts, int32, fixed ones after each that has any."""
    parts = [np.empty(0, np.int32)]
    for start in range(0, len(texts), _TEXTS):
        ids = tokenizer.tokenize(tf.constant(texts[start : start + _TEXTS], tf.string))
        ids = tf.ragged.boolean_mask(tf.cast(ids, tf.int32), ids.row_lengths() > 0)
        ends = tf.repeat(tf.constant([list(after)], tf.int32), ids.nrows(), 0)
        parts.append(tf.concat([ids, ends], 1).flat_values.numpy())
    return np.concatenate(parts)


def stream(
    tokenizer: Tokenizer, texts: Sequence[str], length: int, *, start: int, between: Sequence[int]
) -> np.ndarray:
    """Return joined texts cut into blocks of which each token is to be predicted once.

    Args:
        tokenizer: the vocabulary.
        texts: in the order in which they are joined.
        length: T, tokens that a model reads at once.
        start: the token before the first text.
        between: the tokens after each text.

    Returns:
        int32 (N, T + 1): the last token of a block is the first of the next; the last block is
        filled up with `masking.NOTHING`.

    Example::

        stream(tokenizer, texts, 128, start=tokenizer.end_id, between=[tokenizer.end_id])
    """
    joined = np.concatenate([np.array([start], np.int32), _joined(tokenizer, texts, between)])
    count = -(-(len(joined) - 1) // length)
    filled = np.full(count * length + 1, NOTHING, np.int32)
    filled[: len(joined)] = joined
    places = np.arange(count)[:, None] * length + np.arange(length + 1)[None]
    blocks: np.ndarray = filled[places]
    return blocks


def single(
    tokenizer: Tokenizer, pieces: tf.RaggedTensor, max_length: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return a row for each text instead: ``[CLS] tokens [SEP]``, cut to a length, padded.

    Args:
        tokenizer: the vocabulary.
        pieces: int32 (B, tokens).
        max_length: longest row, special tokens included [tokens].

    Returns:
        Ids and padding mask, int32 (B, T), and how many tokens were cut, int64 (B,).

    Example::

        ids, mask, lost = single(tokenizer, tokenizer.tokenize(texts), 128)
    """
    kept = pieces[:, : max_length - 2]
    edge = [pieces.nrows(), 1]
    ids = tf.concat([tf.fill(edge, tokenizer.start_id), kept, tf.fill(edge, tokenizer.end_id)], 1)
    padding_mask = tf.sequence_mask(ids.row_lengths(), dtype=tf.int32)
    return ids.to_tensor(tokenizer.pad_id), padding_mask, pieces.row_lengths() - kept.row_lengths()
