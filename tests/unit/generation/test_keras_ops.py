"""One place of attention, multiplied as the cache lies, is what Keras makes of it."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.backend.tensorflow import core, numpy

from tfnlp.generation import keras_ops, signatures
from tfnlp.heads import causal_lm

_SPEC = importlib.util.spec_from_file_location(
    "tiny_llama", Path(__file__).parent / "tiny_llama.py"
)
tiny = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(tiny)


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


def test_a_mixed_network_writes_in_float32():
    def logits(cached):
        _, cache, _ = cached.prefill(tiny.prompts([7, 8, 9, 3]), tf.constant(1))
        return cached.step(tf.constant([[3]]), tf.constant(3), cache, ())[0].numpy()

    whole = tiny.network()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = tiny.network()
    finally:
        keras.config.set_dtype_policy("float32")
    mixed.set_weights(whole.get_weights())
    wanted = logits(causal_lm.Cached(whole))
    before = logits(causal_lm.Cached(mixed))
    context = SimpleNamespace(kind="causal")
    found = logits(signatures.cached(context, mixed))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    assert np.abs(before - wanted).max() > 1e-3
    np.testing.assert_array_equal(logits(causal_lm.Cached(mixed)), before)  # it trains as it did
