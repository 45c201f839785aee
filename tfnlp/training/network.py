"""A functional model that a step trains: whole, in parts on a machine's cores, or on replicas.

Dimensions: B rows of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import pairwise
from typing import Any

import keras
import tensorflow as tf

from tfnlp.backbones import embeddings, encoder
from tfnlp.extensions import Batch, PeftStep, Step
from tfnlp.heads import answer_span
from tfnlp.runtime import keras_patches, precision, threads
from tfnlp.training import optimizers


class Network(keras_patches.ReplicatedModel):
    """A functional model whose gradients come from a `tfnlp.extensions.Step`.

    On one device Keras's loop and metrics are as they are. On the replicas of a strategy a metric
    sees the whole batch, gathered from the replicas, and the gradients are added up before they
    are clipped or accumulated, so that a run computes what it would on one device
    (`keras_patches` says what Keras does instead).

    The optimizer must have been made and built in the strategy's scope, the metrics outside of it.

    Attributes:
        step: how a batch becomes gradients.
        peft_step: what a peft method does beside it.
        streams: parts of a batch that are computed in parallel, one for each core; 1 is whole.
        step_metrics: the step's, which are logged of training alone.
        divisible: whether rows are answered each for itself, so that a batch may be taken in parts.

    Example::

        network = trainable(keras.Model(inputs, outputs), divisible=True)
        network.step = Step()
    """

    step: Step
    peft_step: PeftStep
    step_metrics: Any
    streams = 1
    divisible = True

    def call(
        self, inputs: Any, training: bool | None = None, mask: Any = None, added: Any = None
    ) -> Any:
        """Return the outputs of (B, ...) tensors; with several streams, of its parts at once.

        Args:
            inputs: by name.
            training: whether dropout is drawn.
            mask: Keras's, unused.
            added: to the token embeddings, float32 (B, T, H) or (B, W, T, H).
        """
        if training:
            self.peft_step.before_pass()
        if self.streams == 1:
            return self._pass(inputs, training, added)

        # Traced once for all parts, which are of any size.
        @partial(tf.function, autograph=False)
        def part(given: Any, added: Any = None) -> tuple[Any, tf.Tensor]:
            return self._pass(given, training, added), self._take_added_losses()

        rows = tf.shape(tf.nest.flatten(inputs)[0])[0]
        # No part may be empty, so the last row comes again where rows are too few.
        count = tf.maximum(rows, self.streams)
        places = tf.minimum(tf.range(count), rows - 1)
        cuts = [count * i // self.streams for i in range(self.streams + 1)]
        given = (inputs,) if added is None else (inputs, added)
        found = [
            part(*tf.nest.map_structure(partial(tf.gather, indices=places[start:stop]), given))
            for start, stop in pairwise(cuts)
        ]
        shares = [(stop - start) / count for start, stop in pairwise(cuts)]
        if found[0][1].shape.rank == 0:  # what layers add is a mean over the rows, as the loss is
            parts = zip(shares, found, strict=True)
            total = tf.add_n([tf.cast(share, a.dtype) * a for share, (_, a) in parts])
            keras.layers.Layer.add_loss(self, total)  # a functional model's own is not implemented
        return tf.nest.map_structure(
            lambda *outputs: tf.concat(outputs, 0)[:rows], *(outputs for outputs, _ in found)
        )

    def _pass(self, inputs: Any, training: bool | None, added: Any) -> Any:
        """Return the functional model's outputs."""
        if added is None:
            return super().call(inputs, training=training)
        with embeddings.adding(self, inputs, added), answer_span.unchunked(self):
            return super().call(inputs, training=training)

    def _take_added_losses(self) -> tf.Tensor:
        """Return the sum of what layers passed to ``add_loss``, a scalar, and forget it.

        It is a tensor of the function that is being traced, where `compute_loss` cannot find it.
        Of none it is an empty vector.
        """
        added = keras_patches.take_added_losses(self)
        return tf.add_n([tf.reduce_sum(loss) for loss in added]) if added else tf.zeros([0])

    def compile(self, optimizer: Any, **kwargs: Any) -> None:
        """Compile; each replica's optimizer is given gradients that are added up."""
        super().compile(optimizer, **kwargs)
        # Another fit may have another step, and its functions were traced with the last one's.
        self.train_function = self.test_function = None
        if self.replicas > 1:
            keras_patches.update_each_copy(self.optimizer)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return the task's loss of a batch, in training with what a peft method adds."""
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if training:
            loss += tf.cast(self.peft_step.loss(self, x, y_pred), loss.dtype) / self.replicas
        return loss

    def gradients_of(
        self, tape: tf.GradientTape, loss: tf.Tensor, more: Sequence[tf.Tensor] = ()
    ) -> list[Any]:
        """Return the gradients of all that is trained, scaled as the optimizer wants them.

        Args:
            tape: that the loss was recorded on.
            loss: a scalar.
            more: tensors that the tape watches, whose gradients follow.
        """
        scale = self.optimizer.scale_loss(tf.ones_like(loss))
        variables = [*self.trainable_weights, *self.step.trainable, *more]
        gradients: list[Any] = tape.gradient(loss, variables, output_gradients=scale)
        return gradients

    def train_step(self, data: Any) -> Any:
        """Learn from a batch, or from a replica's part of one."""
        batch = batch_of(data)
        loss, outputs, gradients = self.step.gradients(self, batch)
        variables = [*self.trainable_weights, *self.step.trainable]
        used = [(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None]
        if used and self.replicas > 1:
            context = tf.distribute.get_replica_context()
            total = context.all_reduce(tf.distribute.ReduceOp.SUM, [g for g, _ in used])
            used = list(zip(total, (v for _, v in used), strict=True))
        if used:  # a step may have optimizers of its own
            self._apply(used, self._rows(batch))
        self.step.updated(self, batch)
        return self._found(loss, batch, outputs)

    def _apply(self, gradients: list[tuple[Any, Any]], rows: tf.Tensor) -> None:
        """Update by gradients of so many rows, or accumulate them, and let the peft method know."""
        optimizer = optimizers.inner(self.optimizer)
        optimizer.rows = rows
        optimizer.then = lambda means: self.peft_step.updated(self, means, tf.ones([]))
        scale = self.optimizer.scale_loss(tf.ones([]))  # which an update may change
        self.optimizer.apply_gradients(gradients)
        if getattr(optimizer, "held", None) is None:
            self.peft_step.updated(self, gradients, scale)

    def _rows(self, batch: Batch) -> tf.Tensor:
        """Return how many rows a batch has, over all replicas."""
        rows = tf.shape(tf.nest.flatten(batch.x)[0])[0]
        if self.replicas == 1:
            return rows
        return tf.distribute.get_replica_context().all_reduce("SUM", rows)

    def test_step(self, data: Any) -> Any:
        """Answer a batch, or a replica's part of one."""
        batch = batch_of(data)
        outputs = self(batch.x, training=False)
        loss = self.compute_loss(batch.x, batch.y, outputs, batch.weights, training=False)
        found = self._found(loss, batch, outputs)
        if self.replicas > 1:
            return found
        of_step = {metric.name for metric in self.step_metrics}  # which are about training alone
        return {name: value for name, value in found.items() if name not in of_step}

    def _found(self, loss: Any, batch: Batch, outputs: Any) -> Any:
        """Return the logs, or on replicas what :meth:`collect` takes."""
        rows = tf.shape(tf.nest.flatten(batch.x)[0])[0]
        if self.replicas > 1:
            return loss, tf.cast(rows, tf.float32), batch.y, outputs, batch.weights
        self.loss_tracker.update_state(loss, sample_weight=rows)
        if batch.y is None or outputs is None:
            return self.get_metrics_result()
        return self.compute_metrics(batch.x, batch.y, outputs, sample_weight=batch.weights)

    def collect(self, loss: Any, rows: Any, y: Any, outputs: Any, weights: Any) -> dict[str, Any]:
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

        def weigh(loss: Any, rows: Any) -> Any:
            return tf.where(rows > 0, loss * strategy.num_replicas_in_sync * rows, 0.0)

        total = strategy.reduce("SUM", strategy.run(weigh, (loss, rows)), axis=None)
        count = strategy.reduce("SUM", rows, axis=None)
        self.loss_tracker.update_state(total / count, sample_weight=count)
        if y is None or outputs is None:
            return dict(self.get_metrics_result())
        y, outputs, weights = tf.nest.map_structure(gather, (y, outputs, weights))
        return dict(self.compute_metrics(None, y, outputs, weights))


def batch_of(data: Any) -> Batch:
    """Return what a dataset's element holds.

    Args:
        data: (x, y) or (x, y, weights), or a mapping with ``x`` and any other field of `Batch`.

    Example::

        batch_of({"x": features, "y": labels, "extras": {"teacher": logits}}).extras
    """
    if isinstance(data, Mapping):
        beside = {name: batch_of(one) for name, one in data.get("beside", {}).items()}
        return Batch(data["x"], data.get("y"), data.get("weights"), data.get("extras", {}), beside)
    x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
    return Batch(x, y, weights)


def trainable(network: keras.Model, *, divisible: bool) -> Network:
    """Make a network of a functional model, in the scope that the model was built in.

    Args:
        network: the functional model.
        divisible: whether its rows are answered each for itself, whatever else the batch holds.

    Example::

        network = trainable(task.build(context, backbone.model), divisible=task.rowwise)
    """
    with network.distribute_strategy.scope():
        made = Network(network.input, network.output, name=network.name)
    made.divisible = divisible
    made.step, made.peft_step, made.step_metrics = Step(), PeftStep(), []
    return made


def single(network: keras.Model) -> keras.Model:
    """Return a copy of a replicated model, with its weights, that knows of no strategy.

    Example::

        single(network).save("model.keras")
    """
    if network.distribute_strategy.num_replicas_in_sync == 1:
        return network
    copy = keras.models.clone_model(keras.Model(network.input, network.output, name=network.name))
    copy.set_weights(network.get_weights())
    for own, other in zip(copy.weights, network.weights, strict=True):
        own.trainable = other.trainable  # Keras clones only the flags of layers
    return copy


@contextmanager
def on_all_cores(network: Network) -> Iterator[None]:
    """Let a network be trained by all cores of the machine; what is exported is as it was.

    It takes parts of a batch in parallel, and holds frozen matrices as they are multiplied.

    Example::

        with on_all_cores(network):
            network.fit(data)
    """
    one = network.replicas == 1
    network.streams = threads.count() if network.divisible and one else 1
    held = one and precision.multiplies_in_bfloat16()
    try:
        with encoder.frozen_in_bfloat16(network) if held else nullcontext():
            yield
    finally:
        network.streams = 1
