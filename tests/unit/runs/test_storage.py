"""A backbone written after training loads as what was trained, from every layout."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import zipfile
from types import SimpleNamespace

import keras
import keras_hub
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sentencepiece import sentencepiece_model_pb2 as schema

from pipelines.errors import UserError
from pipelines.rows import Rows
from tfnlp import task as tasks
from tfnlp.backbones import entry, loading, saving
from tfnlp.backbones.encoder import Encoder
from tfnlp.runs import storage
from tfnlp.runs.experiment_yaml import from_values
from tfnlp.training.model import prepare

IDS = np.array([[2, 5, 6, 3, 0], [2, 7, 1, 4, 3]], "int32")
MASK = np.array([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]], "int32")
FEATURES = {"token_ids": IDS, "segment_ids": IDS * 0, "padding_mask": MASK}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "##s", "world"]
SIZES = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16, "dropout": 0.1}


def tokens(backbone):
    return backbone.model.predict_on_batch(FEATURES)["tokens"][MASK.astype(bool)]


def changed(backbone):
    """Change every weight, as training would, and give a network with a head on the tokens."""
    random = np.random.default_rng(0)
    for block in backbone.blocks:
        for layer in block:
            layer.set_weights([w + random.normal(0, 0.05, w.shape) for w in layer.get_weights()])
    outputs = keras.layers.Dense(3)(backbone.model.output["tokens"])
    return keras.Model(backbone.model.input, outputs)


def check(name, tmp_path, **options):
    """Change, write and load a backbone; its network goes through Keras's own file first."""
    backbone = loading.load(name, dropout=0.0, **options)
    before = tokens(backbone)
    network = changed(backbone)
    want = tokens(backbone)
    assert np.abs(want - before).max() > 0.01
    network.save(tmp_path / "model.keras")
    network = keras.models.load_model(tmp_path / "model.keras")
    saving.write(network, name, backbone.tokenizer, tmp_path / "written")
    again = loading.load(str(tmp_path / "written"))
    np.testing.assert_allclose(tokens(again), want, atol=1e-5)
    assert again.tokenizer.pieces() == backbone.tokenizer.pieces()
    assert len(again.blocks) == len(backbone.blocks)


def test_hugging_face_layout_with_fewer_layers(tmp_path):
    check("minilm-l6-en", tmp_path, layers=1)
    source = load_file(entry.prepared("minilm-l6-en") / "model.safetensors")
    written = load_file(tmp_path / "written" / "model.safetensors")
    shapes = {name: value.shape for name, value in written.items()}
    assert shapes.items() <= {name: value.shape for name, value in source.items()}.items()
    # The pooler stands on no head here: it is the source's.
    for name in ("pooler.dense.weight", "pooler.dense.bias"):
        np.testing.assert_array_equal(written[name], source[name])
    config = json.loads((tmp_path / "written" / "config.json").read_text())
    assert config["num_hidden_layers"] == 1
    assert config["architectures"] == ["BertModel"]


def test_xlm_roberta_whose_positions_are_shifted_and_folded(tmp_path):
    """Its converter drops two rows of positions and adds the segment's vector to the others."""
    random = np.random.default_rng(1)
    source = tmp_path / "source"
    source.mkdir()
    config = {
        "model_type": "xlm-roberta", "architectures": ["XLMRobertaForMaskedLM"], "vocab_size": 9,
        "num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 8,
        "intermediate_size": 16, "max_position_embeddings": 18, "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1, "layer_norm_eps": 1e-5, "type_vocab_size": 1,
    }  # fmt: skip
    (source / "config.json").write_text(json.dumps(config))
    shapes = {
        "embeddings.word_embeddings": (9, 8),
        "embeddings.position_embeddings": (18, 8),
        "embeddings.token_type_embeddings": (1, 8),
        "embeddings.LayerNorm": (8,),
        "encoder.layer.0.attention.self.query": (8, 8),
        "encoder.layer.0.attention.self.key": (8, 8),
        "encoder.layer.0.attention.self.value": (8, 8),
        "encoder.layer.0.attention.output.dense": (8, 8),
        "encoder.layer.0.attention.output.LayerNorm": (8,),
        "encoder.layer.0.intermediate.dense": (16, 8),
        "encoder.layer.0.output.dense": (8, 16),
        "encoder.layer.0.output.LayerNorm": (8,),
    }
    weights = {f"roberta.{n}.weight": random.normal(size=s) for n, s in shapes.items()}
    biased = {n: s for n, s in shapes.items() if "_embeddings" not in n}
    weights |= {f"roberta.{n}.bias": random.normal(size=s[0]) for n, s in biased.items()}
    save_file({n: v.astype("float32") for n, v in weights.items()}, source / "model.safetensors")
    model = schema.ModelProto()
    for piece in ("<unk>", "<s>", "</s>", "▁", "▁hello", "s", "▁world"):
        kind = 2 if piece == "<unk>" else 3 if piece in ("<s>", "</s>") else 1
        model.pieces.add(piece=piece, score=-1.0, type=kind)
    (source / "sentencepiece.bpe.model").write_bytes(model.SerializeToString())
    check(str(source), tmp_path)
    written = json.loads((tmp_path / "written" / "config.json").read_text())
    assert written["architectures"] == ["XLMRobertaModel"]


@pytest.mark.parametrize("layers", [1, None])
def test_keras_hub_layout(layers, tmp_path):
    hub = keras_hub.models
    hub.BertBackbone(8, **SIZES).save_to_preset(str(tmp_path / "source"))
    hub.BertTokenizer(vocabulary=SPECIAL, lowercase=True).save_to_preset(str(tmp_path / "source"))
    check(str(tmp_path / "source"), tmp_path, layers=layers)


def test_a_full_disk_keeps_the_old_model(tmp_path, monkeypatch):
    def full(file, start, size):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    (tmp_path / "model").mkdir()
    model = SimpleNamespace(
        network=keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(3)]),
        context=None,
        experiment=SimpleNamespace(peft=None),
        task=SimpleNamespace(save_extra=None),
    )
    with pytest.raises(UserError, match=r"cannot keep .*: No space left on device .*--resume"):
        storage.save(model, tmp_path)
    assert [f.name for f in tmp_path.iterdir()] == ["model"]


_LOADED = """
import sys
import numpy as np
import keras
import keras_hub
model = keras.models.load_model(sys.argv[1])
assert not [name for name in sys.modules if name.startswith(("tfnlp", "pipelines"))]
ids = np.array({ids}, "int32")
mask = np.array({mask}, "int32")
features = {{"token_ids": ids, "segment_ids": ids * 0, "padding_mask": mask}}
np.save(sys.argv[2], model(features))
import tfnlp.heads
model = keras.models.load_model(sys.argv[3])
np.save(sys.argv[4], model({{name: value[:, None] for name, value in features.items()}}))
"""


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A run for each of two tasks over a BERT of random weights, of which ner has own layers."""
    source = tmp_path_factory.mktemp("source")
    keras_hub.models.BertBackbone(8, **SIZES).save_to_preset(str(source))
    keras_hub.models.BertTokenizer(vocabulary=SPECIAL, lowercase=True).save_to_preset(str(source))
    runs = {}
    for name in ("classification", "ner"):
        task = tasks.load(name)
        values = {"task": {"name": name}, "data": {"train": "rows.csv"}}
        made = from_values(values | {"backbone": {"name": str(source)}}, task.options, "")
        sample = task.sample(made.options)
        columns = {column: [row[column] for row in sample] for column in sample[0]}
        model = prepare(made, Rows("rows.csv", columns, [*range(1, len(sample) + 1)]))
        for weight in model.network.weights:  # heads begin at zero
            weight.assign(weight + np.random.default_rng(0).normal(0, 0.1, weight.shape))
        folder = tmp_path_factory.mktemp(name)
        storage.save(model, folder)
        runs[name] = model, folder
    return runs


def features_of(name):
    """Return inputs of a task's network: ner reads windows, of which there is one here."""
    given = FEATURES.items()
    return {key: value[:, None] if name == "ner" else value for key, value in given}


def layers_in(file):
    stored = zipfile.ZipFile(file).read("config.json").decode()
    return {name for name in ("tfnlp>Encoder", "keras_hub>TransformerEncoder") if name in stored}


def check_quick(network, model, name):
    kind = keras_hub.layers.TransformerEncoder
    layers = [type(each) for each in network._flatten_layers() if isinstance(each, kind)]
    assert layers == [Encoder] * SIZES["num_layers"]
    given = features_of(name)
    np.testing.assert_array_equal(network(given), model.network(given))


def test_kept_models_load_without_tfnlp(kept, tmp_path):
    arguments = []
    for name in ("classification", "ner"):
        file = kept[name][1] / "model" / "model.keras"
        assert layers_in(file) == {"keras_hub>TransformerEncoder"}
        arguments += [str(file), str(tmp_path / f"{name}.npy")]
    code = _LOADED.format(ids=IDS.tolist(), mask=MASK.tolist())
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)
    for name, (model, _) in kept.items():
        told = np.load(tmp_path / f"{name}.npy")
        np.testing.assert_allclose(told, model.network(features_of(name)), atol=1e-5)


@pytest.mark.parametrize("name", ["classification", "ner"])
def test_layers_are_quick_after_keeping_and_loading(kept, name):
    model, folder = kept[name]
    check_quick(model.network, model, name)
    check_quick(storage.load(folder).network, model, name)


@pytest.mark.parametrize("name", ["classification", "ner"])
def test_runs_whose_file_names_our_layer_load(kept, name, tmp_path):
    model, folder = kept[name]
    shutil.copytree(folder, tmp_path / "run")
    file = tmp_path / "run" / "model" / "model.keras"
    keras.Model(model.network.input, model.network.output).save(file)
    assert layers_in(file) == {"tfnlp>Encoder"}
    (file.parent / "checksums.json").unlink()  # which had no sums of weights then
    check_quick(storage.load(tmp_path / "run").network, model, name)


def test_a_network_that_holds_python_is_one_sentence(kept, tmp_path):
    shutil.copytree(kept["classification"][1], tmp_path / "run")
    file = tmp_path / "run" / "model" / "model.keras"
    given = keras.Input((4,))
    keras.Model(given, keras.layers.Lambda(lambda x: x * 2)(given)).save(file)
    (file.parent / "checksums.json").unlink()
    with pytest.raises(UserError) as error:
        storage.load(tmp_path / "run")
    assert "Lambda" in str(error.value)
    assert "safe_mode" not in str(error.value)
    assert "\n" not in str(error.value)
