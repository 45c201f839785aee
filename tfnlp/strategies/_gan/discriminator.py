"""A small transformer that tells whether each beginning of a text is real or generated.

Source: de Masson d'Autume et al. 2019, "Training language GANs from scratch", section 3.2
    (https://arxiv.org/abs/1905.09922), whose recurrent discriminator decides after each token too,
    so that the generator is told where a text went wrong. A transformer that looks only back
    does the same and is faster than a recurrence on a CPU.

Dimensions: B batch, T tokens, V vocabulary.
"""

from __future__ import annotations

import keras
import keras_hub

_HEAD = 32  # size of an attention head


def head(
    vocabulary_size: int, length: int, *, layers: int = 2, hidden: int = 128, dropout: float = 0.1
) -> keras.Model:
    """Build a discriminator with random weights.

    Args:
        vocabulary_size: V.
        length: the most tokens T of a text [tokens].
        layers: of the transformer.
        hidden: size of its states, a multiple of 32.
        dropout: the rate in its layers.

    Returns:
        A functional model from ``token_ids`` and ``padding_mask``, int32 (B, T), to logits,
        float32 (B, T), one for each place: above 0 the text up to there is taken for real.

    Example::

        logits = head(2000, 32)({"token_ids": ids, "padding_mask": mask})  # (B, T)
    """
    inputs = {
        name: keras.Input((None,), dtype="int32", name=name)
        for name in ("token_ids", "padding_mask")
    }
    states = keras_hub.layers.TokenAndPositionEmbedding(vocabulary_size, length, hidden)(
        inputs["token_ids"]
    )
    states = keras.layers.Dropout(dropout)(states)
    for _ in range(layers):
        layer = keras_hub.layers.TransformerDecoder(4 * hidden, hidden // _HEAD, dropout)
        states = layer(states, decoder_padding_mask=inputs["padding_mask"])
    logits = keras.layers.Dense(1, dtype="float32")(states)
    return keras.Model(inputs, keras.ops.squeeze(logits, -1), name="discriminator")
