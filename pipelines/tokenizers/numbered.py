"""A tokenizer that gives numbers in place of ids, by which it is known where each token came from.

What encodes texts cuts tokens, lays them in windows and puts special ones between them. Given this
tokenizer it does so with numbers, and at each place of its output stands which token of which text
is there, whatever the encoding.

Dimensions: B batch, T tokens, N tokens of all texts of the batch, M strings that were tokenized.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from pipelines.tokenizers.tokenizer import Tokenizer

# What stands before the parts of a text with marked arguments: nothing, <e1>, </e1> and so on.
_MARKS = (0, 4, 9, 13, 18)  # [bytes]


class Origins(NamedTuple):
    """Where the tokens came from, each of the shape of the token ids.

    Attributes:
        ids: int32, the token ids.
        column: int32, the text's place among the texts by name, -1 of what came from none.
        start: int32, the token's first byte in its text.
        end: int32, the byte after its last.
    """

    ids: tf.Tensor
    column: tf.Tensor
    start: tf.Tensor
    end: tf.Tensor


class _Call(NamedTuple):
    """The tokens of M strings, flat, and the string of each."""

    strings: tf.Tensor
    row: tf.Tensor
    ids: tf.Tensor
    start: tf.Tensor
    end: tf.Tensor


class Numbered:
    """A tokenizer's stand-in while a batch is encoded; what is not listed is the tokenizer's own.

    Special tokens keep their ids; numbers begin behind the vocabulary.

    Example::

        numbered = Numbered(tokenizer)
        features, _ = encode(numbered, raw)
        numbered.origins(features["token_ids"], raw, marked=False).start
    """

    def __init__(self, inner: Tokenizer) -> None:
        self.inner = inner
        self._calls: list[_Call] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def tokenize(self, strings: tf.Tensor) -> tf.RaggedTensor:
        """Split (M,) strings into (M, tokens) int32 numbers."""
        return self.tokenize_with_offsets(strings)[0]

    def tokenize_with_offsets(
        self, strings: tf.Tensor
    ) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """Split (M,) strings into numbers, starts and ends, (M, tokens) int32, in bytes."""
        ids, starts, ends = self.inner.tokenize_with_offsets(strings)
        return self.number(strings, ids, starts, ends), starts, ends

    def number(
        self,
        strings: tf.Tensor,
        ids: tf.RaggedTensor,
        starts: tf.RaggedTensor,
        ends: tf.RaggedTensor,
    ) -> tf.RaggedTensor:
        """Return the numbers, (M, tokens) int32, of tokens that are known already."""
        flat = [tf.cast(each.flat_values, tf.int32) for each in (ids, starts, ends)]
        call = _Call(strings, tf.cast(ids.value_rowids(), tf.int32), *flat)
        before = sum((tf.size(each.ids) for each in self._calls), tf.constant(0))
        self._calls.append(call)
        first = self.inner.vocabulary_size + before
        return ids.with_flat_values(first + tf.range(tf.size(call.ids)))

    def origins(self, numbers: tf.Tensor, raw: Mapping[str, tf.Tensor], *, marked: bool) -> Origins:
        """Return where what was encoded came from.

        Args:
            numbers: int32 of any shape, the token ids that were made with this tokenizer.
            raw: the texts by name, string (B,) each, which were encoded: each by itself, all one
                after the other, or the one that there is by its five parts.
            marked: whether that one has marked arguments.

        Example::

            numbered.origins(features["token_ids"], raw, marked=False).ids
        """
        parts = [self._placed(call, raw, marked) for call in self._calls]
        ids, column, start, end = (tf.concat([[0], *each], 0) for each in zip(*parts, strict=True))
        place = tf.maximum(numbers - self.inner.vocabulary_size + 1, 0)
        special = place == 0
        return Origins(
            tf.where(special, numbers, tf.gather(ids, place)),
            tf.where(special, -1, tf.gather(column, place)),
            tf.gather(start, place),
            tf.gather(end, place),
        )

    @staticmethod
    def _placed(
        call: _Call, raw: Mapping[str, tf.Tensor], marked: bool
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return the ids, columns, starts and ends of a call's tokens, int32 each."""
        texts = list(raw.values())
        own = [place for place, text in enumerate(texts) if text is call.strings]
        if marked:
            sizes = tf.reshape(tf.strings.length(call.strings), [-1, len(_MARKS)])
            before = tf.cumsum(sizes, axis=1, exclusive=True) + tf.constant(_MARKS)
            shift = tf.gather(tf.reshape(before, [-1]), call.row)
            column = tf.zeros_like(call.row)
        else:
            shift = tf.zeros_like(call.row)
            rows = tf.maximum(tf.size(texts[0]), 1)
            column = tf.fill(tf.shape(call.row), own[0]) if own else call.row // rows
        return call.ids, column, call.start + shift, call.end + shift
