"""Adapters of Hugging Face's peft: what it computes with them, we do, and the way back."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import SimpleNamespace

import keras_hub
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from pipelines.errors import UserError
from tfnlp.backbones import insertions, loading, peft_adapters
from tfnlp.peft import lora

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("tiny_adapters", HERE / "tiny_adapters.py")
tiny_adapters = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny_adapters)
REFERENCE = json.loads((HERE / "tiny_adapters.json").read_text("utf-8"))
OPTIONS = {"rank": tiny_adapters.RANK, "alpha": tiny_adapters.ALPHA}


def loaded(kind, folder):
    """Return a tiny backbone of a kind; a Llama has no tokenizer."""
    if kind != "llama":
        return loading.load(str(tiny_adapters.tiny_folders.write(kind, folder)))
    network = keras_hub.models.Backbone.from_preset(str(tiny_adapters.write_llama(folder)))
    blocks = ((), *((layer,) for layer in network.transformer_layers))
    return SimpleNamespace(name=str(folder), model=network, blocks=blocks)


def outputs(kind, backbone):
    """Return what the reference shows: states of an encoder, logits of a Llama."""
    ids = np.array(tiny_adapters.IDS, "int32")
    given = {"token_ids": ids, "padding_mask": np.ones_like(ids)}
    if kind == "llama":
        states = backbone.model(given)
        found = backbone.model.token_embedding(states, reverse=True)
    else:
        found = backbone.model({**given, "segment_ids": np.zeros_like(ids)})["tokens"]
    return np.asarray(found)[..., :4].reshape(-1)


@pytest.fixture(params=sorted(tiny_adapters.LAYERS))
def kind(request):
    return request.param


@pytest.fixture
def backbone(kind, tmp_path):
    return loaded(kind, tmp_path / "backbone")


def added(backbone):
    return [
        (number, layer)
        for number, block in enumerate(backbone.blocks[1:])
        for layer in (inner for whole in block for inner in whole._flatten_layers())
        if isinstance(layer, insertions.Inserted)
    ]


def test_it_computes_what_peft_does(kind, backbone, tmp_path):
    folder = tiny_adapters.write(kind, tmp_path / "adapter")
    options = lora.Options(**OPTIONS, adapter=str(folder))
    lora.adapt(backbone, options)
    lora.start(backbone, options)
    # KerasHub's Llama differs from transformers' by 2e-4 without an adapter.
    bound = 5e-4 if kind == "llama" else 2e-5
    np.testing.assert_allclose(outputs(kind, backbone), REFERENCE[kind], rtol=0, atol=bound)


def test_what_was_read_is_written_again(kind, backbone, tmp_path):
    folder = tiny_adapters.write(kind, tmp_path / "adapter")
    options = lora.Options(**OPTIONS, adapter=str(folder))
    lora.adapt(backbone, options)
    lora.start(backbone, options)
    peft_adapters.write(added(backbone), 2, kind, "tiny", tmp_path / "again")
    want, found = (
        load_file(tmp_path / name / peft_adapters.WEIGHTS) for name in ("adapter", "again")
    )
    assert set(found) == set(want)
    for name, value in want.items():
        np.testing.assert_array_equal(found[name], value)
    before, after = (
        json.loads((tmp_path / name / peft_adapters.CONFIG).read_text())
        for name in ("adapter", "again")
    )
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("kind", ["bert"])
@pytest.mark.parametrize(
    ("targets", "frozen", "want"),
    [
        (("query", "output"), 0, [0, 1]),
        (("query",), 0, ["attention.self.query"]),
        (("attention",), 1, [1]),
    ],
)
def test_no_other_modules_are_named(backbone, targets, frozen, want, tmp_path):
    """peft takes the modules whose names end so, or that an expression matches as a whole."""
    seen = SimpleNamespace(name="tiny", model=backbone.model, blocks=backbone.blocks)
    seen.blocks = ((),) * (frozen + 1) + backbone.blocks[frozen + 1 :]
    lora.adapt(seen, lora.Options(targets=targets))
    peft_adapters.write(added(backbone), 2, "bert", "tiny", tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / peft_adapters.CONFIG).read_text())
    if isinstance(want[0], str):
        assert config["target_modules"] == want
        return
    names = [name for number in range(2) for name in peft_adapters.modules("bert", number).values()]
    held = load_file(tmp_path / "adapter" / peft_adapters.WEIGHTS)
    matched = {name for name in names if re.fullmatch(config["target_modules"], name)}
    assert matched == {n.split(".lora_")[0].removeprefix("base_model.model.") for n in held}
    assert {int(name.split(".")[2]) for name in matched} == set(want)


@pytest.mark.parametrize("kind", ["bert"])
def test_an_adapter_under_a_head_is_read_and_its_head_is_named(backbone, tmp_path, capsys):
    """As `get_peft_model` of a BertForSequenceClassification saves it, in half precision."""
    folder = tiny_adapters.write("bert", tmp_path / "adapter")
    file = folder / peft_adapters.WEIGHTS
    held = {n.replace(".encoder", ".bert.encoder"): v for n, v in load_file(file).items()}
    held["base_model.model.classifier.weight"] = np.ones((2, 32), "float32")
    save_file({name: value.astype("float16") for name, value in held.items()}, file)
    options = lora.Options(**OPTIONS, adapter=str(folder))
    lora.adapt(backbone, options)
    lora.start(backbone, options)
    assert "classifier.weight (the head is trained anew)" in capsys.readouterr().err
    np.testing.assert_allclose(outputs("bert", backbone), REFERENCE["bert"], rtol=0, atol=2e-2)


@pytest.mark.parametrize("kind", ["bert"])
@pytest.mark.parametrize(
    ("changed", "own", "sentence"),
    [
        ({"peft_type": "IA3"}, {}, "is of the kind IA3, which cannot be read"),
        ({"use_dora": True}, {}, "has use_dora True, which cannot be read here"),
        ({"init_lora_weights": "pissa_niter_4"}, {}, "changes the backbone's own weights too"),
        ({"r": 0}, {}, "has r 0, and a rank is at least 1"),
        ({"lora_alpha": "16"}, {}, "adapter_config.json is damaged"),
        ({"bias": "all"}, {}, "has bias 'all', which cannot be read here"),
        ({"rank_pattern": {"query": 4}}, {}, "has rank_pattern"),
        ({}, {"rank": 4}, "give --lora-rank 3 --lora-alpha 5 --lora-scaling rank"),
        ({"use_rslora": True}, {}, "--lora-scaling sqrt"),
        ({}, {"targets": ("query",)}, "adds to encoder.layer.0.*, and this run does not"),
    ],
)
def test_what_cannot_be_read_is_named(backbone, changed, own, sentence, tmp_path):
    folder = tiny_adapters.write("bert", tmp_path / "adapter", **changed)
    options = lora.Options(**{**OPTIONS, **own}, adapter=str(folder))
    lora.adapt(backbone, options)
    with pytest.raises(UserError, match=sentence):
        lora.start(backbone, options)


@pytest.mark.parametrize("kind", ["bert"])
def test_damage_and_another_size_are_named(backbone, tmp_path):
    folder = tmp_path / "adapter"
    options = lora.Options(**OPTIONS, adapter=str(folder))
    lora.adapt(backbone, options)
    with pytest.raises(UserError, match=r"has no adapter_config.json"):
        lora.start(backbone, options)
    tiny_adapters.write("bert", folder)
    file = folder / peft_adapters.WEIGHTS
    whole = file.read_bytes()
    file.write_bytes(whole[:500])
    with pytest.raises(UserError, match=r"adapter_model.safetensors is damaged"):
        lora.start(backbone, options)
    file.unlink()
    with pytest.raises(UserError, match=r"has no adapter_model.safetensors"):
        lora.start(backbone, options)
    file.write_bytes(whole)
    held = {name: value[:, :-1] for name, value in load_file(file).items()}
    save_file({name: np.ascontiguousarray(value) for name, value in held.items()}, file)
    with pytest.raises(UserError, match="take the backbone that it was trained on"):
        lora.start(backbone, options)
    (folder / peft_adapters.CONFIG).write_text("{")
    with pytest.raises(UserError, match=r"adapter_config.json is damaged"):
        lora.start(backbone, options)


@pytest.mark.parametrize("kind", ["bert"])
@pytest.mark.parametrize(
    "name",
    [
        "embeddings.word_embeddings.lora_embedding_A",
        "embeddings.word_embeddings.weight",
        "bert.encoder.layer.0.output.LayerNorm.weight",
    ],
)
def test_other_weights_of_the_backbone_are_refused(backbone, name, tmp_path):
    folder = tiny_adapters.write("bert", tmp_path / "adapter")
    file = folder / peft_adapters.WEIGHTS
    save_file(load_file(file) | {f"base_model.model.{name}": np.ones((2, 3), "float32")}, file)
    options = lora.Options(**OPTIONS, adapter=str(folder))
    lora.adapt(backbone, options)
    with pytest.raises(UserError, match=re.escape(f"changes {name} of the backbone")):
        lora.start(backbone, options)


@pytest.mark.parametrize("kind", ["bert"])
def test_a_pooler_that_is_not_used_is_left_out(backbone, tmp_path, capsys):
    """As target_modules="all-linear" adds to it."""
    folder = tiny_adapters.write("bert", tmp_path / "adapter")
    file = folder / peft_adapters.WEIGHTS
    pair = {"A": (3, 32), "B": (32, 3)}
    more = {
        f"base_model.model.pooler.dense.lora_{letter}.weight": np.ones(shape, "float32")
        for letter, shape in pair.items()
    }
    save_file(load_file(file) | more, file)
    options = lora.Options(**OPTIONS, adapter=str(folder))
    lora.adapt(backbone, options)
    lora.start(backbone, options)
    assert "pooler.dense.lora_A.weight" in capsys.readouterr().err
    np.testing.assert_allclose(outputs("bert", backbone), REFERENCE["bert"], rtol=0, atol=2e-5)


@pytest.mark.parametrize("kind", ["bert"])
def test_what_else_a_folder_holds_stays(backbone, tmp_path):
    folder = tmp_path / "adapter"
    lora.adapt(backbone, lora.Options(**OPTIONS))
    peft_adapters.write(added(backbone), 2, "bert", "tiny", folder)
    (folder / "checkpoint-100").mkdir()
    (folder / "checkpoint-100" / "optimizer.pt").write_text("mine")
    (folder / peft_adapters.CONFIG).write_text("{}")
    peft_adapters.write(added(backbone), 2, "bert", "tiny", folder)
    assert (folder / "checkpoint-100" / "optimizer.pt").read_text() == "mine"
    assert json.loads((folder / peft_adapters.CONFIG).read_text())["r"] == tiny_adapters.RANK
    names = {peft_adapters.CONFIG, peft_adapters.WEIGHTS, "checkpoint-100"}
    assert {path.name for path in folder.iterdir()} == names


@pytest.mark.parametrize("kind", ["bert"])
def test_who_reads_one_file_reads_the_other(backbone, tmp_path):
    lora.adapt(backbone, lora.Options(**OPTIONS))
    folder = tmp_path / "adapter"
    peft_adapters.write(added(backbone), 2, "bert", "tiny", folder)
    modes = [(folder / n).stat().st_mode for n in (peft_adapters.CONFIG, peft_adapters.WEIGHTS)]
    assert modes[0] == modes[1]
