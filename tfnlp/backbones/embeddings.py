"""A network's token embeddings: where it can be cut, and what may be added to them.

Dimensions: B batch, W windows, T tokens, H hidden.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import keras_hub
import tensorflow as tf

from pipelines.errors import UserError
from tfnlp.runtime import keras_patches

EMBEDDINGS = "embeddings"  # the input by which the second part takes them
_LAYERS = (keras.layers.Embedding, keras_hub.layers.TokenAndPositionEmbedding)


def cut(network: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Cut a functional network after the embedding of its ``token_ids``.

    Args:
        network: int32 inputs by name, ``token_ids`` (B, T) among them -> outputs.

    Returns:
        The part from the inputs to the embeddings, float (B, T, H), and the part from them (as
        ``embeddings``) and the inputs to the outputs. They share the network's layers.

    Raises:
        UserError: the embedding is inside of a layer, as with several windows.

    Example::

        below, above = cut(network)
        outputs = above({**features, "embeddings": below(features)})
    """
    inputs = {tensor.name: tensor for tensor in network.inputs}
    layer = _embedding(network)
    if layer is None:
        raise UserError(
            f"the network {network.name} cannot be cut after its embeddings, which are inside of "
            "a layer (take an encoder, and --windows 1)"
        )
    output = layer.output
    output.name = EMBEDDINGS  # Keras warns of an input whose key is not its name
    below = keras.Model(inputs, output, name="below_embeddings")
    above = keras.Model({**inputs, EMBEDDINGS: output}, network.output, name="above_embeddings")
    return below, above


def embedding(network: keras.Model) -> keras.layers.Layer:
    """Return the layer that embeds the token ids of an encoder's network, at any depth.

    Raises:
        UserError: there is none.

    Example::

        embedding(network).embeddings.shape  # (30522, 384)
    """
    inner = (layer for layer in keras_patches.layers_of(network) if isinstance(layer, keras.Model))
    for model in (network, *inner):
        if layer := _embedding(model):
            return layer
    raise UserError(f"the network {network.name} has no embedding of token ids (take an encoder)")


def zeros(network: keras.Model, x: Any) -> tf.Tensor:
    """Return what changes nothing when it is added to a batch's embeddings.

    Args:
        network: an encoder's.
        x: its inputs by name, ``token_ids`` (B, T) or (B, W, T) among them.

    Returns:
        Zeros, float32 (B, T, H) or (B, W, T, H).

    Example::

        network(x, added=zeros(network, x))  # as network(x)
    """
    hidden = embedding(network).output.shape[-1]
    return tf.zeros([*tf.unstack(tf.shape(x["token_ids"])), hidden])


@contextmanager
def adding(network: keras.Model, x: Any, added: tf.Tensor) -> Iterator[None]:
    """Within the block, add a tensor to the token embeddings of a batch that passes a network.

    Args:
        network: an encoder's.
        x: the batch, its inputs by name.
        added: float32, of the shape of `zeros`.

    Example::

        with adding(network, x, noise):
            outputs = network(x, training=True)
    """
    layer = embedding(network)
    sizes = [-1, tf.shape(added)[-2], layer.output.shape[-1]]
    windows = tf.reshape(added, sizes)  # each is a row of the backbone
    used = tf.reduce_any(tf.reshape(x["padding_mask"], sizes[:2]) > 0, -1)

    def then(output: Any) -> Any:
        # Some heads leave out windows that a row does not need.
        whole = tf.shape(output)[0] == tf.shape(windows)[0]
        rows = tf.boolean_mask(windows, used | whole)
        return output + tf.cast(rows, output.dtype)

    with keras_patches.followed(layer, then):
        yield


def _embedding(model: keras.Model) -> keras.layers.Layer | None:
    """Return the layer of a functional model that embeds its ``token_ids``."""
    ids = [tensor for tensor in model.inputs if tensor.name == "token_ids"]
    for layer in model.layers:
        if isinstance(layer, _LAYERS) and any(
            node.input_tensors[0] is tensor for node in layer._inbound_nodes for tensor in ids
        ):
            return layer
    return None
