"""Several models over one backbone: what they share is held once, and computed once for all.

Dimensions: B batch.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import keras

from tfnlp.runtime import keras_patches

if TYPE_CHECKING:
    import tensorflow as tf

    from tfnlp.training.model import TrainedModel

_STATES = "shared_states"  # the input by which a head's own part takes what is shared


@dataclass(frozen=True)
class Head:
    """A model among those that are joined.

    Attributes:
        name: what it is asked by.
        model: trained; its weights may be another's too.
    """

    name: str
    model: TrainedModel


def share(models: Sequence[TrainedModel]) -> list[int]:
    """Let equal weights of models be one variable; they are not to be trained after that.

    Returns:
        How many bytes each model has that those before it do not have.

    Example::

        share([storage.load(run) for run in runs])  # [90_900_000, 1_200_000]
    """
    held: dict[tuple, keras.Variable] = {}
    sizes = []
    for model in models:
        own = 0
        for weight in model.network.weights:
            value = weight.numpy()
            key = (weight.dtype, value.shape, hashlib.sha256(value.tobytes()).digest())
            if key not in held:
                own += value.nbytes
            keras_patches.share(weight, held.setdefault(key, weight))
        sizes.append(own)
    return sizes


def share_encoding(models: Sequence[TrainedModel]) -> None:
    """Let models that turn texts into the same tokens do so by one graph, which has a vocabulary.

    Args:
        models: with one vocabulary.

    Example::

        share_encoding(models)
        models[0].encode is models[1].encode  # True of ten classifiers
    """
    found: dict[tuple, Any] = {}
    for model in models:
        vars(model)["encode"] = found.setdefault(_encoding(model), model.encode)


@dataclass(frozen=True)
class Pass:
    """Models that read a text in the same tokens, and share what is computed of it first.

    Attributes:
        heads: one or several.
        below: from the network's inputs to what is shared; None of one model alone.
        above: of each head, by name, from the inputs and what is shared to its outputs.
    """

    heads: tuple[Head, ...]
    below: keras.Model | None
    above: Mapping[str, keras.Model]

    def answers(
        self, raw: Mapping[str, tf.Tensor], rows: Mapping[str, tf.Tensor] | None = None
    ) -> dict[str, dict[str, tf.Tensor]]:
        """Return the answers of each head, by name.

        Args:
            raw: strings (B,) by name.
            rows: by head the rows that it answers, int64; all if not given.
        """
        # What is shared of texts that are read in windows has a row for each window.
        if self.below is None or (rows is not None and len(self.below.inputs[0].shape) > 2):
            return {
                head.name: head.model.respond(raw if rows is None else _taken(raw, rows[head.name]))
                for head in self.heads
            }
        features, offsets = self.heads[0].model.encode(raw)
        given = {**features, _STATES: self.below(features, training=False)}
        found: dict[str, dict[str, tf.Tensor]] = {}
        for head in self.heads:
            asked = (raw, offsets, given)
            if rows is not None:
                asked = _taken(asked, rows[head.name])
            texts, places, inputs = asked
            outputs = self.above[head.name](inputs, training=False)
            found[head.name] = head.model.task.decode(head.model.context, texts, outputs, places)
        return found


def _taken(tensors: Any, rows: tf.Tensor) -> Any:
    """Return rows of nested tensors (B, ...)."""
    import tensorflow as tf

    return tf.nest.map_structure(partial(tf.gather, indices=rows), tensors)


def passes(heads: Sequence[Head]) -> list[Pass]:
    """Put models together that share what is computed first.

    Those are models whose ``encode`` is the same, and whose networks are made of the same
    variables up to some layer: frozen backbones, and heads that were trained together.

    Example::

        [len(one.heads) for one in passes(heads)]  # [10], of ten frozen heads
    """
    users = Counter(
        variable for head in heads for variable in {id(w.value) for w in head.model.network.weights}
    )
    shared = {variable for variable, count in users.items() if count > 1}
    groups: dict[Any, list[tuple[Head, Any]]] = {}
    for head in heads:
        below = _below(head.model.network, shared)
        key: Any = head.name  # of its own
        if below is not None:
            key = (_encoding(head.model), tuple(id(w.value) for w in below.weights))
        groups.setdefault(key, []).append((head, below))
    found = []
    for members in groups.values():
        own = tuple(head for head, _ in members)
        below = members[0][1] if len(members) > 1 else None
        above = {head.name: _above(head.model.network, part) for head, part in members if below}
        found.append(Pass(own, below, above))
    return found


def _encoding(model: TrainedModel) -> tuple:
    """Return what decides how a model turns texts into its network's inputs."""
    context, encode = model.context, model.task.encode
    # Of tasks that share it, ``encode`` knows the options that stand where it does.
    kinds = [k for k in type(context.options).__mro__ if k.__module__ == encode.__module__]
    named = dataclasses.fields(kinds[0] if kinds else context.options)
    options = [(field.name, getattr(context.options, field.name)) for field in named]
    own = encode.__module__.startswith("tfnlp.tasks.")  # none of which looks at facts
    return encode, context.max_length, repr(options), None if own else repr(context.facts)


def _below(network: keras.Model, shared: set[int]) -> keras.Model | None:
    """Return a network up to its last layer of which all weights are shared.

    It is None if a layer before that one has weights of its own, as LoRA adds, or if it has less
    than half of the weights: the embeddings alone are not worth a pass of their own.
    """
    # What a layer returns in this network: a model within it has an output of its own too.
    outputs = [
        node.output_tensors[0]
        for depth in sorted(network._nodes_by_depth, reverse=True)
        for node in network._nodes_by_depth[depth]
        if isinstance(node.operation, keras.layers.Layer)
        and node.operation.weights
        and all(id(w.value) in shared for w in node.operation.weights)
    ]
    if not outputs:
        return None
    below = keras.Model({x.name: x for x in network.inputs}, outputs[-1], name="shared")
    whole = all(id(w.value) in shared for w in below.weights)
    return below if whole and 2 * len(below.weights) >= len(network.weights) else None


def _above(network: keras.Model, below: keras.Model) -> keras.Model:
    """Return the rest of a network, from its inputs and the shared part's output."""
    states = below.output
    states.name = _STATES  # Keras warns of an input whose key is not its name
    inputs = {x.name: x for x in network.inputs}
    return keras.Model({**inputs, _STATES: states}, network.output, name="own")
