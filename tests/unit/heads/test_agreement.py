"""How far two passes are apart: the symmetric divergence by hand, for each kind of outputs."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfnlp.heads import agreement, answer_span, token_tags


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def divergence(one, other):
    """Half of KL(p || q) + KL(q || p) over the last axis."""
    p, q = softmax(one), softmax(other)
    return ((p * np.log(p / q)).sum(-1) + (q * np.log(q / p)).sum(-1)) / 2


def drawn(*shape):
    random = np.random.default_rng(1)
    return [random.normal(size=shape).astype("float32") for _ in range(2)]


def test_one_label_of_several():
    one, other = drawn(5, 3)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    found = agreement.distance(loss, {}, tf.constant(one), tf.constant(other))
    assert float(found) == pytest.approx(divergence(one, other).mean(), rel=1e-5)
    assert float(agreement.distance(loss, {}, tf.constant(one), tf.constant(one))) == 0


def test_labels_each_by_itself():
    one, other = drawn(5, 3)
    found = agreement.distance(keras.losses.BinaryCrossentropy(from_logits=True), {}, one, other)
    p, q = (1 / (1 + np.exp(-each)) for each in (one, other))
    both = (p - q) * (np.log(p / q) - np.log((1 - p) / (1 - q))) / 2
    assert float(found) == pytest.approx(both.mean(), rel=1e-5)


@pytest.mark.parametrize(
    "loss",
    [keras.losses.MeanSquaredError(), keras.losses.CategoricalCrossentropy(from_logits=False)],
)
def test_what_are_no_logits_by_squared_distance(loss):
    one, other = drawn(5, 2, 3)
    found = agreement.distance(loss, {}, one, other)
    assert float(found) == pytest.approx(((one - other) ** 2).sum(-1).mean(), rel=1e-5)


def test_named_outputs_are_added_up():
    one, other = drawn(5, 3)
    mse = keras.losses.MeanSquaredError()
    found = agreement.distance(
        {"a": mse, "b": mse}, {}, {"a": one, "b": one}, {"a": other, "b": one}
    )
    assert float(found) == pytest.approx(((one - other) ** 2).sum(-1).mean(), rel=1e-5)


@pytest.mark.parametrize("crf", [False, True])
def test_tags_of_tokens_without_padding_and_transitions(crf):
    one, other = drawn(2, 2, 4 + 3 * crf, 3)
    mask = np.array([[[1, 1, 1, 1], [1, 1, 0, 0]], [[1, 1, 1, 0], [0, 0, 0, 0]]], "int32")
    x = {"padding_mask": tf.constant(mask)}
    found = agreement.distance(token_tags.TagLoss(crf), x, tf.constant(one), tf.constant(other))
    want = divergence(one[:, :, :4], other[:, :, :4])[mask > 0].mean()
    assert float(found) == pytest.approx(want, rel=1e-5)


def test_spans_over_the_candidates_of_the_windows_in_use():
    one, other = drawn(2, 2, 4, 2)
    candidates = np.array([[[0, 1, 1, 1], [0, 1, 1, 0]], [[0, 1, 1, 0], [0, 0, 0, 0]]])
    x = {"padding_mask": tf.constant(np.maximum(candidates, candidates.max(-1, keepdims=True)))}
    closed = [np.where(candidates[..., None], z, answer_span.NEVER) for z in (one, other)]
    loss = answer_span.SpanCrossEntropy()
    found = agreement.distance(loss, x, *(tf.constant(z, tf.float32) for z in closed))
    want = [
        divergence(one[row, window, open_, side], other[row, window, open_, side])
        for row in range(2)
        for window in range(2)
        for side in range(2)
        if (open_ := candidates[row, window] > 0).any()
    ]
    assert float(found) == pytest.approx(np.mean(want), rel=1e-4)
