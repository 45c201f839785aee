"""A network's numbers and their gradients at the tokens' embeddings, between [PAD] and a text.

Each token's embedding is compared with that of [PAD]; special tokens stay as they are, and so do
marks that an encoding adds.

Dimensions: B rows of a batch, W windows, T tokens, H hidden, R numbers that are explained, N nodes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines import batching
from pipelines.rows import Rows
from pipelines.tokenizers.numbered import Numbered
from tfnlp.backbones import embeddings
from tfnlp.extensions import Subject, UnsuitableError
from tfnlp.extensions import TrainedModel as Model
from tfnlp.heads import answer_span
from tfnlp.inference.saved_model import split_rows

_KEPT = "_attribution"


def of_any_size(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function as a graph that is traced once, for tensors of any length.

    Ranks and types are those of the first call; of floats of two dimensions and more the last one
    stays as it is, such as H.

    Example::

        weights = of_any_size(network._weights)
    """
    traced: list[Any] = []

    def spec(tensor: Any) -> tf.TensorSpec:
        tensor = tf.convert_to_tensor(tensor)
        sizes: list[int | None] = [None] * tensor.shape.rank
        if tensor.dtype.is_floating and len(sizes) > 1:
            sizes[-1] = tensor.shape[-1]
        return tf.TensorSpec(sizes, tensor.dtype)

    def call(*given: Any) -> Any:
        if not traced:
            specs = tf.nest.map_structure(spec, given)
            traced.append(tf.function(function, specs, autograph=False))
        return traced[0](*given)

    return call


class Network:
    """A model's network with what is needed to take gradients at its embeddings.

    Args:
        model: trained, of a task that can be explained.
        method: the explanation's name, for messages.

    Raises:
        UnsuitableError: the task has nothing that gradients could explain.

    Example::

        network = Network(subject.model, "gradient_input")
        read = network.read(raw)
        network.weights(read["features"], read["difference"], shares, [1.0], [1.0])
    """

    def __init__(self, model: Model, method: str) -> None:
        if model.task.explaining is None:
            raise UnsuitableError(
                f"{method} explains labels, numbers, entities and answers to questions, and a "
                f"model of --task {model.experiment.task} gives others"
            )
        self.model, self.explaining = model, model.task.explaining
        self.network = model.network
        self.columns = model.task.input_columns(model.context.options)
        self.marked = any(column.kind == "marked" for column in self.columns)
        self.read = of_any_size(self._read)
        self.weights = of_any_size(self._weights)
        self.encoded = of_any_size(self._encoded)
        self.answers = of_any_size(self._answers)
        self.values = of_any_size(self._values)

    def _read(self, raw: Mapping[str, tf.Tensor]) -> dict[str, Any]:
        """Return what the network makes of texts, string (B,) each.

        Returns:
            ``features``, ``offsets``, ``answers``, and ``logits``, float32 (B, ...), as of the
            task; ``origins``; and ``difference``, float32 (B, [W,] T, H), the tokens' embeddings
            less that of [PAD], zeros at special ones.
        """
        read = self.encode(raw)
        outputs = self.network(read["features"], training=False)
        return {**read, **self.answered(raw, read, outputs)}

    def encode(self, raw: Mapping[str, tf.Tensor]) -> dict[str, Any]:
        """Return what the network reads: ``features``, ``offsets``, ``origins``, ``difference``."""
        model = self.model
        numbered: Any = Numbered(model.context.tokenizer)
        features, offsets = model.task.encode(
            dataclasses.replace(model.context, tokenizer=numbered), raw
        )
        origins = numbered.origins(features["token_ids"], raw, marked=self.marked)
        return {
            "features": {**features, "token_ids": origins.ids},
            "offsets": offsets,
            "origins": origins,
            "difference": self._difference(origins),
        }

    def answered(self, raw: Any, read: Mapping[str, Any], outputs: tf.Tensor) -> dict[str, Any]:
        """Return the ``answers`` and the ``logits`` that the network's outputs stand for."""
        task, context = self.model.task, self.model.context
        return {
            "answers": task.decode(context, raw, outputs, read["offsets"]),
            "logits": self.explaining.logits(context, raw, outputs),
        }

    def _difference(self, origins: Any) -> tf.Tensor:
        """Return embeddings less that of [PAD]."""
        layer = embeddings.embedding(self.network)
        matrix = getattr(layer, "token_embedding", layer).embeddings
        tokens = tf.gather(matrix, origins.ids) - matrix[self.model.context.tokenizer.pad_id]
        return tf.where(origins.column[..., None] >= 0, tf.cast(tokens, tf.float32), 0.0)

    def outputs(self, features: Any, added: tf.Tensor) -> tf.Tensor:
        """Return the network's outputs with something added to a batch's embeddings."""
        with (
            embeddings.adding(self.network, features, added),
            answer_span.unchunked(self.network),
        ):
            return self.network(features, training=False)

    def _logits(self, raw: Any, features: Any, added: tf.Tensor) -> tf.Tensor:
        """Return the logits of a batch with something added to its embeddings."""
        outputs = self.outputs(features, added)
        return self.explaining.logits(self.model.context, raw, outputs)

    def _weights(
        self,
        raw: Mapping[str, tf.Tensor],
        features: Mapping[str, tf.Tensor],
        difference: tf.Tensor,
        shares: tf.Tensor,
        nodes: tf.Tensor,
        parts: tf.Tensor,
    ) -> tf.Tensor:
        """Return what each token did, along a line from [PAD] to the text.

        Args:
            raw: the texts, by whose names some logits are computed.
            features: of R rows.
            difference: float32 (R, [W,] T, H), as of `read`.
            shares: float32 (R, ...), of each logit.
            nodes: float32 (N,), places on the line, 1 being the text.
            parts: float32 (N,), how much of the line each stands for.

        Returns:
            Float32 (R, [W,] T).
        """

        def at(place: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return place + 1, total + parts[place] * self.slopes(
                raw, features, difference, shares, nodes[place]
            )

        start = (0, tf.zeros(tf.shape(difference)[:-1]))
        count = tf.size(nodes)
        return tf.while_loop(lambda place, _: place < count, at, start, parallel_iterations=1)[1]

    def slopes(
        self, raw: Any, features: Any, difference: tf.Tensor, shares: tf.Tensor, node: Any
    ) -> tf.Tensor:
        """Return the gradient at one node times the difference, summed over H: (R, [W,] T)."""
        added = (node - 1.0) * difference
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(added)
            total = tf.reduce_sum(self._logits(raw, features, added) * shares)
        slope = tf.convert_to_tensor(tape.gradient(total, added))
        return tf.reduce_sum(slope * difference, -1)

    def _values(
        self, raw: Any, features: Any, difference: tf.Tensor, shares: tf.Tensor, node: tf.Tensor
    ) -> tf.Tensor:
        """Return the explained numbers at a node, float32 (R,)."""
        logits = self._logits(raw, features, (node - 1.0) * difference)
        return tf.reduce_sum(tf.reshape(logits * shares, [tf.shape(logits)[0], -1]), -1)

    def answers_without(
        self, texts: Mapping[str, str], gone: Sequence[Sequence[tuple[str, int, int]]]
    ) -> list[dict[str, Any]]:
        """Return the answers to a row with parts of its texts at [PAD], all else where it is.

        Args:
            texts: of one row, by name.
            gone: R lists of the parts, input, start and end [characters].

        Example::

            network.answers_without({"text": "A masterpiece."}, [[("text", 2, 13)], []])
        """
        columns = {name: [texts[name]] for name in (column.name for column in self.columns)}
        raw = batching.tensors(Rows("", columns, [1]), self.columns)
        given, read = self.encoded(raw)
        column, start, end = (x.numpy()[0] for x in read["origins"][1:])
        masks = np.zeros((len(gone), *column.shape), np.int32)
        for number, (name, text) in enumerate(columns.items()):
            before = np.cumsum([0, *(len(c.encode("utf-8", "replace")) for c in text[0])])
            for mask, parts in zip(masks, gone, strict=True):
                for first, last in ((before[a], before[b]) for n, a, b in parts if n == name):
                    mask[(column == number) & (start < last) & (end > first)] = 1
        outputs = self.answers(given, read, tf.constant(masks))
        return split_rows({n: tensor.numpy() for n, tensor in outputs.items()}, len(gone))

    def _encoded(self, raw: Mapping[str, tf.Tensor]) -> tuple[Any, Any]:
        return raw, self.encode(raw)

    def _answers(self, raw: Any, read: Any, masks: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the answers to a row with some of its tokens at [PAD], once for each mask."""
        again = tf.zeros(tf.shape(masks)[:1], tf.int32)
        raw, read = tf.nest.map_structure(lambda x: tf.gather(x, again), (raw, read))
        taken = tf.cast(masks, tf.float32)[..., None] * read["difference"]
        outputs = self.outputs(read["features"], -taken)
        return dict(self.answered(raw, read, outputs)["answers"])


def network_of(subject: Subject, method: str) -> Network:
    """Return the network of a run.

    Raises:
        UnsuitableError: the subject is no run, or its task has nothing to explain.

    Example::

        network = network_of(subject, "gradient_input")
    """
    if subject.model is None:
        raise UnsuitableError(
            f"{method} needs a network, and {subject.name} is a SavedModel (name the run's folder, "
            "tensorboard_logs/NAME/RUN, or take --by occlusion)"
        )
    known = vars(subject.model)  # as a cached property: what is traced serves every method
    if _KEPT not in known:
        known[_KEPT] = Network(subject.model, method)
    network: Network = known[_KEPT]
    return network
