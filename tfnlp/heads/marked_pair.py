"""A relation between two marked arguments: the text's state and the mean states of both.

Dimensions: B batch, T tokens, H hidden.
"""

from __future__ import annotations

import keras

from tfnlp.heads.pooled import masked_mean


def head(backbone: keras.Model, output: keras.layers.Layer, *, dropout: float) -> keras.Model:
    """Return a network of the first token's state and the arguments' mean states.

    Args:
        backbone: token_ids, segment_ids, padding_mask, int32 (B, T) -> ``tokens`` (B, T, H).
        output: the last layer, from (B, 3 H).
        dropout: dropout rate before each dense layer.

    Returns:
        A functional model with the further inputs ``head`` and ``tail``, int32 (B, T), 1 on the
        tokens of an argument.

    Example::

        network = head(backbone, keras.layers.Dense(19), dropout=0.1)

    Source: Wu and He 2019, "Enriching pre-trained language model with entity information for
        relation classification" (R-BERT), section 3.2, equations 1 to 4: one dense layer for the
        text and one shared by both arguments, with tanh (https://arxiv.org/abs/1905.08284).
    """
    states = backbone.output["tokens"]
    inputs = {tensor.name: tensor for tensor in backbone.inputs}
    for name in ("head", "tail"):
        inputs[name] = keras.Input((None,), dtype="int32", name=name)
    size = states.shape[-1]
    text = keras.layers.Dense(size, "tanh", name="text_state")
    argument = keras.layers.Dense(size, "tanh", name="argument_state")
    drop = keras.layers.Dropout(dropout, name="state_dropout")
    parts = [text(drop(states[:, 0]))]
    parts += [argument(drop(masked_mean(states, inputs[name]))) for name in ("head", "tail")]
    vector = keras.layers.Concatenate(name="arguments")(parts)
    vector = keras.layers.Dropout(dropout, name="head_dropout")(vector)
    return keras.Model(inputs, output(vector))
