"""Backbones against a computation of our own, and the mistakes that users make."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from types import SimpleNamespace

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file
from scipy.special import erf
from sentencepiece import sentencepiece_model_pb2 as schema

from pipelines.errors import UserError
from tfnlp.backbones import entry, loading
from tfnlp.backbones.catalog import e5_small_multilingual as e5
from tfnlp.runtime import keras_patches

IDS = np.array([[101, 2040, 2626, 1996, 2338, 102, 0, 0], [101, 2054, 102, 2204, 999, 102, 2, 5]])
SEGMENTS = np.array([[0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1, 1, 1]])
MASK = np.array([[1, 1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1, 1, 1]])


def features(ids=IDS, segments=SEGMENTS, mask=MASK):
    named = {"token_ids": ids, "segment_ids": segments, "padding_mask": mask}
    return {name: np.asarray(values, "int32") for name, values in named.items()}


@pytest.fixture(scope="module")
def minilm():
    return loading.load("minilm-l6-en")


@pytest.fixture(scope="module")
def tiny():
    return loading.load("minilm-l6-en", layers=1)


def bert(w, ids, segments, mask, heads, layers):
    """BERT's forward pass in float64 (Devlin et al. 2019), from Hugging Face's names."""

    def dense(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x, name):
        mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        scaled = (x - mean) / np.sqrt(var + 1e-12)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    embedded = (
        w["embeddings.word_embeddings.weight"][ids]
        + w["embeddings.position_embeddings.weight"][: ids.shape[1]]
        + w["embeddings.token_type_embeddings.weight"][segments]
    )
    x = norm(embedded, "embeddings.LayerNorm")
    for i in range(layers):
        p = f"encoder.layer.{i}"
        q, k, v = (
            dense(x, f"{p}.attention.self.{n}").reshape(*ids.shape, heads, -1).swapaxes(1, 2)
            for n in ("query", "key", "value")
        )
        scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
        scores = np.where(mask[:, None, None, :] > 0, scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        context = (weights @ v).swapaxes(1, 2).reshape(x.shape)
        attended = dense(context, f"{p}.attention.output.dense")
        x = norm(x + attended, f"{p}.attention.output.LayerNorm")
        inner = dense(x, f"{p}.intermediate.dense")
        inner = inner * 0.5 * (1 + erf(inner / np.sqrt(2)))
        x = norm(x + dense(inner, f"{p}.output.dense"), f"{p}.output.LayerNorm")
    return x, np.tanh(dense(x[:, 0], "pooler.dense"))


def test_minilm_gives_the_hidden_states_of_its_own_weights(minilm):
    weights = load_file(entry.prepared("minilm-l6-en") / "model.safetensors")
    weights = {k: v.astype("float64") for k, v in weights.items() if v.dtype.kind == "f"}
    tokens, pooled = bert(weights, IDS, SEGMENTS, MASK, heads=12, layers=6)
    got = minilm.model.predict_on_batch(features())
    real = MASK.astype(bool)
    np.testing.assert_allclose(got["tokens"][real], tokens[real], atol=2e-5)
    np.testing.assert_allclose(got["pooled"], pooled, atol=2e-5)


@pytest.mark.slow
def test_e5_gives_the_hidden_states_of_its_own_weights():
    """In exact arithmetic; the package's own program rounds activations to eight bits."""
    loaded = loading.load("e5-small-multilingual", layers=2)
    weights = load_file(entry.prepared("e5-small-multilingual") / "model.safetensors")
    tokens, _ = bert(weights, IDS, SEGMENTS, MASK, heads=12, layers=2)
    got = loaded.model.predict_on_batch(features())
    real = MASK.astype(bool)
    np.testing.assert_allclose(got["tokens"][real], tokens[real], atol=2e-5)


def test_four_bit_blocks_are_read_as_ggml_writes_them():
    halves = bytes(
        low | high << 4 for low, high in zip(range(16), reversed(range(16)), strict=True)
    )
    data = b"??" + np.float16(0.5).tobytes() + halves + np.float16(-2).tobytes() + bytes(16)
    values = e5._floats(data, quantized=True, count=64, start=2)
    assert values.dtype == np.float32
    assert values[:32].tolist() == [(i - 8) / 2 for i in range(16)] + [
        (7 - i) / 2 for i in range(16)
    ]
    assert values[32:].tolist() == [16.0] * 32


def test_the_lowest_layers_can_be_kept(minilm, tiny):
    inner = keras.Model(minilm.model.input, minilm.model.get_layer("transformer_layer_0").output)
    got = tiny.model.predict_on_batch(features())["tokens"]
    np.testing.assert_allclose(got, inner.predict_on_batch(features()), atol=1e-6)
    assert [[layer.name for layer in block] for block in tiny.blocks] == [
        ["token_embedding", "position_embedding", "segment_embedding", "embeddings_layer_norm"],
        ["transformer_layer_0"],
    ]
    assert len(minilm.blocks) == 7
    with pytest.raises(UserError, match="has 6 layers, not 7"):
        loading.load("minilm-l6-en", layers=7)


def test_blocks_hold_every_weight_but_the_poolers(minilm):
    held = {id(w) for block in minilm.blocks for layer in block for w in layer.weights}
    pooler = {id(w) for w in minilm.model.get_layer("pooled_dense").weights}
    assert held | pooler == {id(w) for w in minilm.model.weights}
    assert not held & pooler


def test_a_head_on_the_tokens_leaves_the_pooler_out_and_reloads(tiny, tmp_path):
    outputs = keras.layers.Dense(3)(tiny.model.output["tokens"][:, 0, :])
    model = keras.Model(tiny.model.input, outputs)
    assert "pooled_dense" not in {layer.name for layer in model.layers}
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    want, got = model.predict_on_batch(features()), again.predict_on_batch(features())
    np.testing.assert_allclose(got, want, atol=1e-6)  # exact GELU is saved with it


def test_dropout_is_replaced_everywhere():
    made = loading.load("minilm-l6-en", layers=1, dropout=0.3).model
    rates = [x.rate for x in made._flatten_layers() if isinstance(x, keras.layers.Dropout)]
    assert len(rates) >= 4
    assert set(rates) == {0.3}
    still = loading.load("minilm-l6-en", layers=1, dropout=0.0).model
    np.testing.assert_array_equal(
        still(features(), training=True)["tokens"], still(features())["tokens"]
    )


SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "##s", "world"]
BYTES = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"heloswrd", "Ġ", "he"]
SIZES = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16, "dropout": 0.1}


def spm(*special):
    model = schema.ModelProto()
    for piece in [*special, "▁", "▁hello", "s", "▁world"]:
        kind = 2 if piece in ("<unk>", "[UNK]") else 3 if piece in special else 1
        model.pieces.add(piece=piece, score=-1.0, type=kind)
    model.trainer_spec.unk_id = [p.type for p in model.pieces].index(2)
    for role, names in {
        "bos": ("<s>", "[CLS]"),
        "eos": ("</s>", "[SEP]"),
        "pad": ("[PAD]",),
    }.items():
        places = [special.index(n) for n in names if n in special]
        setattr(model.trainer_spec, f"{role}_id", places[0] if places else -1)
    return model.SerializeToString()


def bert_like(tokenizer_class):
    return tokenizer_class(vocabulary=SPECIAL, lowercase=True)


KINDS = {
    "Bert": lambda h: (h.BertBackbone(8, **SIZES), bert_like(h.BertTokenizer)),
    "DistilBert": lambda h: (h.DistilBertBackbone(8, **SIZES), bert_like(h.DistilBertTokenizer)),
    "Electra": lambda h: (
        h.ElectraBackbone(8, embedding_dim=4, **SIZES),
        bert_like(h.ElectraTokenizer),
    ),
    "Albert": lambda h: (
        h.AlbertBackbone(9, embedding_dim=4, **SIZES),
        h.AlbertTokenizer(proto=spm("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")),
    ),
    "Roberta": lambda h: (
        h.RobertaBackbone(16, **SIZES),
        h.RobertaTokenizer(vocabulary={p: i for i, p in enumerate(BYTES)}, merges=["h e"]),
    ),
    "XLMRoberta": lambda h: (
        h.XLMRobertaBackbone(9, **SIZES),
        h.XLMRobertaTokenizer(proto=spm("<unk>", "<s>", "</s>")),
    ),
    "DebertaV3": lambda h: (
        h.DebertaV3Backbone(9, max_sequence_length=16, bucket_size=4, **SIZES),
        h.DebertaV3Tokenizer(proto=spm("[PAD]", "[CLS]", "[SEP]", "[UNK]")),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_encoder_in_keras_hub_layout(kind, tmp_path):
    network, theirs = KINDS[kind](keras_hub.models)
    network.save_to_preset(str(tmp_path))
    theirs.save_to_preset(str(tmp_path))
    loaded = loading.load(str(tmp_path), dropout=0.0)
    ids = np.array([[4, 5, 6, 1, 0], [5, 7, 2, 3, 4]])
    mask = np.array([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    got = loaded.model.predict_on_batch(features(ids, ids * 0, mask))
    asked = {k: v for k, v in features(ids, ids * 0, mask).items() if k in network.input}
    want = network.predict_on_batch(asked)
    want = want["sequence_output"] if isinstance(want, dict) else want
    real = mask.astype(bool)
    np.testing.assert_allclose(got["tokens"][real], want[real], atol=1e-5)
    assert got["pooled"].shape == (2, loaded.hidden_size)
    assert len(loaded.blocks) == (2 if kind == "Albert" else 3)
    words = ["hellos world hello"]
    assert loaded.tokenizer.tokenize(tf.constant(words)).to_list() == theirs(words)
    for role in ("pad", "mask"):
        assert getattr(loaded.tokenizer, f"{role}_id") == getattr(theirs, f"{role}_token_id")
    start = getattr(theirs, "start_token_id", None) or getattr(theirs, "cls_token_id", 0)
    assert loaded.tokenizer.start_id == start


def layout(folder, **config):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(SPECIAL) + "\n")
    return str(folder)


def test_what_cannot_be_loaded_is_said(tmp_path):
    def said(name):
        with pytest.raises(UserError) as caught:
            loading.load(name)
        return str(caught.value)

    assert "did you mean 'minilm-l6-en'?" in said("minilm-l6")
    assert "did you mean 'bert_base_en_uncased'?" in said("bert_base_en_uncase")
    assert "e5-small-multilingual, minilm-l6-en" in said("nonsense")
    assert "which cannot be used here: take an encoder" in said("f_net_base_en")
    assert "which cannot be used here" in said("pali_gemma_3b_mix_224")
    assert "'longformer'" in said(layout(tmp_path / "a", model_type="longformer"))
    assert "'t5'" in said(layout(tmp_path / "b", model_type="t5"))
    assert "model.safetensors" in said(layout(tmp_path / "c", **BERT_CONFIG))
    (tmp_path / "c" / "config.json").write_text("{")
    assert "not JSON" in said(str(tmp_path / "c"))
    (tmp_path / "c" / "config.json").unlink()
    assert "neither KerasHub nor Hugging Face" in said(str(tmp_path / "c"))


BERT_CONFIG = {
    "model_type": "bert", "vocab_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
    "hidden_size": 8, "intermediate_size": 16, "max_position_embeddings": 16,
}  # fmt: skip


def test_no_connection_names_what_remains(monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionError("no route")

    monkeypatch.setattr("kagglehub.model_download", refuse)
    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    for name in ("bert_tiny_en_uncased", "hf://owner/model", "kaggle://keras/bert/keras/x"):
        with pytest.raises(UserError, match=r"ConnectionError .*minilm-l6-en.*local folder"):
            loading.load(name)


def test_listing_the_catalog_loads_no_tensorflow():
    code = (
        "import runpy, sys; sys.argv = ['backbones'];"
        "runpy.run_module('tfnlp.backbones', run_name='__main__');"
        "assert not {'tensorflow', 'keras', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in entry.names():
        assert name in done.stdout


def test_no_weight_is_drawn_that_a_file_replaces(monkeypatch):
    drawn = []

    def counted(*arguments, **named):
        drawn.append(arguments)
        return truncated(*arguments, **named)

    truncated = keras.src.backend.random.truncated_normal
    monkeypatch.setattr(keras.src.backend.random, "truncated_normal", counted)
    keras.utils.set_random_seed(3)
    backbone = loading.load("minilm-l6-en")
    assert not drawn
    later = keras.initializers.TruncatedNormal()((2, 3))
    keras.utils.set_random_seed(3)
    with monkeypatch.context() as patch:
        patch.setattr(keras_patches, "undrawn", contextlib.nullcontext)
        other = loading.load("minilm-l6-en")
    assert len(drawn) > 1
    for ours, theirs in zip(backbone.model.weights, other.model.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)  # so all are the file's
    np.testing.assert_array_equal(keras.initializers.TruncatedNormal()((2, 3)), later)


def test_a_rate_that_a_kind_of_backbone_does_not_have_is_refused(monkeypatch, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    made = SimpleNamespace(check_backbone_class=lambda: keras_hub.models.FalconBackbone)
    monkeypatch.setattr(loading, "get_preset_loader", lambda folder: made)
    with pytest.raises(UserError, match=r"--dropout has no effect on .*: FalconBackbone has none"):
        loading.load(str(tmp_path), dropout=0.1)
