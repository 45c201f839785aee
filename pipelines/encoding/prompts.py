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
_LINE_END = r"\s*\n\s*"
_SPECIAL = r"<[^<>\s]+>"
_DOCUMENT = "<|endoftext|>"


@dataclass(frozen=True)
class Template:
    """The tokens around turns, int32 vectors.

    Attributes:
        begin: before the first turn.
        user: before and after what the user says.
        assistant: before and after what the model says.
        system: before and after a system prompt, in place of ``begin``.
        lines: whether a turn may have several lines: not where only line ends stand between turns.
        guarded: what must not stand in a turn, because it would be taken for its end.
    """

    begin: np.ndarray
    user: tuple[np.ndarray, np.ndarray]
    assistant: tuple[np.ndarray, np.ndarray]
    system: tuple[np.ndarray, np.ndarray]
    lines: bool
    guarded: tuple[str, ...]


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
    # A template without a place for a system prompt has it on a line before the first turn.
    system = around("system") if "system" in chat else (begin, _ids(tokenizer, "\n"))
    if not len(system[0]):
        system = (np.array([document_id(tokenizer)], np.int32), system[1])
    bounds = [(chat["user"][1], chat["assistant"][0]), (chat["assistant"][1], chat["user"][0])]
    lines = all("".join(bound).strip() for bound in bounds)
    guarded = _guarded(tokenizer, bounds, chat["begin"] + "".join(chat.get("system", ())))
    return Template(begin, around("user"), around("assistant"), system, lines, guarded)


def _guarded(
    tokenizer: Tokenizer, bounds: Sequence[tuple[str, str]], others: str
) -> tuple[str, ...]:
    """Return the strings whose tokens, in a turn, would be taken for the template's own.

    Between two turns stand special tokens, which most vocabularies do not find in a text, or
    words such as ``Assistant:``.
    """
    found = set()
    with tf.init_scope():
        pieces = tokenizer.pieces()
        for bound in [*bounds, (others,)]:
            special = {name for name in re.findall(_SPECIAL, "".join(bound)) if name in pieces}
            found |= {
                name
                for name in special
                if pieces.index(name) in tokenizer.tokenize(tf.constant([name]))[0].numpy()
            }
            if not special and bound in bounds:
                found |= {text.strip() for text in bound if len(text.strip()) > 1}
    return tuple(sorted(found))


def guarded(form: Template, texts: tf.Tensor) -> tf.Tensor:
    """Return what users say, string (N,), with a space in what a template has between turns.

    Example::

        guarded(form, tf.constant(["Plan. Assistant: Yes"]))  # ["Plan. Assistant : Yes"]
    """
    for text in form.guarded:
        apart = f"{text[:-1]} {text[-1]}".replace("\\", r"\\")
        texts = tf.strings.regex_replace(texts, re.escape(text), apart)
    return texts


def _ids(tokenizer: Tokenizer, text: str) -> np.ndarray:
    """Tokenize a string in which special tokens are meant, int32."""
    with tf.init_scope():
        pieces = tokenizer.pieces()
        ids: list[int] = []
        for part in re.split(f"({_SPECIAL})", text):
            if re.fullmatch(_SPECIAL, part) and part in pieces:
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


def ask(
    tokenizer: Tokenizer,
    form: Template,
    said: tf.RaggedTensor,
    max_length: int,
    keep: Literal["first", "last"],
    system: tf.Tensor | None = None,
) -> tuple[tf.RaggedTensor, tf.Tensor]:
    """Return turns between a template's tokens, ready for the model's answer.

    Args:
        tokenizer: the vocabulary.
        form: the template.
        said: strings, ragged (B, N); the last is the user's, the one before the model's own.
        max_length: longest prompt, what the template adds at both ends included [tokens].
        keep: which tokens of longer ones are kept, the first or the last.
        system: system prompts of conversations, string (B,), empty where there is none. Of one that
            takes more than half of the room the beginning is kept.

    Returns:
        Ids, ragged int32 (B, None), and how many tokens were left out, int64 (B,).

    Example::

        ids, lost = ask(tokenizer, form, said, 256, "last", system)
    """
    counts = said.row_lengths()
    turn = tf.ragged.range(counts).flat_values
    from_end = tf.gather(counts, said.value_rowids()) - 1 - turn
    mine = from_end % 2 == 1
    texts = guarded(form, said.flat_values)
    if system is not None and not form.lines:
        texts = tf.strings.regex_replace(texts, _LINE_END, " ")
    ids = tf.cast(tokenizer.tokenize(texts), tf.int32)

    def around(which: int) -> tf.RaggedTensor:
        both = tf.ragged.constant([form.user[which], form.assistant[which]], tf.int32)
        return tf.gather(both, tf.cast(mine, tf.int32))

    wrapped = tf.concat([around(0), ids, around(1)], 1)
    rows = tf.RaggedTensor.from_row_lengths(wrapped, counts).merge_dims(1, 2)
    if system is None:
        return between(form.begin, rows, form.assistant[0], max_length, keep)
    before, cut = _begun(tokenizer, form, system, max_length - len(form.assistant[0]))
    whole, lost = between(before, rows, form.assistant[0], max_length, keep)
    return whole, lost + cut


def _begun(
    tokenizer: Tokenizer, form: Template, system: tf.Tensor, room: int
) -> tuple[tf.RaggedTensor, tf.Tensor]:
    """Return what precedes the first turns, ragged int32 (B, None), and tokens cut of it, (B,)."""
    if not form.lines:
        system = tf.strings.regex_replace(system, _LINE_END, " ")
    ids = tf.cast(tokenizer.tokenize(guarded(form, system)), tf.int32)
    kept = sequences.head(ids, max(room // 2 - sum(map(len, form.system)), 0))
    edges = [_repeated(edge, ids.nrows()) for edge in form.system]
    given = tf.concat([edges[0], kept, edges[1]], 1)
    usual = tf.RaggedTensor.from_tensor(_repeated(form.begin, ids.nrows()))
    place = tf.range(ids.nrows()) * 2 + tf.cast(system != "", tf.int64)
    # Row i of each in turn: the second is taken where there is a prompt.
    both = tf.stack([usual, given], 1).merge_dims(0, 1)
    return tf.gather(both, place), ids.row_lengths() - kept.row_lengths()


def _repeated(ids: Sequence[int] | np.ndarray, rows: tf.Tensor) -> tf.Tensor:
    """Return the same ids for each row, int32 (B, tokens)."""
    return tf.repeat(tf.constant(np.asarray(ids, np.int32))[None], rows, 0)


def between(
    before: Sequence[int] | np.ndarray | tf.RaggedTensor,
    ids: tf.RaggedTensor,
    after: Sequence[int] | np.ndarray,
    max_length: int,
    keep: Literal["first", "last"],
) -> tuple[tf.RaggedTensor, tf.Tensor]:
    """Return rows of ids, cut, between others; the arguments are those of :func:`ask`.

    What stands before may be of each row its own, ragged (B, None).

    Example::

        between([1], tf.ragged.constant([[5, 6, 7]]), [2], 4, "first")  # [[1, 5, 6, 2]], [1]
    """
    if not isinstance(before, tf.RaggedTensor):
        before = tf.RaggedTensor.from_tensor(_repeated(before, ids.nrows()))
    room = tf.maximum(max_length - len(after) - before.row_lengths(), 0)
    kept = (sequences.head if keep == "first" else sequences.tail)(ids, room)
    lost = tf.cast(ids.row_lengths() - kept.row_lengths(), tf.int64)
    return tf.concat([before, kept, _repeated(after, ids.nrows())], 1), lost
