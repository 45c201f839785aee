"""What Keras does without each patch. A test that fails here: the patch is no longer needed."""

import inspect
import re
import subprocess
import sys

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tfnlp.backbones.encoder import Encoder
from tfnlp.runtime import keras_patches


def test_each_patch_has_a_test():
    source = inspect.getsource(sys.modules[__name__])
    public = {
        name
        for name, value in vars(keras_patches).items()
        if getattr(value, "__module__", None) == keras_patches.__name__ and name[0] != "_"
    }
    tested = set(re.findall(r"keras_patches\.(\w+)", source))
    assert public == tested & public


def test_keras_gives_a_built_layer_no_other_variable():
    one, other = (keras.layers.Dense(2) for _ in range(2))
    for layer in (one, other):
        layer.build((None, 3))
    with pytest.raises(AttributeError):
        one.kernel.value = other.kernel.value
    keras_patches.share(one.kernel, other.kernel)
    assert one.kernel.value is other.kernel.value
    x = np.ones((1, 3))
    assert np.array_equal(one(x), other(x))


def test_keras_draws_weights_that_a_file_is_to_replace():
    def first():
        keras.utils.set_random_seed(1)
        return keras.layers.Embedding(3, 2, embeddings_initializer="random_normal")

    layer = first()
    layer.build()
    assert np.abs(layer.get_weights()[0]).min() > 0  # without a way to leave it out
    with keras_patches.undrawn():
        layer = first()
        layer.build()
    assert not layer.get_weights()[0].any()


def operations(function, *arguments):
    """Return the kinds of operations in a traced function."""
    graph = tf.function(function).get_concrete_function(*arguments).graph
    return {op.type for op in graph.get_operations()}


def test_keras_updates_a_slice_by_an_operation_that_needs_xla():
    cache, new = tf.zeros([1, 4, 2]), tf.ones([1, 1, 2])

    def step(index):
        return keras.ops.slice_update(cache, [0, index, 0], new)

    assert "XlaDynamicUpdateSlice" in operations(step, tf.constant(1))
    einsum, repeat = keras_patches.attention_ops()

    def ours(index):
        with keras_patches.replaced_ops(lambda *_: cache, einsum, repeat):
            return step(index)

    assert "XlaDynamicUpdateSlice" not in operations(ours, tf.constant(1))


def test_keras_transposes_the_cache_for_one_token():
    query, key = tf.ones([1, 1, 4, 2]), tf.ones([1, 5, 4, 2])
    einsum, repeat = keras_patches.attention_ops()
    assert "Transpose" in operations(lambda: einsum("bquh,bkuh->buqk", query, key))
    assert "Tile" in operations(lambda: repeat(key, 2, axis=2)) or "GatherV2" in operations(
        lambda: repeat(key, 2, axis=2)
    )


def test_keras_cannot_exchange_a_layer_of_a_model():
    inputs = {name: keras.Input([3, 4] if name == "x" else [3], name=name) for name in ("x", "m")}
    layer = keras_hub.layers.TransformerEncoder(8, 2)
    model = keras.Model(inputs, layer(inputs["x"], padding_mask=inputs["m"]))
    with pytest.raises(AttributeError):
        model.layers = [Encoder.from_config(layer.get_config())]
    before = model.get_weights()
    keras_patches.turn(layer, Encoder)
    assert type(keras_patches.layers_of(model)[-1]) is not keras_hub.layers.TransformerEncoder
    assert [type(each) for each in model.layers if each.weights] == [Encoder]
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_class_given_to_a_layer_leaves_its_signature_as_it_was():
    class Reversible(keras.layers.Dense):
        def call(self, inputs, reverse=False):
            return inputs if reverse else super().call(inputs)

    layer = keras.layers.Dense(2)
    layer(tf.ones([1, 3]))
    layer.__class__ = Reversible
    assert "reverse" not in layer.call_signature_parameters
    keras_patches.turn(layer, Reversible)
    assert "reverse" in layer.call_signature_parameters
    assert layer(tf.ones([1, 3]), reverse=True).shape == (1, 3)


def test_the_layers_of_keras_are_the_outermost():
    inner = keras.Sequential([keras.Input([2]), keras.layers.Dense(2, name="deep")])
    inputs = keras.Input([2])
    model = keras.Model(inputs, inner(inputs))
    assert "deep" not in {layer.name for layer in model.layers}
    assert "deep" in {layer.name for layer in keras_patches.layers_of(model)}


def test_keras_keeps_an_added_loss_of_another_function():
    class Added(keras.layers.Layer):
        def call(self, inputs):
            self.add_loss(tf.reduce_mean(inputs))
            return inputs

    inputs = keras.Input([2])
    model = keras.Model(inputs, Added()(inputs))
    part = tf.function(model)

    @tf.function
    def whole(x):
        part(x)
        return tf.add_n(model.losses)

    with pytest.raises((TypeError, ValueError), match=r"out of scope|inaccessible"):
        whole(tf.ones([1, 2]))

    @tf.function
    def ours(x):
        model(x)
        return tf.add_n(keras_patches.take_added_losses(model))

    assert float(ours(tf.fill([1, 2], 3.0))) == 3
    assert keras_patches.take_added_losses(model) == []


REPLICAS = """
import numpy as np, tensorflow as tf, keras
from tfnlp.runtime import keras_patches
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
one, two = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
random = np.random.default_rng(0)
X = random.normal(size=(12, 4)).astype("float32")
Y = np.eye(2, dtype="float32")[(X.sum(1) > 0).astype(int)]

def trained(strategy, size=4, **settings):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        inputs = keras.Input([4])
        model = keras.Model(inputs, keras.layers.Dense(2, "softmax")(inputs))
        optimizer = keras.optimizers.SGD(0.5, **settings)
        model.compile(optimizer, "categorical_crossentropy")
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(size)
    history = model.fit(data, epochs=3, verbose=0).history
    return model.get_weights()[0], history
"""


def on_replicas(body):
    """Run a body in a process that has two devices."""
    done = subprocess.run(
        [sys.executable, "-c", REPLICAS + body], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.slow
def test_keras_on_replicas_clips_accumulates_and_builds_otherwise():
    """`keras_patches.update_each_copy` and `keras_patches.ReplicatedModel`."""
    said = on_replicas("""
from unittest import mock
from keras.src.backend.tensorflow import trainer

def fails(name, **settings):
    try:
        trained(two, **settings)
    except Exception as error:
        print(name, type(error).__name__)

plain = np.abs(trained(one)[0] - trained(two)[0]).max()
clipped = [trained(each, global_clipnorm=0.01)[0] for each in (one, two)]
print(plain < 1e-5, np.abs(clipped[0] - clipped[1]).max() > 1e-3)
fails("accumulating", gradient_accumulation_steps=2)
fails("uneven", size=3)
with mock.patch.object(trainer, "_collective_all_reduce_multi_worker", lambda _: True):
    fails("workers")
""")
    assert said[:2] == ["True", "True"]
    assert said[2:] == [
        *("accumulating", "RuntimeError"),
        *("uneven", "InvalidArgumentError"),
        *("workers", "ValueError"),
    ]


def test_keras_adds_no_layer_to_a_built_one_and_counts_one_that_was_deleted():
    layer, added = keras.layers.Dense(2), keras.layers.Dense(3)
    layer.build((None, 4))
    added.build((None, 4))
    with pytest.raises(ValueError, match="already built"):
        layer.more = added
    keras_patches.attach(layer, "more", added)
    assert len(layer.weights) == 4
    with pytest.raises(ValueError, match="already built"):
        layer.another = keras.layers.Dense(1)
    keras_patches.detach(layer, "more")
    assert len(layer.weights) == 2
    keras_patches.attach(layer, "more", added)
    assert len(layer.weights) == 4
    del layer.more  # Keras's own way
    assert len(layer.weights) == 4


def test_keras_exchanges_no_layer_of_a_functional_model_while_what_it_returns_can_be_changed():
    inputs = keras.Input([3])
    layer = keras.layers.Dense(2, use_bias=False, kernel_initializer="ones")
    model = keras.Model(inputs, layer(inputs))
    x = tf.ones([1, 3])
    model.layers[1] = keras.layers.Dense(2)  # of a copy of the list: without effect
    assert model(x).numpy().tolist() == [[3, 3]]
    with keras_patches.followed(layer, lambda output: output + 1):
        assert model(x).numpy().tolist() == [[4, 4]]
    assert model(x).numpy().tolist() == [[3, 3]]
