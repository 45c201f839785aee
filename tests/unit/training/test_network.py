"""Parts of a batch beside each other give what the whole batch gives."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfnlp import config
from tfnlp.backbones import embeddings
from tfnlp.extensions import PeftStep
from tfnlp.runtime import threads
from tfnlp.training import optimizers
from tfnlp.training.network import on_all_cores, trainable


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(1)
    names = ("token_ids", "padding_mask")
    inputs = {name: keras.Input([None], dtype="int32", name=name) for name in names}
    states = keras.layers.Embedding(9, 4)(inputs["token_ids"])
    states = states * keras.ops.cast(inputs["padding_mask"], "float32")[..., None]
    outputs = keras.layers.Dense(3)(keras.layers.LayerNormalization()(states))
    # Of no rows, this reshape could not tell the tokens.
    outputs = keras.layers.Lambda(lambda x: tf.reshape(x, [tf.shape(x)[0], -1, 3]))(outputs)
    model = keras.Model(inputs, {"tokens": outputs, "first": outputs[:, 0]})
    return trainable(model, divisible=True)


def learned(network, parts, batch):
    """Return outputs and gradients, computed as fit does."""
    network.streams = parts

    @tf.function(reduce_retracing=True)
    def step(batch):
        with tf.GradientTape() as tape:
            outputs = network(batch, training=True)
            loss = tf.reduce_sum(outputs["tokens"] ** 2) + tf.reduce_sum(outputs["first"])
        return outputs, [tf.convert_to_tensor(g) for g in tape.gradient(loss, network.weights)]

    found = step(batch)
    network.streams = 1
    return found


@settings(deadline=None, max_examples=10)
@given(rows=st.integers(1, 7), tokens=st.integers(1, 5), parts=st.integers(2, 4))
def test_outputs_and_gradients_are_those_of_the_whole(network, rows, tokens, parts):
    random = np.random.default_rng(rows)
    batch = {
        "token_ids": tf.constant(random.integers(0, 9, (rows, tokens)), tf.int32),
        "padding_mask": tf.constant(random.integers(0, 2, (rows, tokens)), tf.int32),
    }
    found, wanted = learned(network, parts, batch), learned(network, 1, batch)
    for a, b in zip(tf.nest.flatten(found), tf.nest.flatten(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_model_is_whole_again_after_training(network):
    inside = []

    def broken_off():
        with on_all_cores(network):
            inside.append(network.streams)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert inside == [threads.count()]
    assert network.streams == 1


@pytest.mark.parametrize("given", [1, 2])
def test_there_are_as_many_parts_as_cores(given):
    code = (
        "import os; places = sorted(os.sched_getaffinity(0)); "
        f"os.sched_setaffinity(0, places[:{given}]); from tfnlp.runtime import threads; "
        "threads.start(); print(min(len(places), threads.count()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == given


def test_each_keeps_the_order_and_stops_at_an_error():
    assert threads.each(lambda i: i * i, range(50)) == [i * i for i in range(50)]
    with pytest.raises(ZeroDivisionError):
        threads.each(lambda i: 1 // i, [1, 0, 2])


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("rows", [1, 4])
def test_what_layers_add_to_the_loss_counts(parts, rows):
    """A layer's add_loss in the parts of a batch is that of the whole, where it is a mean."""

    class Noted(keras.layers.Layer):
        def call(self, inputs):
            self.add_loss(tf.reduce_mean(inputs**2))
            return inputs

    keras.utils.set_random_seed(3)
    inputs = keras.Input([4])
    hidden = Noted()(keras.layers.Dense(3, kernel_regularizer="l2")(inputs))
    made = trainable(keras.Model({"x": inputs}, hidden), divisible=True)
    made.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse", jit_compile=False)
    made.streams = parts
    x = np.random.default_rng(1).normal(size=(rows, 4)).astype("float32")
    y = np.ones((rows, 3), "float32")
    kernel, bias = (np.array(w) for w in made.get_weights())
    outputs = x @ kernel + bias
    wanted = ((outputs - y) ** 2).mean() + (outputs**2).mean() + 0.01 * (kernel**2).sum()
    slope = x.T @ (2 * (outputs - y) + 2 * outputs) / outputs.size + 0.02 * kernel
    data = tf.data.Dataset.from_tensors(({"x": x}, y))
    history = made.fit(data, epochs=1, verbose=0).history
    assert history["loss"][0] == pytest.approx(wanted, rel=1e-5)
    np.testing.assert_allclose(made.get_weights()[0], kernel - 0.1 * slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_peft_method_hears_of_each_update_once(accumulate):
    """With accumulated gradients, too: of their mean over the rows, and of what an epoch leaves."""
    found = []

    class Noted(PeftStep):
        def updated(self, network, gradients, scale):
            tf.py_function(
                lambda g, s: found.append(float(g[0, 0] / s)), [gradients[0][0], scale], []
            )

    keras.utils.set_random_seed(3)
    inputs = keras.Input([1])
    made = trainable(keras.Model(inputs, keras.layers.Dense(1)(inputs)), divisible=True)
    made.peft_step = Noted()
    optimizer = optimizers.adamw(
        config.Optimizer(accumulate=accumulate, learning_rate=0.0), 5 * accumulate, ()
    )
    made.compile(optimizer=optimizer, loss=lambda y, outputs: outputs * y, jit_compile=False)
    optimizer.build(made.trainable_variables)
    # The slope of the kernel is the mean of x * y over a batch's rows.
    batches = [[1.0, 3.0], [5.0, 7.0], [9.0]]
    data = tf.data.Dataset.from_generator(
        lambda: (
            (np.array(b, "float32")[:, None], np.ones((len(b), 1), "float32")) for b in batches
        ),
        output_signature=(tf.TensorSpec([None, 1]), tf.TensorSpec([None, 1])),
    )
    made.fit(data, verbose=0)
    assert found == ([2, 6, 9] if accumulate == 1 else [4])
    if accumulate > 1:
        optimizer.update_leftover()
        assert found == [4, 9]


@settings(deadline=None, max_examples=5)
@given(rows=st.integers(1, 7), parts=st.integers(1, 4))
def test_what_is_added_to_the_embeddings_is_learned_through(network, rows, parts):
    random = np.random.default_rng(rows)
    batch = {
        "token_ids": tf.constant(random.integers(0, 9, (rows, 3)), tf.int32),
        "padding_mask": tf.constant([[1, 1, 0]] * rows, tf.int32),
    }
    _, above = embeddings.cut(network)

    def found(call):
        noise = tf.constant(random.normal(size=(rows, 3, 4)), tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(noise)
            outputs = call(noise)["first"]
        return outputs, tf.convert_to_tensor(tape.gradient(outputs, noise))

    random = np.random.default_rng(0)
    network.streams = parts
    own = found(lambda noise: network(batch, training=True, added=noise))
    network.streams = 1
    random = np.random.default_rng(0)
    below = embeddings.embedding(network)(batch["token_ids"])
    wanted = found(lambda noise: above({"embeddings": below + noise, **batch}))
    for a, b in zip(own, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(
        network(batch, added=embeddings.zeros(network, batch))["tokens"], network(batch)["tokens"]
    )
