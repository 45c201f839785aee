"""Training on several devices or workers by tf.distribute.

Every replica holds the whole model. A batch is dealt out over the replicas, their gradients are
added up, and each replica makes the same update; so a distributed run computes what one process
computes on the same batches, up to the order in which floating-point numbers are added.

Of several workers only the chief (``chief``, or worker 0) reads and writes checkpoints, logs and
SavedModels; the others are sent what it read. They need no folder in common. When a worker
stops, the others stop too, with a sentence that says so: start **all** of them again with
``--resume``, each with its own TF_CONFIG, and all go on from the chief's last checkpoint.

Dimensions: B rows of a batch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import MethodType
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras.src.optimizers.base_optimizer import BaseOptimizer

from pipelines.errors import UserError

# What Keras's TensorFlow optimizer does across replicas, and its base class on one device.
_UPDATES = (
    "_apply_weight_decay",
    "_backend_update_step",
    "_backend_increment_gradient_accumulators",
)


def devices(
    kind: Literal["none", "mirrored", "multiworker"], batch_size: int
) -> tf.distribute.Strategy:
    """Return the strategy; call it before any other TensorFlow operation.

    Args:
        kind: ``mirrored``: this machine's GPUs, or its logical CPUs if it has none;
            ``multiworker``: the workers named in the environment variable TF_CONFIG.
        batch_size: rows in a batch, over all replicas.

    Raises:
        UserError: TF_CONFIG does not name the workers and which of them this one is, or the
            batch cannot be dealt out evenly.
    """
    made = tf.distribute.get_strategy()
    if kind == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        made = tf.distribute.MirroredStrategy([device.name for device in devices])
    elif kind == "multiworker":
        _check_tf_config()
        made = tf.distribute.MultiWorkerMirroredStrategy()
    if batch_size % made.num_replicas_in_sync:
        raise UserError(
            f"--batch-size {batch_size} cannot be dealt out evenly over "
            f"{made.num_replicas_in_sync} replicas (take a multiple)"
        )
    return made


def _check_tf_config() -> None:
    """Raise UserError unless TF_CONFIG has a cluster and this worker's place in it."""
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        config["cluster"][config["task"]["type"]][int(config["task"]["index"])]
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"--distribute multiworker needs TF_CONFIG, but it is {text!r} (set it to "
            '{"cluster": {"worker": ["host1:port", "host2:port"]}, "task": {"type": "worker", '
            '"index": 0}} with each worker\'s own index)'
        ) from error


def chief(strategy: tf.distribute.Strategy) -> bool:
    """Tell whether this process is the one that writes."""
    return bool(strategy.extended.should_checkpoint)


class Replicated(keras.Model):
    """A functional model that Keras 3.15 trains on the replicas of a strategy.

    It differs from what Keras 3.15.1 does in four places:

    - ``_maybe_symbolic_build`` takes a batch and averages it over the replicas, which fails for
      batches of unequal size and for workers; the model is built already, so nothing is done.
    - ``_make_function`` ends in ``reduce_per_replica``, which reduces scalar logs over axis 0
      on several workers and fails; here the metrics are updated once, outside of the replicas.
    - Keras's metrics add up over replicas only where they use ``assign_add``; F1Score and others
      ``assign(old + new)``, which counts the old value once for each replica. Here a metric sees
      the whole batch, gathered from the replicas, as in a run on one device.
    - Keras clips and accumulates each replica's gradient before they are added up, which is not
      the gradient of the batch, and cannot accumulate at all on replicas of one process. Here
      they are added up first; then every replica updates its own copy, as one device would.

    The optimizer must have been made and built in the strategy's scope, the metrics outside of it.
    """

    def compile(self, optimizer: Any, **kwargs: Any) -> None:
        """Compile; each replica's optimizer is given gradients that are added up."""
        super().compile(optimizer, **kwargs)
        inner: Any = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        for name in _UPDATES:
            setattr(inner, name, MethodType(getattr(BaseOptimizer, name), inner))

    def train_step(self, data: Any) -> Any:
        """Learn from one replica's part of a batch; returns what :meth:`_count` takes."""
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            outputs = self(x, training=True)
            loss = self.compute_loss(x, y, outputs, weights, training=True)
            scaled = self.optimizer.scale_loss(loss)
        variables = self.trainable_weights
        found = zip(tape.gradient(scaled, variables), variables, strict=True)
        used = [(gradient, v) for gradient, v in found if gradient is not None]
        context = tf.distribute.get_replica_context()
        total = context.all_reduce(tf.distribute.ReduceOp.SUM, [gradient for gradient, _ in used])
        self.optimizer.apply_gradients(zip(total, [v for _, v in used], strict=True))
        return loss, y, outputs, weights

    def test_step(self, data: Any) -> Any:
        """Answer one replica's part of a batch; returns what :meth:`_count` takes."""
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        outputs = self(x, training=False)
        loss = self.compute_loss(x, y, outputs, weights, training=False)
        return loss, y, outputs, weights

    def _count(self, loss: Any, y: Any, outputs: Any, weights: Any) -> dict[str, Any]:
        """Update the metrics by a whole batch, from what every replica found; returns the logs.

        The loss of a replica is the mean over its rows, divided by the number of replicas.
        """
        strategy = self.distribute_strategy

        def gather(value: Any) -> Any:
            if value is None:
                return None
            gathered = strategy.gather(value, axis=0)
            part = strategy.experimental_local_results(value)[0]
            return tf.ensure_shape(gathered, [None, *part.shape[1:]])

        def rows(value: Any) -> Any:
            return tf.cast(tf.shape(tf.nest.flatten(value)[0])[0], tf.float32)

        def weigh(loss: Any, y: Any) -> Any:
            count = rows(y)
            return tf.where(count > 0, loss * strategy.num_replicas_in_sync * count, 0.0)

        total = strategy.reduce("SUM", strategy.run(weigh, (loss, y)), axis=None)
        y, outputs, weights = tf.nest.map_structure(gather, (y, outputs, weights))
        self._loss_tracker.update_state(total / rows(y), sample_weight=rows(y))
        return dict(self.compute_metrics(None, y, outputs, weights))

    def _make_function(self, step: Callable[[Any], Any]) -> Any:
        """Make the function of an iterator that Keras calls for each batch."""

        @tf.function(reduce_retracing=True, autograph=False)
        def on_batch(iterator: Any) -> dict[str, Any]:
            return self._count(*self.distribute_strategy.run(step, (next(iterator),)))

        return on_batch

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Leave a model alone that is built."""


def replicated(network: keras.Model) -> keras.Model:
    """Make a model that was built in a strategy's scope fit for it; others are returned as such."""
    if network.distribute_strategy.num_replicas_in_sync == 1:
        return network
    with network.distribute_strategy.scope():
        return Replicated(network.input, network.output, name=network.name)


def single(network: keras.Model) -> keras.Model:
    """Return a copy of a replicated model, with its weights, that knows of no strategy."""
    if network.distribute_strategy.num_replicas_in_sync == 1:
        return network
    copy = keras.models.clone_model(keras.Model(network.input, network.output, name=network.name))
    copy.set_weights(network.get_weights())
    return copy


def dataset(strategy: tf.distribute.Strategy, make: Callable[[range, int], Any]) -> Any:
    """Make a dataset that gives every replica its part of each batch.

    Args:
        strategy: the strategy.
        make: (replicas of this process, all replicas) -> tf.data.Dataset in which each batch
            stands as the parts of these replicas, one after the other.
    """
    total = strategy.num_replicas_in_sync
    if total == 1:
        return make(range(1), 1)

    def parts(context: tf.distribute.InputContext) -> tf.data.Dataset:
        here = total // context.num_input_pipelines
        first = here * context.input_pipeline_id
        return make(range(first, first + here), total)

    return strategy.distribute_datasets_from_function(parts)


def agree(strategy: tf.distribute.Strategy, value: Any) -> Any:
    """Return the chief's JSON value in every worker."""
    if strategy.num_replicas_in_sync == 1:
        return value
    text = np.frombuffer(json.dumps(value).encode(), np.uint8).astype(np.int64)
    size = int(_from_chief(strategy, [np.array(len(text))])[0])
    sent = np.resize(text, size) if size else text
    return json.loads(_from_chief(strategy, [sent])[0].astype(np.uint8).tobytes())


def broadcast(strategy: tf.distribute.Strategy, variables: Sequence[tf.Variable]) -> None:
    """Give the variables in every worker the chief's values."""
    if strategy.num_replicas_in_sync == 1:
        return
    values = _from_chief(strategy, [np.asarray(variable.numpy()) for variable in variables])
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value.astype(variable.dtype.as_numpy_dtype))


def _from_chief(strategy: tf.distribute.Strategy, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the chief's arrays, which have the same shapes in every worker."""
    whole = [a if a.dtype.kind == "f" else a.astype(np.int64) for a in arrays]

    @tf.function(autograph=False)
    def send(values: list[tf.Tensor]) -> Any:
        context = tf.distribute.get_replica_context()
        first = context.replica_id_in_sync_group == 0
        # One by one: a list is packed into one tensor, which must be of one dtype.
        return [
            context.all_reduce("SUM", tf.where(first, value, tf.zeros_like(value)))
            for value in values
        ]

    sent = strategy.run(send, ([tf.constant(a) for a in whole],))
    return [strategy.experimental_local_results(tensor)[0].numpy() for tensor in sent]


@contextmanager
def others_needed(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turn the failure of another worker into a UserError; it is noticed within a minute."""
    try:
        yield
    except tf.errors.OpError as error:
        if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            raise
        raise UserError(
            f"another worker has stopped or cannot be reached ({type(error).__name__}); start all "
            "workers again with --resume"
        ) from error
