"""Encoders in Hugging Face layout against transformers, and what is said of those not for us."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file

from pipelines.encoding import segments
from pipelines.errors import UserError
from tfnlp.backbones import embeddings, hugging_face, loading
from tfnlp.heads import pooled
from tfnlp.training import network

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("tiny_folders", HERE / "tiny_folders.py")
tiny_folders = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny_folders)
REFERENCE = json.loads((HERE / "tiny_folders.json").read_text("utf-8"))


@pytest.fixture(params=tiny_folders.KINDS)
def kind(request):
    return request.param


@pytest.fixture
def folder(kind, tmp_path):
    return tiny_folders.write(kind, tmp_path / kind)


def encoded(tokenizer, *texts):
    columns = [tf.constant(column) for column in texts]
    return segments.encode(tokenizer, columns, tiny_folders.LENGTH, 1, 0)[0]


def rows(features):
    counts = tf.reduce_sum(features["padding_mask"], 1).numpy()
    return [ids[:n].tolist() for ids, n in zip(features["token_ids"].numpy(), counts, strict=True)]


def test_token_ids_are_those_of_transformers(kind, folder):
    tokenizer = loading.load(str(folder)).tokenizer
    given = rows(encoded(tokenizer, tiny_folders.TEXTS))
    assert given[: tiny_folders.SHORT] == REFERENCE[kind]["ids"]
    assert [*map(len, given)] == REFERENCE[kind]["lengths"]
    assert rows(encoded(tokenizer, ["the cat"], ["who saw"])) == [REFERENCE[kind]["pair"]]


def test_hidden_states_are_those_of_transformers(kind, folder):
    backbone = loading.load(str(folder))
    compare(kind, backbone)
    assert backbone.max_length >= tiny_folders.LENGTH
    assert len(backbone.blocks) == tiny_folders.LAYERS + 1


def compare(kind, backbone):
    """Compare a backbone's states with the reference: of each token three numbers."""
    features = encoded(backbone.tokenizer, tiny_folders.TEXTS)
    states = backbone.model.predict_on_batch(features)["tokens"]
    wanted = REFERENCE[kind]
    assert wanted["lengths"][-1] == tiny_folders.LENGTH
    for row, count, expected in zip(states, wanted["lengths"], wanted["states"], strict=False):
        np.testing.assert_allclose(row[:count, :3].reshape(-1), expected, rtol=0, atol=1e-5)
    long = states[-1, ::10, :3].reshape(-1)
    np.testing.assert_allclose(long, wanted["long"], rtol=0, atol=1e-5)


def test_what_is_written_is_read_again(kind, folder, tmp_path):
    config = json.loads((folder / "config.json").read_text("utf-8"))
    network = hugging_face.read(folder, config)
    copy = tmp_path / "copy"
    copy.mkdir()
    hugging_face.write(network, config, copy)
    again = hugging_face.read(copy, config)
    for one, other in zip(network.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_lowest_layers_can_be_kept(folder):
    whole, lowest = loading.load(str(folder)), loading.load(str(folder), layers=1)
    features = encoded(whole.tokenizer, tiny_folders.TEXTS[:2])
    inner = whole.model.get_layer("transformer_layer_0").output
    inner = keras.Model(whole.model.input, inner)
    wanted = inner.predict_on_batch(features)
    got = lowest.model.predict_on_batch(features)["tokens"]
    np.testing.assert_allclose(got, wanted, atol=1e-6)


def change(folder, **config):
    """Change settings in config.json."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))


def said(folder):
    with pytest.raises(UserError) as caught:
        loading.load(str(folder))
    text = str(caught.value)
    assert str(folder) in text
    assert "\n" not in text
    return text


@pytest.mark.parametrize("kind", ["distilbert", "roberta"])
def test_several_files_with_a_head_in_half_precision(kind, folder):
    """As AutoModelForMaskedLM saves a large model, in float16 and in parts."""
    whole = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    named = {f"{kind}.{n}": v.astype("float16") for n, v in whole.items() if "pooler" not in n}
    named["lm_head.bias"] = np.zeros(3, "float16")
    names = sorted(named)
    parts = {"model-00001-of-00002.safetensors": names[::2]}
    parts["model-00002-of-00002.safetensors"] = names[1::2]
    for file, held in parts.items():
        save_file({name: named[name] for name in held}, folder / file)
    index = {"weight_map": {name: file for file, held in parts.items() for name in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    backbone = loading.load(str(folder))
    features = encoded(backbone.tokenizer, tiny_folders.TEXTS[:1])
    states = backbone.model.predict_on_batch(features)["tokens"]
    count = REFERENCE[kind]["lengths"][0]
    wanted = REFERENCE[kind]["states"][0]
    np.testing.assert_allclose(states[0, :count, :3].reshape(-1), wanted, atol=5e-3)
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert "lacks model-00002-of-00002.safetensors" in said(folder)


@pytest.mark.parametrize("kind", ["bert"])
def test_bfloat16_weights_without_a_pooler_and_with_old_names(kind, folder):
    file = folder / "model.safetensors"
    whole = {n: v for n, v in load_file(file).items() if "pooler" not in n}
    rounded = {n: tf.cast(v, tf.bfloat16) for n, v in whole.items()}
    old = {
        n: n.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta") for n in whole
    }
    import safetensors.tensorflow

    safetensors.tensorflow.save_file({f"bert.{old[n]}": v for n, v in rounded.items()}, file)
    found = loading.load(str(folder)).model
    save_file({n: tf.cast(v, tf.float32).numpy() for n, v in rounded.items()}, file)
    wanted = loading.load(str(folder)).model
    assert np.abs(found.get_layer("pooled_dense").kernel).max() > 0
    for one, other in zip(found.weights, wanted.weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", ["bert"])
def test_the_activation_is_that_of_the_config(kind, folder):
    features = None
    states = {}
    for name in ("gelu", "gelu_new", "relu"):
        change(folder, hidden_act=name)
        backbone = loading.load(str(folder))
        features = features or encoded(backbone.tokenizer, tiny_folders.TEXTS[:2])
        states[name] = backbone.model.predict_on_batch(features)["tokens"]
    compared = np.abs(states["gelu"] - states["gelu_new"]).max()
    assert 1e-6 < compared < 1e-2
    assert np.abs(states["gelu"] - states["relu"]).max() > 1e-2


@pytest.mark.parametrize("kind", ["bert"])
@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"hidden_act": "swish"}, "has the activation 'swish'"),
        (
            {"position_embedding_type": "relative_key"},
            "position embeddings of the type 'relative_k",
        ),
        ({"is_decoder": True}, "is of a decoder"),
        ({"vocab_size": 70}, "78 pieces, and its config.json says 70"),
        ({"vocab_size": 400}, "has the shape"),
        ({"intermediate_size": 40}, "by its config.json it must be (40, 32)"),
        ({"num_hidden_layers": 3}, "have no encoder.layer.2.attention.self.query.weight"),
        ({"num_attention_heads": 5}, "by its config.json it must be (30, 32)"),
    ],
)
def test_a_config_that_is_not_for_us_is_refused(kind, folder, config, expected):
    change(folder, **config)
    assert expected in said(folder)


@pytest.mark.parametrize("kind", ["bert"])
def test_a_folder_without_what_is_read_is_refused(kind, folder):
    file = folder / "config.json"
    text = file.read_text()
    file.write_text(text.replace('"hidden_size"', '"d"'))
    assert "config.json lacks hidden_size" in said(folder)
    file.write_text(text)
    quantized = {n: v.astype("int8") for n, v in load_file(folder / "model.safetensors").items()}
    save_file(quantized, folder / "model.safetensors")
    assert "is I8, and weights must be one of F32" in said(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "has its weights in pytorch_model.bin only" in said(folder)
    (folder / "pytorch_model.bin").unlink()
    assert "has no model.safetensors" in said(folder)
    change(folder, model_type="longformer")
    with pytest.raises(UserError, match="is of the kind 'longformer', which cannot be used here"):
        loading.load(str(folder))


@pytest.mark.parametrize("kind", ["bert"])
def test_a_vocabulary_that_is_not_for_us_is_refused(kind, folder):
    settings = folder / "tokenizer_config.json"
    for changed in ({"word_tokenizer_type": "mecab"}, {"tokenize_chinese_chars": False}):
        settings.write_text(json.dumps({"do_lower_case": True, **changed}))
        assert f"says {next(iter(changed))}" in said(folder)
    settings.write_text("{}")
    (folder / "vocab.txt").unlink()
    model = {"type": "WordLevel", "vocab": {"[UNK]": 0}}
    (folder / "tokenizer.json").write_text(json.dumps({"model": model}))
    assert "of the kind 'WordLevel'" in said(folder)
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text("{}")
    (folder / "merges.txt").write_text("")
    settings.write_text(json.dumps({"add_prefix_space": True}))
    assert "splits text into words by a rule of its own" in said(folder)


@pytest.mark.parametrize("kind", ["bert"])
def test_the_digest_is_of_what_the_folder_holds(kind, folder):
    before = loading.digest(str(folder))
    assert before == loading.digest(str(folder))
    (folder / "README.md").write_text("about it")
    assert before == loading.digest(str(folder))
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.LayerNorm.bias"][0] += 1
    save_file(weights, folder / "model.safetensors")
    assert loading.digest(str(folder)) != before
    assert loading.digest("minilm-l6-en") is None
    assert loading.digest("scratch:1x64") is None


@pytest.mark.parametrize("kind", ["roberta"])
def test_byte_pairs_from_tokenizer_json(kind, folder):
    wanted = loading.load(str(folder)).tokenizer
    ids = json.loads((folder / "vocab.json").read_text("utf-8"))
    merges = (folder / "merges.txt").read_text("utf-8").split("\n")[1:-1]
    written = {
        "model": {"type": "BPE", "vocab": ids, "merges": [m.split(" ") for m in merges]},
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
        "added_tokens": [{"id": ids["<mask>"], "content": "<mask>", "special": True}],
    }
    (folder / "vocab.json").unlink()
    (folder / "merges.txt").unlink()
    (folder / "tokenizer.json").write_text(json.dumps(written))
    found = loading.load(str(folder)).tokenizer
    assert found.pieces() == wanted.pieces()
    assert rows(encoded(found, tiny_folders.TEXTS)) == rows(encoded(wanted, tiny_folders.TEXTS))


def test_a_network_is_kept_taken_in_parts_and_cut(kind, folder, tmp_path):
    """What explanations, a machine's cores and runs do with it."""
    backbone = loading.load(str(folder))
    features = encoded(backbone.tokenizer, tiny_folders.TEXTS[:3])
    output = keras.layers.Dense(2, dtype="float32", name="logits")
    whole = pooled.head(backbone.model, output, pooling="mean", dropout=0.1)
    wanted = whole(features)
    whole.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(features), wanted, atol=1e-5)
    below, above = embeddings.cut(whole)  # last: it renames a tensor
    cut = above({**features, embeddings.EMBEDDINGS: below(features)})
    np.testing.assert_allclose(cut, wanted, atol=1e-5)
    parts = network.trainable(whole, divisible=True)
    parts.streams = 2
    np.testing.assert_allclose(parts(features), wanted, atol=1e-5)


@pytest.mark.parametrize("kind", ["mpnet"])
def test_half_precision_is_near(kind, folder):
    features = encoded(loading.load(str(folder)).tokenizer, tiny_folders.TEXTS[:2])
    wanted = loading.load(str(folder)).model(features)["tokens"]
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        found = loading.load(str(folder)).model(features)["tokens"]
    finally:
        keras.config.set_dtype_policy(before)
    assert found.dtype == tf.bfloat16
    apart = (
        tf.abs(tf.cast(found, tf.float32) - wanted) * features["padding_mask"][..., None].numpy()
    )
    assert 0 < tf.reduce_max(apart) < 0.2
