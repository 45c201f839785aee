"""AdamW with warm-up, and with a learning rate for each layer where asked."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
import tensorflow as tf
from keras import ops

from tfnlp.config import Optimizer

# BERT decays neither biases nor LayerNorm's scale and shift (its optimization.py says so).
UNDECAYED = ("bias", "gamma", "beta")


@keras.saving.register_keras_serializable("tfnlp")
class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly from 0 to a peak, then falls to 0 or stays.

    Args:
        peak: the highest learning rate.
        warmup_steps: updates in which it rises.
        total_steps: updates in all.
        kind: ``linear`` or ``cosine`` fall, or ``constant``.
        every: batches that make an update.

    Example:
        >>> rate = WarmupDecay(1e-3, warmup_steps=10, total_steps=110)
        >>> [round(float(rate(step)), 5) for step in (0, 9, 60)]
        [0.0001, 0.001, 0.0005]

    Source: linear: Devlin et al. 2019, appendix A.2; cosine: Loshchilov and Hutter 2017, "SGDR",
        equation 5 without restarts (https://arxiv.org/abs/1608.03983).
    """

    def __init__(
        self,
        peak: float,
        warmup_steps: int,
        total_steps: int,
        kind: Literal["linear", "cosine", "constant"] = "linear",
        every: int = 1,
    ) -> None:
        super().__init__()
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.kind = kind
        self.every = every

    def __call__(self, step: Any) -> Any:
        """Return the learning rate of the batch with this number, the first being 0.

        It is that of the update which the batch is for: one that comes early, because its epoch has
        fewer batches than an update, is no smaller for it.
        """
        step = ops.cast(ops.floor_divide(step, self.every), "float32")
        rise = (step + 1) / max(self.warmup_steps, 1)
        rest = max(self.total_steps - self.warmup_steps, 1)
        done = ops.clip((step - self.warmup_steps) / rest, 0.0, 1.0)
        if self.kind == "linear":
            fall = 1.0 - done
        elif self.kind == "cosine":
            fall = 0.5 * (1.0 + ops.cos(math.pi * done))
        else:
            fall = ops.ones_like(done)
        return self.peak * ops.where(step < self.warmup_steps, rise, fall)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the schedule."""
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
            "kind": self.kind,
            "every": self.every,
        }


class AdamW(keras.optimizers.Adam):
    """AdamW in one pass over each variable, and of an embedding over the rows that were read.

    Keras writes the update as a dozen operations that each go through the memory of all weights;
    TensorFlow has one kernel for them, whose numbers are those of `keras.optimizers.AdamW`.

    Of an embedding it updates those rows that the batch's tokens have: the others are half of a
    small model's weights. AdamW would move a row by a tenth of its step at once and by the rest
    over the batches that follow, whether they have its token or not; here it takes the whole step
    at once, and decays when it is read. A gradient that is accumulated over batches, or comes from
    a tied output layer too, is for all rows, and they are updated as AdamW does.

    Accumulated gradients are averaged over the rows of their batches, so that an update is that of
    one batch of all these rows. `update_leftover` takes what an epoch leaves.

    Attributes:
        rows: in the batch whose gradients are applied next; whoever applies them sets it.
        held: rows whose gradients are accumulated, float32; None if each batch makes an update.
        then: is called after an update by accumulated gradients, with their means and weights.

    Args:
        scale: a variable's path -> what its learning rate is multiplied with, the decay with it.
        decay: decoupled weight decay.

    Example::

        AdamW(learning_rate=1e-4, scale=lambda path: 1.0, decay=0.01)

    Source: Loshchilov and Hutter 2019, "Decoupled weight decay regularization"
        (https://arxiv.org/abs/1711.05101); learning rates by layer: Howard and Ruder 2018,
        "ULMFiT", section 3.2 (https://arxiv.org/abs/1801.06146).
    """

    rows: Any = 1.0
    held: keras.Variable | None = None
    then: Callable[[Sequence[tuple[Any, Any]]], None] | None = None
    # The places of those variables that batches have gradients for: not they themselves, which
    # Keras would take for the optimizer's own.
    _learned: Sequence[int] = ()
    _leftover: Callable[[], None] | None = None

    def __init__(self, *, scale: Callable[[str], float], decay: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._scale = scale
        self._decay = decay

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Create the moments, and fix each variable's scale and decay."""
        super().build(variables)
        if self.gradient_accumulation_steps:
            self.held = self.add_variable((), dtype="float32", name="held")
        self._scales = [self._scale(v.path) for v in variables]
        skip = re.compile("|".join(UNDECAYED))
        self._decays = [0.0 if skip.search(v.path) else self._decay for v in variables]

    def _backend_apply_gradients(
        self, grads: Sequence[Any], trainable_variables: Sequence[Any]
    ) -> None:
        """Update, or accumulate until enough batches are there."""
        if self.held is None:
            super()._backend_apply_gradients(grads, trainable_variables)
            return
        self._learned = [self._get_variable_index(v) for v in trainable_variables]
        for gradient, total in zip(grads, self._accumulated(), strict=True):
            gradient = tf.cast(tf.convert_to_tensor(gradient), total.dtype)
            self.assign_add(total, gradient * tf.cast(self.rows, total.dtype))
        self.assign_add(self.held, tf.cast(self.rows, "float32"))
        last = (self._iterations + 1) % self.gradient_accumulation_steps == 0
        tf.cond(last, self._update_from_accumulated, lambda: None)

    def _accumulated(self) -> list[Any]:
        """Return the sums of gradients, in the order of the variables that have any."""
        return [self._accumulated_gradients[place] for place in self._learned]

    def _update_from_accumulated(self) -> None:
        """Update by the mean over the accumulated rows, and forget them."""
        assert self.held is not None
        rows = tf.convert_to_tensor(self.held)
        means = [tf.convert_to_tensor(g) / tf.cast(rows, g.dtype) for g in self._accumulated()]
        variables = [self._trainable_variables[place] for place in self._learned]
        self._backend_update_step(self._clip_gradients(means), variables, self.learning_rate)
        if self.then is not None:
            self.then(list(zip(means, variables, strict=True)))
        self._backend_reset_gradient_accumulators()
        self.assign(self.held, tf.zeros([]))

    def update_leftover(self) -> None:
        """Update by what is accumulated of fewer batches than an update waits for, if anything is.

        The batches that are missing count as passed, so that the next update waits for as many.
        Call it outside of graphs and replicas.
        """
        missing = -int(self._iterations.numpy()) % self.gradient_accumulation_steps
        if not missing:
            return
        if self._leftover is None:
            run, update = self._distribution_strategy.run, self._update_from_accumulated
            self._leftover = tf.function(lambda: run(update), autograph=False)
        self._leftover()
        self._iterations.assign(self._iterations + missing)

    def weigh_as(self, rows: int) -> None:
        """Take what is accumulated as a sum over batches of ``rows`` rows, as 0.1.0 kept it."""
        assert self.held is not None
        for total in self._accumulated_gradients:
            total.assign(total * rows)
        self.held.assign(self._iterations % self.gradient_accumulation_steps * rows)

    def _clip_gradients(self, grads: Sequence[Any]) -> Sequence[Any]:
        """Clip by the norm of the whole gradient, in which a row that comes twice counts once.

        Keras calls this before each round of updates, so what they share is computed here.
        """
        step = tf.cast(self.iterations + 1, "float32")
        self._powers = self.beta_1**step, self.beta_2**step
        if not self.global_clipnorm:
            return grads
        clipped, _ = tf.clip_by_global_norm([_summed(g) for g in grads], self.global_clipnorm)
        return list(clipped)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable, of float32, from its gradient."""
        place = self._get_variable_index(variable)
        rate = tf.cast(learning_rate, variable.dtype)
        if self._scales[place] != 1:
            rate *= self._scales[place]
        if isinstance(gradient, tf.IndexedSlices):
            self._update_rows(gradient, variable, place, rate)
            return
        if self._decays[place]:
            self.assign(variable, variable * (1 - self._decays[place] * rate))
        tf.raw_ops.ResourceApplyAdam(
            # A replica's own, where there are replicas.
            var=variable.handle,
            m=self._momentums[place].handle,
            v=self._velocities[place].handle,
            beta1_power=self._powers[0],
            beta2_power=self._powers[1],
            lr=rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(tf.convert_to_tensor(gradient), variable.dtype),
        )

    def _update_rows(
        self, gradient: tf.IndexedSlices, variable: Any, place: int, rate: Any
    ) -> None:
        """Update the rows (R,) of a variable (V, H) that a gradient (R, H) is for."""
        gradient = gradient if self.global_clipnorm else _summed(gradient)
        rows, slope = gradient.indices, tf.cast(gradient.values, variable.dtype)
        handles = variable.handle, self._velocities[place].handle
        weight, square = (
            tf.raw_ops.ResourceGather(resource=handle, indices=rows, dtype=slope.dtype)
            for handle in handles
        )
        square += (tf.square(slope) - square) * (1 - self.beta_2)
        weight *= 1 - self._decays[place] * rate
        weight -= rate * tf.sqrt(1 - self._powers[1]) * slope / (tf.sqrt(square) + self.epsilon)
        for handle, value in zip(handles, (weight, square), strict=True):
            tf.raw_ops.ResourceScatterUpdate(resource=handle, indices=rows, updates=value)
        # From the first scatter on TensorFlow would copy the whole embedding for each reader.
        tf.raw_ops.DisableCopyOnRead(resource=variable.handle)


def _summed(gradient: Any) -> Any:
    """Add up what a gradient has of a row that comes several times; others stay as they are."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows, places = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, places, tf.size(rows))
    return tf.IndexedSlices(values, rows, gradient.dense_shape)


def adamw(
    settings: Optimizer,
    steps: int,
    blocks: Sequence[Sequence[keras.layers.Layer]],
    every: int = 1,
) -> keras.optimizers.Optimizer:
    """Build the optimizer of a run.

    Args:
        settings: the experiment's optimizer section.
        steps: batches in the whole run, with those that the last update of an epoch lacks.
        blocks: the backbone's layers from the embeddings up, for ``layer_decay``.
        every: batches by which the learning rate changes.

    Example::

        network.compile(adamw(experiment.optimizer, steps=1200, blocks=model.blocks), loss=loss)

    Source: Loshchilov and Hutter 2019, "Decoupled weight decay regularization"
        (https://arxiv.org/abs/1711.05101).
    """
    # Keras asks the schedule for every batch, also for those whose gradients only accumulate.
    changes = max(steps // every, 1)
    schedule = WarmupDecay(
        settings.learning_rate,
        int(settings.warmup * changes),
        changes,
        settings.schedule,
        every,
    )
    common: dict[str, Any] = {
        "learning_rate": schedule,
        "global_clipnorm": settings.clip_norm or None,
        "gradient_accumulation_steps": settings.accumulate if settings.accumulate > 1 else None,
    }
    scale = _depth_scale(settings.layer_decay, blocks)
    return AdamW(scale=scale, decay=settings.weight_decay, **common)


def inner(optimizer: Any) -> Any:
    """Return an optimizer without the one around it that scales the loss of float16.

    Example::

        inner(network.optimizer).rows = 32
    """
    return getattr(optimizer, "inner_optimizer", optimizer)


def _depth_scale(
    decay: float, blocks: Sequence[Sequence[keras.layers.Layer]]
) -> Callable[[str], float]:
    """Give each block ``decay`` to the power of its distance from the head."""
    scales = {
        weight.path: decay ** (len(blocks) - depth)
        for depth, block in enumerate(blocks)
        for layer in block
        for weight in layer.weights
    }
    return lambda path: scales.get(path, 1.0)
