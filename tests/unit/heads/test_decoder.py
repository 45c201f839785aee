"""Decoders on encoders: what they start from, and that cached steps say what the whole says."""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tfnlp.backbones import families, loading
from tfnlp.generation import keras_ops
from tfnlp.heads import causal_lm, decoder

SOURCE = np.random.default_rng(0).integers(4, 90, (2, 9)).astype("int32")
MASK = np.array([[1] * 9, [1] * 6 + [0] * 3], "int32")
TARGET = np.random.default_rng(1).integers(4, 90, (2, 5)).astype("int32")
FEATURES = {
    "token_ids": tf.constant(SOURCE),
    "segment_ids": tf.zeros_like(SOURCE),
    "padding_mask": tf.constant(MASK),
    "decoder_ids": tf.constant(TARGET),
}


@pytest.fixture(scope="module")
def minilm():
    return loading.load("minilm-l6-en", layers=2).model


def own(minilm, **given):
    return decoder.head(
        minilm,
        **{"vocabulary_size": 30522, "shared": True, "layers": 2, "positions": 64, **given},
    )


def of_hub(name):
    made = {
        "bart": lambda: keras_hub.models.BartBackbone(90, 2, 2, 16, 32, max_sequence_length=32),
        "t5": lambda: keras_hub.models.T5Backbone(90, 2, 2, 16, 32, key_value_dim=8),
    }[name]()
    return decoder.head(made, vocabulary_size=90, shared=True, layers=None, positions=32)


@pytest.fixture(scope="module", params=["minilm", "bart", "t5"])
def network(request, minilm):
    if request.param == "minilm":
        return own(minilm), decoder.Cached
    return of_hub(request.param), decoder.CachedHub


def test_cached_steps_say_what_the_whole_says(network):
    model, form = network
    whole = model(FEATURES, training=False).numpy()
    cached = form(model)
    with keras_ops.portable():
        asked = {**FEATURES, "prompt": FEATURES["decoder_ids"][:, :1]}
        _, cache, fixed = cached.prefill(asked, tf.constant(6))
        for place in range(5):
            ids = FEATURES["decoder_ids"][:, place : place + 1]
            logits, states, cache = cached.step(ids, tf.constant(place), cache, fixed)
            np.testing.assert_allclose(logits, whole[:, place], atol=2e-4)
            assert states.shape[0] == 2


def test_what_comes_later_changes_nothing_before(network):
    model, _ = network
    other = {**FEATURES, "decoder_ids": tf.concat([TARGET[:, :3], TARGET[:, 3:] // 2], 1)}
    a, b = model(FEATURES), model(other)
    np.testing.assert_allclose(a[:, :3], b[:, :3], atol=1e-5)
    assert np.abs(a[:, 3:] - b[:, 3:]).max() > 1e-4


def test_padding_of_the_source_is_not_read(network):
    model, _ = network
    changed = tf.where(MASK == 1, SOURCE, 7)
    a, b = model(FEATURES), model({**FEATURES, "token_ids": changed})
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_it_starts_from_the_encoder(minilm):
    model = own(minilm)
    for i, layer in enumerate(decoder.decoder_layers(model)):
        theirs = minilm.get_layer(f"transformer_layer_{i}")
        for mine, other in decoder._SAME:
            for a, b in zip(
                getattr(layer, mine).get_weights(),
                getattr(theirs, other).get_weights(),
                strict=True,
            ):
                np.testing.assert_array_equal(a, b)
    tokens = minilm.get_layer("token_embedding").get_weights()[0]
    np.testing.assert_array_equal(model.get_layer("decoder_embedding").get_weights()[0], tokens)
    places = minilm.get_layer("position_embedding").get_weights()[0]
    held = model.get_layer("decoder_positions").get_weights()[0]
    np.testing.assert_array_equal(held, places[:64])


def test_a_learned_vocabulary_has_an_embedding_of_its_own(minilm):
    model = own(minilm, vocabulary_size=100, shared=False)
    assert model.output.shape == (None, None, 100)
    held = model.get_layer("decoder_embedding").get_weights()[0]
    assert held.shape == (100, 384)
    assert 0.01 < held.std() < 0.03


def test_fewer_layers_are_taken_evenly_and_more_from_the_last():
    full = loading.load("minilm-l6-en", layers=4).model
    for count, expected in ((2, [1, 3]), (3, [0, 1, 3]), (5, [3] * 5)):
        model = own(full, layers=count)
        for layer, place in zip(decoder.decoder_layers(model), expected, strict=True):
            mine = layer._feedforward_output_dense.get_weights()[0]
            theirs = full.get_layer(f"transformer_layer_{place}")
            np.testing.assert_array_equal(mine, theirs._feedforward_output_dense.get_weights()[0])


def test_it_reloads(minilm, tmp_path):
    model = own(minilm, layers=1)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_allclose(again(FEATURES), model(FEATURES), atol=1e-5)


def test_attention_adds_up_to_one_and_spares_padding(minilm):
    weights = decoder.attention(own(minilm), FEATURES).numpy()
    assert weights.shape == (2, 5, 9)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    assert weights[1, :, 6:].max() < 1e-6


@pytest.mark.parametrize(
    "backbone",
    [
        lambda: keras_hub.models.GPT2Backbone(90, 2, 2, 16, 32, max_sequence_length=32),
        lambda: keras_hub.models.GemmaBackbone(90, 2, 2, 1, 16, 32, 8),
        lambda: keras_hub.models.MistralBackbone(90, 2, 2, 16, 32, 1),
        lambda: keras_hub.models.QwenBackbone(90, 2, 2, 1, 16, 32),
    ],
    ids=["gpt2", "gemma", "mistral", "qwen"],
)
def test_causal_models_of_keras_hub(backbone):
    model = causal_lm.head(backbone())
    ids = FEATURES["decoder_ids"]
    whole = model({"token_ids": ids, "padding_mask": tf.ones_like(ids)}).numpy()
    cached = causal_lm.Cached(model)
    with keras_ops.portable():
        _, cache, fixed = cached.prefill({"prompt": ids[:, :2]}, tf.constant(4))
        for place in range(1, 5):
            logits, _, cache = cached.step(
                ids[:, place : place + 1], tf.constant(place), cache, fixed
            )
            np.testing.assert_allclose(logits, whole[:, place], atol=2e-4)


def test_kinds():
    hub = keras_hub.models
    assert families.kind_of(hub.BertBackbone) == "encoder"
    assert families.kind_of(hub.BartBackbone) == "encoder-decoder"
    assert families.kind_of(hub.LlamaBackbone) == "causal"
    assert families.kind_of(hub.RobertaBackbone) == "encoder"
    assert families.kind_of(hub.FNetBackbone) is None  # its vocabulary is none that we read
    assert families.kind_of(hub.PaliGemmaBackbone) is None  # it also sees pictures
