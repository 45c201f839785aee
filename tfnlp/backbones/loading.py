"""A backbone by name: weights, tokenizer and the graph that heads are put on."""

from __future__ import annotations

import difflib
import hashlib
import inspect
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import keras_hub
from keras_hub.src.utils.preset_utils import get_preset_loader

from pipelines.atomic import remove
from pipelines.encoding import chat
from pipelines.errors import UserError
from pipelines.json_files import read_json
from pipelines.tokenizers import tokenizer as tokenizers
from pipelines.tokenizers.tokenizer import Tokenizer
from tfnlp.backbones import encoder, entry, families, hugging_face
from tfnlp.backbones.checkpoint_names import ACTIVATIONS, FAMILIES
from tfnlp.backbones.families import ENCODERS
from tfnlp.runtime import keras_patches
from tfnlp.task import Kind

_FILES = ["*.json", "*.jinja", "*.txt", "*.model", "*.spm", "*.safetensors", "*.weights.h5"]
SCRATCH = "scratch"
_SCRATCH_POSITIONS = 1024
_ROTARY_POSITIONS = 2048
_SCRATCH_LAYERS, _SCRATCH_WEIGHTS = 200, 2_000_000_000  # those of GPT-2 XL are 48 and 1.6e9
_HEAD = 64  # size of an attention head of a model from scratch


@dataclass(frozen=True)
class Backbone:
    """A pretrained model.

    Attributes:
        name: as it was asked for.
        kind: what it can do.
        model: of an encoder functional, from token_ids, segment_ids, padding_mask (each (B, T)
            int32) to ``{"tokens": (B, T, H), "pooled": (B, H)}`` float; of the other kinds
            KerasHub's own backbone.
        blocks: layers with weights, from the bottom up: the embeddings, then an entry for each
            transformer layer (for ALBERT, whose layers share weights, one for each group).
        tokenizer: the vocabulary that belongs to the weights.
        hidden_size: H.
        max_length: the most tokens T that have a position.
        chat: the strings of its chat template (`pipelines.encoding.chat`), if it has one.

    Example::

        load("minilm-l6-en").hidden_size  # 384
    """

    name: str
    kind: Kind
    model: keras.Model
    blocks: tuple[tuple[keras.layers.Layer, ...], ...]
    tokenizer: Tokenizer
    hidden_size: int
    max_length: int
    chat: dict[str, Any] | None = None


def load(name: str, *, dropout: float | None = None, layers: int | None = None) -> Backbone:
    """Load a backbone.

    Args:
        name: a catalog name, a KerasHub preset, ``hf://…``, ``kaggle://…``, or a folder in
            KerasHub or Hugging Face layout.
        dropout: the rate in its layers; None keeps the rate that it was made with.
        layers: keep only this many of its transformer layers, the lowest.

    Raises:
        UserError: there is no such backbone, it cannot be fetched, or it is of another kind.

    Example::

        backbone = load("minilm-l6-en", layers=3)
        backbone.model(features)["pooled"]  # (B, 384)
    """
    options = {} if dropout is None else {"dropout": dropout}
    folder = find(name)
    try:
        config, kind, tokenizer, network = _read(name, folder, options)
    except UserError:
        if name not in entry.names():
            raise
        print(f"{folder} is damaged; making it anew", file=sys.stderr)
        remove(folder)
        config, kind, tokenizer, network = _read(name, find(name), options)
    if kind != "encoder":
        if layers is not None:
            raise UserError(f"--layers is for encoders; the backbone {name!r} is {kind}")
        return _generative(name, kind, network, tokenizer, chat.load(folder))
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
        kind=kind,
        model=model,
        blocks=(tuple(below), *((layer,) for layer in stack if id(layer) in kept)),
        tokenizer=tokenizer,
        hidden_size=network.hidden_dim,
        max_length=network.max_sequence_length,
    )


def _read(
    name: str, folder: Path, options: Mapping[str, Any]
) -> tuple[dict[str, Any], Kind, Tokenizer, Any]:
    """Return the config, kind, tokenizer and network in a folder."""
    config = _config(name, folder)
    kind = _kind(name, folder, config)
    if hugging_face.family_of(config):
        hugging_face.check(folder, config)
    made = _class_of(folder, config)
    for option in options.keys() - inspect.signature(made).parameters.keys():
        raise UserError(
            f"--{option} has no effect on the backbone {name!r}: {made.__name__} has none to set "
            f"(leave out --{option})"
        )
    tokenizer = tokenizers.load(folder)
    size = config.get("vocab_size") if hugging_face.family_of(config) else None
    if size and tokenizer.vocabulary_size > size:
        raise UserError(
            f"the vocabulary in {folder} has {tokenizer.vocabulary_size} pieces, and its "
            f"config.json says {size} (take the files that belong together)"
        )
    try:
        with keras_patches.undrawn():
            if hugging_face.family_of(config):
                network = hugging_face.read(folder, config, **options)
            else:
                network = keras_hub.models.Backbone.from_preset(str(folder), **options)
    except UserError:
        raise
    except Exception as error:  # Keras, HDF5 and safetensors each fail in their own way
        raise UserError(
            f"cannot read the weights of the backbone {name!r} in {folder}: {error} (it needs "
            "model.safetensors or model.weights.h5 next to its config.json, whole and with all "
            "weights of an encoder)"
        ) from error
    return config, kind, tokenizer, network


def _generative(
    name: str, kind: Kind, network: Any, tokenizer: Tokenizer, template: dict[str, Any] | None
) -> Backbone:
    """Describe a backbone that writes."""
    parts = ("transformer_layers", "encoder_transformer_layers", "decoder_transformer_layers")
    stack = [layer for part in parts for layer in getattr(network, part, [])]
    below = [layer for layer in network.layers if layer.weights and layer not in stack]
    return Backbone(
        name=name,
        kind=kind,
        model=network,
        blocks=(tuple(below), *((layer,) for layer in stack)),
        tokenizer=tokenizer,
        hidden_size=network.hidden_dim,
        # Llama's rotary positions have no end; what it was trained for is not in its config.
        max_length=getattr(network, "max_sequence_length", None) or _ROTARY_POSITIONS,
        chat=template,
    )


def scratch(name: str, tokenizer: Tokenizer, dropout: float | None) -> Backbone:
    """Make a small GPT-2 with random weights.

    Args:
        name: ``scratch`` or ``scratch:LAYERSxHIDDEN``, such as ``scratch:4x256``.
        tokenizer: its vocabulary.
        dropout: the rate in its layers; None is .1.

    Raises:
        UserError: the name is of another form, or of more than is trained from scratch.

    Example::

        scratch("scratch:4x256", tokenizer, dropout=None).kind  # "causal"
    """
    size = re.fullmatch(rf"{SCRATCH}(?::(\d+)x(\d+))?", name)
    layers, hidden = (int(n or 0) for n in size.groups()) if size else (0, 0)
    if name == SCRATCH:
        layers, hidden = 4, 256
    if not layers or not hidden or hidden % _HEAD:
        raise UserError(
            f"the backbone {name!r} is not of the form scratch:LAYERSxHIDDEN, such as "
            f"scratch:4x256, with hidden states that are a multiple of {_HEAD}"
        )
    weights = layers * 12 * hidden**2 + tokenizer.vocabulary_size * hidden
    if weights > _SCRATCH_WEIGHTS or layers > _SCRATCH_LAYERS:
        raise UserError(
            f"the backbone {name!r} would have {layers:,} layers and {weights:,} weights; at most "
            f"{_SCRATCH_LAYERS} and {_SCRATCH_WEIGHTS:,} are trained from scratch"
        )
    network = keras_hub.models.GPT2Backbone(
        vocabulary_size=tokenizer.vocabulary_size,
        num_layers=layers,
        num_heads=hidden // _HEAD,
        hidden_dim=hidden,
        intermediate_dim=4 * hidden,
        dropout=0.1 if dropout is None else dropout,
        max_sequence_length=_SCRATCH_POSITIONS,
    )
    return _generative(name, "causal", network, tokenizer, None)


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
    activation = ACTIVATIONS.get(str(config.get("hidden_act", config.get("activation"))))
    epsilon = config.get("layer_norm_eps")
    encoder.adopt(network)
    for layer in keras_patches.layers_of(network):
        if activation and isinstance(layer, keras_hub.layers.TransformerEncoder):
            layer.activation = activation
            layer._feedforward_intermediate_dense.activation = activation
        if epsilon is not None and isinstance(layer, keras_hub.layers.TransformerEncoder):
            layer.layer_norm_epsilon = epsilon
        if epsilon is not None and isinstance(layer, keras.layers.LayerNormalization):
            layer.epsilon = epsilon


def find(name: str) -> Path:
    """Find or fetch the folder that a backbone's name stands for.

    Raises:
        UserError: there is no such backbone, or it cannot be fetched.

    Example::

        find("minilm-l6-en")  # the folder that it was fetched into
    """
    if name.replace("_", "-") in entry.names():
        return entry.prepared(name.replace("_", "-"))
    if Path(name).expanduser().is_dir():
        return Path(name).expanduser()
    every = keras_hub.models.Backbone.presets
    usable = families.presets()
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


def digest(name: str) -> str | None:
    """Return a hash of the files in a backbone's folder, None of one that is not a folder.

    Example::

        digest("./folder")  # "9f86d0..."
    """
    folder = Path(name).expanduser()
    if name.replace("_", "-") in entry.names() or not folder.is_dir():
        return None
    found = hashlib.sha256()
    files = {file for pattern in _FILES for file in folder.rglob(pattern)}
    for file in sorted(files):
        with file.open("rb") as opened:
            value = hashlib.file_digest(opened, "sha256").hexdigest()
        found.update(f"{file.relative_to(folder).as_posix()} {value}\n".encode())
    return found.hexdigest()


def architecture(name: str) -> tuple[str, int]:
    """Return the ``model_type`` of Hugging Face that a backbone is of, and its number of layers.

    Raises:
        UserError: there is no such backbone, or its config is damaged.

    Example::

        architecture("minilm-l6-en")  # ("bert", 6)
    """
    folder = find(name)
    config = _config(name, folder)
    made = _class_of(folder, config)
    kinds = {family.backbone: kind for kind, family in FAMILIES.items()}
    is_llama = issubclass(made, keras_hub.models.LlamaBackbone)
    kind = "llama" if is_llama else kinds.get(made, made.__name__)
    inner = config.get("config", config)
    words = ("num_layers", "num_hidden_layers", "n_layers")
    return kind, next(int(inner[word]) for word in words if word in inner)


def _kind(name: str, folder: Path, config: dict[str, Any]) -> Kind:
    """Find out what a model can do, and refuse what cannot be used."""
    said = str(config.get("class_name") or config.get("model_type"))
    try:
        found = families.kind_of(_class_of(folder, config))
    except ValueError:  # KerasHub knows no such model
        found = None
    if found is None:
        raise _unusable(name, said)
    return found


def _class_of(folder: Path, config: dict[str, Any]) -> type:
    """Return the class that computes a model.

    Raises:
        ValueError: there is none.
    """
    family = hugging_face.family_of(config)
    made: type = (
        family.backbone if family else get_preset_loader(str(folder)).check_backbone_class()
    )
    return made


def _unusable(name: str, kind: str) -> UserError:
    """Return the error about a model that cannot be used."""
    return UserError(
        f"the backbone {name!r} is of the kind {kind!r}, which cannot be used here: take an "
        f"encoder ({', '.join(ENCODERS)}), or a model that KerasHub writes text with (GPT-2, "
        "Llama, Gemma, Mistral, Qwen, BART, T5, ...)"
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
    """Read config.json."""
    file = folder / "config.json"
    if not file.exists():
        raise UserError(
            f"the folder {folder} of the backbone {name!r} has no config.json: it is in neither "
            "KerasHub nor Hugging Face layout"
        )
    config: dict[str, Any] = read_json(file)
    return config
