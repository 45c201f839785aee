"""EWC: weights that the earlier answers depend on are held where they were."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pipelines import splits
from tfnlp.extensions import Batch, Outcome, Step, Strategy, Trainer
from tfnlp.options import option
from tfnlp.strategies import _earlier

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    from pipelines.rows import Rows
    from tfnlp.training.model import TrainedModel


@dataclass(frozen=True)
class Options(_earlier.Options):
    """How firmly weights are held, and by which rows.

    Example::

        python -m tfnlp.train --train may.csv --start-from RUN --strategy ewc --ewc-rows 256
    """

    old: tuple[str, ...] = option(
        (),
        "a file of rows that earlier runs were trained on; may be repeated (default: the earlier "
        "run's own, if they are still there)",
        flag="--old",
        metavar="FILE",
    )
    rows: int = option(
        512,
        "old rows by which is measured what answers depend on [rows]",
        minimum=1,
        maximum=100_000,
    )
    weight: float = option(1000.0, "of the distance from the earlier weights", minimum=0.0)


def train(trainer: Trainer) -> Outcome:
    """Fit with a penalty on moving weights, by the Fisher information of the old rows.

    It is for new domains. Where labels are new it is expected to fail: the weights that tell old
    from new labels had nothing to tell in the earlier run.

    Example::

        train(trainer).report.metrics["ewc_old_accuracy"]

    Source: Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks",
        equation 3 (https://arxiv.org/abs/1612.00796). The information is the mean of the squared
        gradients of single rows; the square of a batch's mean gradient would be another thing.
    """
    own, origin = trainer.options, _earlier.origin(trainer)
    model = cast("TrainedModel", origin.model)
    weights = trainer.model.network.trainable_weights

    def measure() -> np.ndarray:
        rows = _earlier.old_rows(trainer, own.old) if own.old else origin.rows()
        model.task.check(rows, model.context.facts)
        some = rows.take(splits.evenly(len(rows), own.rows))
        return flat(fisher(model, some, {w.path for w in weights}, trainer.tracked), weights)

    information = parts(trainer.kept("fisher", measure), weights)
    held = [(w, w.numpy(), f) for w, f in zip(weights, information, strict=True)]
    step = make(held, own.weight)
    return _earlier.compared(trainer, lambda: trainer.fit(step))


def fisher(
    model: TrainedModel,
    rows: Rows,
    paths: Collection[str],
    tracked: Callable[[Collection[Any], str], Iterator[Any]] = lambda parts, what: iter(parts),
) -> dict[str, np.ndarray]:
    """Return the diagonal of the empirical Fisher information of some weights.

    Args:
        model: the earlier one.
        rows: with targets that it knows.
        paths: of the weights; those that it lacks are left out.
        tracked: shows progress.

    Returns:
        Path -> the mean over the rows of the squared gradient of the row's loss, float32.

    Example::

        fisher(model, rows.take(range(256)), {"logits/kernel"})["logits/kernel"]  # (H, C)
    """
    import tensorflow as tf

    from tfnlp.runtime import precision
    from tfnlp.training import examples

    network = model.network
    wanted = [weight for weight in network.weights if weight.path in paths]
    variables = [weight.value for weight in wanted]
    loss = model.task.objective(model.context).loss
    sums = [tf.Variable(tf.zeros(v.shape), trainable=False) for v in variables]

    @tf.function(autograph=False, reduce_retracing=True)
    def add(x: Any, y: Any) -> None:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            found = loss(y, network(x, training=False))
        for total, gradient in zip(sums, tape.gradient(found, variables), strict=True):
            if gradient is not None:
                total.assign_add(tf.square(tf.convert_to_tensor(gradient)))

    data = examples.arrange(model, rows, shuffle=False)
    count = 0
    with precision.exact():
        for x, y, *_ in tracked(list(examples.batches(model, data, range(1))), "measuring weights"):
            size = int(tf.nest.flatten(y)[0].shape[0])
            for place in range(size):
                add(*tf.nest.map_structure(lambda part: part[place : place + 1], (x, y)))  # noqa: B023
            count += size
    return {w.path: total.numpy() / count for w, total in zip(wanted, sums, strict=True)}


def flat(found: Mapping[str, np.ndarray], weights: Collection[Any]) -> np.ndarray:
    """Return values of weights one after the other; zero where a weight, or a part of it, is new.

    Example::

        flat({"logits/kernel": information}, network.trainable_weights).shape
    """
    import numpy as np

    every = []
    for weight in weights:
        whole = np.zeros(weight.shape, np.float32)
        if weight.path in found:
            value = found[weight.path]
            whole[tuple(slice(0, size) for size in value.shape)] = value
        every.append(whole.reshape(-1))
    return np.concatenate(every)


def parts(whole: np.ndarray, weights: Collection[Any]) -> list[np.ndarray]:
    """Return what `flat` put together, in the shapes of the weights.

    Example::

        parts(flat(found, weights), weights)[0].shape == weights[0].shape
    """
    import numpy as np

    ends = np.cumsum([int(np.prod(weight.shape)) for weight in weights])[:-1]
    cut = np.split(whole, ends)
    return [part.reshape(w.shape) for part, w in zip(cut, weights, strict=True)]


def make(held: Collection[tuple[Any, np.ndarray, np.ndarray]], weight: float) -> Step:
    """Return the step; it needs TensorFlow, which the options do not.

    Args:
        held: weights, where they were, and the Fisher information of each.
        weight: of the penalty, lambda.

    Example::

        trainer.fit(make([(kernel, kernel.numpy(), information)], 1000.0))
    """
    import tensorflow as tf

    class Elastic(Step):
        """The task's loss, and lambda / 2 of the squared distances times the information."""

        remedy = "lower --ewc-weight or --learning-rate"

        def build(self, network: Any, total_rows: int) -> None:
            """Hold where weights were, in variables: constants would be part of the graph."""
            self.held = [
                (own, tf.Variable(start, trainable=False), tf.Variable(f, trainable=False))
                for own, start, f in held
                if f.any()
            ]

        def loss(self, network: Any, batch: Batch, outputs: Any) -> tf.Tensor:
            """Return the loss with the penalty."""
            loss = super().loss(network, batch, outputs)
            far = [
                tf.reduce_sum(f * tf.square(tf.convert_to_tensor(own) - start))
                for own, start, f in self.held
            ]
            total = tf.add_n(far) if far else tf.zeros([])
            return loss + tf.cast(weight / 2 * total / network.replicas, loss.dtype)

    return Elastic()


STRATEGY = Strategy(
    summary="hold the weights that earlier answers depend on (EWC), for new domains",
    options=Options,
    train=train,
    fits=_earlier.fits,
)
