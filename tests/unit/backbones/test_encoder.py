"""The transformer layer in few operations: KerasHub's numbers, gradients and file format."""

from __future__ import annotations

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tfnlp.backbones.encoder import Encoder, frozen_in_bfloat16

OPTIONS = {"intermediate_dim": 32, "num_heads": 4, "layer_norm_epsilon": 1e-12}


def pair(**options):
    """Make KerasHub's layer and ours with the same random weights, biases too."""
    layers = []
    for kind in (keras_hub.layers.TransformerEncoder, Encoder):
        layer = kind(**{**OPTIONS, **options})
        layer.build((None, None, 16))
        layers.append(layer)
    random = np.random.default_rng(2)
    values = [random.normal(size=v.shape, scale=0.5) for v in layers[0].weights]
    for layer in layers:
        layer.set_weights(values)
    return layers


def inputs(rows: int = 3, tokens: int = 7):
    random = np.random.default_rng(4)
    x = tf.constant(random.normal(size=(rows, tokens, 16)), tf.float32)
    lengths = [tokens, 2, 1][:rows]
    return x, tf.cast(tf.sequence_mask(lengths, tokens), tf.int32)


@pytest.mark.parametrize("activation", ["gelu", "relu", "tanh"])
@pytest.mark.parametrize("normalize_first", [False, True])
@pytest.mark.parametrize("training", [False, True])  # trained with, it keeps less for gradients
def test_the_numbers_and_gradients_are_those_of_kerashub(activation, normalize_first, training):
    activation = keras.activations.get(activation)
    theirs, ours = pair(activation=activation, normalize_first=normalize_first)
    x, mask = inputs()
    found = []
    for layer in (theirs, ours):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, padding_mask=mask, training=training)
            loss = tf.reduce_sum(tf.sin(y) * tf.cast(mask, tf.float32)[..., None])
        gradients = tape.gradient(loss, [x, *(v.value for v in layer.weights)])
        found.append([y * tf.cast(mask, tf.float32)[..., None], *gradients])
    for wanted, got in zip(*found, strict=True):
        # A sum in another order: relative to the largest number of each tensor.
        size = float(tf.reduce_max(tf.abs(wanted)))
        np.testing.assert_allclose(got, wanted, rtol=0, atol=2e-5 * max(size, 1.0))


def test_padding_changes_nothing():
    _, ours = pair(activation=keras.activations.gelu)
    x, mask = inputs()
    other = tf.where(mask[..., None] > 0, x, 1e3)
    for row, length in enumerate([7, 2, 1]):
        alone = ours(x[row : row + 1, :length], padding_mask=mask[row : row + 1, :length])
        padded = ours(other, padding_mask=mask)[row, :length]
        np.testing.assert_allclose(padded, alone[0], atol=2e-6)


class Doubled(keras.layers.Dense):
    def call(self, inputs):
        return 2 * super().call(inputs)


@pytest.mark.parametrize("how", ["another class", "a changed call", "LoRA"])
def test_sublayers_that_were_replaced_or_adapted_compute_what_they_say(how):
    """As methods that train few weights do with them."""
    theirs, ours = pair(activation=keras.activations.gelu)
    x, mask = inputs()
    before = ours(x, padding_mask=mask)
    for layer in (theirs, ours):
        dense = layer._feedforward_output_dense
        if how == "another class":
            dense.__class__ = Doubled
        elif how == "a changed call":
            dense.call = lambda inputs: tf.zeros_like(inputs[..., : x.shape[-1]])
        else:
            keras.utils.set_random_seed(0)
            dense.enable_lora(2)
            dense.lora_kernel_b.assign(tf.random.stateless_normal([2, 16], [1, 2]))
    wanted, got = (layer(x, padding_mask=mask) for layer in (theirs, ours))
    np.testing.assert_allclose(got[0], wanted[0], atol=2e-5)
    assert np.abs(got[0] - before[0]).max() > 0.01


def test_what_is_rarely_asked_goes_to_kerashub():
    theirs, ours = pair(activation=keras.activations.gelu)
    x, mask = inputs()
    for options in (
        {},
        {"padding_mask": mask, "return_attention_scores": True},
        {"padding_mask": mask, "attention_mask": tf.ones((3, 7, 7), tf.int32)},
    ):
        for wanted, got in zip(
            tf.nest.flatten(theirs(x, **options)), tf.nest.flatten(ours(x, **options)), strict=True
        ):
            np.testing.assert_array_equal(got, wanted)


def test_dropout_falls_only_in_training_and_changes_every_time():
    _, ours = pair(activation=keras.activations.gelu, dropout=0.5)
    x, mask = inputs()
    np.testing.assert_array_equal(ours(x, padding_mask=mask), ours(x, padding_mask=mask))
    first, second = (ours(x, padding_mask=mask, training=True) for _ in range(2))
    assert not np.allclose(first, second)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_other_policies(policy):
    theirs, ours = pair(activation=keras.activations.gelu, dtype=policy)
    x, mask = inputs()
    found = ours(x, padding_mask=mask)
    assert found.dtype == keras.mixed_precision.DTypePolicy(policy).compute_dtype
    near = {"mixed_bfloat16": 0.1, "mixed_float16": 0.01}[policy]
    np.testing.assert_allclose(
        tf.cast(found, tf.float32)[mask > 0],
        tf.cast(theirs(x, padding_mask=mask), tf.float32)[mask > 0],
        atol=near,
    )


def test_a_model_with_it_is_saved_and_loaded(tmp_path):
    network_inputs = {
        "x": keras.Input((None, 16), name="x"),
        "mask": keras.Input((None,), dtype="int32", name="mask"),
    }
    layer = Encoder(**OPTIONS, activation=keras.activations.gelu)
    model = keras.Model(
        network_inputs, layer(network_inputs["x"], padding_mask=network_inputs["mask"])
    )
    assert model.output_shape == (None, None, 16)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    x, mask = inputs()
    given = {"x": x, "mask": mask}
    assert any(type(each) is Encoder for each in again.layers)
    np.testing.assert_array_equal(again(given), model(given))


def test_a_graph_with_it_names_no_gradients():
    _, ours = pair(activation=keras.activations.gelu)
    x, mask = inputs()
    graph = tf.function(ours).get_concrete_function(x, padding_mask=mask).graph
    nodes = graph.as_graph_def().node
    assert nodes
    assert not [node.name for node in nodes if "_gradient_op_type" in node.attr]


def test_frozen_matrices_are_multiplied_as_they_are_held():
    x, mask = inputs()
    given = {
        "x": keras.Input((None, 16), name="x"),
        "mask": keras.Input((None,), dtype="int32", name="mask"),
    }
    encoder = Encoder(**OPTIONS)
    network = keras.Model(given, encoder(given["x"], padding_mask=given["mask"]))
    encoder.trainable = False
    encoder._feedforward_output_dense.trainable = True
    whole = network({"x": x, "mask": mask}, training=True)
    with frozen_in_bfloat16(network), tf.GradientTape() as tape:
        tape.watch(x)
        rounded = network({"x": x, "mask": mask}, training=True)
        answered = network({"x": x, "mask": mask}, training=False)
        gradient = tape.gradient(tf.reduce_sum(tf.sin(rounded)), x)
    kernel = encoder._feedforward_intermediate_dense.kernel
    np.testing.assert_array_equal(answered, whole)  # what is scored is exact
    assert 1e-4 < float(tf.reduce_max(tf.abs(rounded - whole))) < 0.1  # three digits
    kernel.assign(tf.cast(tf.cast(kernel, "bfloat16"), "float32"))
    with tf.GradientTape() as tape:
        tape.watch(x)
        wanted = tape.gradient(tf.reduce_sum(tf.sin(network({"x": x, "mask": mask}))), x)
    np.testing.assert_allclose(gradient, wanted, atol=0.05 * float(tf.reduce_max(tf.abs(wanted))))
    np.testing.assert_array_equal(
        network({"x": x, "mask": mask}, training=True), network({"x": x, "mask": mask})
    )


def test_what_is_trained_is_not_held():
    given = {
        "x": keras.Input((None, 16), name="x"),
        "mask": keras.Input((None,), dtype="int32", name="mask"),
    }
    network = keras.Model(given, Encoder(**OPTIONS)(given["x"], padding_mask=given["mask"]))
    x, mask = inputs()
    with frozen_in_bfloat16(network):
        found = network({"x": x, "mask": mask}, training=True)
    np.testing.assert_array_equal(found, network({"x": x, "mask": mask}))
