"""What a network's last layer reads of texts: the model's own vectors.

Dimensions: N rows, B rows of a batch, W windows, T tokens, H hidden.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines import batching
from pipelines.rows import Rows
from tfnlp.extensions import TrainedModel
from tfnlp.runtime import precision
from tfnlp.training.attribution import of_any_size


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
