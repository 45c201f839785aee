"""MPNet: BERT's layers, with a number for each distance between two tokens added to their scores.

Source: Song et al. 2020, MPNet (https://arxiv.org/abs/2004.09297); Raffel et al. 2020, T5, section
    2.1 (https://arxiv.org/abs/1910.10683), for the distances.

Dimensions: B batch, T tokens, N heads, D size of a head, H = N * D hidden.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import keras_hub
import tensorflow as tf
from keras import ops

from tfnlp.backbones.encoder import Encoder, mix, shut, swap

POSITION_OFFSET = 2  # row of the first token's position; the rows before it are of padding


def first_distances(count: int, furthest: int) -> list[int]:
    """Return the distance at which each bucket of one direction begins, but the first.

    Half of a direction's buckets hold one distance each, the others grow by a common factor.

    Args:
        count: buckets, of both directions.
        furthest: the distance from which all are alike.

    Example:
        >>> first_distances(32, 128)
        [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91]
    """
    half = count // 2
    exact = half // 2
    factors = ((furthest / exact) ** (step / (half - exact)) for step in range(half - exact))
    # 16 = 8 * 16 ** (2 / 8) may come out a little above 16.
    return [*range(1, exact), *(math.ceil(exact * factor - 1e-9) for factor in factors)]


@keras.saving.register_keras_serializable("tfnlp")
class RelativeBias(keras.layers.Layer):
    """What the distance between two tokens adds to their scores: (B, T) -> (1, N, T, T).

    Args:
        num_heads: N.
        num_buckets: distances that are told apart, of both directions.
        max_distance: from here on all distances are alike [tokens].

    Example::

        bias = RelativeBias(num_heads=12)(padding_mask)
    """

    def __init__(
        self, num_heads: int, num_buckets: int = 32, max_distance: int = 128, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.num_buckets = num_buckets
        self.max_distance = max_distance

    def build(self, _: Any) -> None:
        """Make the table (buckets, N)."""
        shape = (self.num_buckets, self.num_heads)
        initializer = keras.initializers.TruncatedNormal(stddev=0.02)
        self.table = self.add_weight(shape=shape, initializer=initializer, name="table")

    def call(self, padding_mask: Any) -> Any:
        """Look up all distances; of ``padding_mask`` int32 (B, T) only T is read."""
        places = tf.range(tf.shape(padding_mask)[1])
        distances = tf.reshape(places[None, :] - places[:, None], [-1])  # key - query
        starts = tf.constant(first_distances(self.num_buckets, self.max_distance))
        buckets = tf.searchsorted(starts, tf.abs(distances), side="right")
        buckets += tf.where(distances > 0, self.num_buckets // 2, 0)
        table = ops.convert_to_tensor(self.table)
        # A product, because the gradient of a gather would be one row for each pair of tokens.
        found = tf.matmul(tf.one_hot(buckets, self.num_buckets, dtype=table.dtype), table)
        square = tf.reshape(found, [tf.size(places), tf.size(places), self.num_heads])
        return tf.transpose(square, [2, 0, 1])[None]

    def compute_output_spec(self, padding_mask: Any) -> Any:
        """Return the shape (1, N, T, T)."""
        length = padding_mask.shape[1]
        return keras.KerasTensor((1, self.num_heads, length, length), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of ``__init__``."""
        own = ("num_heads", "num_buckets", "max_distance")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


@keras.saving.register_keras_serializable("tfnlp")
class BiasedEncoder(Encoder):
    """A transformer layer whose attention scores have something added to them.

    Example::

        states = BiasedEncoder(3072, 12)(states, padding_mask=mask, attention_bias=bias)
    """

    def call(  # type: ignore[override]
        self,
        inputs: Any,
        padding_mask: Any,
        attention_bias: Any,
        training: bool | None = None,
    ) -> Any:
        """Float (B, T, H), int32 (B, T), float (1, N, T, T) -> float (B, T, H)."""
        if isinstance(inputs, keras.KerasTensor):
            return keras.KerasTensor(inputs.shape, inputs.dtype)
        if self._is_plain():
            return self._quick(inputs, padding_mask, training, attention_bias)
        return self._by_sublayers(inputs, padding_mask, training, attention_bias)

    def _by_sublayers(self, x: Any, padding_mask: Any, training: bool | None, bias: Any) -> Any:
        """Compute the same by calls of the sublayers, some of which somebody has changed."""
        layer = self._self_attention_layer
        query, key, value = (
            swap(part(x)) for part in (layer.query_dense, layer.key_dense, layer.value_dense)
        )
        added = bias + shut(padding_mask, x.dtype)
        y = layer.output_dense(swap(mix(layer, query, key, value, added, training)))
        x = self._self_attention_layer_norm(x + self._self_attention_dropout(y, training=training))
        y = self._feedforward_output_dense(self._feedforward_intermediate_dense(x))
        return self._feedforward_layer_norm(x + self._feedforward_dropout(y, training=training))


@keras.saving.register_keras_serializable("tfnlp")
class MPNetBackbone(keras_hub.models.Backbone):
    """MPNet's encoder, laid out as KerasHub lays out BERT's.

    Args:
        vocabulary_size: pieces.
        num_layers: transformer layers.
        num_heads: N.
        hidden_dim: H.
        intermediate_dim: the size within a layer's two last products.
        dropout: rate.
        max_sequence_length: the most tokens that have a position.
        num_buckets: distances that are told apart.
        dtype: Keras's dtype policy.

    Example::

        MPNetBackbone(30527, 12, 12, 768, 3072)({"token_ids": ids, "padding_mask": mask})
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_layers: int,
        num_heads: int,
        hidden_dim: int,
        intermediate_dim: int,
        dropout: float = 0.1,
        max_sequence_length: int = 512,
        num_buckets: int = 32,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        drawn = {"embeddings_initializer": keras.initializers.TruncatedNormal(stddev=0.02)}
        self.token_embedding = keras.layers.ReversibleEmbedding(
            vocabulary_size, hidden_dim, **drawn, dtype=dtype, name="token_embedding"
        )
        self.position_embedding = keras_hub.layers.PositionEmbedding(
            max_sequence_length + POSITION_OFFSET,
            keras.initializers.TruncatedNormal(stddev=0.02),
            dtype=dtype,
            name="position_embedding",
        )
        self.embeddings_add = keras.layers.Add(dtype=dtype, name="embeddings_add")
        self.embeddings_layer_norm = keras.layers.LayerNormalization(
            epsilon=1e-5, dtype=dtype, name="embeddings_layer_norm"
        )
        self.embeddings_dropout = keras.layers.Dropout(
            dropout, dtype=dtype, name="embeddings_dropout"
        )
        self.relative_bias = RelativeBias(num_heads, num_buckets, dtype=dtype, name="relative_bias")
        self.transformer_layers = [
            BiasedEncoder(
                intermediate_dim,
                num_heads,
                dropout,
                keras.activations.gelu,
                layer_norm_epsilon=1e-5,
                kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
                dtype=dtype,
                name=f"transformer_layer_{i}",
            )
            for i in range(num_layers)
        ]
        self.pooled_dense = keras.layers.Dense(
            hidden_dim,
            "tanh",
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            dtype=dtype,
            name="pooled_dense",
        )
        inputs = {
            name: keras.Input((None,), dtype="int32", name=name)
            for name in ("token_ids", "padding_mask")
        }
        mask = inputs["padding_mask"]
        tokens = self.token_embedding(inputs["token_ids"])
        positions = self.position_embedding(tokens, start_index=POSITION_OFFSET)
        x = self.embeddings_layer_norm(self.embeddings_add((tokens, positions)))
        x = self.embeddings_dropout(x)
        bias = self.relative_bias(mask)
        for layer in self.transformer_layers:
            x = layer(x, padding_mask=mask, attention_bias=bias)
        outputs = {"sequence_output": x, "pooled_output": self.pooled_dense(x[:, 0, :])}
        super().__init__(inputs=inputs, outputs=outputs, dtype=dtype, **kwargs)
        self.vocabulary_size = vocabulary_size
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        self.dropout = dropout
        self.max_sequence_length = max_sequence_length
        self.num_buckets = num_buckets

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of ``__init__``."""
        own = [
            *("vocabulary_size", "num_layers", "num_heads", "hidden_dim", "intermediate_dim"),
            *("dropout", "max_sequence_length", "num_buckets"),
        ]
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
