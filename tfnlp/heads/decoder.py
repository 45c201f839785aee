"""A decoder on an encoder: text to text.

On an encoder such as BERT it is made of KerasHub's TransformerDecoder, and what the encoder has of
the same shape is copied into it: embeddings, self-attention, feed-forward layers and their
normalizations. The attention to the source starts at random. An encoder-decoder of KerasHub's
(BART, T5) brings its own.

Source: Rothe et al. 2020, "Leveraging pre-trained checkpoints for sequence generation tasks",
    BERT2BERT and BERT2RND, section 3 (https://arxiv.org/abs/1907.12461).

Dimensions: B batch, T tokens of the source, U tokens of the target, H hidden, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import keras
import keras_hub
import tensorflow as tf
from keras import ops

from tfnlp.backbones import families, insertions
from tfnlp.heads.causal_lm import longer

_SOURCE = "source_states"
_DROPOUT = 0.1


def head(
    backbone: keras.Model,
    *,
    vocabulary_size: int,
    shared: bool,
    layers: int | None,
    positions: int,
    dropout: float = _DROPOUT,
) -> keras.Model:
    """Return an encoder with a decoder put on it, or KerasHub's encoder-decoder as it is.

    Args:
        backbone: token_ids, segment_ids, padding_mask, int32 (B, T) -> ``tokens`` (B, T, H); or an
            encoder-decoder of KerasHub's.
        vocabulary_size: V.
        shared: the target's vocabulary is the encoder's, so the embedding is copied.
        layers: layers of the decoder; None is as many as the encoder has.
        positions: U, the most tokens of a target.
        dropout: the rate in the decoder's layers.

    Returns:
        A functional model with the inputs ``token_ids``, ``segment_ids``, ``padding_mask``, int32
        (B, T), and ``decoder_ids``, int32 (B, U), the target shifted right; outputs are logits,
        (B, U, V). The output layer is the decoder's embedding.

    Example::

        network = head(backbone, vocabulary_size=8000, shared=False, layers=2, positions=65)
    """
    target = keras.Input((None,), dtype="int32", name="decoder_ids")
    if isinstance(backbone, keras_hub.models.Backbone):
        return _of_hub(backbone, target)
    inputs = {tensor.name: tensor for tensor in backbone.inputs}
    source = keras.layers.Identity(name=_SOURCE)(backbone.output["tokens"])
    models = [x for x in backbone.layers if isinstance(x, keras_hub.layers.TransformerEncoder)]
    size = source.shape[-1]
    embedding = keras.layers.ReversibleEmbedding(
        vocabulary_size, size, embeddings_initializer=_normal(), name="decoder_embedding"
    )
    place = keras_hub.layers.PositionEmbedding(
        positions, initializer=_normal(), name="decoder_positions"
    )
    norm = keras.layers.LayerNormalization(epsilon=1e-12, name="decoder_embedding_norm")
    tokens = embedding(target)
    states = norm(keras.layers.Add(name="decoder_embedding_sum")([tokens, place(tokens)]))
    states = keras.layers.Dropout(dropout, name="decoder_embedding_dropout")(states)
    count = layers or len(models) or 6
    for i in range(count):
        layer = _layer(models[0] if models else None, size, dropout, f"decoder_layer_{i}")
        states = layer(states, source, encoder_padding_mask=inputs["padding_mask"])
    network = keras.Model(
        {**inputs, "decoder_ids": target}, embedding(states, reverse=True), name="encoder_decoder"
    )
    _warm_start(network, backbone, models, shared)
    return network


def _of_hub(backbone: Any, target: Any) -> keras.Model:
    """Give KerasHub's encoder-decoder the inputs that all have; it knows no segments."""
    names = ("token_ids", "segment_ids", "padding_mask")
    inputs = {n: keras.Input((None,), dtype="int32", name=n) for n in names}
    asked = {
        "encoder_token_ids": inputs["token_ids"],
        "encoder_padding_mask": inputs["padding_mask"],
        "decoder_token_ids": target,
        "decoder_padding_mask": ops.ones_like(target),
    }
    logits = families.writer(backbone)(asked)
    return keras.Model({**inputs, "decoder_ids": target}, logits, name="seq2seq")


def _normal() -> keras.initializers.Initializer:
    """The initializer of BERT's embeddings."""
    return keras.initializers.TruncatedNormal(stddev=0.02)


def _layer(model: Any, size: int, dropout: float, name: str) -> keras.layers.Layer:
    """Make a decoder layer of the encoder's shape, or of BERT's proportions."""
    shape = {
        "intermediate_dim": model.intermediate_dim if model else 4 * size,
        "num_heads": model.num_heads if model else max(1, size // 64),
        "activation": model.activation if model else keras.activations.gelu,
        "layer_norm_epsilon": model.layer_norm_epsilon if model else 1e-12,
    }
    return keras_hub.layers.TransformerDecoder(
        **shape, dropout=dropout, kernel_initializer=_normal(), name=name
    )


_SAME = (  # a sublayer of KerasHub's decoder layer, and the encoder's that it starts from
    ("_self_attention_layer", "_self_attention_layer"),
    ("_self_attention_layer_norm", "_self_attention_layer_norm"),
    ("_feedforward_intermediate_dense", "_feedforward_intermediate_dense"),
    ("_feedforward_output_dense", "_feedforward_output_dense"),
    ("_feedforward_layer_norm", "_feedforward_layer_norm"),
)


def _warm_start(
    network: keras.Model, backbone: keras.Model, models: list[Any], shared: bool
) -> None:
    """Copy into the decoder what the encoder has of the same shape."""
    own = decoder_layers(network)
    for i, layer in enumerate(own):
        if models:  # of a deeper encoder evenly spaced layers, its last among them
            model = models[(i + 1) * len(models) // len(own) - 1 if len(own) <= len(models) else -1]
            for mine, theirs in _SAME:
                _copy(getattr(model, theirs), getattr(layer, mine))
    for name, theirs in {
        "decoder_embedding": "token_embedding" if shared else "",
        "decoder_positions": "position_embedding",
        "decoder_embedding_norm": "embeddings_layer_norm",
    }.items():
        found = next((x for x in backbone.layers if x.name == theirs), None)
        if found is None:
            continue
        for mine, weight in zip(network.get_layer(name).weights, found.get_weights(), strict=True):
            rows = weight[: mine.shape[0]]
            if rows.shape == tuple(mine.shape):
                mine.assign(rows)


def _copy(theirs: keras.layers.Layer, mine: keras.layers.Layer) -> None:
    """Copy a layer's weights, without those that a peft method added to it."""
    for to, of in zip(mine.weights, insertions.own_weights(theirs), strict=True):
        to.assign(of)


def decoder_layers(network: keras.Model) -> list[Any]:
    """Return the decoder's layers, from the bottom up.

    Example::

        len(decoder_layers(network))  # 2
    """
    return [x for x in network.layers if isinstance(x, keras_hub.layers.TransformerDecoder)]


class Cached:
    """An encoder with :func:`head`'s own decoder, as `tfnlp.generation.sampling` needs it.

    Args:
        network: made by :func:`head`, or loaded.

    Example::

        BeamSearch(Cached(network), stop).write(features, settings)
    """

    def __init__(self, network: keras.Model) -> None:
        inputs = {n: t for n, t in network.input.items() if n != "decoder_ids"}
        self.encoder = keras.Model(inputs, network.get_layer(_SOURCE).output)
        self.embedding = network.get_layer("decoder_embedding")
        self.positions = network.get_layer("decoder_positions")
        self.norm = network.get_layer("decoder_embedding_norm")
        self.layers = decoder_layers(network)

    def prefill(self, features: Any, room: tf.Tensor) -> tuple[tf.Tensor, Any, Any]:
        """Read the sources; see `decoding.Network.prefill`."""
        names = ("token_ids", "segment_ids", "padding_mask")
        source = self.encoder({name: features[name] for name in names}, training=False)
        ids = features["prompt"]
        batch, steps = tf.shape(ids)[0], tf.shape(ids)[1] + room
        heads, size = self.layers[0].num_heads, source.shape[-1] // self.layers[0].num_heads
        empty = tf.zeros([batch, 2, steps, heads, size], source.dtype)
        across = tf.zeros([batch, 2, tf.shape(source)[1], heads, size], source.dtype)
        fixed = {"source": source, "mask": features["padding_mask"]}
        fixed["cross"] = [across for _ in self.layers]
        states, cache, cross = self._call(ids, 0, [empty for _ in self.layers], fixed, 0)
        return states, cache, {**fixed, "cross": cross}

    def step(
        self, ids: tf.Tensor, index: tf.Tensor, cache: Any, fixed: Any
    ) -> tuple[tf.Tensor, tf.Tensor, Any]:
        """Read one token of each row; see `decoding.Network.step`."""
        states, cache, _ = self._call(ids, index, cache, fixed, None)
        logits = self.embedding(states, reverse=True)
        return tf.cast(logits[:, 0], tf.float32), states[:, 0], cache

    def _call(
        self, ids: tf.Tensor, index: Any, cache: Any, fixed: Any, cross_index: int | None
    ) -> tuple[tf.Tensor, list[tf.Tensor], list[tf.Tensor]]:
        """Run the decoder on tokens from place ``index`` on."""
        tokens = self.embedding(ids)
        states = self.norm(tokens + self.positions(tokens, start_index=index))
        kept, across = [], []
        for layer, mine, cross in zip(self.layers, cache, fixed["cross"], strict=True):
            states, mine, cross = layer(
                states,
                fixed["source"],
                encoder_padding_mask=fixed["mask"],
                self_attention_cache=mine,
                self_attention_cache_update_index=index,
                cross_attention_cache=cross,
                cross_attention_cache_update_index=cross_index,
            )
            kept.append(mine)
            across.append(cross)
        return states, kept, across


class CachedHub:
    """An encoder-decoder of KerasHub's (BART, T5), as `tfnlp.generation.sampling` needs it.

    Args:
        network: made by :func:`head`, or loaded.

    Example::

        BeamSearch(CachedHub(network), stop).write(features, settings)
    """

    def __init__(self, network: keras.Model) -> None:
        self.model = families.inside(network)

    def prefill(self, features: Any, room: tf.Tensor) -> tuple[tf.Tensor, Any, Any]:
        """Read the sources; see `decoding.Network.prefill`."""
        mask = features["padding_mask"]
        states, source, cache, cross = self.model._build_cache(
            features["token_ids"], mask, features["prompt"]
        )
        return states, longer(cache, room), {"source": source, "mask": mask, "cross": cross}

    def step(
        self, ids: tf.Tensor, index: tf.Tensor, cache: Any, fixed: Any
    ) -> tuple[tf.Tensor, tf.Tensor, Any]:
        """Read one token of each row; see `decoding.Network.step`."""
        logits, states, cache, _ = self.model.call_decoder_with_cache(
            encoder_hidden_states=fixed["source"],
            encoder_padding_mask=fixed["mask"],
            decoder_token_ids=ids,
            self_attention_cache=cache,
            self_attention_cache_update_index=index,
            cross_attention_cache=fixed["cross"],
            cross_attention_cache_update_index=None,
        )
        return tf.cast(logits[:, 0], tf.float32), states[:, 0], cache


def attention(network: keras.Model, features: dict[str, tf.Tensor]) -> tf.Tensor:
    """Return how much each target token attends to each source token.

    Args:
        network: an encoder with :func:`head`'s own decoder.
        features: its inputs.

    Returns:
        float32 (B, U, T), the mean over heads of the last layer; a row adds up to 1.

    Example::

        attention(network, features)[0]  # float32 (U, T)
    """
    layers = decoder_layers(network)
    below = keras.Model(network.input, [layers[-1].input, network.get_layer(_SOURCE).output])
    states, source = below(features, training=False)
    states = states[0] if isinstance(states, list) else states
    last = layers[-1]
    length = tf.shape(states)[1]
    causal = tf.linalg.band_part(tf.ones([1, length, length], tf.int32), -1, 0)
    own = last._self_attention_layer(states, states, attention_mask=causal)
    states = last._self_attention_layer_norm(states + own)
    mask = features["padding_mask"][:, None, :]
    _, scores = last._cross_attention_layer(
        states, source, attention_mask=mask, return_attention_scores=True
    )
    return tf.reduce_mean(tf.cast(scores, tf.float32), 1)
