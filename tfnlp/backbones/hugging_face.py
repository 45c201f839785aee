"""Encoders in Hugging Face layout, read and written: config.json and model.safetensors.

`checkpoint_names` says which arguments of a backbone a config.json gives, and what the checkpoint
calls each layer; the shape of a tensor follows from the layer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import keras
import numpy as np
from safetensors import safe_open

from pipelines.errors import UserError
from pipelines.files.writers import write_tensors
from pipelines.json_files import read_json
from tfnlp.backbones.checkpoint_names import (
    ACTIVATIONS,
    FAMILIES,
    OPTIONAL,
    POSITIONS,
    SEGMENTS,
    Family,
)

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"  # which of several files each tensor is in
_FLOATS = ("F32", "F16", "BF16", "F64")
_PICKLED = (
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "tf_model.h5",
    "flax_model.msgpack",
)


def family_of(config: Mapping[str, Any]) -> Family | None:
    """Return the family that a config.json is of; None if it is read by KerasHub.

    Example::

        family_of({"model_type": "mpnet"}).backbone  # MPNetBackbone
    """
    return FAMILIES.get(str(config.get("model_type")))


def check(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse a model that a family's layers would compute wrongly, or whose weights are not there.

    Args:
        folder: the model's.
        config: its config.json, of a family.

    Raises:
        UserError: config.json lacks a size, or its activation, positions or kind of attention are
            others, or there are no safetensors.

    Example::

        check(folder, json.loads((folder / "config.json").read_text("utf-8")))
    """
    kind = config["model_type"]
    arguments = FAMILIES[kind].arguments.items()
    lacking = [word for a, word in arguments if a not in OPTIONAL and word not in config]
    if lacking:
        raise UserError(f"{folder / 'config.json'} lacks {', '.join(lacking)}")
    activation = config.get("hidden_act", config.get("activation", "gelu"))
    positions = config.get("position_embedding_type") or "absolute"
    file = folder / "config.json"
    if activation not in ACTIVATIONS:
        raise UserError(
            f"{file} has the activation {activation!r}, which cannot be used here (take a model "
            f"with one of {', '.join(ACTIVATIONS)})"
        )
    if positions != "absolute":
        raise UserError(
            f"{file} has position embeddings of the type {positions!r}, which cannot be used here "
            f"(take a {kind} model with absolute ones)"
        )
    if config.get("is_decoder") or config.get("add_cross_attention"):
        raise UserError(f"{file} is of a decoder, which cannot be used here (take an encoder)")
    if (folder / WEIGHTS).exists() or (folder / INDEX).exists():
        return
    other = next((name for name in _PICKLED if (folder / name).exists()), None)
    if other:
        raise UserError(
            f"{folder} has its weights in {other} only, and {WEIGHTS} is what is read (write it "
            "with transformers: AutoModel.from_pretrained(FOLDER).save_pretrained(FOLDER))"
        )
    raise UserError(f"{folder} has no {WEIGHTS} (take the whole folder of the model)")


def build(config: Mapping[str, Any], **options: Any) -> Any:
    """Return a backbone of the size that config.json says, with random weights.

    Args:
        config: of a family.
        options: arguments of the backbone that take the place of config.json's.

    Example::

        build(json.loads((folder / "config.json").read_text("utf-8")), dropout=0.0)
    """
    family = FAMILIES[config["model_type"]]
    given = {argument: config[w] for argument, w in family.arguments.items() if w in config}
    given["max_sequence_length"] -= family.reserved
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
    family = FAMILIES[config["model_type"]]
    with ExitStack() as stack:
        tensors = _Tensors(folder, family.prefix, stack)
        for place in _places(network, family):
            if place.pooler and not tensors.has(place):  # not saved under a head on tokens
                value = np.random.default_rng(0).normal(0, 0.02, place.shape).astype("float32")
            else:
                value = tensors.get(place)[place.dropped :]
            if place.dropped and tensors.has(_segments(network, config)):
                value = value + tensors.get(_segments(network, config))[0]
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
    for place in _places(network, FAMILIES[config["model_type"]]):
        value = np.asarray(place.variable, "float32")
        if place.dropped:
            value = np.pad(value, [(place.dropped, 0), (0, 0)])
            segments = _segments(network, config)
            tensors[segments.names[0]] = np.zeros(segments.shape, "float32")
        shape = place.shape
        turned = value.reshape(shape[::-1]).T if place.product else value.reshape(shape)
        tensors[place.names[0]] = np.ascontiguousarray(turned)
    (folder / "config.json").write_text(json.dumps(dict(config), indent=2) + "\n", "utf-8")
    write_tensors(tensors, folder / WEIGHTS, {"format": "pt"})


def _segments(network: Any, config: Mapping[str, Any]) -> _Place:
    """Return where a checkpoint has the segments that the backbone lacks."""
    shape = (config.get("type_vocab_size", 1), network.hidden_dim)
    return _Place(None, (f"{SEGMENTS}.weight",), shape)


@dataclass(frozen=True)
class _Place:
    """Where a variable is in a checkpoint.

    Attributes:
        variable: the variable.
        names: its name there, or its older one.
        shape: its shape there.
        product: whether it is the matrix of a product, which has outputs before inputs there.
        dropped: rows at the beginning that the variable lacks.
    """

    variable: Any
    names: tuple[str, ...]
    shape: tuple[int, ...]
    product: bool = False
    dropped: int = 0

    @property
    def pooler(self) -> bool:
        """Whether it is of the layer on the first token's state, which not all have."""
        return self.names[0].startswith("pooler.")


def _places(network: Any, family: Family) -> Iterator[_Place]:
    """Yield where each of a backbone's variables is in its checkpoint."""
    for path, name in family.outer.items():
        for place in _of_layer(attrgetter(path)(network), name):
            if name == POSITIONS and family.dropped:
                rows, size = place.shape
                shape = (rows + family.reserved, size)
                yield replace(place, shape=shape, dropped=family.reserved)
            else:
                yield place
    for number, group in enumerate(network.transformer_layers):
        for inner, block in enumerate(group if isinstance(group, list) else [group]):
            for path, name in family.layer.items():
                stem = f"{family.block.format(number, inner)}.{name}"
                yield from _of_layer(attrgetter(path)(block), stem)


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
        self._where: dict[str, str] = {}
        for name in _files(folder):
            if not (folder / name).exists():
                raise UserError(f"{folder} lacks {name}, which its {INDEX} names (copy it there)")
            opened = stack.enter_context(safe_open(folder / name, "np"))
            self._files |= dict.fromkeys(opened.keys(), opened)
            self._where |= dict.fromkeys(opened.keys(), name)
        self._prefix = prefix if any(key.startswith(prefix) for key in self._files) else ""

    def has(self, place: _Place) -> bool:
        """Return whether there is a variable's tensor."""
        return any(self._prefix + name in self._files for name in place.names)

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
        if part.get_dtype() not in _FLOATS:
            raise UserError(
                f"{name} in {self._folder} is {part.get_dtype()}, and weights must be one of "
                f"{', '.join(_FLOATS)} (take the model before it was quantized)"
            )
        shape = tuple(part.get_shape())
        if shape != place.shape:
            raise UserError(
                f"{name} in {self._folder} has the shape {shape}, and by its config.json it must "
                f"be {place.shape} (take the config.json that belongs to the weights)"
            )
        if part.get_dtype() == "BF16":  # which NumPy does not know
            with safe_open(self._folder / self._where[name], "tf") as file:
                return np.asarray(file.get_tensor(name).numpy(), "float32")
        return np.asarray(part[:], "float32")


def _files(folder: Path) -> list[str]:
    """List the files of a folder's weights."""
    if not (folder / INDEX).exists():
        return [WEIGHTS]
    index = read_json(folder / INDEX, {"weight_map": dict})
    return sorted(set(index["weight_map"].values()))
