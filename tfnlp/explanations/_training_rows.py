"""The rows that a run was trained on, as the vectors that its last layer reads.

Dimensions: N training rows, B rows of a batch, W windows, T tokens, H hidden, C outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines import batching, splits
from pipelines.rows import Record, Rows
from tfnlp.extensions import Attribution, Subject, TrainedModel, UnsuitableError
from tfnlp.runtime import precision
from tfnlp.training.attribution import of_any_size

_HELD = 256  # rows that are asked about together


def rows_of(subject: Subject, most: int) -> tuple[Rows, str]:
    """Return training rows, evenly spaced if there are more than so many, and a flag or "".

    Example::

        rows, flag = rows_of(subject, 20_000)
    """
    rows = subject.trained_on()
    if len(rows) <= most:
        return rows, ""
    told = f"of {len(rows)} training rows {most} were compared, evenly spaced"
    return rows.take(splits.evenly(len(rows), most)), told


class Vectors:
    """What a network's last layer reads, a vector a row.

    Args:
        model: trained.

    Example::

        Vectors(model)(rows)  # (N, H)
    """

    def __init__(self, model: TrainedModel) -> None:
        self.model = model
        last = _last(model.network)
        self.below = model.network if last is None else keras.Model(model.network.inputs, last)
        self.call = of_any_size(self._call)
        self.columns = model.task.input_columns(model.context.options)

    def __call__(self, rows: Rows) -> np.ndarray:
        """Return the vectors of rows, float32 (N, H)."""
        names = [column.name for column in self.columns]
        lengths = [
            sum(len(str(v)) for v in row)
            for row in zip(*(rows.columns[n] for n in names), strict=True)
        ]
        order, back = batching.by_length(np.array(lengths), 64)
        with precision.exact():
            found = [self.call(self._raw(rows.take(places.tolist()))).numpy() for places in order]
        vectors: np.ndarray = np.concatenate(found)[back]
        return vectors

    def _raw(self, rows: Rows) -> dict[str, tf.Tensor]:
        columns = {column.name: rows.columns[column.name] for column in self.columns}
        return batching.tensors(Rows("", columns, rows.numbers), self.columns)

    def _call(self, raw: Mapping[str, tf.Tensor]) -> tf.Tensor:
        features, _ = self.model.task.encode(self.model.context, raw)
        states = tf.cast(self.below(features, training=False), tf.float32)
        mask = tf.cast(features["padding_mask"], tf.float32)
        if states.shape.rank == 2:
            return states
        if self.below is self.model.network:  # a vector for each text of a row
            return tf.reshape(states, [tf.shape(states)[0], -1])
        # States of tokens in the windows that are used, which are a row's in their order.
        if mask.shape.rank == 3:
            used = tf.reduce_max(mask, -1) > 0
            row, mask = tf.where(used)[:, 0], tf.boolean_mask(mask, used)
        else:
            row = tf.range(tf.shape(mask)[0], dtype=tf.int64)
        total = tf.reduce_sum(states * mask[..., None], 1)
        means = total / tf.maximum(tf.reduce_sum(mask, 1, keepdims=True), 1.0)
        return tf.math.segment_mean(means, row)


def _last(network: keras.Model) -> Any:
    """Return what the last layer with a kernel reads; None if the network ends without one."""
    for layer in reversed(network.layers):
        if isinstance(layer, keras.Model):
            return None
        if getattr(layer, "kernel", None) is not None:
            return layer.input
    return None


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors of length 1; zeros stay.

    Example:
        >>> unit(np.array([[3.0, 4.0]])).tolist()
        [[0.6, 0.8]]
    """
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    found: np.ndarray = np.divide(vectors, np.where(length > 0, length, 1.0))
    return found


def explained(
    subject: Subject,
    records: Iterable[Record],
    train: Rows,
    scores: Callable[[Rows, Sequence[Mapping[str, Any]]], np.ndarray],
    count: int,
    name: str,
    flag: str,
) -> Iterator[Attribution]:
    """Yield for each row the training rows that score highest.

    Args:
        subject: a run.
        records: its rows.
        train: N training rows.
        scores: B rows and their answers -> float (B, N).
        count: how many are named.
        name: what a score is called.
        flag: what a reader must know, or "".

    Example::

        yield from explained(subject, records, train, scores, 5, "similarity", "")
    """
    names = [column.name for column in subject.inputs]
    stream = iter(records)
    while held := list(islice(stream, _HELD)):
        columns = {n: [record.values[n] for record in held] for n in names}
        answers = subject.answer(columns)
        values = scores(Rows("", columns, [record.number for record in held]), answers)
        for record, answer, own in zip(held, answers, values, strict=True):
            label, score = told(answer)
            best = np.argsort(-own, kind="stable")[:count]
            examples = [_example(train, place, name, float(own[place])) for place in best]
            flags = (flag,) if flag else ()
            yield Attribution(record.number, record.values, label, score, (), flags, examples)


def _example(rows: Rows, place: int, name: str, score: float) -> dict[str, Any]:
    columns = {key: values[place] for key, values in rows.columns.items()}
    return {"row": rows.numbers[place], **columns, name: score}


def told(answer: Mapping[str, Any]) -> tuple[str, float]:
    """Return what an answer says in a word, and its score.

    Example:
        >>> told({"label": "LOC", "score": 0.9})
        ('LOC', 0.9)
    """
    if isinstance(answer.get("entities"), list):
        found = answer["entities"]
        scores = [entity["score"] for entity in found]
        return ", ".join(f"{e['type']}: {e['text']}" for e in found), min(scores, default=0.0)
    label = answer.get("label", answer.get("answer", answer.get("grade")))
    number = next((v for v in answer.values() if isinstance(v, float)), 0.0)
    name = next((n for n, v in answer.items() if isinstance(v, float)), "")
    if label is None:
        label = name
    label = f"{label:g}" if isinstance(label, float) else str(label)
    return label, float(answer.get("score", number))


def needs_run(subject: Subject, name: str) -> TrainedModel:
    """Return a run's model.

    Raises:
        UnsuitableError: the subject is no run, or its task writes.

    Example::

        model = needs_run(subject, "neighbours")
    """
    if subject.model is None:
        raise UnsuitableError(
            f"{name} needs the rows that a model was trained on, and {subject.name} is a "
            "SavedModel (name the run's folder, tensorboard_logs/NAME/RUN)"
        )
    if subject.model.task.explaining is None:
        raise UnsuitableError(
            f"{name} compares texts that get an answer, and a model of --task "
            f"{subject.model.experiment.task} writes"
        )
    return subject.model
