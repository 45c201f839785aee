"""A small encoder for the peft methods."""

from __future__ import annotations

from types import SimpleNamespace

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tfnlp.backbones import encoder

MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], "int32")


@pytest.fixture
def backbone():
    """Two transformer layers of 4 heads, 16 wide, 24 in between."""
    keras.utils.set_random_seed(3)
    states = keras.Input((None, 16), name="states")
    mask = keras.Input((None,), dtype="int32", name="mask")
    layers = [keras_hub.layers.TransformerEncoder(24, 4, name=f"layer_{i}") for i in range(2)]
    x = states
    for layer in layers:
        x = layer(x, padding_mask=mask)
    model = keras.Model({"states": states, "mask": mask}, x)
    encoder.adopt(model)
    blocks = ((), *((layer,) for layer in layers))
    return SimpleNamespace(name="small", kind="encoder", model=model, blocks=blocks)


def answers(backbone):
    """What the encoder puts out for two examples, one of them padded."""
    states = np.random.default_rng(1).normal(size=(2, 5, 16)).astype("float32")
    return backbone.model({"states": tf.constant(states), "mask": tf.constant(MASK)}).numpy()


def train(backbone):
    """Move the added weights as training would."""
    random = np.random.default_rng(2)
    for weight in backbone.model.trainable_weights:
        weight.assign(weight + random.normal(size=weight.shape) * 0.1)
