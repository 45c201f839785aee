"""AdamW with warm-up, and with a learning rate for each layer where asked."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
from keras import ops

from tfnlp.config import Optimizer

# BERT decays neither biases nor LayerNorm's scale and shift (its optimization.py says so).
UNDECAYED = ("bias", "gamma", "beta")


@keras.saving.register_keras_serializable("tfnlp")
class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly from 0 to a peak, then falls to 0 or stays.

    Args:
        peak: the highest learning rate.
        warmup_steps: batches in which it rises.
        total_steps: batches in all.
        kind: ``linear`` or ``cosine`` fall, or ``constant``.

    Source: linear: Devlin et al. 2019, appendix A.2; cosine: Loshchilov and Hutter 2017, "SGDR",
        equation 5 without restarts (https://arxiv.org/abs/1608.03983).
    """

    def __init__(
        self,
        peak: float,
        warmup_steps: int,
        total_steps: int,
        kind: Literal["linear", "cosine", "constant"] = "linear",
    ) -> None:
        super().__init__()
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.kind = kind

    def __call__(self, step: Any) -> Any:
        """Return the learning rate of the batch with this number, the first being 0."""
        step = ops.cast(step, "float32")
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
        }


class LayerwiseAdamW(keras.optimizers.Adam):
    """AdamW whose learning rate is scaled for each variable, the weight decay with it.

    Args:
        scale: a variable's path -> what its learning rate is multiplied with.
        decay: decoupled weight decay.

    Source: Howard and Ruder 2018, "ULMFiT", section 3.2, discriminative fine-tuning
        (https://arxiv.org/abs/1801.06146).
    """

    def __init__(self, *, scale: Callable[[str], float], decay: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._scale = scale
        self._decay = decay

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Create the moments, and fix each variable's scale and decay."""
        super().build(variables)
        self._scales = [self._scale(v.path) for v in variables]
        skip = re.compile("|".join(UNDECAYED))
        self._decays = [0.0 if skip.search(v.path) else self._decay for v in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable from its gradient."""
        place = self._get_variable_index(variable)
        rate = ops.cast(learning_rate, variable.dtype) * self._scales[place]
        if self._decays[place]:
            self.assign_sub(variable, variable * self._decays[place] * rate)
        super().update_step(gradient, variable, rate)


def adamw(
    settings: Optimizer, steps: int, blocks: Sequence[Sequence[keras.layers.Layer]]
) -> keras.optimizers.Optimizer:
    """Build the optimizer of a run.

    Args:
        settings: the experiment's optimizer section.
        steps: batches in the whole run.
        blocks: the backbone's layers from the embeddings up, for ``layer_decay``.

    Source: Loshchilov and Hutter 2019, "Decoupled weight decay regularization"
        (https://arxiv.org/abs/1711.05101).
    """
    # Keras asks the schedule for every batch, also for those whose gradients only accumulate.
    schedule = WarmupDecay(
        settings.learning_rate, int(settings.warmup * steps), max(steps, 1), settings.schedule
    )
    common: dict[str, Any] = {
        "learning_rate": schedule,
        "global_clipnorm": settings.clip_norm or None,
        "gradient_accumulation_steps": settings.accumulate if settings.accumulate > 1 else None,
    }
    if settings.layer_decay < 1.0:
        scale = _depth_scale(settings.layer_decay, blocks)
        return LayerwiseAdamW(scale=scale, decay=settings.weight_decay, **common)
    optimizer = keras.optimizers.AdamW(weight_decay=settings.weight_decay, **common)
    optimizer.exclude_from_weight_decay(var_names=list(UNDECAYED))
    return optimizer


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
