"""Texts -> windows of pieces with the places of their words, and tagged words -> spans of text.

Tags are BIO: 0 is O; 2k + 1 is B and 2k + 2 is I of the k-th type of span.

Dimensions: B batch, W windows, T tokens of a window, N words of a text, K types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf
import tensorflow_text as tf_text

from pipelines.encoding import windows, words
from pipelines.tokenizers.tokenizer import Tokenizer

_BEYOND = 2**31 - 1


def encode(
    tokenizer: Tokenizer, strings: tf.Tensor, max_length: int, overlap: int
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Return texts in as many windows as it takes; a word is read where it has most context.

    Args:
        tokenizer: the vocabulary.
        strings: (B,) string.
        max_length: longest window, special tokens included [tokens].
        overlap: what neighbouring windows share, at most half of one [tokens].

    Returns:
        ``token_ids``, ``segment_ids`` and ``padding_mask``, int32 (B, W, T); and of the words
        ``count`` int32 (B,), ``starts`` and ``ends`` int32 (B, N) [bytes], the ``window`` and
        the ``place`` in it of their first piece, int32 (B, N), zeros beyond a row's count; and
        ``lost``, int64 (B,), zeros: nothing is cut. N is at least 1.

    Example::

        features, offsets = encode(tokenizer, texts, 128, 32)
    """
    split = words.split(tokenizer, strings)
    lengths = tf.cast(split.ids.row_lengths(), tf.int32)
    span = max_length - 2
    places = windows.layout(lengths, span, overlap)
    heads = _dense(split.heads)
    window, place = _best_window(heads, lengths[:, None], span, windows.stride(span, overlap))
    offsets = {
        "count": tf.cast(split.starts.row_lengths(), tf.int32),
        "starts": _dense(split.starts),
        "ends": _dense(split.ends),
        "window": window,
        "place": place,
        "lost": tf.zeros_like(lengths, tf.int64),
    }
    return _features(tokenizer, split.ids, places), offsets


def _dense(values: tf.RaggedTensor) -> tf.Tensor:
    """Pad (B, N) with zeros, to at least one column."""
    dense = values.to_tensor(0)
    return tf.pad(dense, [[0, 0], [0, tf.maximum(1 - tf.shape(dense)[1], 0)]])


def _best_window(
    heads: tf.Tensor, lengths: tf.Tensor, span: int, step: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Choose, of the one or two windows that a token stands in, where it is farther from an edge.

    Returns:
        The window, and the place in it, [CLS] being 0.
    """
    last = (tf.maximum(lengths - span, 0) + step - 1) // step
    later = tf.minimum(heads // step, last)
    earlier = tf.maximum(later - 1, 0)
    from_left = heads - later * step  # tokens to the later one's left edge
    to_right = earlier * step + span - 1 - heads  # to the earlier one's right edge
    window = tf.where(from_left >= to_right, later, earlier)
    return window, heads - window * step + 1


def _features(
    tokenizer: Tokenizer, ids: tf.RaggedTensor, places: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Put each window's tokens between [CLS] and [SEP]; a window not needed is all padding."""
    filled = places >= 0
    sizes = tf.reduce_sum(tf.cast(filled, tf.int32), -1, keepdims=True)
    tokens = tf.gather(_dense(ids), tf.maximum(places, 0), batch_dims=1)
    tokens = tf.where(filled, tokens, tokenizer.pad_id)
    edges = [[0, 0], [0, 0], [1, 1]]
    tokens = tf.pad(tokens, edges, constant_values=tokenizer.pad_id)
    position = tf.range(tf.shape(tokens)[2])[None, None, :]
    used = (sizes > 0) | (tf.range(tf.shape(places)[1])[None, :, None] == 0)
    tokens = tf.where(used & (position == 0), tokenizer.start_id, tokens)
    tokens = tf.where(used & (position == sizes + 1), tokenizer.end_id, tokens)
    mask = tf.cast(used & (position <= sizes + 1), tf.int32)
    return {"token_ids": tokens, "segment_ids": tf.zeros_like(tokens), "padding_mask": mask}


def tags(
    spans: Mapping[str, tf.RaggedTensor], offsets: Mapping[str, tf.Tensor], labels: Sequence[str]
) -> tf.Tensor:
    """Return a tag for each word by the span that it begins in.

    Args:
        spans: ``start`` and ``end``, int32 ragged (B, None) [bytes], by start, and ``label``,
            string; of spans that overlap a word belongs to the one that begins last.
        offsets: what `encode` returned.
        labels: the K types; spans of other types are left out.

    Returns:
        int32 (B, N); -1 beyond a row's words.

    Example::

        tags({"start": starts, "end": ends, "label": labels}, offsets, ["LOC", "PER"])
    """
    known = spans["label"].values[:, None] == tf.constant(list(labels))
    kind = tf.where(tf.reduce_any(known, 1), tf.argmax(known, 1, tf.int32), -1)
    edge = [[0, 0], [1, 0]]  # a span before all others, so that every word has one before it
    starts = tf.pad(spans["start"].to_tensor(_BEYOND), edge, constant_values=-1)
    ends = tf.pad(spans["end"].to_tensor(-1), edge, constant_values=-1)
    kinds = tf.pad(spans["label"].with_values(kind).to_tensor(-1), edge, constant_values=-1)
    begin = offsets["starts"]
    nearest = tf.searchsorted(starts, begin, side="right") - 1
    inside = begin < tf.gather(ends, nearest, batch_dims=1)
    continues = (nearest[:, 1:] == nearest[:, :-1]) & inside[:, :-1]
    continues = tf.pad(continues, [[0, 0], [1, 0]])
    kinds = tf.gather(kinds, nearest, batch_dims=1)
    tag = tf.where(inside & (kinds >= 0), 1 + 2 * kinds + tf.cast(continues, tf.int32), 0)
    return tf.where(tf.sequence_mask(offsets["count"], tf.shape(tag)[1]), tag, -1)


def entities(
    strings: tf.Tensor,
    offsets: Mapping[str, tf.Tensor],
    tag: tf.Tensor,
    score: tf.Tensor,
    labels: Sequence[str],
) -> dict[str, tf.Tensor]:
    """Return tagged words as spans of the text.

    Args:
        strings: (B,) string, as they were given.
        offsets: what `encode` returned of them.
        tag: int32 (B, N), legal BIO; 0 beyond a row's words.
        score: float32 (B, N), of each word's tag.
        labels: the K types.

    Returns:
        ``entities`` int32 (B,), how many; and by start, padded, ``entities/text`` string, exactly
        ``text[start:end]``, ``entities/type`` string, ``entities/start`` and ``entities/end``
        int32 [characters], and ``entities/score`` float32, the mean of the words' scores.

    Example::

        entities(texts, offsets, tag, score, ["LOC", "PER"])["entities/text"]
    """
    tagged, begins = tag > 0, tag % 2 == 1
    counts = tf.reduce_sum(tf.cast(begins, tf.int64), 1)
    entity = tf.boolean_mask(
        tf.cumsum(tf.cast(tf.reshape(begins, [-1]), tf.int32)) - 1, tf.reshape(tagged, [-1])
    )
    rows = tf.RaggedTensor.from_row_lengths(
        tf.boolean_mask(offsets["starts"], begins), counts, validate=False
    )
    ends = rows.with_values(tf.math.segment_max(tf.boolean_mask(offsets["ends"], tagged), entity))
    kinds = (tf.boolean_mask(tag, begins) - 1) // 2
    texts, start, end = _cut(strings, rows, ends)
    spans = {
        "text": texts,
        "type": rows.with_values(tf.gather(tf.constant(list(labels)), kinds)),
        "start": start,
        "end": end,
        "score": rows.with_values(tf.math.segment_mean(tf.boolean_mask(score, tagged), entity)),
    }
    answers = {f"entities/{name}": values.to_tensor() for name, values in spans.items()}
    return {"entities": tf.cast(counts, tf.int32), **answers}


def _cut(
    strings: tf.Tensor, starts: tf.RaggedTensor, ends: tf.RaggedTensor
) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
    """Cut spans, given in bytes, out of texts: their text, and where they are in characters."""
    first = tf.zeros([tf.shape(strings)[0], 1], tf.int32)
    before = tf.concat([first, ends.to_tensor()], 1)
    before = tf.RaggedTensor.from_tensor(before[:, :-1], lengths=starts.row_lengths())
    splitter = tf_text.ByteSplitter()  # does not copy the text for each span, as substr would

    def cut(begin: tf.RaggedTensor, end: tf.RaggedTensor) -> tf.RaggedTensor:
        return splitter.split_by_offsets(strings, begin, end)

    def characters(texts: tf.RaggedTensor) -> tf.Tensor:
        return tf.strings.length(texts.values, unit="UTF8_CHAR")

    texts = cut(starts, ends)
    sizes = characters(texts)
    passed = tf.cumsum(starts.with_values(characters(cut(before, starts)) + sizes).to_tensor(), 1)
    end = tf.RaggedTensor.from_tensor(passed, lengths=starts.row_lengths())
    return texts, end.with_values(end.values - sizes), end
