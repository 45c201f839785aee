r"""Texts in words as a reader sees them, in the graph, and what the tokens in each of them did.

The words are those of `tfnlp.explanations._pieces.words`: each punctuation mark, each character of
a script without spaces and each run of other symbols is a word; combining marks and joiners stay
with what they belong to.

Written in ops that TF Serving has since 2.12.

Dimensions: B batch, N tokens of all texts, C characters of all texts, P words of all texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf
import tensorflow_text as tf_text

from pipelines.encoding.scripts import UNSPACED

_RANGES = "".join(rf"\x{{{first:X}}}-\x{{{last:X}}}" for first, last in UNSPACED)
_KINDS = (  # the first that a character is of
    r"[\p{Z}\p{Cc}]",
    r"[\p{M}\p{Cf}\x{1F3FB}-\x{1F3FF}]",
    f"[{_RANGES}]",
    r"[\p{L}\p{N}]",
    r"\p{P}",
)
_SPACE, _JOINED, _ALONE, _WORD, _MARK, _SYMBOL = range(6)


class Words(NamedTuple):
    """The words of a batch of texts.

    Attributes:
        counts: int64 (B,), of each text.
        start: int32 (P,), the first character of each.
        end: int32 (P,), the character after its last.
        first_byte: int32 (P,), the first byte of each.
        last_byte: int32 (P,), the byte after its last.
        owner: int32 (C,), the word of each character, -1 of spaces.
        nearest: int32 (C,), the same, of spaces the word before them.
    """

    counts: tf.Tensor
    start: tf.Tensor
    end: tf.Tensor
    first_byte: tf.Tensor
    last_byte: tf.Tensor
    owner: tf.Tensor
    nearest: tf.Tensor


def words(strings: tf.Tensor) -> tuple[Words, tf.RaggedTensor]:
    """Return the words of texts, and the first byte of each character, int64 ragged (B, None).

    Args:
        strings: (B,) string, UTF-8.

    Example::

        found, _ = words(tf.constant(["It's 3.5!"]))
        found.start, found.end  # [0, 5, 8], [4, 8, 9]
    """
    characters, offsets = tf.strings.unicode_split_with_offsets(strings, "UTF-8")
    flat, row = characters.flat_values, characters.value_rowids()
    kind = _kinds(flat, row)
    plain = kind != _JOINED
    place = tf.range(tf.size(flat))
    # What is joined is of the kind of what stands before it; at a text's beginning, of none.
    base = tf.gather(
        tf.concat([[-1], tf.boolean_mask(place, plain)], 0), tf.cumsum(tf.cast(plain, tf.int32))
    )
    same = (base >= 0) & (tf.gather(row, tf.maximum(base, 0)) == row)
    kind = tf.where(same, tf.gather(kind, tf.maximum(base, 0)), _SPACE)
    before = _neighbour(kind, row, -1, _SPACE)
    begins = plain & (kind != _SPACE)
    begins &= (kind != before) | (kind == _ALONE) | (kind == _MARK)
    nearest = tf.cumsum(tf.cast(begins, tf.int32)) - 1
    owner = tf.where(kind == _SPACE, -1, nearest)
    inside = owner >= 0
    column = tf.cast(tf.ragged.range(characters.row_lengths()).flat_values, tf.int32)
    sizes = tf.strings.length(flat)
    byte = tf.cast(offsets.flat_values, tf.int32)
    of = tf.boolean_mask(owner, inside)

    def last(values: tf.Tensor) -> tf.Tensor:
        return tf.math.segment_max(tf.boolean_mask(values, inside), of)

    counts = tf.math.unsorted_segment_sum(tf.cast(begins, tf.int64), row, tf.size(strings))
    found = Words(
        counts,
        tf.boolean_mask(column, begins),
        last(column) + 1,
        tf.boolean_mask(byte, begins),
        last(byte + sizes),
        owner,
        nearest,
    )
    return found, offsets


def _kinds(characters: tf.Tensor, row: tf.Tensor) -> tf.Tensor:
    """Return what each character is, int32 (C,)."""
    kind = tf.fill(tf.shape(characters), _SYMBOL)
    for number, pattern in reversed([*enumerate(_KINDS)]):
        kind = tf.where(tf.strings.regex_full_match(characters, pattern), number, kind)

    def between(marks: str, around: tf.Tensor) -> tf.Tensor:
        both = _neighbour(around, row, -1, False) & _neighbour(around, row, 1, False)
        return tf.strings.regex_full_match(characters, marks) & both

    digit = tf.strings.regex_full_match(characters, r"\p{Nd}")
    joins = between("['’-]", kind == _WORD) | between("[.,]", digit)  # don't, well-known, 3.5
    return tf.where(joins, _WORD, kind)


def _neighbour(values: tf.Tensor, row: tf.Tensor, step: int, none: int | bool) -> tf.Tensor:
    """Return what stands one place before or after in the same text."""
    place = tf.range(tf.size(values)) + step
    there = (place >= 0) & (place < tf.size(values))
    place = tf.clip_by_value(place, 0, tf.maximum(tf.size(values) - 1, 0))
    same = there & (tf.gather(row, place) == row)
    return tf.where(same, tf.gather(values, place), none)


def weighed(
    strings: tf.Tensor, row: tf.Tensor, start: tf.Tensor, end: tf.Tensor, weight: tf.Tensor
) -> dict[str, tf.RaggedTensor]:
    """Return the words of texts with what their tokens did; a token's weight goes by characters.

    Args:
        strings: (B,) string.
        row: int32 (N,), the text that each token stands in.
        start: int32 (N,), its first byte.
        end: int32 (N,), the byte after its last.
        weight: float32 (N,).

    Returns:
        ``text`` string, ``start`` and ``end`` int32 [characters], ``weight`` float32: ragged
        (B, None).

    Example::

        weighed(texts, row, start, end, weight)["weight"]
    """
    found, offsets = words(strings)
    base = tf.cumsum(tf.cast(tf.strings.length(strings), tf.int64), exclusive=True)
    bytes_before = offsets.flat_values + tf.gather(base, offsets.value_rowids())

    def character(byte: tf.Tensor) -> tf.Tensor:
        whole = tf.cast(byte, tf.int64) + tf.gather(base, row)
        return tf.searchsorted(bytes_before, whole, side="left")

    first, last = character(start), character(end)
    covered = tf.ragged.range(first, tf.maximum(first, last))
    token = covered.value_rowids()
    owner = tf.gather(found.owner, covered.flat_values)
    seen = tf.cast(owner >= 0, tf.float32)
    count = tf.math.unsorted_segment_sum(seen, token, tf.size(weight))
    share = tf.gather(tf.math.divide_no_nan(weight, count), token) * seen
    total = tf.size(found.start)
    sums = tf.math.unsorted_segment_sum(share, owner, total)
    # What covers nothing that is seen goes with the word before it, or with the text's first.
    lost = tf.where(count == 0, weight, 0.0)
    heads = tf.cast(tf.cumsum(found.counts, exclusive=True), tf.int32)
    none = tf.gather(found.counts, row) == 0
    at = tf.gather(tf.concat([[-1], found.nearest], 0), first)
    at = tf.where(none, -1, tf.maximum(at, tf.gather(heads, row)))
    sums += tf.math.unsorted_segment_sum(lost, at, total)

    def ragged(values: tf.Tensor) -> tf.RaggedTensor:
        return tf.RaggedTensor.from_row_lengths(values, found.counts, validate=False)

    spans = ragged(found.first_byte), ragged(found.last_byte)
    return {
        "text": tf_text.ByteSplitter().split_by_offsets(strings, *spans),
        "start": ragged(found.start),
        "end": ragged(found.end),
        "weight": ragged(sums),
    }


def listed(
    weighed: Mapping[str, Mapping[str, tf.RaggedTensor]], name: str = "pieces"
) -> dict[str, tf.Tensor]:
    """Return the words of one or several inputs as answers have lists, those of one after another.

    Args:
        weighed: by the input's name what `weighed` returned.
        name: of the list.

    Returns:
        ``pieces`` int32 (B,), how many, and ``pieces/input``, ``pieces/text``, ``pieces/start``,
        ``pieces/end`` and ``pieces/weight``, (B, P) each, padded.

    Example::

        listed({"text": weighed(texts, row, start, end, weight)})["pieces/weight"]
    """
    parts = [
        {**found, "input": found["text"].with_flat_values(_fill(found["text"], given))}
        for given, found in weighed.items()
    ]
    joined = {key: tf.concat([part[key] for part in parts], 1) for key in parts[0]}
    count = tf.cast(joined["text"].row_lengths(), tf.int32)
    return {name: count, **{f"{name}/{key}": joined[key].to_tensor() for key in sorted(joined)}}


def _fill(texts: tf.RaggedTensor, given: str) -> tf.Tensor:
    return tf.fill(tf.shape(texts.flat_values), given)
