"""A SavedModel in memory: in which precision it is asked."""

import gc
import weakref
from contextlib import contextmanager

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import ops

from tfnlp.runtime import precision
from tfnlp.serving.servable import Servable


class Upper(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def serve(self, text):
        return {"generated": tf.strings.upper(text)}


@pytest.mark.parametrize("writes", [True, False])
def test_a_model_that_writes_is_asked_in_float32(writes, tmp_path, monkeypatch):
    entered = []

    @contextmanager
    def exact():
        entered.append(True)
        yield

    monkeypatch.setattr(precision, "exact", exact)
    module = Upper()
    tf.saved_model.save(module, str(tmp_path), {"serving_default": module.serve})
    if writes:
        (tmp_path / "settings.json").write_text("{}")
    found = Servable(tmp_path).run("serving_default", {"text": np.array([b"hi"], object)})
    assert found["generated"].tolist() == [b"HI"]
    assert entered == [True] * writes


@tf.custom_gradient
def halved(x):
    return x, lambda upstream: upstream / 2


class Halved(tf.Module):
    """A gradient of its own, and weights that it must not keep in memory."""

    def __init__(self):
        super().__init__()
        self.weights = tf.Variable(tf.random.normal([256, 1024]))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def serve(self, x):
        return {"y": halved(x) + tf.reduce_sum(self.weights) * 0}


def test_a_model_with_gradients_of_its_own_leaves_memory(tmp_path):
    module = Halved()
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=True)
    tf.saved_model.save(module, str(tmp_path), {"serving_default": module.serve}, options)
    before = set(gradients())
    servable = Servable(tmp_path)
    found = servable.run("serving_default", {"x": np.array([3.0], np.float32)})
    assert found["y"].tolist() == [3.0]
    assert set(gradients()) == before
    model = weakref.ref(servable._loaded)
    del servable
    gc.collect()
    assert model() is None


def gradients():
    return ops.gradient_registry.list()
