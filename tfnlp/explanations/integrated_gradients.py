"""How an answer's logit rises while all tokens go from [PAD] to what they are, token by token.

The weights of a row add up to the difference of the logits with the text and without it, as far as
the integral is right; it is taken with more and more nodes until it is, and a row where it is not
says so.

Source: Sundararajan, Taly and Yan 2017, "Axiomatic attribution for deep networks", sections 3 to 5
(https://arxiv.org/abs/1703.01365). Gauss-Legendre nodes: Golub and Welsch 1969
(https://doi.org/10.1090/S0025-5718-69-99647-1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from pipelines.rows import Record
from tfnlp.extensions import Attribution, Explanation, Subject, TrainedModel, Wanted
from tfnlp.options import option

SERVED = 8  # nodes of the integral in a SavedModel


@dataclass(frozen=True)
class Options:
    """How exact the integral is.

    Example::

        python -m tfnlp.explain RUN "It rained." --by integrated_gradients
    """

    nodes: int = option(20, "nodes of the integral to begin with [passes]", minimum=2, maximum=1000)
    most: int = option(
        300, "to which they are doubled while a row is not exact [passes]", minimum=2, maximum=10000
    )
    error: float = option(
        0.05,
        "what the weights may miss of the difference of logits, as a share of it (of 1 where it is "
        "smaller); a row that misses more says so",
        minimum=1e-4,
        maximum=1.0,
    )


def explain(
    subject: Subject, records: Iterable[Record], options: Options, wanted: Wanted
) -> Iterator[Attribution]:
    """Yield the weights of each row's pieces, in logits.

    Example::

        for found in explain(subject, records, Options(), Wanted()):
            print(found.label, sum(piece.weight for piece in found.pieces))
    """
    from tfnlp.explanations import _gradients
    from tfnlp.training import attribution

    network = attribution.network_of(subject, "integrated_gradients")

    def weigh(network: Any, given: Any, difference: Any, shares: Any) -> Any:
        return _integrated(network, given, difference, shares, options)

    return _gradients.explained(network, records, wanted, weigh, subject.batch_size)


def _integrated(
    network: Any, given: Any, difference: Any, shares: Any, options: Options
) -> tuple[Any, list[str]]:
    """Return the weights of R rows, float32 (R, [W,] T), and a flag or "" for each."""
    import numpy as np
    import tensorflow as tf

    inputs = (given["raw"], given["features"], difference, shares)
    rise = network.values(*inputs, tf.constant(1.0)) - network.values(*inputs, tf.constant(0.0))
    rise = rise.numpy()
    allowed = options.error * np.maximum(np.abs(rise), 1.0)
    weights = np.zeros(difference.shape[:-1], np.float32)
    missed = np.full(len(rise), np.inf)
    open_rows, nodes = np.arange(len(rise)), options.nodes
    while len(open_rows):
        some = tf.nest.map_structure(partial(tf.gather, indices=open_rows), inputs)
        found = network.weights(*some, *_nodes(nodes)).numpy()
        off = np.abs(found.reshape(len(found), -1).sum(-1) - rise[open_rows])
        better = off < missed[open_rows]
        weights[open_rows[better]] = found[better]
        missed[open_rows[better]] = off[better]
        if nodes >= options.most:
            break
        open_rows = open_rows[missed[open_rows] > allowed[open_rows]]
        nodes = min(2 * nodes, options.most)
    return weights, [
        f"the weights miss {off:.3f} of the difference of logits, {whole:.3f}, with {nodes} nodes"
        if off > limit
        else ""
        for off, whole, limit in zip(missed, rise, allowed, strict=True)
    ]


@cache
def _nodes(count: int) -> tuple[Any, Any]:
    """Return nodes between 0 and 1 and their shares, float32 (N,) each."""
    import numpy as np
    import tensorflow as tf

    places, parts = np.polynomial.legendre.leggauss(count)
    return tf.constant((places + 1) / 2, tf.float32), tf.constant(parts / 2, tf.float32)


def in_graph(model: TrainedModel) -> Callable[..., dict[str, Any]]:
    """Return what is served, with a fixed number of nodes; see `_gradients.served`.

    Example::

        in_graph(model)({"text": tf.constant(["A masterpiece."])})["pieces/weight"]
    """
    import numpy as np

    from tfnlp.explanations import _gradients

    places, parts = np.polynomial.legendre.leggauss(SERVED)
    halves = ((places + 1) / 2).tolist(), (parts / 2).tolist()
    return _gradients.served(model, "integrated_gradients", *halves)


EXPLANATION = Explanation(
    summary="how the answer's logit rises from no words to all, word by word",
    options=Options,
    explain=explain,
    in_graph=in_graph,
)
