"""Encoders in Hugging Face layout, read and written: config.json and model.safetensors.

A family says which arguments of a backbone a config.json gives, and what the checkpoint calls each
layer; the shape of a tensor follows from the layer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import keras
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from pipelines.errors import UserError
from pipelines.json_files import read_json
from tfnlp.backbones.mpnet import MPNetBackbone

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"  # which of several files each tensor is in
_BERT_LAYER = {
    "_self_attention_layer.query_dense": "attention.self.query",
    "_self_attention_layer.key_dense": "attention.self.key",
    "_self_attention_layer.value_dense": "attention.self.value",
    "_self_attention_layer.output_dense": "attention.output.dense",
    "_self_attention_layer_norm": "attention.output.LayerNorm",
    "_feedforward_intermediate_dense": "intermediate.dense",
    "_feedforward_output_dense": "output.dense",
    "_feedforward_layer_norm": "output.LayerNorm",
}
_MPNET_LAYER = {
    **_BERT_LAYER,
    "_self_attention_layer.query_dense": "attention.attn.q",
    "_self_attention_layer.key_dense": "attention.attn.k",
    "_self_attention_layer.value_dense": "attention.attn.v",
    "_self_attention_layer.output_dense": "attention.attn.o",
    "_self_attention_layer_norm": "attention.LayerNorm",
}


@dataclass(frozen=True)
class Family:
    """How the checkpoints of a ``model_type`` are laid out.

    Attributes:
        backbone: the class that computes it.
        arguments: of the class, and the words of config.json for them; one that config.json lacks
            keeps its default if there is one.
        outer: the names of layers outside of the transformer's, by their paths in the backbone.
        block: how a transformer layer's names begin, with its number as ``{}``.
        layer: the names in a transformer layer, by paths in KerasHub's.
        prefix: what all names begin with when a head was saved too.
    """

    backbone: type
    arguments: Mapping[str, str]
    outer: Mapping[str, str]
    block: str
    layer: Mapping[str, str]
    prefix: str


_ARGUMENTS = {
    "vocabulary_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "hidden_dim": "hidden_size",
    "intermediate_dim": "intermediate_size",
    "dropout": "hidden_dropout_prob",
    "max_sequence_length": "max_position_embeddings",
}
FAMILIES = {
    "mpnet": Family(
        MPNetBackbone,
        {**_ARGUMENTS, "num_buckets": "relative_attention_num_buckets"},
        {
            "token_embedding": "embeddings.word_embeddings",
            "position_embedding": "embeddings.position_embeddings",
            "embeddings_layer_norm": "embeddings.LayerNorm",
            "relative_bias": "encoder.relative_attention_bias",
            "pooled_dense": "pooler.dense",
        },
        "encoder.layer.{}",
        _MPNET_LAYER,
        "mpnet.",
    ),
}
# A row of its own for padding comes before the first token's.
_OFFSETS = {"mpnet": 2}
_OPTIONAL = ("dropout", "num_buckets")


def family_of(config: Mapping[str, Any]) -> Family | None:
    """Return the family that a config.json is of; None if it is read by KerasHub.

    Example::

        family_of({"model_type": "mpnet"}).backbone  # MPNetBackbone
    """
    return FAMILIES.get(str(config.get("model_type")))


def build(config: Mapping[str, Any], **options: Any) -> Any:
    """Return a backbone of the size that config.json says, with random weights.

    Args:
        config: of a family.
        options: arguments of the backbone that take the place of config.json's.

    Raises:
        UserError: config.json lacks one of its sizes.

    Example::

        build(json.loads((folder / "config.json").read_text("utf-8")), dropout=0.0)
    """
    family = FAMILIES[config["model_type"]]
    lacking = [w for a, w in family.arguments.items() if a not in _OPTIONAL and w not in config]
    if lacking:
        raise UserError(f"config.json lacks {', '.join(lacking)}")
    given = {argument: config[w] for argument, w in family.arguments.items() if w in config}
    given["max_sequence_length"] -= _OFFSETS.get(config["model_type"], 0)
    return family.backbone(**{**given, **options})


def read(folder: Path, config: Mapping[str, Any], **options: Any) -> Any:
    """Return the backbone in a folder.

    Args:
        folder: has model.safetensors, or model.safetensors.index.json and the files that it names.
        config: its config.json, of a family.
        options: as for :func:`build`.

    Raises:
        UserError: a tensor is missing, or is not of the size that config.json says.

    Example::

        read(folder, config, dropout=0.0)
    """
    network = build(config, **options)
    with ExitStack() as stack:
        tensors = _Tensors(folder, FAMILIES[config["model_type"]].prefix, stack)
        for place in _places(network, config):
            value = tensors.get(place)
            turned = value.T if place.product else value
            place.variable.assign(turned.reshape(place.variable.shape))
    return network


def write(network: Any, config: Mapping[str, Any], folder: Path) -> None:
    """Write a backbone as config.json and model.safetensors.

    Args:
        network: a backbone.
        config: the config.json that it was read with.
        folder: where to write.

    Example::

        write(read(folder, config), config, Path("copy"))
    """
    tensors = {}
    for place in _places(network, config):
        value = np.asarray(place.variable, "float32")
        shape = place.shape
        turned = value.reshape(shape[::-1]).T if place.product else value.reshape(shape)
        tensors[place.names[0]] = np.ascontiguousarray(turned)
    (folder / "config.json").write_text(json.dumps(dict(config), indent=2) + "\n", "utf-8")
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})


@dataclass(frozen=True)
class _Place:
    """Where a variable is in a checkpoint.

    Attributes:
        variable: the variable.
        names: its name there, or its older one.
        shape: its shape there.
        product: whether it is the matrix of a product, which has outputs before inputs there.
    """

    variable: Any
    names: tuple[str, ...]
    shape: tuple[int, ...]
    product: bool = False


def _places(network: Any, config: Mapping[str, Any]) -> Iterator[_Place]:
    """Yield where each of a backbone's variables is in its checkpoint."""
    family = FAMILIES[config["model_type"]]
    for path, name in family.outer.items():
        yield from _of_layer(attrgetter(path)(network), name)
    for number, block in enumerate(network.transformer_layers):
        for path, name in family.layer.items():
            yield from _of_layer(attrgetter(path)(block), f"{family.block.format(number)}.{name}")


def _of_layer(layer: Any, name: str) -> Iterator[_Place]:
    """Yield where each of a layer's variables is."""
    if isinstance(layer, keras.layers.LayerNormalization):
        for variable, words in ((layer.gamma, ("weight", "gamma")), (layer.beta, ("bias", "beta"))):
            yield _Place(variable, tuple(f"{name}.{w}" for w in words), tuple(variable.shape))
    elif hasattr(layer, "kernel"):
        size = math.prod(layer.bias.shape)
        shape = (size, math.prod(layer.kernel.shape) // size)
        yield _Place(layer.kernel, (f"{name}.weight",), shape, product=True)
        yield _Place(layer.bias, (f"{name}.bias",), (size,))
    else:  # a table
        (table,) = layer.weights
        yield _Place(table, (f"{name}.weight",), tuple(table.shape))


class _Tensors:
    """The tensors in a folder's safetensors files, by name."""

    def __init__(self, folder: Path, prefix: str, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._files: dict[str, Any] = {}
        for name in _files(folder):
            opened = stack.enter_context(safe_open(folder / name, "np"))
            self._files |= dict.fromkeys(opened.keys(), opened)
        self._prefix = prefix if any(key.startswith(prefix) for key in self._files) else ""

    def get(self, place: _Place) -> np.ndarray:
        """Return a variable's tensor, float32.

        Raises:
            UserError: there is none, or it is of another shape.
        """
        names = [self._prefix + name for name in place.names]
        name = next((name for name in names if name in self._files), None)
        if name is None:
            raise UserError(f"the weights in {self._folder} have no {names[0]}")
        part = self._files[name].get_slice(name)
        shape = tuple(part.get_shape())
        if shape != place.shape:
            raise UserError(
                f"{name} in {self._folder} has the shape {shape}, and by its config.json it must "
                f"be {place.shape} (take the config.json that belongs to the weights)"
            )
        return np.asarray(part[:], "float32")


def _files(folder: Path) -> list[str]:
    """List the files of a folder's weights."""
    if not (folder / INDEX).exists():
        return [WEIGHTS]
    index = read_json(folder / INDEX, {"weight_map": dict})
    return sorted(set(index["weight_map"].values()))
