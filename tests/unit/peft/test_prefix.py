"""Prefixes on small models: the paper's formula, what is masked, and that cached steps see them."""

from __future__ import annotations

from types import SimpleNamespace

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from pipelines.errors import UserError
from tests.unit.peft.conftest import MASK, answers, train
from tfnlp.backbones import encoder, insertions, mpnet, prefixes
from tfnlp.generation import keras_ops
from tfnlp.heads import causal_lm, decoder
from tfnlp.peft import prefix

IDS = np.random.default_rng(5).integers(4, 90, (2, 7)).astype("int32")
HUB = keras_hub.models


def softmax(x):
    shares = np.exp(x - x.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def described(model):
    """What `tfnlp.backbones.loading` says of a model of KerasHub's."""
    blocks = ((), *((layer,) for layer in model.transformer_layers))
    return SimpleNamespace(
        name="small", model=model, blocks=blocks, tokenizer=SimpleNamespace(vocabulary_size=90)
    )


def test_length_keys_and_values_a_layer_are_trained(backbone):
    before = answers(backbone)
    prefix.adapt(backbone, prefix.Options(length=3))
    trained = sum(int(np.prod(w.shape)) for w in backbone.model.trainable_weights)
    assert trained == 2 * 2 * 3 * 16
    train(backbone)
    assert np.abs(answers(backbone) - before).max() > 1e-3


def attended(layer, x, mask, bias=0.0):
    """The paper's attention of rows (B, T, H) by hand.

    Source: Liu et al. 2022, section 3; Li & Liang 2021, section 4.3.
    """
    parts = [layer.query_dense, layer.key_dense, layer.value_dense]
    q, k, v = (
        np.einsum("bth,hnd->bntd", x, p.kernel.numpy()) + p.bias.numpy()[:, None] for p in parts
    )
    pk, pv = (w.numpy().swapaxes(0, 1) for w in (layer.prefix.key, layer.prefix.value))
    size = q.shape[-1]
    of_tokens = q @ k.swapaxes(-1, -2) / size**0.5 + bias
    of_tokens = np.where(mask[:, None, None, :] > 0, of_tokens, -np.inf)
    of_prefix = np.einsum("bntd,npd->bntp", q, pk) / size**0.5
    shares = softmax(np.concatenate([of_prefix, of_tokens], -1))
    count = pk.shape[1]
    mixed = np.einsum("bntp,npd->btnd", shares[..., :count], pv)
    mixed += np.einsum("bnts,bnsd->btnd", shares[..., count:], v)
    out = layer.output_dense
    return np.einsum("btnd,ndh->bth", mixed, out.kernel.numpy()) + out.bias.numpy()


@pytest.mark.parametrize("biased", [False, True])
def test_it_is_the_papers_formula(biased):
    """On an encoder's quick path; MPNet's bias is of tokens alone, and none is shifted."""
    layer, x, mask, bias = layer_and_inputs(mpnet.BiasedEncoder if biased else encoder.Encoder)
    inner = layer._self_attention_layer
    want = attended(inner, x.numpy(), mask.numpy(), bias.numpy() if biased else 0.0)
    found = layer._attend(
        tf.reshape(x, [-1, 16]), mask, tf.shape(x), False, bias if biased else None
    )
    np.testing.assert_allclose(tf.reshape(found, x.shape), want, rtol=0, atol=1e-5)


def test_keras_own_attention_computes_the_same():
    layer, x, mask, _ = layer_and_inputs(encoder.Encoder)
    inner = layer._self_attention_layer
    for masked in (True, False):
        given = {"attention_mask": mask[:, None, :]} if masked else {}
        want = attended(inner, x.numpy(), mask.numpy() if masked else np.ones_like(mask))
        np.testing.assert_allclose(inner(x, x, **given), want, rtol=0, atol=1e-5)
        found, shares = inner(x, x, return_attention_scores=True, **given)
        np.testing.assert_allclose(found, want, rtol=0, atol=1e-5)
        assert shares.shape == (2, 4, 5, 3 + 5)


def test_the_quick_path_equals_that_of_the_sublayers(backbone):
    prefix.adapt(backbone, prefix.Options(length=3))
    assert all(layer._is_plain() for (layer,) in backbone.blocks[1:])
    train(backbone)
    quick = answers(backbone)
    with encoder.as_kerashub(backbone.model):
        np.testing.assert_allclose(answers(backbone), quick, rtol=0, atol=1e-5)


def test_mpnets_quick_path_equals_that_of_the_sublayers():
    layer, x, mask, bias = layer_and_inputs(mpnet.BiasedEncoder)
    assert layer._is_plain()
    quick = layer(x, padding_mask=mask, attention_bias=bias)
    found = layer._by_sublayers(x, mask, False, bias)
    np.testing.assert_allclose(found, quick, rtol=0, atol=1e-5)


def test_padding_changes_nothing():
    layer, x, mask, _ = layer_and_inputs(encoder.Encoder)
    found = layer(x, padding_mask=mask)
    changed = layer(tf.where(mask[..., None] > 0, x, 9.0), padding_mask=mask)
    real = mask.numpy().astype(bool)
    np.testing.assert_allclose(changed[real], found[real], rtol=0, atol=1e-6)


def layer_and_inputs(kind):
    """A layer of 4 heads with a prefix of 3, all weights moved; rows, a mask and a bias."""
    keras.utils.set_random_seed(5)
    layer = kind(24, 4, 0.1, keras.activations.gelu, name="layer")
    layer.build((None, None, 16))
    prefixes.put(layer._self_attention_layer, 3, "prefix_1")
    random = np.random.default_rng(1)
    layer.set_weights([random.normal(0, 0.5, w.shape) for w in layer.weights])
    x = tf.constant(random.normal(size=(2, 5, 16)), tf.float32)
    return layer, x, tf.constant(MASK), tf.constant(random.normal(size=(1, 4, 5, 5)), tf.float32)


CAUSAL = {
    "llama": lambda: HUB.LlamaBackbone(90, 2, 4, 16, 24, 2),
    "gpt2": lambda: HUB.GPT2Backbone(90, 2, 4, 16, 24, max_sequence_length=32),
}


@pytest.mark.parametrize("name", CAUSAL)
def test_cached_steps_say_what_the_whole_says(name):
    keras.utils.set_random_seed(3)
    backbone = described(CAUSAL[name]())
    model = causal_lm.head(backbone.model)
    given = {"token_ids": tf.constant(IDS), "padding_mask": tf.ones_like(IDS)}
    before = model(given).numpy()
    prefix.adapt(backbone, prefix.Options(length=3))
    train(backbone)
    whole = model(given).numpy()
    assert np.abs(whole - before).max() > 1e-3
    cached = causal_lm.Cached(model)
    with keras_ops.portable():
        _, cache, fixed = cached.prefill({"prompt": IDS[:, :2]}, tf.constant(6))
        assert cache.shape[3] == 2 + 6  # no prefix
        for place in range(1, 7):
            ids = IDS[:, place : place + 1]
            logits, _, cache = cached.step(ids, tf.constant(place), cache, fixed)
            np.testing.assert_allclose(logits, whole[:, place], rtol=0, atol=1e-5)


def test_a_step_of_llama_still_multiplies_the_cache_in_place(monkeypatch):
    """By what spares `keras_ops` to copy it for each head; joined to a prefix it would be."""
    backbone = described(CAUSAL["llama"]())
    cached = causal_lm.Cached(causal_lm.head(backbone.model))
    prefix.adapt(backbone, prefix.Options(length=3))
    seen = []
    for name in ("_scores", "_mixed"):
        own = getattr(keras_ops, name)
        monkeypatch.setattr(keras_ops, name, lambda x, y, f=own: (seen.append(y.shape), f(x, y))[1])
    with keras_ops.portable():
        _, cache, fixed = cached.prefill({"prompt": IDS[:, :2]}, tf.constant(6))
        cached.step(IDS[:, 2:3], tf.constant(2), cache, fixed)
    assert seen == [(2, 2 + 6, 2, 4)] * 2 * 2  # keys and values of two heads, in two layers


def test_bart_has_prefixes_in_all_its_attention_and_cached_steps_see_them():
    keras.utils.set_random_seed(3)
    bart = HUB.BartBackbone(90, 2, 2, 16, 32, max_sequence_length=32)
    bart.transformer_layers = bart.encoder_transformer_layers + bart.decoder_transformer_layers
    backbone = described(bart)
    model = decoder.head(bart, vocabulary_size=90, shared=True, layers=None, positions=32)
    prefix.adapt(backbone, prefix.Options(length=3))
    assert len(backbone.model.trainable_weights) == 2 * (2 + 2 * 2)
    train(backbone)
    asked = {
        "token_ids": tf.constant(IDS),
        "padding_mask": tf.constant([[1] * 7, [1] * 4 + [0] * 3]),
    }
    asked |= {"segment_ids": tf.zeros_like(IDS), "decoder_ids": tf.constant(IDS[:, ::-1].copy())}
    whole = model(asked).numpy()
    cached = decoder.CachedHub(model)
    with keras_ops.portable():
        ids = asked["decoder_ids"]
        _, cache, fixed = cached.prefill({**asked, "prompt": ids[:, :1]}, tf.constant(6))
        for place in range(7):
            logits, _, cache = cached.step(
                ids[:, place : place + 1], tf.constant(place), cache, fixed
            )
            np.testing.assert_allclose(logits, whole[:, place], rtol=0, atol=1e-5)


@pytest.mark.parametrize("masked", [True, False])
def test_llamas_heads_share_a_prefix_as_they_share_keys(masked):
    layer = HUB.LlamaBackbone(90, 1, 4, 16, 24, 2).transformer_layers[0]._self_attention_layer
    prefixes.put(layer, 3, "prefix_1")
    random = np.random.default_rng(6)
    for weight in (layer.prefix.key, layer.prefix.value):
        weight.assign(random.normal(size=weight.shape))
    q, k, v = (random.normal(size=(2, 5, 4, 4)).astype("float32") for _ in range(3))
    mask = np.broadcast_to(np.tri(5), (2, 5, 5)).astype("int32") if masked else None
    found = layer._compute_attention(*map(tf.constant, (q, k, v)), mask)
    k, v = (
        np.concatenate([np.broadcast_to(w.numpy().repeat(2, 1), (2, 3, 4, 4)), x], 1)
        for w, x in ((layer.prefix.key, k), (layer.prefix.value, v))
    )
    scores = np.einsum("bqnd,bknd->bnqk", q, k) / 2
    if masked:
        seen = np.concatenate([np.ones((5, 3)), np.tri(5)], 1)
        scores = np.where(seen > 0, scores, -np.inf)
    want = np.einsum("bnqk,bknd->bqnd", softmax(scores), v)
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-5)


def test_it_stays_when_a_model_is_merged(backbone):
    prefix.adapt(backbone, prefix.Options())
    train(backbone)
    added = answers(backbone)
    assert not insertions.can_merge(backbone.model)
    with insertions.merged(backbone.model):
        np.testing.assert_array_equal(answers(backbone), added)


@pytest.mark.parametrize(
    "made",
    [
        lambda: HUB.GemmaBackbone(90, 1, 2, 1, 16, 32, 8),
        lambda: HUB.DebertaV3Backbone(90, 1, 2, 16, 32, bucket_size=8),
    ],
    ids=["gemma", "deberta"],
)
def test_a_backbone_that_attends_otherwise_is_named(made):
    with pytest.raises(UserError, match="'small' attends in a way that --peft prefix"):
        prefix.adapt(described(made()), prefix.Options())


def test_no_layer_that_may_be_trained_is_named(backbone):
    backbone.blocks = ((), (), ())
    with pytest.raises(UserError, match="'small' has no layer to train"):
        prefix.adapt(backbone, prefix.Options())
