"""Training on several devices or workers by tf.distribute.

Every replica holds the whole model. A batch is dealt out over the replicas, their gradients are
added up, and each replica makes the same update; so a distributed run computes what one process
computes on the same batches, up to the order in which floating-point numbers are added.

Of several workers only the chief (``chief``, or worker 0) reads and writes checkpoints, logs and
SavedModels; the others are sent what it read. They need no folder in common. When a worker
stops, the others stop too, with a sentence that says so: start **all** of them again with
``--resume``, each with its own TF_CONFIG, and all resume from the chief's last checkpoint.

Dimensions: B rows of a batch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import numpy as np
import tensorflow as tf

from pipelines.errors import UserError

Kind: TypeAlias = Literal["none", "mirrored", "multiworker"]


def devices(kind: Kind, batch_size: int) -> tf.distribute.Strategy:
    """Return the strategy; call it before any other TensorFlow operation.

    Args:
        kind: ``mirrored``: this machine's GPUs, or its logical CPUs if it has none;
            ``multiworker``: the workers named in the environment variable TF_CONFIG.
        batch_size: rows in a batch, over all replicas.

    Raises:
        UserError: as `check`.

    Example::

        with devices("mirrored", batch_size=64).scope():
            model = prepare(experiment, train)
    """
    check(kind, batch_size)
    if kind == "mirrored":
        return tf.distribute.MirroredStrategy(_local())
    if kind == "multiworker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.get_strategy()


def check(kind: Kind, batch_size: int) -> None:
    """Refuse what `devices` cannot make, without waiting for other workers as it does.

    Raises:
        UserError: TF_CONFIG does not name the workers and which of them this one is, or the
            batch cannot be dealt out evenly.

    Example:
        >>> check("none", 32)
    """
    replicas = 1
    if kind == "mirrored":
        replicas = len(_local())
    elif kind == "multiworker":
        # To ask for logical devices makes them, which must not be before the workers are known.
        replicas = _workers() * max(len(tf.config.list_physical_devices("GPU")), 1)
    if batch_size % replicas:
        raise UserError(
            f"--batch-size {batch_size} cannot be dealt out evenly over {replicas} replicas (take "
            "a multiple)"
        )


def _local() -> list[str]:
    """Name this machine's GPUs, or its logical CPUs if it has none."""
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in found]


def _workers() -> int:
    """Count the workers in TF_CONFIG; UserError unless it has a cluster and this one's place."""
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        cluster = config["cluster"]
        cluster[config["task"]["type"]][int(config["task"]["index"])]
        return sum(len(cluster.get(job, ())) for job in ("chief", "worker"))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"--distribute multiworker needs TF_CONFIG, but it is {text!r} (set it to "
            '{"cluster": {"worker": ["host1:port", "host2:port"]}, "task": {"type": "worker", '
            '"index": 0}} with each worker\'s own index)'
        ) from error


def chief(strategy: tf.distribute.Strategy) -> bool:
    """Return whether this process is the one that writes.

    Example:
        >>> chief(tf.distribute.get_strategy())
        True
    """
    return bool(strategy.extended.should_checkpoint)


def dataset(strategy: tf.distribute.Strategy, make: Callable[[range, int], Any]) -> Any:
    """Make a dataset that gives every replica its part of each batch.

    Args:
        strategy: the strategy.
        make: (replicas of this process, all replicas) -> tf.data.Dataset in which each batch
            stands as the parts of these replicas, one after the other.

    Example::

        dataset(strategy, lambda parts, of: batches(model, data, range(4), 0, parts, of))
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
    """Return the chief's JSON value in every worker.

    Example:
        >>> agree(tf.distribute.get_strategy(), {"epoch": 3})
        {'epoch': 3}
    """
    if strategy.num_replicas_in_sync == 1:
        return value
    text = np.frombuffer(json.dumps(value).encode(), np.uint8).astype(np.int64)
    size = int(_from_chief(strategy, [np.array(len(text))])[0])
    sent = np.resize(text, size) if size else text
    return json.loads(_from_chief(strategy, [sent])[0].astype(np.uint8).tobytes())


def broadcast(strategy: tf.distribute.Strategy, variables: Sequence[tf.Variable]) -> None:
    """Give the variables in every worker the chief's values.

    Example::

        broadcast(strategy, values_of(network.variables))
    """
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
    """Turn the failure of another worker into a UserError; it is noticed within a minute.

    Example::

        with others_needed(strategy):
            trainer.fit()
    """
    try:
        yield
    except tf.errors.OpError as error:
        if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            raise
        raise UserError(
            f"another worker has stopped or cannot be reached ({type(error).__name__}); start all "
            "workers again with --resume"
        ) from error
