"""A trained backbone -> a folder that ``--backbone ./folder`` loads, in the layout it came in."""

from __future__ import annotations

import inspect
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import keras_hub

from pipelines.tokenizers.tokenizer import Tokenizer
from tfnlp.backbones import hugging_face, loading
from tfnlp.runtime import keras_patches

# Hugging Face's files of a vocabulary; KerasHub's are written by our own tokenizer.
_VOCABULARY = (
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
)
_LAYERS = ("num_hidden_layers", "n_layers")  # BERT's and DistilBERT's word for their number


def write(network: keras.Model, source: str, tokenizer: Tokenizer, folder: Path) -> None:
    """Write the encoder inside a trained network as a backbone of its own.

    What the network does not hold (BERT's pooler under a head on tokens, its upper layers under
    ``--layers``) is taken from the source, or left out with the layers.

    Args:
        network: has the backbone's layers, by the names that they have in ``loading.load``.
        source: the name under which the backbone was loaded; it decides the layout.
        tokenizer: the vocabulary, written where the layout has no files of its own for it.
        folder: where to write; made, or written over.

    Raises:
        UserError: the source is no longer there.

    Example::

        write(model.network, "minilm-l6-en", model.context.tokenizer, Path("backbone"))
        loading.load("backbone")
    """
    origin = loading.find(source)
    folder.mkdir(parents=True, exist_ok=True)
    trained: dict[str, keras.layers.Layer] = {}
    for layer in keras_patches.layers_of(network):
        trained.setdefault(layer.name, layer)
    config = json.loads((origin / "config.json").read_text("utf-8"))
    if "model_type" in config:
        _write_hugging_face(trained, origin, config, folder)
    else:
        _write_keras_hub(trained, origin, folder)
    if not any((folder / name).exists() for name in _VOCABULARY):
        tokenizer.save(folder)


def write_hub(backbone: Any, source: str, tokenizer: Tokenizer, folder: Path) -> None:
    """Write one of KerasHub's backbones in its layout, with vocabulary and chat template.

    Args:
        backbone: trained.
        source: the name under which it was loaded.
        tokenizer: its vocabulary.
        folder: where to write; made, or written over.

    Example::

        write_hub(families.inside(network).backbone, "smollm2-135m", tokenizer, Path("backbone"))
    """
    backbone.save_to_preset(str(folder))
    tied = getattr(getattr(backbone, "token_embedding", None), "tie_weights", None)
    if tied is not None and "tie_word_embeddings" in inspect.signature(type(backbone)).parameters:
        # LlamaBackbone.get_config leaves it out, and the output layer would be loaded anew.
        described = json.loads((folder / "config.json").read_text("utf-8"))
        described["config"]["tie_word_embeddings"] = tied
        (folder / "config.json").write_text(json.dumps(described, indent=4) + "\n", "utf-8")
    tokenizer.save(folder)
    if source.partition(":")[0] == loading.SCRATCH:
        return
    origin = loading.find(source)
    for name in ("chat_template.jinja", "chat.json"):
        if (origin / name).exists():
            shutil.copyfile(origin / name, folder / name)


def _write_hugging_face(
    trained: dict[str, keras.layers.Layer], origin: Path, config: dict[str, Any], folder: Path
) -> None:
    """Write config.json, model.safetensors and copies of the vocabulary's files."""
    made = hugging_face.build(config)
    kept = _layers_kept(made, trained)
    config.update({key: kept for key in _LAYERS if key in config})
    if config.get("architectures"):  # BertForMaskedLM is BertModel without its head
        kind = config["architectures"][0].partition("For")[0].removesuffix("Model")
        config["architectures"] = [f"{kind}Model"]
    for name in _VOCABULARY:
        if (origin / name).exists():
            shutil.copyfile(origin / name, folder / name)
    made = hugging_face.read(origin, config)
    _copy(trained, made)
    hugging_face.write(made, config, folder)


def _write_keras_hub(trained: dict[str, keras.layers.Layer], origin: Path, folder: Path) -> None:
    """Write config.json and model.weights.h5."""
    made = keras_hub.models.Backbone.from_preset(str(origin))
    kept = _layers_kept(made, trained)
    if kept < made.num_layers:
        smaller = type(made).from_config({**made.get_config(), "num_layers": kept})
        _copy({layer.name: layer for layer in made.layers}, smaller)
        made = smaller
    _copy(trained, made)
    made.save_to_preset(str(folder))


def _layers_kept(made: Any, trained: dict[str, keras.layers.Layer]) -> int:
    """Count the transformer layers that the network holds; ALBERT's share their weights."""
    stack = made.transformer_layers
    if isinstance(stack[0], list):
        return int(made.num_layers)
    return sum(layer.name in trained for layer in stack)


def _copy(trained: dict[str, keras.layers.Layer], made: Any) -> None:
    """Copy the weights of the layers of the same name."""
    for layer in made.layers:
        if layer.weights and layer.name in trained:
            layer.set_weights(trained[layer.name].get_weights())
