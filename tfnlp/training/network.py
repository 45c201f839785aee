"""Parts of a batch beside each other, one for each core: a model trains on them as on the whole.

Outputs are put together again before the loss, and gradients are added up after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import keras
import tensorflow as tf

from tfnlp.runtime import threads


class Streamed(keras.Model):
    """A functional model that can take the parts of a batch beside each other."""

    streams = 1

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Take (B, ...) tensors to (B, ...) ones; each row must be answered for itself."""
        if self.streams == 1:
            return super().call(inputs, training=training, mask=mask)
        whole = super().call
        # Traced once for all parts, which are of any size.
        part = tf.function(lambda given: whole(given, training=training), autograph=False)
        rows = tf.shape(tf.nest.flatten(inputs)[0])[0]
        # No part may be empty, so the last row comes again where rows are too few.
        count = tf.maximum(rows, self.streams)
        places = tf.minimum(tf.range(count), rows - 1)
        cuts = [count * i // self.streams for i in range(self.streams + 1)]
        found = [
            part(tf.nest.map_structure(partial(tf.gather, indices=places[start:stop]), inputs))
            for start, stop in pairwise(cuts)
        ]
        return tf.nest.map_structure(lambda *outputs: tf.concat(outputs, 0)[:rows], *found)


def streamed(network: keras.Model) -> keras.Model:
    """Make a functional model fit for parts, where there are any; return others as they are."""
    if threads.count() == 1 or network.distribute_strategy.num_replicas_in_sync > 1:
        return network
    return Streamed(network.input, network.output, name=network.name)


@contextmanager
def used(network: keras.Model) -> Iterator[None]:
    """Let a model take parts beside each other: in training, not in what is exported."""
    if isinstance(network, Streamed):
        network.streams = threads.count()
    try:
        yield
    finally:
        if isinstance(network, Streamed):
            network.streams = 1
