"""Texts as vectors of a backbone as it was pretrained.

Dimensions: N texts, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from pipelines import batching
from pipelines.encoding import segments
from tfnlp.backbones import loading
from tfnlp.runtime import precision

_BATCH = 64
_LONGEST = 128  # tokens of a text that its vector is of


def opened(name: str) -> Callable[[Sequence[str]], np.ndarray]:
    """Return what turns N texts into vectors of norm 1, float32 (N, H).

    They are the means of the tokens' states. With ``minilm-l6-en`` that is the sentence encoder
    all-MiniLM-L6-v2, near for texts that mean the same; of a backbone that was only pretrained to
    fill gaps it says little.

    Args:
        name: of an encoder, as `tfnlp.backbones.loading.load` takes it.

    Raises:
        UserError: there is no such backbone, or it is no encoder.

    Example::

        vectors = opened("minilm-l6-en")(["A good film.", "A fine movie."])
        vectors[0] @ vectors[1]  # 0.87

    Source: mean pooling of Reimers and Gurevych 2019, "Sentence-BERT", section 3
        (https://arxiv.org/abs/1908.10084).
    """
    backbone = loading.load(name)
    names = [tensor.name for tensor in backbone.model.inputs]
    longest = min(_LONGEST, backbone.max_length)

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string)], autograph=False, reduce_retracing=True
    )
    def mean(texts: tf.Tensor) -> tf.Tensor:
        x, _ = segments.encode(backbone.tokenizer, [texts], longest)
        states = backbone.model({name: x[name] for name in names}, training=False)["tokens"]
        mask = tf.cast(x["padding_mask"], tf.float32)[..., None]
        total = tf.reduce_sum(tf.cast(states, tf.float32) * mask, 1)
        return tf.math.l2_normalize(total, -1)

    def vectors(texts: Sequence[str]) -> np.ndarray:
        if not texts:
            return np.zeros((0, 0), np.float32)
        order, back = batching.by_length(np.array([len(text) for text in texts]), _BATCH)
        with precision.exact():
            found = [mean(tf.constant([texts[i] for i in places])).numpy() for places in order]
        return np.asarray(np.concatenate(found)[back])

    return vectors
