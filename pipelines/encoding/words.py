"""Texts -> pieces, and the words they belong to, the same in training and in the SavedModel.

A request is a raw string, so words are defined here and not by the training file:
- with a WordPiece vocabulary they are those of BERT's basic tokenizer: split at white space, every
  punctuation mark and every Chinese character being a word of its own;
- with a SentencePiece vocabulary they are split at white space too, and besides punctuation each
  character of the scripts that are written without spaces, each currency sign and each run of
  other symbols (emoji) is a word of its own. Each word is cut into pieces by itself, so that no
  piece stands in two words.

Dimensions: B batch, T tokens, N words, M words of the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import tensorflow as tf
import tensorflow_text as tf_text

from pipelines.tokenizers.numbered import Numbered
from pipelines.tokenizers.sentencepiece import SentencePiece
from pipelines.tokenizers.tokenizer import Tokenizer

# What SentencePiece's own normalization takes for a space, and its sign for one.
_SPACE = r"[\s\p{Z}\p{Cc}\x{200B}\x{FEFF}\x{2581}]+"
_MARKS = r"[!-/:-@\[-`{-~]|[\p{P}\p{Sc}]"
_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\x{30FC}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]\p{M}*"
# An emoji continues with joiners, variation selectors, skin colours and further symbols.
_SYMBOLS = r"\p{So}[\p{So}\x{200D}\x{FE0F}\x{20E3}\x{1F3FB}-\x{1F3FF}]*"
_BATCH = 256  # texts split at once by `places`
_REMEMBERED = 100_000  # texts
_known: WeakKeyDictionary[Tokenizer, dict[str, list[tuple[int, int]]]] = WeakKeyDictionary()
_ALONE = f"{_MARKS}|{_UNSPACED}|{_SYMBOLS}"


class Words(NamedTuple):
    """Texts in pieces and words; a word without any piece (invisible characters) is none.

    Attributes:
        ids: int32 ragged (B, T), the pieces, without special tokens.
        heads: int32 ragged (B, N), where in its row each word's first piece stands.
        starts: int32 ragged (B, N), the first byte of each word in the text as it was given.
        ends: int32 ragged (B, N), the byte after each word; words do not overlap.
    """

    ids: tf.RaggedTensor
    heads: tf.RaggedTensor
    starts: tf.RaggedTensor
    ends: tf.RaggedTensor


def split(tokenizer: Tokenizer, strings: tf.Tensor) -> Words:
    """Return texts in pieces and words.

    Args:
        tokenizer: the vocabulary.
        strings: (B,) string, UTF-8.

    Example::

        split(tokenizer, tf.constant(["Ada sings!"])).starts  # [[0, 4, 9]]
    """
    if isinstance(tokenizer, Numbered):
        known = split(tokenizer.inner, strings)
        starts, ends = (_of_pieces(known, places) for places in (known.starts, known.ends))
        return known._replace(ids=tokenizer.number(strings, known.ids, starts, ends))
    if isinstance(tokenizer, SentencePiece):
        return _cut_by_word(tokenizer, strings)
    follows = tf.constant([piece.startswith("##") for piece in tokenizer.pieces()])
    ids, starts, ends = tokenizer.tokenize_with_offsets(strings)
    first = ~tf.gather(follows, ids.flat_values)
    word = tf.cumsum(tf.cast(first, tf.int32)) - 1
    mask = ids.with_flat_values(first)
    places = tf.ragged.range(ids.row_lengths())
    heads = tf.ragged.boolean_mask(places.with_row_splits_dtype(tf.int64), mask)
    begins = tf.ragged.boolean_mask(starts, mask)
    stops = begins.with_flat_values(tf.math.segment_max(ends.flat_values, word))
    return Words(ids, tf.cast(heads, tf.int32), begins, stops)


def _of_pieces(words: Words, places: tf.RaggedTensor) -> tf.RaggedTensor:
    """Return for each piece the place of its word, of those of words."""
    row = tf.gather(words.ids.row_starts(), words.heads.value_rowids())
    heads = tf.cast(row, tf.int32) + words.heads.flat_values
    word = tf.searchsorted(heads, tf.range(tf.size(words.ids.flat_values)), side="right") - 1
    return words.ids.with_flat_values(tf.gather(places.flat_values, tf.maximum(word, 0)))


def _cut_by_word(tokenizer: SentencePiece, strings: tf.Tensor) -> Words:
    """Split texts into words first, then each word into pieces."""
    strings = tf.strings.regex_replace(strings, r"\x{00}", " ")  # where the next op would stop
    words, starts, ends = tf_text.regex_split_with_offsets(strings, f"{_SPACE}|{_ALONE}", _ALONE)
    begin, end, row = starts.flat_values, ends.flat_values, starts.value_rowids()
    joined = (begin[1:] == end[:-1]) & (row[1:] == row[:-1])
    after_space = tf.concat([tf.fill([tf.minimum(tf.size(begin), 1)], True), ~joined], 0)
    pieces = tokenizer.tokenize_words(words.flat_values, after_space)
    counts = pieces.row_lengths()
    has_pieces = starts.with_flat_values(counts > 0)
    per_row = tf.reduce_sum(starts.with_flat_values(counts), 1)
    ids = tf.RaggedTensor.from_row_lengths(pieces.flat_values, per_row, validate=False)
    # Places run through the batch; a row's begin at its first token.
    places = tf.cumsum(counts, exclusive=True) - tf.gather(ids.row_starts(), row)

    def kept(flat: tf.Tensor) -> tf.RaggedTensor:
        return tf.ragged.boolean_mask(starts.with_flat_values(tf.cast(flat, tf.int32)), has_pieces)

    return Words(ids, kept(places), kept(begin), kept(end))


def places(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
    """Return where each text's words begin and end [characters].

    Texts that were asked for before are remembered: a report's intervals ask hundreds of times.

    Example::

        places(tokenizer, ["Ada sings!"])  # [[(0, 3), (4, 9), (9, 10)]]
    """
    known = _known.setdefault(tokenizer, {})
    new = [text for text in dict.fromkeys(texts) if text not in known]
    known.update(zip(new, _places(tokenizer, new), strict=True))
    found = [known[text] for text in texts]
    if len(known) > _REMEMBERED:
        known.clear()
    return found


def _places(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
    """Return where each text's words begin and end, a batch at a time."""
    by_text = []
    for first in range(0, len(texts), _BATCH):
        part = texts[first : first + _BATCH]
        _, _, starts, ends = split(tokenizer, tf.constant(part))
        for text, begins, stops in zip(part, starts.to_list(), ends.to_list(), strict=True):
            begun = np.frombuffer(text.encode(), np.uint8) & 0xC0 != 0x80
            passed = np.concatenate([[0], np.cumsum(begun)])  # characters before each byte
            by_text.append(
                [(int(passed[a]), int(passed[b])) for a, b in zip(begins, stops, strict=True)]
            )
    return by_text
