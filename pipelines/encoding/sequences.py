"""Texts -> what encoder-decoder training needs: sources, histories, and targets shifted by one.

A decoder reads ``start y1 y2 ... yn`` and must say ``y1 y2 ... yn end`` (Sutskever et al. 2014,
"Sequence to Sequence Learning with Neural Networks", section 2, https://arxiv.org/abs/1409.3215).

Written in ops that TF Serving has since 2.12.

Dimensions: B batch, T tokens of a source, U tokens of a target.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from pipelines.encoding import segments, turns
from pipelines.encoding.masking import NOTHING
from pipelines.errors import UserError
from pipelines.tokenizers.tokenizer import Tokenizer


def source(
    tokenizer: Tokenizer, texts: tf.Tensor, max_length: int
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Return what is read, ``[CLS] tokens [SEP]``, cut at its end; T5 has no ``[CLS]``.

    Args:
        tokenizer: the vocabulary.
        texts: string (B,).
        max_length: longest source, special tokens included [tokens].

    Returns:
        ``token_ids``, ``segment_ids``, ``padding_mask``, each int32 (B, T), padded to the longest
        row, and how many tokens were cut from each row, int64 (B,).

    Example::

        features, lost = source(tokenizer, texts, 128)
    """
    if _begin(tokenizer):
        return segments.encode(tokenizer, [texts], max_length)
    pieces = tf.cast(tokenizer.tokenize(texts), tf.int32)
    kept = pieces[:, : max_length - 1]
    ended = tf.concat([kept, tf.fill([kept.nrows(), 1], tokenizer.end_id)], 1)
    return _features(tokenizer, ended), pieces.row_lengths() - kept.row_lengths()


def history(
    tokenizer: Tokenizer, texts: tf.Tensor, max_length: int
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    r"""Return conversations as ``[CLS] t1 [SEP] t2 [SEP] ... tn [SEP]``, a system prompt as t1.

    What does not fit is cut from the first turns, for an answer depends on the last ones most. A
    system prompt is kept, or of one that takes more than half of the room the beginning.

    Args:
        tokenizer: the vocabulary.
        texts: string (B,), one turn a line, as `pipelines.conversations.joined` writes them; blank
            lines are none.
        max_length: longest history, special tokens included [tokens].

    Returns:
        ``token_ids``, ``segment_ids`` (all 0), ``padding_mask``, each int32 (B, T), padded to the
        longest row, and how many tokens were cut from each row, separators of turns among them,
        int64 (B,).

    Example::

        features, lost = history(tokenizer, tf.constant(["Hi!\nHello."]), 128)
    """
    prompts, said = turns.split(texts)
    # A conversation without a turn is an empty turn.
    silent = tf.cast(said.row_lengths() == 0, tf.int64)
    empty = tf.RaggedTensor.from_row_lengths(tf.fill([tf.reduce_sum(silent)], ""), silent)
    whole = _ended(tokenizer, tf.concat([said, empty], 1))
    begin = _begin(tokenizer)
    room = max_length - len(begin)
    asked = tf.RaggedTensor.from_tensor(prompts[:, None])
    prompt = _ended(tokenizer, tf.ragged.boolean_mask(asked, asked != ""))
    kept_prompt = head(prompt, room // 2)
    kept = tail(whole, room - kept_prompt.row_lengths())
    start = tf.repeat(tf.constant([begin], tf.int32), kept.nrows(), 0)
    ids = tf.concat([start, kept_prompt, kept], 1)
    lost = whole.row_lengths() - kept.row_lengths()
    return _features(tokenizer, ids), lost + prompt.row_lengths() - kept_prompt.row_lengths()


def _ended(tokenizer: Tokenizer, texts: tf.RaggedTensor) -> tf.RaggedTensor:
    """Return the tokens of each row's texts, string (B, N), with the end's id after each text."""
    pieces = tf.cast(tokenizer.tokenize(texts.flat_values), tf.int32)
    ended = tf.concat([pieces, tf.fill([pieces.nrows(), 1], tokenizer.end_id)], 1)
    return texts.with_flat_values(ended).merge_dims(1, 2)


def _features(tokenizer: Tokenizer, ids: tf.RaggedTensor) -> dict[str, tf.Tensor]:
    """Pad rows of ids, ragged (B, tokens), and say where they are."""
    token_ids = ids.to_tensor(tokenizer.pad_id)
    return {
        "token_ids": token_ids,
        "segment_ids": tf.zeros_like(token_ids),
        "padding_mask": tf.sequence_mask(ids.row_lengths(), tf.shape(token_ids)[1], tf.int32),
    }


@tf.autograph.experimental.do_not_convert  # plain Python
def _begin(tokenizer: Tokenizer) -> list[int]:
    """Return the token that a source begins with, or nothing if there is none."""
    try:
        return [tokenizer.start_id]
    except UserError:
        return []


def target(
    tokenizer: Tokenizer, texts: tf.Tensor, max_length: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return what is to be written, as the decoder reads it and as it must predict it.

    Args:
        tokenizer: the vocabulary.
        texts: string (B,).
        max_length: longest target, one special token included [tokens]. A text of more tokens is
            cut, and its labels have no end: the model must not learn to stop there.

    Returns:
        Inputs, int32 (B, U), ``start y1 ... yn`` and padding; labels, int32 (B, U), ``y1 ... yn
        end``, and NOTHING (-1) where nothing is to be said; and how many tokens were cut from
        each row, int64 (B,).

    Example::

        decoder_ids, labels, lost = target(tokenizer, texts, 64)
    """
    pieces = tf.cast(tokenizer.tokenize(texts), tf.int32)
    kept = pieces[:, : max_length - 1]
    lost = pieces.row_lengths() - kept.row_lengths()
    edge = [pieces.nrows(), 1]
    inputs = tf.concat([tf.fill(edge, start_id(tokenizer)), kept], 1)
    end = tf.where(lost > 0, NOTHING, tokenizer.end_id)[:, None]
    labels = tf.concat([kept, tf.cast(end, tf.int32)], 1)
    return inputs.to_tensor(tokenizer.pad_id), labels.to_tensor(NOTHING), lost


def start_id(tokenizer: Tokenizer) -> int:
    """Return the token that a target begins with: the tokenizer's start, or padding if none.

    Example::

        start_id(tokenizer)  # tokenizer.start_id, of T5 tokenizer.pad_id

    Source: Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified
        Text-to-Text Transformer" (https://arxiv.org/abs/1910.10683), whose T5 has no start and
        begins with padding.
    """
    first: int = (_begin(tokenizer) or [tokenizer.pad_id])[0]
    return first


def head(ids: tf.RaggedTensor, room: tf.Tensor | int) -> tf.RaggedTensor:
    """Return the first tokens of each row; the arguments are those of :func:`tail`.

    Example::

        head(tf.ragged.constant([[5, 6, 7], [8]]), 2)  # [[5, 6], [8]]
    """
    lengths = ids.row_lengths()
    places = tf.ragged.range(lengths).with_row_splits_dtype(tf.int64).values
    last = tf.broadcast_to(tf.cast(room, tf.int64), tf.shape(lengths))
    inside = tf.cast(places, tf.int64) < tf.gather(last, ids.value_rowids())
    return tf.ragged.boolean_mask(ids, ids.with_values(inside))


def tail(ids: tf.RaggedTensor, room: tf.Tensor | int) -> tf.RaggedTensor:
    """Return the last tokens of each row.

    Args:
        ids: ragged (B, tokens).
        room: how many to keep at most, at least 0: one number, or integer (B,) [tokens].

    Returns:
        Ragged (B, tokens), of the same dtype.

    Example::

        tail(tf.ragged.constant([[5, 6, 7], [8]]), 2)  # [[6, 7], [8]]
    """
    lengths = ids.row_lengths()
    first = lengths - tf.cast(room, tf.int64)  # below 0 where all of a row is kept
    places = tf.ragged.range(lengths).with_row_splits_dtype(tf.int64).values
    inside = tf.cast(places, tf.int64) >= tf.gather(first, ids.value_rowids())
    return tf.ragged.boolean_mask(ids, ids.with_values(inside))


def rounded(
    features: Mapping[str, tf.Tensor], pad_id: int, multiple: int = 8
) -> dict[str, tf.Tensor]:
    """Return tensors with the last axis padded to the next multiple, so that shapes are few.

    Sources and targets are rounded each by their own length: kernels are built for few pairs of
    lengths in place of one for every batch.

    Args:
        features: int32 (B, T) or (B, U), by name: ``labels`` are padded with NOTHING, names that
            end in ``_ids`` with the pad id (but ``segment_ids`` with 0), others with 0.
        pad_id: the tokenizer's.
        multiple: of which the new lengths are multiples [tokens].

    Example::

        rounded({"token_ids": ids, "labels": labels}, tokenizer.pad_id)
    """
    padded = {}
    for name, value in features.items():
        ids = name.endswith("_ids") and name != "segment_ids"
        fill = NOTHING if name == "labels" else pad_id if ids else 0
        missing = -tf.shape(value)[-1] % multiple
        edges = [[0, 0]] * (value.shape.rank - 1) + [[0, missing]]
        padded[name] = tf.pad(value, edges, constant_values=fill)
    return padded
