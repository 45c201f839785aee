"""Heads on a small functional backbone: what padding, windows and order must not change."""

import keras
import numpy as np
import pytest

from tfnlp.heads import ordinal, pooled

HIDDEN, VOCABULARY = 8, 20


@pytest.fixture
def backbone():
    keras.utils.set_random_seed(1)
    names = ("token_ids", "segment_ids", "padding_mask")
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in names}
    tokens = keras.layers.Embedding(VOCABULARY, HIDDEN)(inputs["token_ids"])
    return keras.Model(inputs, {"tokens": tokens, "pooled": tokens[:, 0]})


def _features(ids, width):
    padded = np.zeros((len(ids), width), "int32")
    mask = np.zeros_like(padded)
    for row, values in enumerate(ids):
        padded[row, : len(values)] = values
        mask[row, : len(values)] = 1
    return {"token_ids": padded, "segment_ids": np.zeros_like(padded), "padding_mask": mask}


def _head(backbone, pooling="mean", windows=False):
    output = keras.layers.Dense(3, kernel_initializer="ones", name="logits")
    return pooled.head(backbone, output, pooling=pooling, dropout=0.5, windows=windows)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_padding_changes_nothing(backbone, pooling):
    model = _head(backbone, pooling)
    narrow = model.predict(_features([[2, 5, 6, 3]], 4), verbose=0)
    wide = model.predict(_features([[2, 5, 6, 3]], 9), verbose=0)
    np.testing.assert_allclose(narrow, wide, atol=1e-6)


def test_mean_and_cls_pool_what_they_say(backbone):
    features = _features([[2, 5, 6]], 5)
    states = backbone.predict(features, verbose=0)["tokens"][0]
    mean = _head(backbone).predict(features, verbose=0)[0]
    first = _head(backbone, "cls").predict(features, verbose=0)[0]
    np.testing.assert_allclose(mean, states[:3].mean(0).sum(), rtol=1e-5)
    np.testing.assert_allclose(first, states[0].sum(), rtol=1e-5)


def test_windows_are_averaged_and_empty_ones_left_out(backbone):
    plain, windowed = _head(backbone), _head(backbone, windows=True)
    a, b = _features([[2, 5, 3]], 4), _features([[2, 7, 8, 3]], 4)
    empty = {name: np.zeros_like(value) for name, value in a.items()}
    three = {name: np.stack([a[name], b[name], empty[name]], 1) for name in a}
    expected = (plain.predict(a, verbose=0) + plain.predict(b, verbose=0)) / 2
    np.testing.assert_allclose(windowed.predict(three, verbose=0), expected, rtol=1e-5)


def test_an_unused_pooler_is_no_part_of_the_model(backbone):
    names = {weight.path for weight in _head(backbone).weights}
    assert len(names) == 3  # the embedding, and the output layer's kernel and bias


def test_ordered_logits_never_increase():
    layer = ordinal.OrderedLogits([0.9, 0.6, 0.6, 0.3, 0.01])
    layer.build((None, HIDDEN))
    layer.steps.assign(np.random.default_rng(0).normal(size=4) * 5)
    logits = layer(np.random.default_rng(1).normal(size=(50, HIDDEN)).astype("float32")).numpy()
    assert logits.shape == (50, 5)
    assert (np.diff(logits, axis=-1) <= 0).all()


def test_ordered_logits_begin_at_the_shares_of_the_grades():
    reached = [0.9, 0.6, 0.3, 0.01]
    layer = ordinal.OrderedLogits(reached)
    logits = layer(np.zeros((1, HIDDEN), "float32")).numpy()[0]
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), reached, rtol=1e-4)


@pytest.mark.parametrize("reached", [[0.5], [0.8, 0.4, 0.2]])
def test_ordered_logits_survive_saving(tmp_path, reached):
    inputs = keras.Input((HIDDEN,))
    model = keras.Model(inputs, ordinal.OrderedLogits(reached)(inputs))
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    x = np.ones((2, HIDDEN), "float32")
    np.testing.assert_array_equal(model.predict(x, verbose=0), loaded.predict(x, verbose=0))
