"""Texts -> rows of token ids, each text an example of its own, for models of single sentences.

Dimensions: N rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from pipelines.encoding.masking import NOTHING
from pipelines.tokenizers.tokenizer import Tokenizer


def rows(
    tokenizer: Tokenizer, texts: Sequence[str], length: int, *, start: int, end: int
) -> np.ndarray:
    """Return each text between a start and an end.

    Args:
        tokenizer: the vocabulary.
        texts: one a row; those of no tokens are left out.
        length: T, the most tokens of a text, its end among them [tokens]. Of a longer one the
            first are kept, without an end: a model must not learn to stop there.
        start: the token before each text.
        end: the token after it.

    Returns:
        int32 (N, T + 1), filled up with `masking.NOTHING`.

    Example::

        rows(tokenizer, texts, 32, start=tokenizer.start_id, end=tokenizer.end_id)
    """
    if not len(texts):
        return np.empty((0, length + 1), np.int32)
    ids = tf.cast(tokenizer.tokenize(tf.constant(list(texts), tf.string)), tf.int32)
    ids = tf.ragged.boolean_mask(ids, ids.row_lengths() > 0)
    edge = [ids.nrows(), 1]
    whole = tf.concat([tf.fill(edge, start), ids, tf.fill(edge, end)], 1)[:, : length + 1]
    padded: np.ndarray = whole.to_tensor(NOTHING, shape=[None, length + 1]).numpy()
    return padded
