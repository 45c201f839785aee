"""How much each word is looked at, layer over layer: attention rollout. It is not faithful.

What a head looks at is not what the answer depends on: other attention gives the same answer (Jain
and Wallace 2019, https://arxiv.org/abs/1902.10186). It is here for comparison; each row says so.

Source: Abnar and Zuidema 2020, "Quantifying attention flow in transformers", section 3
(https://arxiv.org/abs/2005.00928).

Dimensions: B rows, W windows, T tokens, N heads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.rows import Record
from tfnlp.extensions import Attribution, Explanation, Subject, UnsuitableError, Wanted

FLAG = "attention is not faithful: it tells what was looked at, not what the answer depends on"


@dataclass(frozen=True)
class Options:
    """None.

    Example::

        python -m tfnlp.explain RUN "It rained." --by attention
    """


def explain(
    subject: Subject, records: Iterable[Record], options: Options, wanted: Wanted
) -> Iterator[Attribution]:
    """Yield how much each piece is looked at, together 1 at most; labels have no part in it.

    Example::

        for found in explain(subject, records, Options(), Wanted()):
            print(found.label, found.flags)
    """
    from tfnlp.explanations import _gradients
    from tfnlp.training import attribution

    network = attribution.network_of(subject, "attention")
    if network.network.output_shape is None or len(network.network.output_shape) != 2:
        raise UnsuitableError(
            "attention rolls all layers out to one vector of a text, and --task "
            f"{network.model.experiment.task} answers from many (take --by integrated_gradients)"
        )
    if wanted.label is not None or wanted.rather_than is not None:
        raise UnsuitableError(
            "attention is the same for all labels (leave out --target-label and --rather-than, or "
            "take --by integrated_gradients)"
        )
    rollout = _rollout(network)

    def weigh(network: Any, given: Any, difference: Any, shares: Any) -> Any:
        found = rollout(given["features"]).numpy()
        return found, [FLAG] * len(found)

    return _gradients.explained(network, records, wanted, weigh, subject.batch_size)


def _rollout(network: Any) -> Any:
    """Return a function from features to how much each token is looked at, (B, [W,] T)."""
    import tensorflow as tf

    from tfnlp.backbones import encoder
    from tfnlp.training import attribution

    options = network.model.context.options
    first = getattr(options, "pooling", "cls") == "cls"

    def rolled(features: Any) -> tf.Tensor:
        with encoder.watched() as layers:
            network.network(features, training=False)
        if not layers:
            raise UnsuitableError("the backbone's layers do not show their attention")
        mask = tf.cast(features["padding_mask"], tf.float32)
        flat = tf.reshape(mask, [-1, tf.shape(mask)[-1]])
        size = tf.shape(flat)[1]
        total = tf.eye(size, batch_shape=tf.shape(flat)[:1])
        for shares in layers:  # (B * W, N, T, T), after a prefix if there is one
            looked = tf.reduce_mean(tf.cast(shares, tf.float32), 1)[..., -size:]
            total = tf.matmul(0.5 * looked + 0.5 * tf.eye(size), total)
        by = tf.one_hot(tf.zeros_like(flat[:, 0], tf.int32), size) if first else flat
        by = tf.math.divide_no_nan(by, tf.reduce_sum(by, -1, keepdims=True))
        return tf.reshape(tf.einsum("bq,bqk->bk", by, total), tf.shape(mask)) * mask

    return attribution.of_any_size(rolled)


EXPLANATION = Explanation(
    summary="how much each word is looked at (attention rollout); not faithful, to compare with",
    options=Options,
    explain=explain,
    faithful=False,
)
