"""AdamW's decay, clipping, schedules and rates by layer, with numbers."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfnlp import config
from tfnlp.training import optimizers


def network() -> keras.Model:
    keras.utils.set_random_seed(3)
    inputs = keras.Input((4,))
    below = keras.layers.Dense(8, name="below")(inputs)
    below = keras.layers.LayerNormalization(name="norm")(below)
    above = keras.layers.Dense(8, name="above")(below)
    return keras.Model(inputs, keras.layers.Dense(2, name="head")(above))


def step(model: keras.Model, gradients, count: int = 1, blocks=(), steps: int = 10, **settings):
    """Return each variable's change after some updates with these gradients."""
    optimizer = optimizers.adamw(config.Optimizer(**settings), steps, blocks)
    variables = model.trainable_variables
    optimizer.build(variables)
    before = {v.path: v.numpy() for v in variables}
    for _ in range(count):
        optimizer.apply_gradients(zip([gradients(v) for v in variables], variables, strict=True))
    return {v.path: v.numpy() - before[v.path] for v in variables}, before


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_weights_decay_but_no_bias_and_no_layer_norm(layer_decay):
    model = network()
    for weight in model.trainable_variables:
        weight.assign(np.full(weight.shape, 2.0))
    blocks = [[model.get_layer("below"), model.get_layer("norm")], [model.get_layer("above")]]
    change, before = step(
        model,
        lambda v: tf.zeros(v.shape),
        blocks=blocks,
        learning_rate=0.1,
        weight_decay=0.3,
        warmup=0.0,
        schedule="constant",
        layer_decay=layer_decay,
    )
    rate = {"below": layer_decay**2, "above": layer_decay, "head": 1.0}
    for path, delta in change.items():
        layer, name = path.split("/")
        wanted = -0.1 * 0.3 * rate[layer] * before[path] if name == "kernel" else 0.0
        np.testing.assert_allclose(delta, np.broadcast_to(wanted, delta.shape), rtol=1e-6)


def test_the_learning_rate_falls_by_layer():
    model = network()
    blocks = [[model.get_layer("below"), model.get_layer("norm")], [model.get_layer("above")]]
    change, _ = step(
        model,
        lambda v: tf.ones(v.shape),
        blocks=blocks,
        learning_rate=0.1,
        weight_decay=0.0,
        clip_norm=0.0,
        warmup=0.0,
        schedule="constant",
        layer_decay=0.5,
    )
    # The first update of Adam is the learning rate itself, against the gradient's sign.
    for layer, rate in {"below": 0.025, "norm": 0.025, "above": 0.05, "head": 0.1}.items():
        for path in (p for p in change if p.startswith(layer + "/")):
            np.testing.assert_allclose(change[path], -rate, rtol=1e-4)


def test_the_numbers_are_those_of_keras_adamw():
    ours, theirs = network(), network()
    gradients = {v.path: np.random.default_rng(1).normal(size=v.shape) for v in ours.weights}
    settings = {"learning_rate": 0.01, "weight_decay": 0.1, "warmup": 0.3, "schedule": "linear"}
    keras_adamw = keras.optimizers.AdamW(
        optimizers.WarmupDecay(0.01, 3, 10), weight_decay=0.1, global_clipnorm=1.0
    )
    keras_adamw.exclude_from_weight_decay(var_names=list(optimizers.UNDECAYED))
    made = optimizers.adamw(config.Optimizer(**settings), 10, ())
    for optimizer, model in ((made, ours), (keras_adamw, theirs)):
        for _ in range(6):
            pairs = [(tf.constant(gradients[v.path], "float32"), v) for v in model.weights]
            optimizer.apply_gradients(pairs)
    for a, b in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def test_of_an_embedding_the_rows_that_were_read_take_the_whole_step_at_once():
    """A row that comes twice is added up first; those that no token has stay as they are."""
    keras.utils.set_random_seed(5)
    layer = keras.layers.Embedding(6, 3, name="words")
    layer.build()
    given = config.Optimizer(
        weight_decay=0.2, clip_norm=0.5, warmup=0.0, schedule="constant", learning_rate=0.01
    )
    optimizer = optimizers.adamw(given, 10, ())
    optimizer.build([layer.embeddings])

    @tf.function
    def learn(batch):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(batch) * tf.constant([1.0, -2.0, 3.0]))
        gradient = tape.gradient(loss, layer.embeddings.value)
        assert isinstance(gradient, tf.IndexedSlices)
        optimizer.apply_gradients([(gradient, layer.embeddings)])

    wanted, squares = layer.embeddings.numpy(), np.zeros((6, 3))
    for step, batch in enumerate(([0, 1, 2, 2], [5, 4, 4, 4], [0, 0, 0, 0]), 1):
        learn(tf.constant(batch))
        counts = np.bincount(batch, minlength=6)[:, None]
        slope = counts * np.array([1.0, -2.0, 3.0])
        slope *= 0.5 / np.linalg.norm(slope)
        read = counts > 0
        squares = np.where(read, 0.999 * squares + 0.001 * slope**2, squares)
        rate = 0.01 * np.sqrt(1 - 0.999**step) / (np.sqrt(squares) + 1e-7)
        wanted = np.where(read, wanted * (1 - 0.2 * 0.01) - rate * slope, wanted)
        np.testing.assert_allclose(layer.embeddings.numpy(), wanted, rtol=1e-4)


def test_a_row_read_once_ends_where_adamw_would_take_it():
    """AdamW spreads the step over the batches that follow; the rest of it is the same."""

    def read_once(whole):
        keras.utils.set_random_seed(5)
        layer = keras.layers.Embedding(6, 3, name="words")
        layer.build()
        before = layer.embeddings.numpy()
        given = config.Optimizer(
            weight_decay=0.0, clip_norm=0.0, warmup=0.0, schedule="constant", learning_rate=0.01
        )
        optimizer = optimizers.adamw(given, 10, ())
        optimizer.build([layer.embeddings])
        for step in range(160):
            row = 2 if step == 100 else 0
            slope = tf.IndexedSlices(tf.constant([[1.0, -2.0, 3.0]]), [row], [6, 3])
            optimizer.apply_gradients(
                [(tf.convert_to_tensor(slope) if whole else slope, layer.embeddings)]
            )
        return (layer.embeddings.numpy() - before)[2]

    np.testing.assert_allclose(read_once(False), read_once(True), rtol=0.05)


def test_the_whole_gradient_is_clipped():
    """Adam hides a gradient's size, its first moment does not."""
    model = network()
    optimizer = optimizers.adamw(config.Optimizer(clip_norm=0.5), 10, ())
    variables = model.trainable_variables
    optimizer.build(variables)
    gradients = [tf.fill(v.shape, 3.0) for v in variables]
    optimizer.apply_gradients(zip(gradients, variables, strict=True))
    norm = math.sqrt(sum(9.0 * int(np.prod(v.shape)) for v in variables))
    for moment in (v for v in optimizer.variables if v.path.endswith("momentum")):
        np.testing.assert_allclose(moment, 0.1 * 3.0 * 0.5 / norm, rtol=1e-5)


def rates(schedule: str, warmup: float, steps: int, accumulate: int = 1) -> list[float]:
    settings = config.Optimizer(
        learning_rate=2.0, schedule=schedule, warmup=warmup, accumulate=accumulate
    )
    optimizer = optimizers.adamw(settings, steps, ())
    weight = keras.Variable([1.0], name="kernel")
    optimizer.build([weight])
    found = []
    for _ in range(steps):
        found.append(float(optimizer.learning_rate))
        optimizer.apply_gradients([(tf.constant([0.0]), weight)])
    return found


def test_schedules():
    assert rates("constant", 0.0, 3) == [2.0, 2.0, 2.0]
    np.testing.assert_allclose(
        rates("linear", 0.4, 10), [0.5, 1, 1.5, 2, 2, 5 / 3, 4 / 3, 1, 2 / 3, 1 / 3], rtol=1e-5
    )
    halves = [1 + math.cos(math.pi * i / 8) for i in range(8)]
    np.testing.assert_allclose(rates("cosine", 0.2, 10), [1, 2, *halves], rtol=1e-5)


def test_an_accumulating_schedule_lasts_as_long():
    found = rates("linear", 0.0, 8, accumulate=2)
    np.testing.assert_allclose(found, rates("linear", 0.0, 8), rtol=1e-5)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_accumulating_more_than_there_is_learns_at_full_rate(schedule):
    """One update an epoch, of 3 batches: as large as one of a batch of all rows."""
    huge = 10**9
    settings = config.Optimizer(learning_rate=2.0, schedule=schedule, accumulate=huge)
    optimizer = optimizers.adamw(settings, 2 * huge, (), every=huge)
    weight = keras.Variable([1.0], name="kernel")
    optimizer.build([weight])
    found = []
    for _ in range(2):
        for _ in range(3):
            optimizer.apply_gradients([(tf.constant([0.0]), weight)])
        found.append(float(optimizer.learning_rate))
        optimizer.update_leftover()
    np.testing.assert_allclose(found, rates(schedule, 0.1, 2), rtol=1e-5)


def test_too_few_batches_make_an_update_by_the_mean_over_their_rows():
    optimizer = optimizers.adamw(
        config.Optimizer(accumulate=64, clip_norm=0.0, warmup=0.0, learning_rate=0.5), 128, ()
    )
    weight, unused = (keras.Variable([1.0], name=name) for name in ("kernel", "unused_kernel"))
    optimizer.build([weight, unused])
    for epoch in (1, 2):
        for rows, slope in ((32, 1.0), (32, 3.0), (6, -40.0)):
            optimizer.rows = rows
            optimizer.apply_gradients([(tf.constant([slope]), weight)])
        assert weight.numpy() == 1.0 if epoch == 1 else weight.numpy() > 1.4
        optimizer.update_leftover()
        assert int(optimizer.iterations) == epoch
        assert float(optimizer.held) == 0
    mean = (32 * 1.0 + 32 * 3.0 + 6 * -40.0) / 70
    moment = next(v for v in optimizer.variables if v.path.endswith("kernel_momentum"))
    np.testing.assert_allclose(moment, [(0.1 + 0.9 * 0.1) * mean], rtol=1e-5)
    np.testing.assert_array_equal(unused, [1.0])  # not even decayed
    before = weight.numpy()
    optimizer.update_leftover()  # of nothing
    np.testing.assert_array_equal(weight, before)
