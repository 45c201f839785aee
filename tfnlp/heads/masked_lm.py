"""Predictions of hidden pieces: states -> transform -> the embedding's own matrix.

Source: Devlin et al. 2019, "BERT", section 3.1 (https://arxiv.org/abs/1810.04805); the output
    layer shares its matrix with the embedding as in Press and Wolf 2017, "Using the output
    embedding to improve language models" (https://arxiv.org/abs/1608.05859).

Dimensions: B batch, T tokens, P places (the most that are hidden in a row), H hidden, V
vocabulary.
"""

from __future__ import annotations

from typing import Any

import keras
import keras_hub
from keras import ops

from pipelines.encoding import masking
from tfnlp.runtime import keras_patches


@keras.saving.register_keras_serializable("tfnlp")
class HiddenPlaces(keras.layers.Layer):
    """States (B, T, H) and flags (B, T) -> the states at the flagged places, (B, P, H)."""

    def call(self, states: Any, flags: Any) -> Any:
        """Keep float states where the int32 flags are 1, in the order of their places."""
        return masking.compact(states, flags)

    def compute_output_shape(self, states_shape: tuple, flags_shape: tuple) -> tuple:
        """Return (B, P, H)."""
        return (states_shape[0], None, states_shape[-1])


@keras.saving.register_keras_serializable("tfnlp")
class Bias(keras.layers.Layer):
    """A bias for each piece, added in float32."""

    def build(self, input_shape: tuple) -> None:
        """Make the bias, zeros."""
        self.bias = self.add_weight(shape=input_shape[-1:], initializer="zeros", name="bias")

    def call(self, logits: Any) -> Any:
        """Add it to (..., V)."""
        return ops.cast(logits, "float32") + ops.cast(self.bias, "float32")


@keras.saving.register_keras_serializable("tfnlp")
class ReversibleTokensAndPositions(keras_hub.layers.TokenAndPositionEmbedding):
    """DistilBERT's and XLM-R's embedding, which can be called in reverse as BERT's can."""

    def call(  # type: ignore[override]
        self, inputs: Any, start_index: int = 0, positions: Any = None, reverse: bool = False
    ) -> Any:
        """Embed ids (B, T); in reverse, turn (..., H) into logits (..., V)."""
        if reverse:
            return self.token_embedding(inputs, reverse=True)
        return super().call(inputs, start_index, positions)

    def compute_output_spec(  # type: ignore[override]
        self, inputs: Any, start_index: int = 0, positions: Any = None, reverse: bool = False
    ) -> Any:
        """Return what :meth:`call` would."""
        last = self.vocabulary_size if reverse else self.embedding_dim
        shape = (*inputs.shape[:-1], last) if reverse else (*inputs.shape, last)
        return keras.KerasTensor(shape, dtype=self.compute_dtype)


def head(backbone: keras.Model) -> keras.Model:
    """Return a backbone with an output layer that predicts hidden pieces.

    Args:
        backbone: token_ids, segment_ids, padding_mask, int32 (B, T) -> ``tokens`` (B, T, H).

    Returns:
        A functional model with the same inputs and ``hidden``, int32 (B, T), 1 at the places to
        guess; outputs are logits, float32 (B, P, V). Only those places go through the vocabulary.

    Example::

        network = head(backbone)
    """
    embedding, size = _embedding(backbone)
    inputs = {tensor.name: tensor for tensor in backbone.inputs}
    inputs["hidden"] = keras.Input((None,), dtype="int32", name="hidden")
    states = HiddenPlaces(name="hidden_places")(backbone.output["tokens"], inputs["hidden"])
    states = keras.layers.Dense(size, keras.activations.gelu, name="transform")(states)
    states = keras.layers.LayerNormalization(epsilon=1e-12, name="transform_norm")(states)
    return keras.Model(inputs, Bias(name="vocabulary")(embedding(states, reverse=True)))


def _embedding(backbone: keras.Model) -> tuple[Any, int]:
    """Return the layer that embeds tokens, callable in reverse, and the size of its vectors."""
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.ReversibleEmbedding):
            return layer, layer.output_dim
        if isinstance(layer, keras_hub.layers.TokenAndPositionEmbedding):
            # Were the layer within called by itself, a saved model would come back with two.
            keras_patches.turn(layer, ReversibleTokensAndPositions)
            return layer, layer.embedding_dim
    raise ValueError("the backbone has no embedding of tokens")


def likelihood(targets: Any, logits: Any) -> tuple[Any, Any]:
    """Return how unlikely each prediction was, and which count.

    Args:
        targets: (B, P), the hidden pieces, ``masking.NOTHING`` where a row has fewer than P.
        logits: float32 (B, P, V).

    Returns:
        Negative log-likelihood [nats], 0 where there is nothing, and whether there is something:
        float32 (B, P) each.

    Example::

        loss, counted = likelihood(labels, logits)
    """
    counted = ops.not_equal(targets, masking.NOTHING)
    labels = ops.where(counted, ops.cast(targets, "int32"), 0)
    logits = ops.cast(logits, "float32")
    loss = ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    counted = ops.cast(counted, "float32")
    return loss * counted, counted


class Crossentropy(keras.losses.Loss):
    """The mean negative log-likelihood of a batch's pieces that are to be predicted [nats].

    Args:
        smoothing: share of each target that goes to all pieces alike.

    Example::

        network.compile(loss=Crossentropy(), metrics=[Perplexity(), Accuracy()])

    Source: label smoothing: Szegedy et al. 2016, section 7 (https://arxiv.org/abs/1512.00567).
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__()
        self.smoothing = smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return a scalar: every such piece of the batch counts the same."""
        loss, counted = likelihood(y_true, y_pred)
        if self.smoothing:
            logits = ops.cast(y_pred, "float32")
            even = ops.logsumexp(logits, -1) - ops.mean(logits, -1)
            loss = (1 - self.smoothing) * loss + self.smoothing * even * counted
        return ops.sum(loss) / ops.maximum(ops.sum(counted), 1.0)


def divergence(y_true: Any, said: Any, y_pred: Any, temperature: float) -> Any:
    """Return the mean divergence, of the pieces to be predicted, from another network's [nats].

    Args:
        y_true: pieces (B, P), -1 where there is none.
        said: the other network's log-probabilities, float32 (B, P, V).
        y_pred: logits (B, P, V).
        temperature: that softens both; the result is times its square.

    Example::

        divergence(labels, teacher_log_probabilities, logits, 2.0)

    Source: Hinton et al. 2015, section 2 (https://arxiv.org/abs/1503.02531).
    """
    p, q = (ops.log_softmax(ops.cast(o, "float32") / temperature) for o in (said, y_pred))
    each = ops.sum(ops.exp(p) * (p - q), axis=-1) * temperature**2
    counted = ops.cast(y_true >= 0, "float32")
    return ops.sum(each * counted) / ops.maximum(ops.sum(counted), 1.0)


class Perplexity(keras.metrics.Mean):
    """The exponential of the mean negative log-likelihood, over all hidden pieces."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch: pieces (B, P) and logits (B, P, V)."""
        super().update_state(*likelihood(y_true, y_pred))

    def result(self) -> Any:
        """Return it, a number from 1 to infinity."""
        return ops.exp(super().result())


class Accuracy(keras.metrics.Mean):
    """The share of the hidden pieces whose most likely prediction is right."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch: pieces (B, P) and logits (B, P, V)."""
        right = ops.equal(ops.cast(y_true, "int32"), ops.cast(ops.argmax(y_pred, -1), "int32"))
        super().update_state(right, ops.not_equal(y_true, masking.NOTHING))
