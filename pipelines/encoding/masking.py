"""Which tokens a masked language model must predict, chosen again each time a block is seen.

The choice is a function of the block and its seed alone: it is the same after a resume, and for
validation the same in every epoch.

Source: Devlin et al. 2019, "BERT", section 3.1 (15 %, of which 80/10/10;
    https://arxiv.org/abs/1810.04805); Liu et al. 2019, "RoBERTa", section 4.1, dynamic masking
    (https://arxiv.org/abs/1907.11692); whole words: BERT's README, May 2019, and Cui et al. 2021,
    "Pre-training with whole word masking for Chinese BERT" (https://arxiv.org/abs/1906.08101).

Dimensions: B batch, T tokens, V vocabulary.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.tokenizers.tokenizer import Tokenizer

MASKED, RANDOM = 0.8, 0.1  # of the chosen: become the mask, become any piece; the rest stay
NOTHING = -1  # the label of a token that is not to be predicted
# Scripts written without spaces: BERT's tokenizers make each character a word of its own.
_IDEOGRAPHS = re.compile(
    "[\u2e80-\u2fdf\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


@tf.autograph.experimental.do_not_convert  # plain Python, over all pieces
def ordinary(tokenizer: Tokenizer) -> np.ndarray:
    """Return whether each piece can be masked and predicted, bool (V,); special ones cannot.

    Example::

        ordinary(tokenizer)[tokenizer.pad_id]  # False
    """
    pieces = tokenizer.pieces()
    special = {tokenizer.pad_id, tokenizer.start_id, tokenizer.end_id}
    special |= {tokenizer.unknown_id, tokenizer.mask_id}
    bracketed = ("[unused", "[PAD", "[CLS", "[SEP", "[MASK")
    return np.array(
        [
            i not in special and not piece.startswith(bracketed) and not _is_control(piece)
            for i, piece in enumerate(pieces)
        ]
    )


@tf.autograph.experimental.do_not_convert  # plain Python, over all pieces
def begins_word(tokenizer: Tokenizer) -> np.ndarray:
    """Return whether each piece begins a word, bool (V,).

    In WordPiece those without ``##``; in SentencePiece those with ``▁``, and those with an
    ideograph, which stand for themselves.

    Example::

        begins_word(tokenizer)[tokenizer.pieces().index("##ing")]  # False
    """
    if tokenizer.kind == "wordpiece":
        return np.array([not piece.startswith("##") for piece in tokenizer.pieces()])
    return np.array(
        [piece[:1] == "▁" or bool(_IDEOGRAPHS.search(piece)) for piece in tokenizer.pieces()]
    )


def mask(
    tokenizer: Tokenizer,
    token_ids: tf.Tensor,
    seed: tf.Tensor,
    *,
    rate: float,
    whole_words: bool,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return blocks with some tokens hidden, and what the hidden ones were.

    Every block has as many chosen tokens as its share says, at least one; whole words are taken
    until there are enough, so a last one of several pieces may exceed it.

    Args:
        tokenizer: the vocabulary.
        token_ids: int32 (B, T), blocks as ``pipelines.encoding.packing`` makes them.
        seed: int64 (B,), what each block's choice is made from.
        rate: share of the ordinary tokens that is chosen.
        whole_words: choose all pieces of a word or none.

    Returns:
        The blocks with what is hidden replaced, and the labels: the hidden pieces, NOTHING at
        all other places; int32 (B, T) each.

    Example::

        hidden, labels = mask(tokenizer, blocks, seeds, rate=0.15, whole_words=True)
    """
    random = _uniform(seed, tf.shape(token_ids)[1])
    can = ordinary(tokenizer)
    maskable = tf.gather(tf.constant(can), token_ids)
    heads = tf.ones_like(maskable)
    if whole_words:
        after = tf.pad(maskable[:, :-1], [[0, 0], [1, 0]])  # what a special token precedes
        heads = tf.gather(tf.constant(begins_word(tokenizer)), token_ids) | ~maskable | ~after
    chosen = _chosen(random[:, 0], maskable, heads, rate)
    pieces = tf.constant(np.flatnonzero(can), tf.int32)
    count = tf.cast(tf.shape(pieces)[0], tf.float32)
    which = tf.minimum(tf.cast(random[:, 2] * count, tf.int32), tf.shape(pieces)[0] - 1)
    kind = random[:, 1]
    hidden = tf.where(
        kind < MASKED,
        tokenizer.mask_id,
        tf.where(kind < MASKED + RANDOM, tf.gather(pieces, which), token_ids),
    )
    return tf.where(chosen, hidden, token_ids), tf.where(chosen, token_ids, NOTHING)


def compact(values: tf.Tensor, flags: tf.Tensor) -> tf.Tensor:
    """Return what stands at the flagged positions, in rows as short as can be.

    Args:
        values: (B, T) or (B, T, H).
        flags: int32 (B, T), 1 at the places that are wanted.

    Returns:
        (B, P) or (B, P, H) in the order of the places, P being the most that a row has; a row
        with fewer ends in values of other places.

    Example::

        compact(tf.constant([[5, 6, 7]]), tf.constant([[1, 0, 1]]))  # [[5, 7]]
    """
    most = tf.reduce_max(tf.reduce_sum(flags, 1))
    places = tf.argsort(1 - flags, stable=True)[:, :most]
    return tf.gather(values, places, batch_dims=1)


def tokenize_marked(tokenizer: Tokenizer, texts: tf.Tensor) -> tf.RaggedTensor:
    """Return the tokens of texts in which ``[MASK]``, or the tokenizer's own mask, marks gaps.

    Args:
        tokenizer: the vocabulary.
        texts: (B,) string.

    Returns:
        (B, tokens) int32, the mask's id in each gap.

    Example::

        tokenize_marked(tokenizer, tf.constant(["Paris is in [MASK]."]))
    """
    own = tokenizer.pieces()[tokenizer.mask_id]
    texts = tf.strings.regex_replace(texts, re.escape(own), "[MASK]")
    parts = tf.strings.split(texts, "[MASK]")
    ids = tf.cast(tokenizer.tokenize(parts.flat_values), tf.int32)
    rows = parts.value_rowids()
    followed = tf.concat([rows[1:] == rows[:-1], tf.zeros([tf.minimum(tf.size(rows), 1)], bool)], 0)
    gaps = tf.RaggedTensor.from_row_lengths(
        tf.fill([tf.reduce_sum(tf.cast(followed, tf.int32))], tokenizer.mask_id),
        tf.cast(followed, tf.int64),
    )
    joined = tf.concat([ids, gaps], 1)
    lengths = tf.math.segment_sum(joined.row_lengths(), rows)
    missing = parts.nrows() - tf.cast(tf.shape(lengths)[0], tf.int64)
    lengths = tf.concat([lengths, tf.zeros([missing], tf.int64)], 0)
    return tf.RaggedTensor.from_row_lengths(joined.flat_values, lengths)


def _is_control(piece: str) -> bool:
    """Return whether a piece is a mark such as ``<s>``, which no text gives."""
    return re.fullmatch(r"<[^<>\s]+>", piece) is not None


def _uniform(seed: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Draw float32 (B, 3, T) from 0 to 1, each row from its own seed.

    A row's numbers do not depend on how wide its batch is: three draws, each of whose beginnings
    is the same at any width.
    """

    def row(one: tf.Tensor) -> tf.Tensor:
        draws = [tf.random.stateless_uniform([width], [one, i]) for i in range(3)]
        return tf.stack(draws)

    return tf.map_fn(row, seed, fn_output_signature=tf.TensorSpec([3, None], tf.float32))


def _chosen(keys: tf.Tensor, maskable: tf.Tensor, heads: tf.Tensor, rate: float) -> tf.Tensor:
    """Take words in random order until the share of tokens is reached: bool (B, T).

    Args:
        keys: float32 (B, T), random; a word's place in the order is its first token's key.
        maskable: bool (B, T).
        heads: bool (B, T), where a word begins.
        rate: share of the maskable tokens.
    """
    rows, width = tf.shape(keys)[0], tf.shape(keys)[1]
    word = tf.reshape(tf.cumsum(tf.cast(heads, tf.int32), axis=1), [-1])  # from 1, or 0 if T = 0
    word += tf.repeat(tf.range(rows) * (width + 1), width)
    words = rows * (width + 1)

    def of_word(values: tf.Tensor, join: Any) -> tf.Tensor:
        joined = join(tf.reshape(values, [-1]), word, words)
        return tf.reshape(tf.gather(joined, word), [rows, width])

    keys = of_word(tf.where(heads, keys, 0.0), tf.math.unsorted_segment_max)
    order = tf.argsort(tf.where(maskable, keys, 2.0), stable=True)
    rank = tf.argsort(order)  # how many tokens are taken before this one
    first = of_word(rank, tf.math.unsorted_segment_min)
    count = tf.reduce_sum(tf.cast(maskable, tf.float32), 1, keepdims=True)
    wanted = tf.maximum(tf.cast(tf.round(rate * count), tf.int32), 1)
    return maskable & (first < wanted)
