"""Rows -> shuffled batches of similar length, the same for the same seed, epoch and place.

The order of an epoch is a function of (seed, epoch) alone, so a run can be taken up at any batch
of any epoch without replaying what came before. Batches are padded to one of a few fixed widths
chosen from the data: little padding, and few shapes for which kernels are built.

Dimensions: N rows, B batch, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.rows import Column, Rows

BUCKETS = 8


def tensors(rows: Rows, columns: tuple[Column, ...]) -> dict[str, tf.Tensor]:
    """Hold rows as tensors with N rows: string, ragged string (``labels``) or float32."""
    held: dict[str, tf.Tensor] = {}
    for column in columns:
        values = rows.columns[column.name]
        if column.kind == "number":
            held[column.name] = tf.constant(values, tf.float32, [len(values)])
        elif column.kind == "labels":
            flat = [label for labels in values for label in labels]
            held[column.name] = tf.RaggedTensor.from_row_lengths(
                tf.constant(flat, tf.string, [len(flat)]), [len(v) for v in values]
            )
        else:
            held[column.name] = tf.constant(values, tf.string, [len(values)])
    return held


@dataclass(frozen=True)
class Plan:
    """Which rows stand in which batch, for every epoch.

    Attributes:
        lengths: int64 (N,), tokens of each row as the model will see it.
        batch_size: rows in a batch.
        widths: increasing padded lengths; the last is at least the longest row.
        seed: None keeps one order for all epochs, short rows first.
        divisor: rows of a batch are a multiple of this (replicas); the rows that are over in
            an epoch, fewer than this, are left out of it.
    """

    lengths: np.ndarray
    batch_size: int
    widths: np.ndarray
    seed: int | None = None
    divisor: int = 1

    def __len__(self) -> int:
        """Count the batches of an epoch, the same for every epoch."""
        return len(self.epoch(0)[1])

    def epoch(self, epoch: int) -> tuple[list[np.ndarray], np.ndarray]:
        """Return the batches of an epoch: their rows, int64 (B,) each, and int64 widths."""
        places = np.arange(len(self.lengths))
        random = None if self.seed is None else np.random.default_rng((self.seed, epoch))
        if random is not None:
            random.shuffle(places)
        bucket = np.searchsorted(self.widths, self.lengths[places])
        batches, left = [], []
        for i in range(len(self.widths)):
            rows = places[bucket == i]
            full = len(rows) // self.batch_size * self.batch_size
            batches += [rows[j : j + self.batch_size] for j in range(0, full, self.batch_size)]
            left.append(rows[full:])
        over = np.concatenate(left)
        over = over[: len(over) // self.divisor * self.divisor]
        batches += [over[j : j + self.batch_size] for j in range(0, len(over), self.batch_size)]
        if random is not None:
            batches = [batches[i] for i in random.permutation(len(batches))]
        longest = np.array([self.lengths[rows].max() for rows in batches], np.int64)
        return batches, self.widths[np.searchsorted(self.widths, longest)]


def widths(lengths: np.ndarray, buckets: int = BUCKETS) -> np.ndarray:
    """Choose the padded lengths: the data's quantiles, so that each bucket holds as many rows."""
    marks = np.quantile(lengths, np.arange(1, buckets + 1) / buckets, method="higher")
    return np.unique(marks).astype(np.int64)


def batches(
    raw: Mapping[str, tf.Tensor],
    plan: Plan,
    prepare: Callable[[dict[str, tf.Tensor], tf.Tensor], Any],
    epochs: range,
    start: int = 0,
    parts: range = range(1),
    of: int = 1,
) -> tf.data.Dataset:
    """Build the batches of several epochs, one after the other.

    Args:
        raw: what :func:`tensors` returns.
        plan: the batches.
        prepare: (raw columns of a batch, width) -> element, in TensorFlow ops.
        epochs: the epochs to go through.
        start: batches of the first epoch to leave out, because they were seen before.
        parts: the parts of a batch that are wanted, one after the other as elements of their own.
        of: parts into which each batch is dealt out, row by row.
    """

    def order(epoch: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows, wide = plan.epoch(int(epoch))
        dealt = [r[part::of] for r in rows for part in parts]
        sizes = np.array([len(r) for r in dealt], np.int64)
        return np.concatenate(dealt), sizes, np.repeat(wide, len(parts))

    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        flat, sizes, wide = tf.numpy_function(order, [epoch], [tf.int64, tf.int64, tf.int64])
        for vector in (flat, sizes, wide):
            vector.set_shape([None])
        rows = tf.RaggedTensor.from_row_lengths(flat, sizes, validate=False)
        return tf.data.Dataset.from_tensor_slices((rows, wide))

    def load(rows: tf.Tensor, width: tf.Tensor) -> Any:
        return prepare({name: tf.gather(column, rows) for name, column in raw.items()}, width)

    data = tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(one_epoch)
    count = (len(epochs) * len(plan) - start) * len(parts)
    data = data.skip(start * len(parts)).apply(tf.data.experimental.assert_cardinality(count))
    return data.map(load).prefetch(4)  # one thread beside training's is fast enough


def pad(features: Mapping[str, tf.Tensor], width: tf.Tensor, pad_id: int) -> dict[str, tf.Tensor]:
    """Pad the last axis of every feature to ``width``: token ids with the pad id, others with 0."""
    padded = {}
    for name, value in features.items():
        missing = tf.cast(width, tf.int32) - tf.shape(value)[-1]
        edges = [[0, 0]] * (value.shape.rank - 1) + [[0, tf.maximum(missing, 0)]]
        padded[name] = tf.pad(value, edges, constant_values=pad_id if name == "token_ids" else 0)
    return padded
