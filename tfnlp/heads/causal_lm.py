"""A causal language model: what comes next after each token, by KerasHub's own CausalLM.

Dimensions: B batch, T tokens, P tokens of a prompt, H hidden, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfnlp.backbones import families


def head(backbone: keras.Model) -> keras.Model:
    """Return a causal backbone with KerasHub's output layer, mostly the embedding's own matrix.

    Args:
        backbone: one of KerasHub's.

    Returns:
        A functional model from ``token_ids`` and ``padding_mask``, int32 (B, T), to logits
        (B, T, V) of the token that follows each one.

    Example::

        logits = head(backbone)({"token_ids": ids, "padding_mask": mask})
    """
    model = families.writer(backbone)
    inputs = {n: keras.Input((None,), dtype="int32", name=n) for n in model.input}
    # As a layer of a model, for KerasHub's compile would count padding in a metric of its own.
    return keras.Model(inputs, model(inputs), name="causal_lm")


class Cached:
    """A causal model as `tfnlp.generation.sampling` needs it, over KerasHub's cached attention.

    Args:
        network: made by :func:`head`, or loaded.

    Example::

        Sampler(Cached(network), stop).write(features, settings)
    """

    def __init__(self, network: keras.Model) -> None:
        self.model = families.inside(network)

    def prefill(self, features: Any, room: tf.Tensor) -> tuple[tf.Tensor, Any, Any]:
        """Read the prompts, ``prompt`` int32 (B, P); see `decoding.Network.prefill`."""
        states, cache = self.model._build_cache(features["prompt"])
        return states, longer(cache, room), ()

    def step(
        self, ids: tf.Tensor, index: tf.Tensor, cache: Any, fixed: Any
    ) -> tuple[tf.Tensor, tf.Tensor, Any]:
        """Read one token of each row; see `decoding.Network.step`."""
        logits, states, cache = self.model.call_with_cache(ids, cache, index)
        return tf.cast(logits[:, 0], tf.float32), states[:, 0], cache


def longer(cache: tf.Tensor, room: tf.Tensor) -> tf.Tensor:
    """Return KerasHub's cache, (B, layers, 2, T, heads, size), with room for more tokens.

    Example::

        longer(cache, tf.constant(20))  # (B, layers, 2, T + 20, heads, size)
    """
    return tf.pad(cache, [[0, 0], [0, 0], [0, 0], [0, room], [0, 0], [0, 0]])
