"""What a causal model is asked with: turns between the fixed tokens of a chat template.

Dimensions: B batch, N turns of a row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from pipelines.encoding import sequences
from pipelines.tokenizers.tokenizer import Tokenizer

# Around the turns of a model that knows no template: the answer follows on a line of its own.
PLAIN: Mapping[str, Any] = {"begin": "", "user": ["", "\n"], "assistant": ["", "\n"]}
_DOCUMENT = "<|endoftext|>"


@dataclass(frozen=True)
class Template:
    """The tokens around turns, int32 vectors.

    Attributes:
        begin: before the first turn.
        user: before and after what the user says.
        assistant: before and after what the model says.
    """

    begin: np.ndarray
    user: tuple[np.ndarray, np.ndarray]
    assistant: tuple[np.ndarray, np.ndarray]


def template(tokenizer: Tokenizer, chat: Mapping[str, Any] | None) -> Template:
    """Return a template's strings, as `pipelines.encoding.chat` gives them, as tokens.

    Example::

        form = template(tokenizer, chat.load(folder))  # None: one turn a line
    """
    chat = chat or PLAIN

    def around(role: str) -> tuple[np.ndarray, np.ndarray]:
        before, after = chat[role]
        return _ids(tokenizer, before), _ids(tokenizer, after)

    begin = _ids(tokenizer, chat["begin"])
    if not len(begin):  # a prompt is never empty
        begin = np.array([document_id(tokenizer)], np.int32)
    return Template(begin, around("user"), around("assistant"))


def _ids(tokenizer: Tokenizer, text: str) -> np.ndarray:
    """Tokenize a string in which special tokens are meant, int32."""
    with tf.init_scope():
        pieces = tokenizer.pieces()
        ids: list[int] = []
        for part in re.split(r"(<[^<>\s]+>)", text):
            if re.fullmatch(r"<[^<>\s]+>", part) and part in pieces:
                ids.append(pieces.index(part))
            elif part:
                ids += tokenizer.tokenize(tf.constant([part]))[0].numpy().tolist()
    return np.array(ids, np.int32)


def document_id(tokenizer: Tokenizer) -> int:
    """Return the token between documents: GPT-2's, or else the end of a text.

    Example::

        document_id(tokenizer)  # that of "<|endoftext|>"
    """
    pieces = tokenizer.pieces()
    return pieces.index(_DOCUMENT) if _DOCUMENT in pieces else tokenizer.end_id


def line_ids(tokenizer: Tokenizer) -> list[int]:
    """Return the tokens of a line's end, or of a document's where there are none.

    Example::

        line_ids(tokenizer)  # [198] of GPT-2
    """
    ids: list[int] = _ids(tokenizer, "\n").tolist()
    return ids or [document_id(tokenizer)]


def turns(texts: tf.Tensor) -> tf.RaggedTensor:
    r"""Return the turns of conversations, string (B,), one turn a line: ragged (B, N).

    Example::

        turns(tf.constant(["Hi!\nHello."]))  # [["Hi!", "Hello."]]
    """
    lines = sequences.lines(texts)
    return tf.ragged.boolean_mask(lines, lines != "")


def ask(
    tokenizer: Tokenizer,
    form: Template,
    said: tf.RaggedTensor,
    max_length: int,
    keep: Literal["first", "last"],
) -> tuple[tf.RaggedTensor, tf.Tensor]:
    """Return turns between a template's tokens, ready for the model's answer.

    Args:
        tokenizer: the vocabulary.
        form: the template.
        said: strings, ragged (B, N); the last is the user's, the one before the model's own.
        max_length: longest prompt, what the template adds at both ends included [tokens].
        keep: which tokens of longer ones are kept, the first or the last.

    Returns:
        Ids, ragged int32 (B, None), and how many tokens were left out, int64 (B,).

    Example::

        ids, lost = ask(tokenizer, form, turns(texts), 256, "last")
    """
    counts = said.row_lengths()
    turn = tf.ragged.range(counts).flat_values
    from_end = tf.gather(counts, said.value_rowids()) - 1 - turn
    mine = from_end % 2 == 1
    ids = tf.cast(tokenizer.tokenize(said.flat_values), tf.int32)

    def around(which: int) -> tf.RaggedTensor:
        both = tf.ragged.constant([form.user[which], form.assistant[which]], tf.int32)
        return tf.gather(both, tf.cast(mine, tf.int32))

    wrapped = tf.concat([around(0), ids, around(1)], 1)
    rows = tf.RaggedTensor.from_row_lengths(wrapped, counts).merge_dims(1, 2)
    return between(form.begin, rows, form.assistant[0], max_length, keep)


def between(
    before: Sequence[int] | np.ndarray,
    ids: tf.RaggedTensor,
    after: Sequence[int] | np.ndarray,
    max_length: int,
    keep: Literal["first", "last"],
) -> tuple[tf.RaggedTensor, tf.Tensor]:
    """Return rows of ids, cut, between fixed ones; the arguments are those of :func:`ask`.

    Example::

        between([1], tf.ragged.constant([[5, 6, 7]]), [2], 4, "first")  # [[1, 5, 6, 2]], [1]
    """
    room = max(max_length - len(before) - len(after), 0)
    kept = ids[:, :room] if keep == "first" else sequences.tail(ids, room)
    lost = tf.cast(ids.row_lengths() - kept.row_lengths(), tf.int64)
    edges = [
        tf.repeat(tf.constant(np.asarray(edge, np.int32))[None], ids.nrows(), 0)
        for edge in (before, after)
    ]
    return tf.concat([edges[0], kept, edges[1]], 1), lost
