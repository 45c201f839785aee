"""One place of attention, multiplied as the cache lies, is what Keras makes of it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.backend.tensorflow import core, numpy

from tfnlp.generation import keras_ops


def attention(query, key, value, groups):
    """Attend as KerasHub's Llama does."""
    key, value = (keras.ops.repeat(x, groups, axis=2) for x in (key, value))
    scores = keras.ops.einsum("bquh,bkuh->buqk", query, key)
    shares = keras.ops.softmax(scores)
    return keras.ops.einsum("buqk,bkuh->bquh", shares, value)


@pytest.mark.parametrize("places", [1, 2])
@pytest.mark.parametrize(("heads", "groups"), [(1, 1), (1, 4), (3, 3), (2, 1), (9, 2)])
def test_equals_keras(places, heads, groups):
    random = np.random.default_rng(0)
    query, key, value = (
        tf.constant(random.normal(size=size), tf.float32)
        for size in ((2, places, heads * groups, 5), (2, 7, heads, 5), (2, 7, heads, 5))
    )
    wanted = attention(query, key, value, groups)

    @tf.function
    def ours():
        with keras_ops.portable():
            return attention(query, key, value, groups)

    np.testing.assert_allclose(ours(), wanted, rtol=1e-5, atol=1e-6)
    kinds = {op.type for op in ours.get_concrete_function().graph.get_operations()}
    assert ("Transpose" in kinds) == (places > 1 or heads > 8)


def test_keras_is_left_as_it_was():
    before = core.slice_update, numpy.einsum, numpy.repeat
    with pytest.raises(ZeroDivisionError), keras_ops.portable():
        raise ZeroDivisionError
    assert (core.slice_update, numpy.einsum, numpy.repeat) == before
