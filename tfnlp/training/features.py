"""What frozen layers return, computed once for each text and kept.

A network is cut above the highest layer up to which nothing is trained, or where the head takes
the vector of a text if that is the whole backbone. What is below runs once, without dropout, and
what is above is trained on what was kept, in the same batches.

Dimensions: N rows, B batch, T tokens, H hidden.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines import batching
from pipelines.rows import Rows
from tfnlp.backbones import feature_files
from tfnlp.backbones.feature_files import Features
from tfnlp.runtime import precision, threads
from tfnlp.training import examples
from tfnlp.training.model import TrainedModel
from tfnlp.training.network import trainable

TOO_LARGE = (
    "what frozen layers return for these rows is more than the disk has room for, or than "
    f"{feature_files.LIMIT} allows (free some space, or raise that)"
)
INPUT = "frozen_states"  # the input by which the upper part takes what was kept
_PLACE = "frozen/place"  # a raw column: which row of what was kept
_HEAD = "head_dropout"  # the layer that is given a text's vector
_BATCH = 64


class TooLargeError(Exception):
    """What would be kept is more than the limit, or than the disk has room for."""


@dataclass
class Frozen:
    """What a network's frozen part returns for rows.

    Args:
        model: the whole.
        below: its frozen part, from its inputs to states, (B, T, H), or vectors, (B, H).

    Example::

        frozen.added(examples.unlabelled(model, rows))["frozen/place"]  # int64 (N,)
    """

    model: TrainedModel
    below: keras.Model
    _held: list[Features] = field(default_factory=list)
    _starts: list[int] = field(default_factory=lambda: [0])
    _weights: str = ""

    @property
    def vectors(self) -> bool:
        """Whether a row has one vector, not a state for each token."""
        return len(self.below.output.shape) == 2

    def added(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Return raw columns of rows with one that says where their states are.

        Raises:
            TooLargeError: they cannot be kept.
        """
        found = self.features(raw)
        count, start = len(found.ends) - 1, self._starts[-1]
        self._held.append(found)
        self._starts.append(start + count)
        return {**raw, _PLACE: tf.range(start, start + count, dtype=tf.int64)}

    def features(self, raw: Mapping[str, tf.Tensor]) -> Features:
        """Return what is kept of rows by their raw columns, computed if it is not there.

        Raises:
            TooLargeError: it cannot be kept.
        """
        lengths, order, parts = self._encoded(raw)
        counts = np.ones_like(lengths) if self.vectors else lengths
        ends = np.concatenate([[0], np.cumsum(counts)])

        def fill(states: np.ndarray) -> None:
            self._fill(states, ends, order, parts)

        key = self._key(order, parts)
        found = feature_files.kept(key, ends, self.below.output.shape[-1], fill)
        if found is None:
            raise TooLargeError
        return found

    def at_once(self, raw: Mapping[str, tf.Tensor]) -> np.ndarray:
        """Return the vectors of rows by their raw columns, of which nothing is kept."""
        lengths, order, parts = self._encoded(raw)
        found = np.zeros((len(lengths), self.below.output.shape[-1]), np.float32)
        self._fill(found, np.arange(len(lengths) + 1), order, parts)
        return found

    def _encoded(
        self, raw: Mapping[str, tf.Tensor]
    ) -> tuple[np.ndarray, list[np.ndarray], list[Any]]:
        """Return the tokens of each row, batches of rows, and the inputs of each batch."""
        lengths = examples.measure(self.model, dict(raw)).lengths
        order, _ = batching.by_length(lengths, _BATCH)
        parts = [
            self.model.encode({name: tf.gather(column, rows) for name, column in raw.items()})[0]
            for rows in order
        ]
        return lengths, order, parts

    def _key(self, order: list[np.ndarray], parts: list[Any]) -> str:
        """Return the hash of all that decides the values."""
        if not self._weights:
            weights = hashlib.sha256()
            for weight in self.below.weights:
                weights.update(weight.numpy().tobytes())
            self._weights = weights.hexdigest()
        experiment = self.model.experiment
        pooling = getattr(experiment.options, "pooling", "")
        about = [experiment.backbone.name, pooling, self.vectors, len(self.below.layers)]
        found = hashlib.sha256(json.dumps([*about, self._weights]).encode())
        for places, features in zip(order, parts, strict=True):
            found.update(places.tobytes())
            for name in sorted(features):
                found.update(features[name].numpy().tobytes())
        return found.hexdigest()[:32]

    def _fill(
        self, states: np.ndarray, ends: np.ndarray, order: list[np.ndarray], parts: list[Any]
    ) -> None:
        """Write the states of all rows."""
        names = [tensor.name for tensor in self.below.inputs]

        @tf.function(autograph=False, reduce_retracing=True)
        def run(inputs: dict[str, tf.Tensor]) -> tf.Tensor:
            return tf.cast(self.below(inputs, training=False), tf.float32)

        given = [{name: features[name] for name in names} for features in parts]
        with precision.exact():
            run.get_concrete_function(batching.specs(given[0]))

        def one(number: int) -> None:
            with precision.exact():
                found = run(given[number]).numpy()
            for row, place in zip(found, order[number], strict=True):
                count = ends[place + 1] - ends[place]
                states[ends[place] : ends[place + 1]] = row[None] if self.vectors else row[:count]

        threads.each(one, range(len(given)))

    def inputs(self, raw: Mapping[str, tf.Tensor], width: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the upper part's further input, in graph: float32 (B, width, H), or (B, H)."""
        hidden = self.below.output.shape[-1]

        def look_up(places: np.ndarray, width: np.ndarray) -> np.ndarray:
            which = int(np.searchsorted(self._starts, places[0], "right")) - 1
            held, own = self._held[which], places - self._starts[which]
            if self.vectors:
                return np.asarray(held.states[own])
            found = np.zeros((len(own), int(width), hidden), np.float32)
            for row, place in zip(found, own.tolist(), strict=True):
                states = held.states[held.ends[place] : held.ends[place + 1]]
                row[: len(states)] = states
            return found

        found = tf.numpy_function(look_up, [raw[_PLACE], width], tf.float32)
        shape = [None, hidden] if self.vectors else [None, None, hidden]
        return {INPUT: tf.ensure_shape(found, shape)}


def above(model: TrainedModel) -> TrainedModel | None:
    """Return the model whose network is what is trained of it, and what is above that.

    Args:
        model: built; which of its weights are trained is set.

    Returns:
        The model of the upper part; None if no layer above the embeddings is frozen, or the
        network cannot be cut: of other tasks than those that read a text in one window, on
        several replicas, and where a layer's weights are used twice.

    Example::

        upper = above(model)
        upper.frozen.below.output_shape  # (None, None, 384)
    """
    network = model.network
    count = next(
        (i for i, block in enumerate(model.blocks) if any(x.trainable_weights for x in block)),
        len(model.blocks),
    )
    if count < 2 or network.replicas > 1:
        return None
    tensor = _vector(network) if count == len(model.blocks) else None
    if tensor is None:
        tensor = _output(network, model.blocks[count - 1][-1])
    return None if tensor is None else _cut(model, tensor)


def _output(network: keras.Model, layer: keras.layers.Layer) -> Any:
    """Return a layer's output in a network; None if there is none, or there are several."""
    if not any(own is layer for own in network.layers):
        return None
    return layer.output if len(layer._inbound_nodes) == 1 else None


def _vector(network: keras.Model) -> Any:
    """Return the vector that a network's head is given, (B, H); None if it is given none."""
    found = [layer.input for layer in network.layers if layer.name == _HEAD]
    return found[0] if found and len(found[0].shape) == 2 else None


def _cut(model: TrainedModel, tensor: Any) -> TrainedModel:
    """Return the model of what is above a tensor of a model's network."""
    network = model.network
    inputs = {one.name: one for one in network.inputs}
    below = keras.Model(inputs, tensor, name="below_frozen")
    tensor.name = INPUT  # Keras warns of an input whose key is not its name
    upper = keras.Model({**inputs, INPUT: tensor}, network.output, name=network.name)
    upper.input[INPUT].name = INPUT  # it is a clone's
    made = trainable(upper, divisible=network.divisible)
    found = replace(model, network=made, frozen=Frozen(model, below))
    found.__dict__["encode"] = model.encode  # which takes long to trace
    return found


def vectors(model: TrainedModel, rows: Rows) -> np.ndarray:
    """Return the vectors of rows that the head is given, by the weights as they are now.

    They are kept as those of frozen layers are.

    Args:
        model: its head is given one vector for each row.
        rows: N rows; targets are not looked at.

    Returns:
        float32 (N, H).

    Raises:
        ValueError: the head is given none, such as one for each token.

    Example::

        vectors(model, splits.train).shape  # (10003, 384)
    """
    tensor = _vector(model.network)
    if tensor is None:
        raise ValueError(f"the head of {model.network.name} is given no vector of a row")
    inputs = {one.name: one for one in model.network.inputs}
    frozen = Frozen(model, keras.Model(inputs, tensor, name="vectors"))
    raw = examples.unlabelled(replace(model, frozen=None), rows)
    try:
        return np.asarray(frozen.features(raw).states)
    except TooLargeError:
        return frozen.at_once(raw)
