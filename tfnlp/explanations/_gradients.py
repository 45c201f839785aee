"""What the tokens of a batch did for numbers of a network, by gradients at their embeddings.

Each token's embedding is compared with that of [PAD]; special tokens stay as they are, and so do
marks that an encoding adds.

Dimensions: B rows of a batch, W windows, T tokens, H hidden, R numbers that are explained, N nodes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines import batching
from pipelines.rows import Record, Rows
from pipelines.tokenizers.numbered import Numbered
from tfnlp.backbones import embeddings
from tfnlp.explanations import _pieces
from tfnlp.extensions import Attribution, Piece, Subject, TrainedModel, UnsuitableError, Wanted
from tfnlp.heads import answer_span
from tfnlp.inference.saved_model import split_rows
from tfnlp.runtime import precision
from tfnlp.task import Claim

_HELD = 256  # rows that are read ahead, to be sorted by their length
_TOKENS = 2048  # of a batch, whose gradients keep about 0.5 MB each in a network of six layers

# Features, differences, shares -> weights (R, [W,] T), and a flag or "" for each number.
Weigh = Callable[["Network", Mapping[str, Any], tf.Tensor, tf.Tensor], tuple[np.ndarray, list[str]]]


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

    def __init__(self, model: TrainedModel, method: str) -> None:
        if model.task.explaining is None:
            raise UnsuitableError(
                f"{method} explains labels, numbers, entities and answers to questions, and a "
                f"model of --task {model.experiment.task} gives others"
            )
        self.model, self.explaining = model, model.task.explaining
        self.network = model.network
        self.columns = model.task.input_columns(model.context.options)
        self.read = tf.function(self._read, autograph=False, reduce_retracing=True)
        self.weights = tf.function(self._weights, autograph=False, reduce_retracing=True)
        self.values = tf.function(self._values, autograph=False, reduce_retracing=True)

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
        marked = any(column.kind == "marked" for column in self.columns)
        origins = numbered.origins(features["token_ids"], raw, marked=marked)
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
    return Network(subject.model, method)


def explained(
    network: Network, records: Iterable[Record], wanted: Wanted, weigh: Weigh, most: int
) -> Iterator[Attribution]:
    """Yield the weights of each row's pieces; of a row that says nothing, none.

    Args:
        network: of the model.
        records: its rows, of which few are held at a time.
        wanted: what is explained.
        weigh: the method.
        most: rows of a batch.

    Example::

        for found in explained(network, records, Wanted(), weigh, 32):
            print(found.label, found.pieces)
    """
    with precision.exact():
        stream = iter(records)
        while held := list(islice(stream, _HELD)):
            found: dict[int, list[Attribution]] = {}
            for places in _batches(held, most):
                batch = [held[place] for place in places]
                for place, several in zip(
                    places, _batch(network, batch, wanted, weigh), strict=True
                ):
                    found[place] = several
            for place in range(len(held)):
                yield from found[place]


def _batches(records: Sequence[Record], most: int) -> Iterator[list[int]]:
    """Yield the places of rows of about one length, few of long ones."""
    sizes = [max(sum(len(value.encode()) for value in r.values.values()), 1) for r in records]
    batch: list[int] = []
    for place in sorted(range(len(records)), key=sizes.__getitem__):
        # A token has about four bytes, and a batch is as wide as its longest row.
        if batch and (len(batch) == most or (len(batch) + 1) * sizes[place] > 4 * _TOKENS):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


def _batch(
    network: Network, records: Sequence[Record], wanted: Wanted, weigh: Weigh
) -> list[list[Attribution]]:
    """Return the attributions of each row of a batch."""
    names = [column.name for column in network.columns]
    rows = Rows("", {n: [r.values[n] for r in records] for n in names}, list(range(len(records))))
    raw = batching.tensors(rows, network.columns)
    read = network.read(raw)
    arrays = tf.nest.map_structure(lambda tensor: tensor.numpy(), read)
    answers = split_rows(arrays["answers"], len(records))
    claims = [_claims(network, raw, arrays, row, answers[row], wanted) for row in range(len(rows))]
    of = [row for row, several in enumerate(claims) for _ in several]
    if not of:
        return [[_nothing(record)] for record in records]
    shares = tf.constant(np.stack([claim.shares for several in claims for claim in several]))
    taken, again, difference = tf.nest.map_structure(
        lambda tensor: tf.gather(tensor, of), (read["features"], raw, read["difference"])
    )
    weights, flags = weigh(network, {"raw": again, "features": taken}, difference, shares)
    found: list[list[Attribution]] = [[] for _ in records]
    flat = [claim for several in claims for claim in several]
    for number, (row, claim) in enumerate(zip(of, flat, strict=True)):
        origins = {n: v[row] for n, v in arrays["origins"]._asdict().items()}
        record = records[row]
        pieces = _weighed(record, names, origins, weights[number], wanted.unit)
        told = [*filter(None, [flags[number], _unread(arrays["offsets"], row)])]
        found[row].append(
            Attribution(record.number, record.values, claim.label, claim.score, pieces, told)
        )
    return [several or [_nothing(record)] for several, record in zip(found, records, strict=True)]


def _claims(
    network: Network, raw: Any, arrays: Any, row: int, answer: Any, wanted: Wanted
) -> list[Claim]:
    """Return what is explained of a row's answer."""
    context, claims = network.model.context, network.explaining.claims
    own = {n: v[row] for n, v in arrays["offsets"].items()}
    own |= {name: text.numpy()[row] for name, text in raw.items()}
    own["logits"] = arrays["logits"][row]
    found = claims(context, answer, own, wanted.label)
    if wanted.rather_than is None:
        return found
    others = claims(context, answer, own, wanted.rather_than)
    return [
        Claim(
            f"{one.label} rather than {other.label}",
            one.score - other.score,
            one.shares - other.shares,
        )
        for one, other in zip(found, others * len(found), strict=False)
    ]


def _nothing(record: Record) -> Attribution:
    told = ("the model gives no label and finds nothing",)
    return Attribution(record.number, record.values, "", 0.0, (), told)


def _unread(offsets: Mapping[str, np.ndarray], row: int) -> str:
    """Return how many tokens did not fit, a flag."""
    lost = int(offsets["lost"][row]) if "lost" in offsets else 0
    return f"the model did not read {lost} tokens (--max-length)" if lost else ""


def _weighed(
    record: Record, names: Sequence[str], origins: Any, weights: np.ndarray, unit: str
) -> list[Piece]:
    """Return a row's pieces with the weights of the tokens that they have."""
    pieces = []
    for column, name in enumerate(names):
        text = record.values[name]
        there = origins["column"] == column
        characters = _pieces.characters_before(text)
        starts, ends = (characters[origins[end][there]] for end in ("start", "end"))
        tokens = list(zip(starts.tolist(), ends.tolist(), weights[there].tolist(), strict=True))
        for (start, end), weight in _pieces.weighed(text, tokens, unit):
            pieces.append(Piece(name, start, end, weight))
    return pieces


def served(
    model: TrainedModel, method: str, nodes: Sequence[float], parts: Sequence[float]
) -> Callable[..., dict[str, tf.Tensor]]:
    """Return a function in TensorFlow ops from texts to an answer and what its words did.

    Args:
        model: of a task that gives one answer a text.
        method: the explanation's name, for messages.
        nodes: as of `Network.weights`, N places.
        parts: how much of the line each stands for.

    Returns:
        Texts by name, string (B,), -> ``label`` string and ``score`` float32 (B,), and of the words
        ``pieces`` int32 (B,), how many, and ``pieces/input``, ``pieces/text``, ``pieces/start``,
        ``pieces/end`` [characters], ``pieces/weight``, (B, P).

    Raises:
        UnsuitableError: the task gives several answers, or none that gradients explain.

    Example::

        served(model, "gradient_input", [1.0], [1.0])({"text": tf.constant(["A masterpiece."])})
    """
    network = Network(model, method)
    chosen = network.explaining.chosen
    if chosen is None:
        raise UnsuitableError(
            f"--task {model.experiment.task} gives several answers to a text, and a signature that "
            "explains is for one (leave out --export-explain; python -m tfnlp.explain explains all)"
        )
    choose = chosen  # which no other thread can make None again

    def respond(raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        read = network.encode(raw)
        added = tf.zeros_like(read["difference"])
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(added)
            read |= network.answered(raw, read, network.outputs(read["features"], added))
            answers, logits = read["answers"], tf.stop_gradient(read["logits"])
            shares = choose(model.context, raw, logits, read["offsets"], answers)
            total = tf.reduce_sum(read["logits"] * shares)
        if list(nodes) == [1.0]:  # the slope at the text, of the pass that answers
            slope = tf.convert_to_tensor(tape.gradient(total, added))
            weights = tf.reduce_sum(slope * read["difference"], -1)
        else:
            given = (raw, read["features"], read["difference"], shares)
            weights = network._weights(*given, tf.constant(nodes), tf.constant(parts))
        label, score = _named(answers, shares)
        return {"label": label, "score": score, **_words(raw, read["origins"], weights)}

    return respond


def _words(raw: Mapping[str, tf.Tensor], origins: Any, weights: tf.Tensor) -> dict[str, tf.Tensor]:
    """Return the words of texts with the weights of the tokens (B, [W,] T) that they have."""
    from pipelines.encoding import pieces

    rows = tf.shape(weights)[0]
    flat = [tf.reshape(x, [rows, -1]) for x in (*origins[1:], weights)]
    found = {}
    for number, (name, strings) in enumerate(raw.items()):
        places = tf.where(flat[0] == number)
        start, end, weight = (tf.gather_nd(values, places) for values in flat[1:])
        row = tf.cast(places[:, 0], tf.int32)
        found[name] = pieces.weighed(strings, row, start, end, weight)
    return pieces.listed(found)


def _named(answers: Mapping[str, tf.Tensor], shares: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the answers' labels, string (B,), and scores, float32 (B,)."""
    rows = tf.shape(shares)[:1]
    if "labels" in answers:
        given = tf.boolean_mask(answers["labels"], shares > 0)  # one of each row, or none
        there = tf.reduce_any(shares > 0, -1)
        labels = tf.scatter_nd(tf.where(there), given, tf.cast(rows, tf.int64))
        return labels, answers["score"]
    if "answer" in answers:
        return answers["answer"], answers["score"]
    ((name, value),) = [(n, v) for n, v in answers.items() if v.shape.rank == 1]
    return tf.fill(rows, name), value
