"""A backbone by name: weights, tokenizer and the graph that heads are put on."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import keras_hub
from safetensors import SafetensorError

from pipelines import tokenizer as tokenizers
from pipelines.errors import UserError
from pipelines.tokenizer import Tokenizer
from tfnlp.backbones import entry

# Encoders whose vocabulary pipelines.tokenizer reads: Hugging Face's model_type, KerasHub's class.
_ENCODERS = {
    "bert": "BertBackbone",
    "distilbert": "DistilBertBackbone",
    "albert": "AlbertBackbone",
    "xlm-roberta": "XLMRobertaBackbone",
    "electra": "ElectraBackbone",
    "deberta-v2": "DebertaV3Backbone",
}
_BYTE_LEVEL = ("roberta", "RobertaBackbone", "gpt2", "GPT2Backbone", "bart", "BartBackbone")
_FILES = ["*.json", "*.txt", "*.model", "*.spm", "*.safetensors", "*.weights.h5"]


@dataclass(frozen=True)
class Backbone:
    """A pretrained encoder.

    Attributes:
        name: as it was asked for.
        model: functional, from token_ids, segment_ids, padding_mask (each (B, T) int32) to
            ``{"tokens": (B, T, H), "pooled": (B, H)}`` float.
        blocks: layers with weights, from the bottom up: the embeddings, then an entry for each
            transformer layer (for ALBERT, whose layers share weights, one for each group).
        tokenizer: the vocabulary that belongs to the weights.
        hidden_size: H.
        max_length: the most tokens T that have a position.
    """

    name: str
    model: keras.Model
    blocks: tuple[tuple[keras.layers.Layer, ...], ...]
    tokenizer: Tokenizer
    hidden_size: int
    max_length: int


def load(name: str, *, dropout: float | None = None, layers: int | None = None) -> Backbone:
    """Load a backbone.

    Args:
        name: a catalog name, a KerasHub preset, ``hf://…``, ``kaggle://…``, or a folder in
            KerasHub or Hugging Face layout.
        dropout: the rate in its layers; None keeps the rate that it was made with.
        layers: keep only this many of its transformer layers, the lowest.

    Raises:
        UserError: there is no such backbone, it cannot be fetched, or it is of another kind.
    """
    folder = find(name)
    config = _config(name, folder)
    tokenizer = tokenizers.load(folder)
    options = {} if dropout is None else {"dropout": dropout}
    try:
        network = keras_hub.models.Backbone.from_preset(str(folder), **options)
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise UserError(
            f"cannot read the weights of the backbone {name!r} in {folder}: {error} (it needs "
            "model.safetensors or model.weights.h5 beside its config.json, whole and with all "
            "weights of an encoder)"
        ) from error
    _adopt(network, config)
    groups = network.transformer_layers
    stack = [layer for group in groups for layer in (group if isinstance(group, list) else [group])]
    if layers is not None and not 1 <= layers <= network.num_layers:
        raise UserError(f"the backbone {name!r} has {network.num_layers} layers, not {layers}")
    model = _model(network, layers)
    kept = {id(layer) for layer in model.layers}
    below = [
        layer
        for layer in model.layers
        if layer.weights and layer not in stack and layer.name != "pooled_dense"
    ]
    return Backbone(
        name=name,
        model=model,
        blocks=(tuple(below), *((layer,) for layer in stack if id(layer) in kept)),
        tokenizer=tokenizer,
        hidden_size=network.hidden_dim,
        max_length=network.max_sequence_length,
    )


def _model(network: Any, layers: int | None) -> keras.Model:
    """Give every kind of backbone the same inputs and outputs."""
    output = network.output
    tokens = output["sequence_output"] if isinstance(output, dict) else output
    if layers is not None and layers < network.num_layers:
        tokens = _output_of(network, layers)
        pooled = network.pooled_dense(tokens[:, 0, :]) if isinstance(output, dict) else None
    else:
        pooled = output["pooled_output"] if isinstance(output, dict) else None
    inputs = dict(network.input)
    if "segment_ids" not in inputs:  # DistilBERT and XLM-R know no segments
        inputs["segment_ids"] = keras.Input((None,), dtype="int32", name="segment_ids")
    outputs = {"tokens": tokens, "pooled": tokens[:, 0, :] if pooled is None else pooled}
    return keras.Model(inputs, outputs, name="backbone")


def _output_of(network: Any, layers: int) -> Any:
    """Return the hidden states above the lowest transformer layers."""
    flat = network.transformer_layers
    if isinstance(flat[0], list):  # ALBERT calls each group's layers many times
        raise UserError("the layers of ALBERT share their weights: none can be left out")
    return flat[layers - 1].output


def _adopt(network: Any, config: dict[str, Any]) -> None:
    """Take over what KerasHub's converters leave out of a Hugging Face config.

    KerasHub's BERT approximates GELU by tanh, as Google's first code did; the checkpoints on
    Hugging Face were trained with what their config says, nearly always the exact function.
    """
    activation = config.get("hidden_act", config.get("activation"))
    epsilon = config.get("layer_norm_eps")
    for layer in network._flatten_layers(include_self=False):
        if activation == "gelu" and isinstance(layer, keras_hub.layers.TransformerEncoder):
            layer.activation = keras.activations.gelu
            layer._feedforward_intermediate_dense.activation = keras.activations.gelu
        if epsilon is not None and isinstance(layer, keras_hub.layers.TransformerEncoder):
            layer.layer_norm_epsilon = epsilon
        if epsilon is not None and isinstance(layer, keras.layers.LayerNormalization):
            layer.epsilon = epsilon


def find(name: str) -> Path:
    """Find or fetch the folder that a backbone's name stands for.

    Raises:
        UserError: there is no such backbone, or it cannot be fetched.
    """
    if name.replace("_", "-") in entry.names():
        return entry.prepared(name.replace("_", "-"))
    if Path(name).expanduser().is_dir():
        return Path(name).expanduser()
    every = keras_hub.models.Backbone.presets
    usable = [p for kind in _ENCODERS.values() for p in getattr(keras_hub.models, kind).presets]
    if name in usable:
        return _download(name, every[name]["kaggle_handle"])
    if name in every:
        raise _unusable(name, every[name]["metadata"]["path"])
    if name.startswith(("hf://", "kaggle://")):
        return _download(name, name)
    near = difflib.get_close_matches(name, [*entry.names(), *usable], n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UserError(
        f"there is no backbone {name!r}; {hint}the catalog has: {', '.join(entry.names())} (or "
        "name a KerasHub preset, hf://owner/model, kaggle://…, or a folder that exists)"
    )


def _unusable(name: str, kind: str) -> UserError:
    """Say that a model is no encoder with a vocabulary that can be used."""
    why = "which is none of the encoders that can be used"
    if kind in _BYTE_LEVEL:
        why = "whose byte-level BPE vocabulary cannot be used here"
    return UserError(
        f"the backbone {name!r} is of the kind {kind!r}, {why}: take one of "
        f"{', '.join(_ENCODERS)} (WordPiece or SentencePiece)"
    )


def _download(name: str, handle: str) -> Path:
    """Fetch a model from its hub; what is there already is not fetched again."""
    import huggingface_hub
    import kagglehub  # type: ignore[import-untyped]

    scheme, _, path = handle.partition("://")
    try:
        if scheme == "hf":
            return Path(huggingface_hub.snapshot_download(path, allow_patterns=_FILES))
        return Path(kagglehub.model_download(path))
    except Exception as error:  # each hub has its own, for "no connection" too
        raise UserError(
            f"cannot fetch the backbone {name!r} from {handle}: {type(error).__name__} (without a "
            f"connection to that hub, take one of the catalog: {', '.join(entry.names())}, or a "
            "local folder in KerasHub or Hugging Face layout)"
        ) from error


def _config(name: str, folder: Path) -> dict[str, Any]:
    """Read config.json and refuse what is no encoder that can be used."""
    file = folder / "config.json"
    if not file.exists():
        raise UserError(
            f"the folder {folder} of the backbone {name!r} has no config.json: it is in neither "
            "KerasHub nor Hugging Face layout"
        )
    try:
        config: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise UserError(f"{file} of the backbone {name!r} is no JSON: {error}") from error
    kind = str(config.get("class_name") or config.get("model_type"))
    if kind not in _ENCODERS and kind not in _ENCODERS.values():
        raise _unusable(name, kind)
    return config
