"""Keys and values that attention finds in front of those of the tokens, and that are trained.

Dimensions: B batch, T tokens that ask, S tokens that are seen, P length of a prefix, N heads of
queries, U heads of keys and values, D size of a head.
"""

from __future__ import annotations

from typing import Any

import keras
import keras_hub
import tensorflow as tf
from keras import ops
from keras_hub.src.models.llama.llama_attention import LlamaAttention

from tfnlp.backbones.insertions import Addition
from tfnlp.runtime import keras_patches


class Prefix(Addition):
    """P keys and values, (P, U, D) each, that belong to no token and have no position.

    Args:
        length: P.
        heads: U.
        size: D.
        name: unique in the network.

    Example::

        Prefix(16, 12, 32, name="prefix_1").key.shape  # (16, 12, 32)
    """

    def __init__(self, length: int, heads: int, size: int, *, name: str) -> None:
        super().__init__(name=name)
        self.length = length
        shape = (length, heads, size)
        for_key, for_value = (keras.initializers.RandomNormal(stddev=0.02) for _ in range(2))
        self.key = self.add_weight(shape=shape, initializer=for_key, name="key")
        self.value = self.add_weight(shape=shape, initializer=for_value, name="value")
        self.built = True

    def before(self, key: Any, value: Any, axis: int) -> tuple[Any, Any]:
        """Put the prefix in front of keys and values.

        Args:
            key: float (B, S, U, D), or (B, U, S, D).
            value: as the keys.
            axis: of the tokens, 1 or 2.

        Returns:
            Both, with P + S in place of S.
        """

        def joined(own: Any, given: Any) -> Any:
            own = ops.cast(own, given.dtype)
            own = own if axis == 1 else ops.swapaxes(own, 0, 1)
            own = ops.broadcast_to(own[None], (ops.shape(given)[0], *own.shape))
            return ops.concatenate([own, given], axis)

        return joined(self.key, key), joined(self.value, value)

    def unmasked(self, mask: Any) -> Any:
        """Let all see the prefix: a mask (..., S), 0 or False where nothing is seen -> P + S."""
        seen = ops.ones((*ops.shape(mask)[:-1], self.length), dtype=mask.dtype)
        return ops.concatenate([seen, mask], -1)

    def unbiased(self, added: Any) -> Any:
        """Add nothing to scores of the prefix: float (B or 1, N or 1, T or 1, S) -> P + S."""
        return tf.pad(added, [[0, 0], [0, 0], [0, 0], [self.length, 0]])


class Prefixed:
    """Attention with a prefix."""

    prefix: Prefix


class _JoinedPrefix(Prefixed):
    """Attention of Keras's kind."""

    def _compute_attention(
        self,
        query: Any,
        key: Any,
        value: Any,
        attention_mask: Any = None,
        *rest: Any,
        **named: Any,
    ) -> Any:
        """Float (B, T, N, D), twice (B, S, N, D), a mask (B, T or 1, S) -> as Keras's."""
        key, value = self.prefix.before(key, value, axis=1)
        if attention_mask is not None:
            attention_mask = self.prefix.unmasked(attention_mask)
        after: Any = super()
        return after._compute_attention(query, key, value, attention_mask, *rest, **named)


class PrefixedAttention(_JoinedPrefix, keras.layers.MultiHeadAttention):
    """Keras's layer with a prefix."""


class PrefixedCachedAttention(_JoinedPrefix, keras_hub.layers.CachedMultiHeadAttention):
    """KerasHub's layer with a prefix, which is not in its cache."""


class PrefixedLlamaAttention(Prefixed, LlamaAttention):
    """Llama's layer with a prefix, which is not in its cache and not turned by a position."""

    def _compute_attention(
        self, query: Any, key: Any, value: Any, attention_mask: Any = None
    ) -> Any:
        """Float (B, T, N, D), twice (B, S, N, D), a mask (B, T, S) -> float (B, T, N, D).

        The prefix is multiplied by itself: a step of writing would copy all keys to join them, and
        `tfnlp.generation.keras_ops` would not know them as those of the cache.
        """
        own_key, own_value = (
            ops.repeat(ops.cast(own, query.dtype), self.num_key_value_groups, axis=1)
            for own in (self.prefix.key, self.prefix.value)
        )
        of_prefix = ops.einsum("bquh,puh->buqp", query, own_key)
        of_tokens = ops.einsum(self._dot_product_equation, query, key)
        scores = ops.concatenate([of_prefix, of_tokens], -1)
        scores *= ops.cast(self._inv_norm_factor, scores.dtype)
        if attention_mask is not None:
            attention_mask = self.prefix.unmasked(attention_mask)
        shares = ops.cast(self._masked_softmax(scores, attention_mask), query.dtype)
        length = self.prefix.length
        mixed = ops.einsum("buqp,puh->bquh", shares[..., :length], own_value)
        return mixed + ops.einsum(self._combine_equation, shares[..., length:], value)


_KINDS = {
    keras.layers.MultiHeadAttention: PrefixedAttention,
    keras_hub.layers.CachedMultiHeadAttention: PrefixedCachedAttention,
    LlamaAttention: PrefixedLlamaAttention,
}


def attentions(block: tuple[keras.layers.Layer, ...]) -> list[keras.layers.Layer]:
    """Return the layers within a transformer layer that can be given a prefix.

    Args:
        block: an entry of `tfnlp.backbones.loading.Backbone.blocks`.

    Example::

        attentions(backbone.blocks[1])  # [<MultiHeadAttention self_attention_layer>]
    """
    return [layer for outer in block for layer in outer._flatten_layers() if type(layer) in _KINDS]


def put(layer: Any, length: int, name: str) -> None:
    """Give a layer a prefix.

    Args:
        layer: one that `attentions` returned.
        length: P.
        name: unique in the network.

    Example::

        put(attention, 16, "prefix_1")
    """
    heads, size = layer._key_dense.kernel.shape[1:]
    keras_patches.attach(layer, "prefix", Prefix(length, heads, size, name=name))
    keras_patches.turn(layer, _KINDS[type(layer)])
