"""A network of one embedding and a linear head, whose gradients can be worked out by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfnlp.extensions import Batch
from tfnlp.training.network import trainable


@pytest.fixture
def network():
    """Mean embedding -> dropout -> two logits, compiled with cross-entropy and plain descent."""
    keras.utils.set_random_seed(1)
    names = ("token_ids", "padding_mask")
    inputs = {name: keras.Input([None], dtype="int32", name=name) for name in names}
    states = keras.layers.Embedding(9, 4, name="embedding")(inputs["token_ids"])
    mask = keras.ops.cast(inputs["padding_mask"], "float32")[..., None]
    vector = keras.ops.sum(states * mask, 1) / keras.ops.sum(mask, 1)
    vector = keras.layers.Dropout(0.5, name="head_dropout")(vector)
    model = trainable(
        keras.Model(inputs, keras.layers.Dense(2, name="out")(vector)), divisible=True
    )
    model.compile(
        keras.optimizers.SGD(0.1), loss=keras.losses.CategoricalCrossentropy(from_logits=True)
    )
    return model


@pytest.fixture
def batch():
    """Three rows, of which one is shorter."""
    x = {
        "token_ids": tf.constant([[1, 2, 3], [4, 5, 0], [6, 7, 8]]),
        "padding_mask": tf.constant([[1, 1, 1], [1, 1, 0], [1, 1, 1]]),
    }
    return Batch(x, tf.constant(np.eye(2, dtype="float32")[[0, 1, 0]]), None)
