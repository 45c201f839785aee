"""A Llama of two layers with random weights, and settings to ask it with."""

import keras
import keras_hub
import numpy as np
import tensorflow as tf

from tfnlp.generation import sampling
from tfnlp.heads import causal_lm

SIZE, END, PAD = 60, 5, 0


def network() -> keras.Model:
    """Return a causal model whose choices are far from even."""
    backbone = keras_hub.models.LlamaBackbone(
        vocabulary_size=SIZE,
        num_layers=2,
        num_query_heads=4,
        hidden_dim=32,
        intermediate_dim=64,
        num_key_value_heads=2,
    )
    random = np.random.default_rng(1)
    for weight in backbone.weights:
        if len(weight.shape) > 1:
            weight.assign(random.normal(0, 0.6, weight.shape))
    return causal_lm.head(backbone)


def words(ids: tf.RaggedTensor) -> tf.Tensor:
    """Write ids as numbers with spaces between."""
    return tf.strings.reduce_join(tf.strings.as_string(ids), 1, separator=" ")


STOP = sampling.Stop((END,), PAD, words)


def settings(rows: int, **given) -> dict:
    """Return settings of all ways to write, the same for each row."""
    every = {
        "repetition_penalty": 1.0,
        "no_repeat_ngram": 0,
        "min_tokens": 0,
        "max_tokens": 12,
        "stop": "",
        "temperature": 0.0,
        "top_k": 0,
        "top_p": 1.0,
        "seed": 1,
        "beams": 4,
        "length_penalty": 0.0,
        "alpha": 0.6,
    }
    return {name: tf.fill([rows], value) for name, value in {**every, **given}.items()}


def prompts(*rows: list) -> dict:
    """Return prompts of any lengths as features."""
    ragged = tf.ragged.constant(rows, tf.int32)
    lengths = tf.cast(ragged.row_lengths(), tf.int32)
    return {"prompt": ragged.to_tensor(PAD), "prompt_lengths": lengths}
