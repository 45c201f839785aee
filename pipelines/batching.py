"""Rows -> shuffled batches of similar length, the same for the same seed, epoch and place.

The order of an epoch is a function of (seed, epoch) alone, so a run can be resumed at any batch
of any epoch without replaying what came before. Batches are padded to one of a few fixed widths
chosen from the data: little padding, and few shapes for which kernels are built.

Dimensions: N rows, B batch, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.columns import joined
from pipelines.rows import Column, Rows

BUCKETS = 16
_MOST_LENGTHS = 1024  # distinct ones: `widths` takes their square in time and memory


def tensors(rows: Rows, columns: tuple[Column, ...]) -> dict[str, tf.Tensor]:
    """Return rows as tensors with N rows.

    Returns:
        By column: string (N,), float32 (N,) for numbers, ragged string (N, None) for ``labels``;
        an optional column that the rows lack is left out.
        ``turns`` become one string, one turn a line, as a request has them.
        ``spans`` and ``answers`` become ``NAME/start`` and ``NAME/end``, ragged int32 (N, None)
        [bytes of the text in UTF-8], and ``NAME/label`` or ``NAME/text``, ragged string.

    Example::

        tensors(rows, columns)["text"]  # string (N,)
    """
    held: dict[str, tf.Tensor] = {}
    for column in columns:
        if column.optional and column.name not in rows.columns:
            continue
        name, values = column.name, rows.columns[column.name]
        if column.kind == "number":
            held[name] = tf.constant(values, tf.float32, [len(values)])
        elif column.kind == "labels":
            held[name] = _ragged(values, tf.string)
        elif column.kind == "turns":
            lines = [joined(turns) for turns in values]
            held[name] = tf.constant(lines, tf.string, [len(lines)])
        elif column.kind in ("spans", "answers"):
            spans = column.kind == "spans"
            spots = values if spans else [[(s, s + len(t), t) for s, t in one] for one in values]
            edges = [
                _in_bytes(text, one)
                for text, one in zip(rows.columns[column.of], spots, strict=True)
            ]
            held[f"{name}/start"] = _ragged([[s for s, _ in one] for one in edges], tf.int32)
            held[f"{name}/end"] = _ragged([[e for _, e in one] for one in edges], tf.int32)
            kept = [[what for *_, what in one] for one in spots]
            held[f"{name}/{'label' if spans else 'text'}"] = _ragged(kept, tf.string)
        else:
            held[name] = tf.constant(values, tf.string, [len(values)])
    return held


def specs(raw: Mapping[str, tf.Tensor]) -> dict[str, tf.TypeSpec]:
    """Return the types of raw columns with any number of rows: a graph made for them fits all.

    Example::

        tf.function(encode, [specs(raw)])
    """

    def spec(column: tf.Tensor) -> tf.TypeSpec:
        shape = [None, *column.shape[1:]]
        if isinstance(column, tf.RaggedTensor):
            return tf.RaggedTensorSpec(shape, column.dtype, column.ragged_rank)
        return tf.TensorSpec(shape, column.dtype)

    return {name: spec(column) for name, column in raw.items()}


def _ragged(values: Sequence[Sequence[Any]], dtype: tf.DType) -> tf.RaggedTensor:
    """Hold N lists as a ragged tensor (N, None)."""
    flat = [one for several in values for one in several]
    return tf.RaggedTensor.from_row_lengths(
        tf.constant(flat, dtype, [len(flat)]), [len(several) for several in values]
    )


def _in_bytes(text: str, spots: Sequence[tuple[int, int, str]]) -> list[tuple[int, int]]:
    """Convert starts and ends from characters to bytes of UTF-8."""
    if text.isascii() or not spots:
        return [(start, end) for start, end, _ in spots]
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    sizes = 1 + (codes >= 0x80) + (codes >= 0x800).astype(int) + (codes >= 0x10000)
    before = np.concatenate([[0], np.cumsum(sizes)]).tolist()
    return [(before[start], before[end]) for start, end, _ in spots]


def by_length(
    lengths: Sequence[int] | np.ndarray, batch_size: int, budget: int | None = None
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return batches of rows to be answered, short rows first: a batch is padded to its longest.

    Args:
        lengths: of N rows, at least one, in any unit.
        batch_size: most rows in a batch.
        budget: most of that unit in a batch, each row as wide as the longest; a row that is wider
            by itself is alone in its batch. None sets no limit.

    Returns:
        The batches, int64 (B,) indices of rows each, and for each row the index of its answer among
        those of all batches, int64 (N,).

    Example:
        >>> batches, back = by_length([5, 1, 2], 2)
        >>> [batch.tolist() for batch in batches], back.tolist()
        ([[1, 2], [0]], [2, 0, 1])
    """
    order = np.argsort(lengths, kind="stable")
    starts = [0]
    for index, row in enumerate(order.tolist()):
        rows = index - starts[-1]
        wide = budget is not None and (rows + 1) * lengths[row] > budget
        if rows and (rows == batch_size or wide):
            starts.append(index)
    return np.split(order, starts[1:]), np.argsort(order)


@dataclass(frozen=True)
class Sizes:
    """How large rows are as the model sees them, int64 (N,) each.

    Attributes:
        tokens: those of all windows.
        windows: windows that hold any.
        widest: the tokens of the widest window.
        lost: tokens that are cut.
    """

    tokens: np.ndarray
    windows: np.ndarray
    widest: np.ndarray
    lost: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """The tokens that each row takes up in a batch, int64 (N,)."""
        lengths: np.ndarray = self.windows * self.widest
        return lengths


@dataclass(frozen=True)
class Plan:
    """Which rows stand in which batch, for every epoch.

    Attributes:
        lengths: int64 (N,), tokens that each row takes up: its windows times the widest of them.
        batch_size: rows in a batch.
        widths: increasing padded lengths; the last is at least the longest row.
        seed: None keeps one order for all epochs, short rows first.
        divisor: rows of a batch are a multiple of this (replicas); the rows that are over in
            an epoch, fewer than this, are left out of it.
        budget: most tokens in a batch, each row as wide as the widest; of rows so long that
            fewer fit, fewer stand in a batch. None sets no limit.

    Example::

        plan = Plan(lengths, batch_size=32, widths=widths(lengths), seed=0)
        batches, padded = plan.epoch(0)
    """

    lengths: np.ndarray
    batch_size: int
    widths: np.ndarray
    seed: int | None = None
    divisor: int = 1
    budget: int | None = None

    def __len__(self) -> int:
        """Count the batches of an epoch, the same for every epoch."""
        return len(self.epoch(0)[1])

    def epoch(self, epoch: int) -> tuple[list[np.ndarray], np.ndarray]:
        """Return the batches of an epoch: their rows, int64 (B,) each, and int64 widths."""
        order = np.arange(len(self.lengths))
        random = None if self.seed is None else np.random.default_rng((self.seed, epoch))
        if random is not None:
            random.shuffle(order)
        bucket = np.searchsorted(self.widths, self.lengths[order])
        batches, left = [], []
        for i, width in enumerate(self.widths):
            rows = order[bucket == i]
            size = self._rows_of(width)
            full = len(rows) // size * size
            batches += [rows[j : j + size] for j in range(0, full, size)]
            left.append(rows[full:])
        # What fills no batch of its own width joins the next wider ones, so that an epoch still
        # has every row but those that the divisor leaves over, the longest of them.
        over = np.concatenate(left)
        over = over[: len(over) // self.divisor * self.divisor]
        batches += self._cut(over)
        if random is not None:
            batches = [batches[i] for i in random.permutation(len(batches))]
        # Joined rows have several widths: a batch takes that of its longest row.
        longest = np.array([self.lengths[rows].max() for rows in batches], np.int64)
        return batches, self.widths[np.searchsorted(self.widths, longest)]

    def _rows_of(self, width: int) -> int:
        """Count the rows of a width that may stand in a batch."""
        if self.budget is None:
            return self.batch_size
        # Rounded down to a multiple of the replicas, but at least one row for each.
        fitting = int(self.budget // width) // self.divisor * self.divisor
        return max(min(self.batch_size, fitting), self.divisor)

    def _cut(self, over: np.ndarray) -> list[np.ndarray]:
        """Cut rows, in the order of their buckets, into batches as large as may be."""
        batches, start = [], 0
        widths = self.widths[np.searchsorted(self.widths, self.lengths[over])]
        # Rows come in order of width, so a batch is as wide as its last row: it is cut as soon as
        # one more share of rows would not fit at that width.
        for stop in range(self.divisor, len(over) + 1, self.divisor):
            if stop - start > self._rows_of(widths[stop - 1]):
                batches.append(over[start : stop - self.divisor])
                start = stop - self.divisor
        return [*batches, over[start:]] if start < len(over) else batches


def widths(lengths: np.ndarray, buckets: int = BUCKETS) -> np.ndarray:
    """Return the padded lengths that pad least, by dynamic programming over the distinct lengths.

    Example::

        widths(np.array([3, 3, 4, 90]), 2)  # [4, 90]

    Source: one-dimensional clusters are found so by Wang and Song 2011, "Ckmeans.1d.dp", algorithm
        1 (https://doi.org/10.32614/RJ-2011-015); the cost here is the padding.
    """
    values, counts = np.unique(lengths, return_counts=True)
    if len(values) > _MOST_LENGTHS:
        # Real lengths that split the rows evenly stand for all; "higher" keeps the longest.
        marks = np.quantile(lengths, np.linspace(0, 1, _MOST_LENGTHS), method="higher")
        values, counts = np.unique(marks, return_counts=True)
    below = np.concatenate([[0], np.cumsum(counts)])
    # cells[i, j]: the tokens of one bucket, from length i to length j, when padded to length j.
    # Only its upper triangle means something: a bucket's first length is not above its last.
    cells = (below[1:] - below[:-1, None]) * values.astype(float)
    cells[np.tril_indices(len(values), -1)] = np.inf
    # least[j]: the tokens of all lengths up to j with the buckets allowed so far, at first one.
    # A further bucket that begins at length i and ends at j costs least[i - 1] + cells[i, j];
    # `begins` keeps, for each number of buckets and each j, the i that costs least.
    least, begins = cells[0], []
    for _ in range(min(buckets, len(values)) - 1):
        total = np.concatenate([[0], least[:-1]])[:, None] + cells
        begins.append(total.argmin(0))
        least = total.min(0)
    # Back from the longest: the last bucket ends there, the one before it ends where this begins,
    # and the first one begins at 0. A bucket is left out where fewer are as good.
    end, ends = len(values), []
    for begin in [*begins[::-1], np.zeros(len(values), int)]:
        if end:
            ends.append(values[end - 1])
            end = begin[end - 1]
    return np.array(ends[::-1], np.int64)


def batches(
    raw: Mapping[str, tf.Tensor],
    plan: Plan,
    prepare: Callable[[dict[str, tf.Tensor], tf.Tensor], Any],
    epochs: range,
    start: int = 0,
    parts: range = range(1),
    of: int = 1,
) -> tf.data.Dataset:
    """Return the batches of several epochs, one after the other.

    Args:
        raw: tensors with N rows, by name. To ``seed``, int64 (N,), a number is added that is
            another one for each epoch and each seed of the plan.
        plan: the batches.
        prepare: (raw columns of a batch, width) -> element, in TensorFlow ops.
        epochs: the epochs to go through.
        start: batches of the first epoch to leave out, because they were seen before.
        parts: the parts of a batch that are wanted, one after the other as elements of their own.
        of: parts into which each batch is dealt out, row by row.

    Example::

        for features, labels in batches(raw, plan, prepare, range(3)):
            train(features, labels)
    """

    def order(epoch: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows, wide = plan.epoch(int(epoch))
        dealt = [r[part::of] for r in rows for part in parts]
        sizes = np.array([len(r) for r in dealt], np.int64)
        return np.concatenate(dealt), sizes, np.repeat(wide, len(parts))

    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        # Added to each row's seed: no two epochs share a number, nor two seeds of the plan.
        begin = epoch * len(plan.lengths) + ((plan.seed or 0) << 32)
        flat, sizes, wide = tf.numpy_function(order, [epoch], [tf.int64, tf.int64, tf.int64])
        for vector in (flat, sizes, wide):
            vector.set_shape([None])
        rows = tf.RaggedTensor.from_row_lengths(flat, sizes, validate=False)
        return tf.data.Dataset.from_tensor_slices((rows, wide, tf.fill(tf.shape(wide), begin)))

    def load(rows: tf.Tensor, width: tf.Tensor, begin: tf.Tensor) -> Any:
        batch = {name: tf.gather(column, rows) for name, column in raw.items()}
        if "seed" in batch:
            batch["seed"] += begin
        return prepare(batch, width)

    whole = tf.autograph.experimental.do_not_convert(one_epoch)
    data = tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(whole)
    count = (len(epochs) * len(plan) - start) * len(parts)
    data = data.skip(start * len(parts)).apply(tf.data.experimental.assert_cardinality(count))
    # Both are in ops already; to let AutoGraph find that out takes seconds of a run.
    # One thread next to training's is fast enough.
    data = data.map(tf.autograph.experimental.do_not_convert(load)).prefetch(4)
    # There is nothing to tune, and an iterator that is tuned sleeps up to a minute before it ends.
    options = tf.data.Options()
    options.autotune.enabled = False
    return data.with_options(options)


def pad(features: Mapping[str, tf.Tensor], width: tf.Tensor, pad_id: int) -> dict[str, tf.Tensor]:
    """Return features with the last axis padded to ``width``: ids with the pad id, others with 0.

    Example::

        pad({"token_ids": ids, "padding_mask": mask}, width, tokenizer.pad_id)
    """
    padded = {}
    for name, value in features.items():
        missing = tf.cast(width, tf.int32) - tf.shape(value)[-1]
        edges = [[0, 0]] * (value.shape.rank - 1) + [[0, tf.maximum(missing, 0)]]
        padded[name] = tf.pad(value, edges, constant_values=pad_id if name == "token_ids" else 0)
    return padded
