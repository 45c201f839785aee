"""The gradient of an answer's logit at the tokens' embeddings, times what these differ from [PAD].

One pass forward and one back: quick, and blind to a word that has said enough already, of which
a little more or less changes nothing. `integrated_gradients` looks all the way.

Source: Denil, Demiraj and de Freitas 2014, "Extraction of salient sentences from labelled
documents", section 4 (https://arxiv.org/abs/1412.6815); the difference from a baseline in place of
the input: Shrikumar, Greenside and Kundaje 2017, "Learning important features through propagating
activation differences", section 2 (https://arxiv.org/abs/1704.02685).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.rows import Record
from tfnlp.extensions import Attribution, Explanation, Subject, TrainedModel, Wanted


@dataclass(frozen=True)
class Options:
    """None.

    Example::

        python -m tfnlp.explain RUN "It rained." --by gradient_input
    """


def explain(
    subject: Subject, records: Iterable[Record], options: Options, wanted: Wanted
) -> Iterator[Attribution]:
    """Yield the weights of each row's pieces: in logits, as far as the slope at the text goes.

    Example::

        for found in explain(subject, records, Options(), Wanted()):
            print(found.label, [(piece.start, piece.weight) for piece in found.pieces])
    """
    from tfnlp.explanations import _gradients
    from tfnlp.training import attribution

    network = attribution.network_of(subject, "gradient_input")
    return _gradients.explained(network, records, wanted, _weigh, subject.batch_size)


def _weigh(network: Any, given: Any, difference: Any, shares: Any) -> Any:
    import tensorflow as tf

    one = tf.ones(1)
    found = network.weights(given["raw"], given["features"], difference, shares, one, one)
    return found.numpy(), [""] * len(found)


def in_graph(model: TrainedModel) -> Callable[..., dict[str, Any]]:
    """Return what is served; see `_gradients.served`.

    Example::

        in_graph(model)({"text": tf.constant(["A masterpiece."])})["pieces/weight"]
    """
    from tfnlp.explanations import _gradients

    return _gradients.served(model, "gradient_input", [1.0], [1.0])


EXPLANATION = Explanation(
    summary="the slope of the answer's logit at each word's embedding, times the embedding",
    options=Options,
    explain=explain,
    in_graph=in_graph,
)
