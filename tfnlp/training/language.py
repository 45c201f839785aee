"""Whether a backbone knows the language of texts, by what its vocabulary makes of their words."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from pipelines.columns import as_request
from pipelines.rows import BadRow, Rows
from tfnlp.backbones import entry
from tfnlp.training import doubts
from tfnlp.training.model import TrainedModel

TOO_MANY_UNKNOWN = 0.05  # share of tokens from which the backbone hardly knows the language
# Pieces a word from which a text is hardly English: 28 English columns have 1.01 to 1.18, code
# in Python 1.25, and 19 other languages in Latin letters 1.5 to 3.1 (docs/backbones.md).
TOO_MANY_PIECES = 1.4
_FEWEST = 100  # words of which this can be said
_READ = 1000  # characters of each text
_WORD = re.compile(r"[^\W\d_]+")


def unreadable(model: TrainedModel, rows: Rows, most: int | None = None) -> Iterator[doubts.Doubt]:
    """Yield a warning of texts in a language that the backbone does not know.

    Args:
        model: the task with its tokenizer.
        rows: of one split.
        most: rows that are looked at, evenly spread, if not all [rows].

    Example::

        for warning, rows in unreadable(model, splits.train): ...
    """
    if model.context.tokenizer.kind == "bytepair":  # it spells every byte
        return
    rows = rows.take(range(0, len(rows), max(len(rows) // most, 1) if most else 1))
    names = [column.name for column in model.task.input_columns(model.context.options)]
    columns = (map(as_request, rows.columns[name]) for name in names)
    texts = [" ".join(several) for several in zip(*columns, strict=True)]
    known, missing = _unknown(model, texts)
    share = missing.sum() / max((missing + known).sum(), 1)
    if share > TOO_MANY_UNKNOWN:
        yield (
            f"{rows.source}: {share:.1%} of the tokens are unknown to the backbone (take one that "
            "knows the language: python -m tfnlp.backbones)",
            [
                BadRow(number, f"{m} of {m + k} tokens")
                for number, m, k in zip(rows.numbers, missing, known, strict=True)
                if m
            ],
        )
        return
    yield from _fragmented(model, rows, texts)


def _unknown(model: TrainedModel, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Count the tokens of N texts that the vocabulary has, and those it lacks, int (N,) each."""
    tokenizer = model.context.tokenizer
    known, missing = np.zeros(len(texts), int), np.zeros(len(texts), int)
    for start in range(0, len(texts), 1024):
        part = slice(start, start + 1024)
        ids = tokenizer.tokenize(tf.constant(texts[part]))
        strange = tf.reduce_sum(tf.cast(ids == tokenizer.unknown_id, tf.int64), 1).numpy()
        missing[part] = strange
        known[part] = ids.row_lengths().numpy() - strange
    return known, missing


def _fragmented(model: TrainedModel, rows: Rows, texts: list[str]) -> Iterator[doubts.Doubt]:
    """Yield a warning of words that an English vocabulary has only in pieces."""
    name = model.experiment.backbone.name
    if name not in entry.names() or entry.find(name).languages != "English":
        return
    words = [_WORD.findall(text[:_READ]) for text in texts]
    counts = np.array([len(found) for found in words])
    if counts.sum() < _FEWEST:
        return
    ids = model.context.tokenizer.tokenize(tf.constant([word for found in words for word in found]))
    ends = np.concatenate([[0], np.cumsum(counts)])
    total = np.concatenate([[0], np.cumsum(ids.row_lengths().numpy())])
    pieces = np.diff(total[ends])
    mean = pieces.sum() / counts.sum()
    if mean > TOO_MANY_PIECES:
        yield (
            f"{rows.source}: the texts look not English: {name}, which is, cuts their words into "
            f"{mean:.1f} pieces each (--backbone e5-small-multilingual reads about 100 languages)",
            [
                BadRow(number, f"{count} words in {cut} pieces")
                for number, count, cut in zip(rows.numbers, counts, pieces, strict=True)
                if cut > TOO_MANY_PIECES * count
            ],
        )
