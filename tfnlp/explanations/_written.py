"""Which words of a prompt, and of what was written before, made each word of a written text.

Each of them is left out, and the rest of the text, as it was written, gets another probability.

Dimensions: B texts of a batch, T tokens, V pieces of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines import text_pieces
from pipelines.encoding.masking import NOTHING
from pipelines.rows import Record
from tfnlp.extensions import Attribution, Piece, Subject, UnsuitableError, Wanted
from tfnlp.runtime import precision

WRITTEN = "generated"
_AT_ONCE = 8  # texts that go through the network together
Place = tuple[int, int]


class Writer:
    """A network that tells how likely each token of a given text is.

    Args:
        model: of a task that writes from one text.

    Raises:
        UnsuitableError: it reads turns, or several texts.

    Example::

        Writer(model).likelihoods([("Hello.", "Hola.")])[0]
    """

    def __init__(self, model: Any) -> None:
        self.model, self.context = model, model.context
        columns = model.task.input_columns(model.context.options)
        if [column.kind for column in columns] != ["text"]:
            raise UnsuitableError(
                f"--task {model.experiment.task} reads turns of a conversation, of which no words "
                "are left out (ask a model that reads a text)"
            )
        self.source = columns[0].name
        targets = model.task.target_columns(model.context.options)
        self.target = targets[0].name if targets else None

    def likelihoods(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[Any, Any, Any]]:
        """Return for each source and written text of its tokens log-probability, start and end.

        Returns:
            Float32 (T,) [nats], and int (T,) twice [characters of the written text].
        """
        found = []
        with precision.exact():
            for first in range(0, len(pairs), _AT_ONCE):
                found += self._batch(pairs[first : first + _AT_ONCE])
        return found

    def _batch(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[Any, Any, Any]]:
        raw, tokenizer, texts, shifts = self._raw(pairs)
        features, offsets = self.model.task.encode(self.context, raw)
        outputs = tf.cast(self.model.network(features, training=False), tf.float32)
        labels = offsets["labels"]
        there = labels != NOTHING
        wide = outputs[:, : tf.shape(labels)[1]]
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(labels, 0), wide)
        _, starts, ends = tokenizer.tokenize_with_offsets(tf.constant(texts))
        found = []
        for row, text in enumerate(texts):
            values = -tf.boolean_mask(loss[row], there[row]).numpy()
            before = text_pieces.characters_before(text)
            places = [before[x[row].numpy()] - shifts[row] for x in (starts, ends)]
            count = min(len(values), len(places[0]))  # the end has no place, what is cut no value
            found.append((values[:count], places[0][:count], places[1][:count]))
        return found

    def _raw(self, pairs: Sequence[tuple[str, str]]) -> tuple[Any, Any, list[str], list[int]]:
        """Return the tensors, the tokenizer of the texts that are predicted, these, and shifts."""
        if self.target:
            sources, texts = ([pair[side] for pair in pairs] for side in (0, 1))
            raw = {self.source: tf.constant(sources), self.target: tf.constant(texts)}
            return raw, self.context.writes, texts, [0] * len(texts)
        from pipelines.encoding import prompts

        tokenizer = self.context.tokenizer
        texts = [source + written for source, written in pairs]
        ids = tf.cast(tokenizer.tokenize(tf.constant(texts)), tf.int32)
        start = tf.fill([len(texts), 1], prompts.document_id(tokenizer))
        blocks = tf.concat([start, ids], 1).to_tensor(NOTHING)
        return {"blocks": blocks}, tokenizer, texts, [len(source) for source, _ in pairs]


def explain(
    subject: Subject, records: Iterable[Record], wanted: Wanted, most: int
) -> Iterator[Attribution]:
    """Yield an attribution for each written word, or for each that is ``wanted.label``.

    Its score is its probability; a weight is how far its log-probability falls [nats] without a
    word of the text that was read, or of what was written before it, which is ``generated``.

    Example::

        for found in explain(subject, records, Wanted(), 256):
            print(found.label, found.pieces)
    """
    if wanted.unit != "words" or wanted.rather_than is not None:
        raise UnsuitableError(
            "written words are explained by words (leave out --unit and --rather-than)"
        )
    writer = Writer(subject.model)
    for record in records:
        yield from _row(subject, writer, record, wanted, most)


def _row(
    subject: Subject, writer: Writer, record: Record, wanted: Wanted, most: int
) -> Iterator[Attribution]:
    """Yield the attributions of a row."""
    source = record.values[writer.source]
    written = subject.answer({writer.source: [source]})[0][WRITTEN]
    read, said = text_pieces.words(source)[:most], text_pieces.words(written)[:most]
    cuts = [(text_pieces.without(source, *place)[0], written) for place in read]
    gone = [text_pieces.without(written, *place) for place in said]
    pairs = [(source, written), *cuts, *((source, text) for text, _ in gone)]
    whole, *others = writer.likelihoods(pairs)
    inputs = {writer.source: source, WRITTEN: written}
    found = False
    for number, place in enumerate(said):
        word = written[place[0] : place[1]]
        if wanted.label is not None and word.casefold() != wanted.label.casefold():
            continue
        before = _sum(whole, place)
        weights = [before - _sum(other, place) for other in others[: len(read)]]
        pieces = [
            Piece(writer.source, *at, weight) for at, weight in zip(read, weights, strict=True)
        ]
        for earlier in range(number):
            moved = gone[earlier][1][1] - gone[earlier][1][0]
            other = others[len(read) + earlier]
            weight = before - _sum(other, (place[0] - moved, place[1] - moved))
            pieces.append(Piece(WRITTEN, *said[earlier], weight))
        found = True
        yield Attribution(record.number, inputs, word, float(np.exp(before)), pieces)
    if not found:
        told = "the model wrote nothing" if wanted.label is None else "that word was not written"
        yield Attribution(record.number, inputs, "", 0.0, (), (told,))


def _sum(tokens: tuple[Any, Any, Any], place: Place) -> float:
    """Return the log-probability of the tokens that make a word."""
    values, starts, ends = tokens
    return float(values[(starts < place[1]) & (ends > place[0])].sum())
