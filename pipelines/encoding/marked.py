"""Texts with two marked arguments -> tokens that keep the marks.

``<e1>Rome</e1> is on the <e2>Tiber</e2>.`` becomes ``[CLS] $ rome $ is on the # tiber # . [SEP]``
(Wu and He 2019, "Enriching pre-trained language model with entity information for relation
classification", section 3.2, https://arxiv.org/abs/1905.08284; the input format is that of
SemEval-2010 task 8). ``$`` and ``#`` stand in almost every vocabulary; those of the text itself
mark nothing, as the arguments' tokens are distinguished by a mask of their own.

Dimensions: B batch, T tokens.
"""

from __future__ import annotations

import tensorflow as tf

from pipelines.errors import UserError
from pipelines.tokenizers.tokenizer import Tokenizer

_CUT = "\U0010ffff"  # no character; where the parts of a text meet


def is_marked(texts: tf.Tensor) -> tf.Tensor:
    """Return whether each of strings (B,) has both arguments, side by side: bool (B,).

    Example::

        is_marked(tf.constant(["<e1>Ada</e1> met <e2>Charles</e2>", "Ada"]))  # [True, False]
    """
    one = tf.strings.regex_full_match(texts, "(?s).*<e1>.+</e1>.*<e2>.+</e2>.*")
    two = tf.strings.regex_full_match(texts, "(?s).*<e2>.+</e2>.*<e1>.+</e1>.*")
    return one | two


def encode(
    tokenizer: Tokenizer, texts: tf.Tensor, max_length: int
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Return the tokens of texts with two marked arguments.

    A text that is too long loses first what stands far from its arguments on the left and right,
    then the middle of what stands between them, and then the ends of the arguments.

    Args:
        tokenizer: the vocabulary.
        texts: string (B,), each with one ``<e1>...</e1>`` and one ``<e2>...</e2>``, in either
            order. Without them a row still has tokens, but says nothing of use.
        max_length: longest row, special tokens and marks included, at least 16 [tokens].

    Returns:
        ``token_ids``, ``segment_ids``, ``padding_mask``, and ``head`` and ``tail``, which are 1
        on the tokens of the first and of the second argument: int32 (B, T) each. And how many
        tokens were cut from each row, int64 (B,).

    Example::

        features, lost = encode(tokenizer, tf.constant(["<e1>Ada</e1> met <e2>Bob</e2>"]), 64)
    """
    turned = tf.strings.regex_full_match(texts, "(?s).*<e2>.*<e1>.*")
    parts = _parts(tokenizer, texts)
    whole = tf.reshape(parts.row_lengths(), [-1, 5])
    begin, near, far = _kept(whole, max_length - 6)
    place = tf.ragged.range(parts.row_lengths()).values
    of = parts.value_rowids()
    keep = (place >= tf.gather(begin, of)) & (place < tf.gather(near, of))
    kept = tf.ragged.boolean_mask(parts, parts.with_values(keep | (place >= tf.gather(far, of))))

    # Each part is followed by a mark, the last one by the end, and the first follows the start.
    signs = [_id(tokenizer, sign) for sign in ("$", "#")]
    outer, inner = (tf.where(turned, b, a) for a, b in (signs, signs[::-1]))
    end = tf.fill(tf.shape(texts), tokenizer.end_id)
    after = tf.reshape(tf.stack([outer, outer, inner, inner, end], 1), [-1, 1])
    first = tf.tile(tf.constant([1, 0, 0, 0, 0]), tf.shape(texts))
    start = tf.RaggedTensor.from_row_lengths(
        tf.fill(tf.shape(texts), tokenizer.start_id), tf.cast(first, tf.int64)
    )
    pieces = tf.concat([start, kept, after], 1)
    rows = pieces.row_splits[::5]
    token_ids = tf.RaggedTensor.from_row_splits(pieces.values, rows).to_tensor(tokenizer.pad_id)
    lengths = rows[1:] - rows[:-1]

    part = pieces.value_rowids()
    inside = tf.ragged.range(pieces.row_lengths()).values < tf.gather(kept.row_lengths(), part)
    argument = tf.where(inside, part % 5, 0)  # 1 for the first in the text, 3 for the second
    roles = tf.RaggedTensor.from_row_splits(argument, rows).to_tensor()
    one, two = (tf.cast(roles == place, tf.int32) for place in (1, 3))
    features = {
        "token_ids": token_ids,
        "segment_ids": tf.zeros_like(token_ids),
        "padding_mask": tf.sequence_mask(lengths, dtype=tf.int32),
        "head": tf.where(turned[:, None], two, one),
        "tail": tf.where(turned[:, None], one, two),
    }
    return features, tf.reduce_sum(whole, 1) - (lengths - 6)


def _kept(whole: tf.Tensor, room: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return what is kept of each part: the places from ``begin`` to ``near``, and from ``far`` on.

    Args:
        whole: tokens of each part, int64 (B, 5).
        room: tokens that may be kept of a row.

    Returns:
        ``begin``, ``near`` and ``far``, int64 (B * 5,).
    """
    left, one, between, two, right = tf.unstack(whole, axis=1)
    one, two = tf.minimum(one, room // 3), tf.minimum(two, room // 3)
    free = room - one - two
    middle = tf.minimum(between, free)
    free -= middle
    before = tf.minimum(left, tf.maximum(free - right, free // 2))
    after = tf.minimum(right, free - before)
    none = tf.zeros_like(left)
    begin = [left - before, none, none, none, none]
    near = [left, one, (middle + 1) // 2, two, after]
    beyond = tf.reduce_max(whole, 1)
    far = [beyond, beyond, between - middle // 2, beyond, beyond]
    return tuple(tf.reshape(tf.stack(places, 1), [-1]) for places in (begin, near, far))


def _parts(tokenizer: Tokenizer, texts: tf.Tensor) -> tf.RaggedTensor:
    """Split texts at their four marks and tokenize: int32 (B * 5, None)."""
    clean = tf.strings.regex_replace(texts, _CUT, " ")
    marked = tf.strings.regex_replace(clean, "</?e[12]>", _CUT)
    parts = tf.strings.split(marked, _CUT).to_tensor("", shape=[None, 5])
    return tf.cast(tokenizer.tokenize(tf.reshape(parts, [-1])), tf.int32)


def _id(tokenizer: Tokenizer, sign: str) -> int:
    """Return the id of a sign that almost every vocabulary has, as a word or after white space."""
    pieces = tokenizer.pieces()
    for piece in (sign, f"▁{sign}"):
        if piece in pieces:
            return pieces.index(piece)
    raise UserError(
        f"the backbone's vocabulary has no {sign!r}, which would mark the arguments in the text "
        "(take another backbone: python -m tfnlp.backbones lists some)"
    )
