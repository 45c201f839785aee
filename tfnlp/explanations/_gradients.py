"""What words did for numbers of a network, by gradients at their tokens' embeddings.

Dimensions: B rows of a batch, W windows, T tokens, H hidden, R numbers that are explained, N nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines import batching, text_pieces
from pipelines.columns import MARKERS
from pipelines.rows import Record, Rows
from tfnlp.extensions import Attribution, Piece, TrainedModel, UnsuitableError, Wanted
from tfnlp.inference.saved_model import split_rows
from tfnlp.runtime import precision
from tfnlp.task import Claim
from tfnlp.training.attribution import Network

_HELD = 256  # rows that are read ahead, to be sorted by their length
_TOKENS = 2048  # of a batch, whose gradients keep about 0.5 MB each in a network of six layers

# Features, differences, shares -> weights (R, [W,] T), and a flag or "" for each number.
Weigh = Callable[["Network", Mapping[str, Any], tf.Tensor, tf.Tensor], tuple[np.ndarray, list[str]]]


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
        pieces = _weighed(record, names, origins, weights[number], wanted.unit, network.marked)
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
    record: Record,
    names: Sequence[str],
    origins: Any,
    weights: np.ndarray,
    unit: str,
    marked: bool,
) -> list[Piece]:
    """Return a row's pieces with the weights of the tokens that they have."""
    pieces = []
    for column, name in enumerate(names):
        text = text_pieces.blanked(record.values[name]) if marked else record.values[name]
        there = origins["column"] == column
        characters = text_pieces.characters_before(text)
        starts, ends = (characters[origins[end][there]] for end in ("start", "end"))
        tokens = list(zip(starts.tolist(), ends.tolist(), weights[there].tolist(), strict=True))
        for (start, end), weight in text_pieces.weighed(text, tokens, unit):
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
        return {"label": label, "score": score, **_words(network, raw, read["origins"], weights)}

    return respond


def _words(
    network: Network, raw: Mapping[str, tf.Tensor], origins: Any, weights: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Return the words of texts with the weights of the tokens (B, [W,] T) that they have."""
    from pipelines.encoding import pieces

    rows = tf.shape(weights)[0]
    flat = [tf.reshape(x, [rows, -1]) for x in (*origins[1:], weights)]
    found = {}
    for number, (name, strings) in enumerate(raw.items()):
        places = tf.where(flat[0] == number)
        start, end, weight = (tf.gather_nd(values, places) for values in flat[1:])
        row = tf.cast(places[:, 0], tf.int32)
        if network.marked:  # marks are no words, and places stay as they are
            for mark in MARKERS:
                strings = tf.strings.regex_replace(strings, mark, " " * len(mark))
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
