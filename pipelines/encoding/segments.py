"""One or two texts -> token_ids, segment_ids and padding_mask, cut to a length or in windows.

The result for two texts is ``[CLS] a a a [SEP] b b [SEP]`` with segments ``0 0 0 0 0 1 1 1``
(Devlin et al. 2019, "BERT", section 3.1, https://arxiv.org/abs/1810.04805); XLM-R style
vocabularies put two separators between the texts and know one segment only.

Written in ops that TF Serving has since 2.12: TF Text's own trimmers emit an op it lacks.

Dimensions: B batch, W windows, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from pipelines.tokenizers.tokenizer import Tokenizer


def special_tokens(tokenizer: Tokenizer, texts: int) -> int:
    """Return how many special tokens go around one or two texts.

    Example::

        special_tokens(tokenizer, 2)  # 3 of BERT: [CLS] a [SEP] b [SEP]
    """
    return 2 + (tokenizer.pair_separators if texts == 2 else 0)


def encode(
    tokenizer: Tokenizer,
    texts: Sequence[tf.Tensor],
    max_length: int,
    windows: int = 1,
    overlap: int = 0,
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Return one or two texts a row as tokens joined with special tokens.

    A first text of two keeps at most half of the room. What does not fit in ``windows`` windows
    of ``max_length`` tokens is cut from the end of the last text.

    Args:
        tokenizer: the vocabulary.
        texts: one or two string tensors (B,).
        max_length: longest window, special tokens included [tokens].
        windows: how many windows a row may have.
        overlap: tokens that two neighbouring windows share [tokens].

    Returns:
        ``token_ids``, ``segment_ids``, ``padding_mask``, each int32 (B, T), padded to the
        longest row; with ``windows`` above 1 each is (B, W, T), and a window that a row does
        not need has a padding mask of zeros. And how many tokens were cut from each row,
        int64 (B,).

    Example::

        features, lost = encode(tokenizer, [premise, hypothesis], 128)
    """
    pieces = [tf.cast(tokenizer.tokenize(text), tf.int32) for text in texts]
    last, rows = pieces[-1], pieces[-1].nrows()
    start = tf.fill([rows, 1], tokenizer.start_id)
    end = tf.fill([rows, 1], tokenizer.end_id)
    if len(pieces) == 2:
        # A first text longer than half may use what the second leaves of its own half.
        room = tf.cast(max_length - special_tokens(tokenizer, 2), tf.int64)
        first = _slice(pieces[0], 0, tf.maximum(room // 2, room - last.row_lengths()))
        between = tf.fill([rows, tokenizer.pair_separators], tokenizer.end_id)
        head = tf.concat([start, first, between], 1)
    else:
        head = tf.RaggedTensor.from_tensor(start)
    span = max_length - 1 - head.row_lengths()  # tokens of the last text in each window
    step = tf.maximum(span - overlap, 1)
    if windows == 1:
        parts = tf.concat([head, _slice(last, 0, span), end], 1)
    else:
        parts = _in_windows(head, last, end, span, step, windows)
    segment = tokenizer.segment_of_second if len(pieces) == 2 else 0
    head_lengths = tf.tile(head.row_lengths(), [windows])
    features = _dense(parts, head_lengths, windows, tokenizer.pad_id, segment)
    lost = tf.maximum(last.row_lengths() - span - (windows - 1) * step, 0)
    if len(pieces) == 2:
        lost += pieces[0].row_lengths() - first.row_lengths()
    return features, lost


def _in_windows(
    head: tf.RaggedTensor,
    last: tf.RaggedTensor,
    end: tf.Tensor,
    span: tf.Tensor,
    step: tf.Tensor,
    windows: int,
) -> tf.RaggedTensor:
    """Return every row's windows, (W * B, tokens), first windows first, by as many ops as one."""
    of = tf.tile(tf.range(last.nrows()), [windows])
    window = tf.repeat(tf.range(windows, dtype=tf.int64), last.nrows())
    head, end, span, step = (tf.gather(each, of) for each in (head, end, span, step))
    lengths, starts = tf.gather(last.row_lengths(), of), tf.gather(last.row_starts(), of)
    begin = window * step
    size = tf.clip_by_value(lengths - begin, 0, span)
    # A further window is needed where the text continues past the one before.
    needed = (lengths > begin - step + span) | (window == 0)
    places = tf.ragged.range(starts + begin, starts + begin + size)
    body = tf.concat([head, places.with_values(tf.gather(last.values, places.values)), end], 1)
    return _slice(body, 0, tf.where(needed, body.row_lengths(), 0))


def _slice(ids: tf.RaggedTensor, begin: tf.Tensor | int, length: tf.Tensor) -> tf.RaggedTensor:
    """Keep ``length[i]`` tokens of row i from ``begin[i]`` on."""
    place = tf.ragged.range(ids.row_lengths()).with_row_splits_dtype(tf.int64)
    rows = ids.value_rowids()
    begin = tf.broadcast_to(tf.cast(begin, tf.int64), tf.shape(length))
    low, high = tf.gather(begin, rows), tf.gather(begin + length, rows)
    inside = (place.values >= low) & (place.values < high)
    return tf.ragged.boolean_mask(ids, ids.with_values(inside))


def _dense(
    ids: tf.RaggedTensor, head_lengths: tf.Tensor, windows: int, pad_id: int, segment: int
) -> dict[str, tf.Tensor]:
    """Pad (W * B, tokens), first windows first, to the model's inputs (B, T) or (B, W, T)."""
    token_ids = ids.to_tensor(pad_id)
    width = tf.shape(token_ids)[1]
    padding_mask = tf.sequence_mask(ids.row_lengths(), width, tf.int32)
    second = tf.range(tf.cast(width, tf.int64))[None, :] >= head_lengths[:, None]
    segment_ids = tf.cast(second, tf.int32) * padding_mask * segment
    features = {
        "token_ids": token_ids,
        "segment_ids": segment_ids,
        "padding_mask": padding_mask,
    }
    if windows == 1:
        return features
    used = tf.reduce_max(tf.reshape(padding_mask, [windows, -1]), 1)
    count = tf.reduce_sum(used)
    return {
        name: tf.transpose(tf.reshape(value, [windows, -1, width]), [1, 0, 2])[:, :count]
        for name, value in features.items()
    }
