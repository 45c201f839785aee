"""A network in two parts, cut after its token embeddings.

Dimensions: B batch, T tokens, H hidden.
"""

from __future__ import annotations

import keras
import keras_hub

from pipelines.errors import UserError

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
    found = [
        layer
        for layer in network.layers
        if isinstance(layer, _LAYERS)
        and any(node.input_tensors[0] is inputs["token_ids"] for node in layer._inbound_nodes)
    ]
    if not found:
        raise UserError(
            f"the network {network.name} cannot be cut after its embeddings, which are inside of "
            "a layer (take an encoder, and --windows 1)"
        )
    output = found[0].output
    output.name = EMBEDDINGS  # Keras warns of an input whose key is not its name
    below = keras.Model(inputs, output, name="below_embeddings")
    above = keras.Model({**inputs, EMBEDDINGS: output}, network.output, name="above_embeddings")
    return below, above
