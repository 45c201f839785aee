"""A tag for each word: tokens' states -> dropout -> emissions, with a CRF's transitions beside.

A loss and ``decode`` know nothing of a model but its outputs. So with a CRF the transitions, C rows
of C, stand below every window's emissions; `scores_of` takes both apart again.

Dimensions: B batch, W windows, T tokens, N words, C tags, H hidden.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tfnlp.heads import crf
from tfnlp.heads.answer_span import PutWindows, TakeWindows


@keras.saving.register_keras_serializable("tfnlp")
class Transitions(keras.layers.Layer):
    """(B, W, T, C) -> (B, W, T + C, C): puts a CRF's transitions [before, after] below.

    They are stored divided by the square root of H: Adam moves every weight by about the learning
    rate, and an emission is the sum of H of them.

    Args:
        width: H.
    """

    def __init__(self, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width

    def build(self, input_shape: tuple) -> None:
        """Create the transitions (C, C), zeros: any tag may follow any."""
        shape = (input_shape[-1], input_shape[-1])
        self.moves = self.add_weight(shape=shape, initializer="zeros", name="transitions_bias")

    def call(self, inputs: Any) -> Any:
        """Put them below each window."""
        moves = ops.cast(self.moves, inputs.dtype) * math.sqrt(self.width)
        shape = ops.shape(inputs)
        moves = ops.broadcast_to(moves, (shape[0], shape[1], *self.moves.shape))
        return ops.concatenate([inputs, moves], axis=2)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return (B, W, T + C, C)."""
        rows = None if input_shape[2] is None else input_shape[2] + input_shape[3]
        return (*input_shape[:2], rows, input_shape[3])

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {**super().get_config(), "width": self.width}


def head(backbone: keras.Model, tags: int, *, dropout: float, with_crf: bool) -> keras.Model:
    """Return a network with a tag's logits on every token.

    Args:
        backbone: token_ids, segment_ids, padding_mask, int32 (B, T) -> ``tokens`` (B, T, H).
        tags: C.
        dropout: dropout rate before the output layer.
        with_crf: whether there are transitions between tags to be learned.

    Returns:
        A functional model with the same inputs, but (B, W, T). Outputs are float32 (B, W, T, C),
        or (B, W, T + C, C) with the transitions below.

    Example::

        network = head(backbone, 9, dropout=0.1, with_crf=True)
    """
    window_inputs = {tensor.name: tensor for tensor in backbone.inputs}
    states = backbone.output["tokens"]
    window = keras.Model(window_inputs, states, name="window")
    inputs = {name: keras.Input((None, None), dtype="int32", name=name) for name in window_inputs}
    used = ops.max(inputs["padding_mask"], axis=-1) > 0
    taken = {name: TakeWindows(name=f"take_{name}")(inputs[name], used) for name in window_inputs}
    vectors = keras.layers.Dropout(dropout, name="head_dropout")(window(taken))
    logits = keras.layers.Dense(tags, dtype="float32", name="emissions")(vectors)
    logits = PutWindows(name="put", dtype="float32")(logits, used)
    if with_crf:
        logits = Transitions(states.shape[-1], dtype="float32", name="crf")(logits)
    return keras.Model(inputs, logits)


def scores_of(
    outputs: tf.Tensor, window: tf.Tensor, place: tf.Tensor, with_crf: bool
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return what a CRF over the words is made of, taken from a model's outputs.

    Args:
        outputs: float32 (B, W, T, C) or, with transitions, (B, W, T + C, C).
        window: int32 (B, N), the window that each word is read in.
        place: int32 (B, N), where its first piece stands there.
        with_crf: whether the outputs hold transitions.

    Returns:
        Emissions float32 (B, N, C), what is added to a text's first word, (C,), and transitions
        (B, C, C), in which the moves that BIO forbids have no probability.

    Example::

        emissions, start, moves = scores_of(network(features), window, place, with_crf=True)
        tags = crf.viterbi(emissions, lengths, start, moves)
    """
    rows, windows, height, tags = tf.unstack(tf.shape(outputs))
    tags = outputs.shape[-1] or tags
    row = tf.range(rows)[:, None]
    flat = tf.reshape(outputs, [-1, tags])
    emissions = tf.gather(flat, (row * windows + window) * height + place)
    start, moves = crf.legal_moves(tags)
    moves = tf.tile(moves[None], [rows, 1, 1])
    return emissions, start, moves + outputs[:, 0, -tags:] if with_crf else moves


@keras.saving.register_keras_serializable("tfnlp")
class TagLoss(keras.losses.Loss):
    """Minus the log-likelihood of the words' tags, divided by the words of the batch.

    Targets are int (B, N, 3): of each word the tag, -1 beyond a row's words, the window and the
    place. Without a CRF each word's tag is independent of the others: cross-entropy.

    Example::

        network.compile(loss=TagLoss(with_crf=True), metrics=[SpanF1(with_crf=True)])

    Source: Lample et al. 2016, equation 1 (https://arxiv.org/abs/1603.01360).
    """

    def __init__(self, with_crf: bool, name: str = "tag_loss") -> None:
        super().__init__(name=name, reduction="sum")
        self.with_crf = with_crf

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return each row's share of the loss, float32 (B,)."""
        tag, window, place = tf.unstack(tf.cast(y_true, tf.int32), axis=-1)
        emissions, start, moves = scores_of(y_pred, window, place, self.with_crf)
        inside = tf.cast(tag >= 0, tf.float32)
        if self.with_crf:
            lengths = tf.reduce_sum(tf.cast(tag >= 0, tf.int32), 1)
            losses = -crf.log_likelihood(emissions, tag, lengths, start, moves)
        else:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels=tf.maximum(tag, 0), logits=emissions
            )
            losses = tf.reduce_sum(losses * inside, 1)
        return losses / tf.maximum(tf.reduce_sum(inside), 1.0)

    def choices(self, x: Any, outputs: Any) -> tuple[Any, Any]:
        """Return the logits of each token's tags, (B, W, T, C); see `agreement.choices`."""
        mask = x["padding_mask"]
        return outputs[:, :, : tf.shape(mask)[2]], mask > 0


@keras.saving.register_keras_serializable("tfnlp")
class SpanF1(keras.metrics.Metric):
    """F1 of the spans that the most likely legal tags give: right only if wholly right."""

    def __init__(self, with_crf: bool, name: str = "f1", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.with_crf = with_crf
        self.right, self.given, self.wanted = (
            self.add_variable((), "zeros", name=name) for name in ("right", "given", "wanted")
        )

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch: targets as of `TagLoss`, and outputs."""
        tag, window, place = tf.unstack(tf.cast(y_true, tf.int32), axis=-1)
        scores = scores_of(tf.cast(y_pred, tf.float32), window, place, self.with_crf)
        lengths = tf.reduce_sum(tf.cast(tag >= 0, tf.int32), 1)
        predicted = crf.viterbi(scores[0], lengths, *scores[1:])
        counts = span_counts(tf.maximum(tag, 0), predicted)
        for variable, count in zip((self.right, self.given, self.wanted), counts, strict=True):
            variable.assign_add(tf.cast(count, variable.dtype))

    def result(self) -> Any:
        """Return F1; 0 if there are no spans at all."""
        return 2 * self.right / ops.maximum(self.given + self.wanted, 1)


def span_counts(wanted: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return how many spans of legal tags are equal, found and wanted.

    Args:
        wanted: int32 (B, N), 0 beyond a row's words.
        found: the same.

    Example::

        span_counts(tf.constant([[1, 2, 0]]), tf.constant([[1, 0, 0]]))  # 0, 1, 1
    """
    edge = [[0, 0], [0, 1]]  # an O after each row
    wanted, found = (tf.reshape(tf.pad(tags, edge), [-1]) for tags in (wanted, found))

    def begins(tags: tf.Tensor) -> tf.Tensor:
        return tags % 2 == 1

    def inside(tags: tf.Tensor) -> tf.Tensor:
        return (tags > 0) & (tags % 2 == 0)

    # A wanted span is missed if one of its words has another tag or the word after it continues it.
    segment = tf.cumsum(tf.cast(~inside(wanted), tf.int32)) - 1
    wrong = tf.math.segment_sum(tf.cast(wanted != found, tf.int32), segment)
    too_long = tf.cast(inside(found)[1:] & ~inside(wanted)[1:], tf.int32)
    wrong += tf.math.unsorted_segment_sum(too_long, segment[:-1], tf.size(wrong))
    heads = tf.boolean_mask(wanted, ~inside(wanted))
    right = tf.reduce_sum(tf.cast(begins(heads) & (wrong == 0), tf.int32))
    counts = [tf.reduce_sum(tf.cast(begins(tags), tf.int32)) for tags in (found, wanted)]
    return right, counts[0], counts[1]
