"""A training step of a backbone, for speed_profile.py, speed_growth.py and backbones.py."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any


def learner(
    rows: int,
    width: int,
    kind: str = "auto",
    *,
    layer: str = "tfnlp",
    optimizer: str = "tfnlp",
    apart: bool = True,
    executed: int = 1,
    name: str = "minilm-l6-en",
    peft: str | None = None,
) -> Callable[[], float]:
    """Return what trains on a batch and tells the seconds it took.

    Args:
        rows: of the batch.
        width: tokens of each row.
        kind: tfnlp's precision, or ``xla``.
        layer: whose transformer layer, ``tfnlp`` or ``keras``.
        optimizer: whose AdamW, ``tfnlp`` or ``keras``.
        apart: a part of the batch on each core, where tfnlp does so.
        executed: steps in one execution, as Keras calls it.
        name: the backbone; an encoder learns to classify, a causal model to continue.
        peft: a method that trains few weights, or ``head`` to freeze the backbone.
    """
    import keras
    import keras_hub
    import numpy as np
    import tensorflow as tf

    from tfnlp import extensions
    from tfnlp.backbones import loading
    from tfnlp.backbones.encoder import Encoder
    from tfnlp.config import Optimizer
    from tfnlp.extensions import Peft, PeftStep
    from tfnlp.heads import causal_lm, pooled
    from tfnlp.runtime import keras_patches, precision, threads
    from tfnlp.training import network, optimizers

    if apart:
        threads.start()
    xla = kind == "xla"
    policy = precision.start("float32" if xla else kind, training=True)  # type: ignore[arg-type]
    keras.config.set_dtype_policy(policy)
    backbone = loading.load(name)
    for each in keras_patches.layers_of(backbone.model):
        if layer == "keras" and type(each) is Encoder:
            keras_patches.turn(each, keras_hub.layers.TransformerEncoder)
    output = keras.layers.Dense(6, dtype="float32")
    step = PeftStep()
    if peft == "head":
        backbone.model.trainable = False
    elif peft:
        method = extensions.load(Peft, peft)
        options = method.options()
        method.adapt(backbone, options)
        step = method.step(options) if method.step else step
    causal = backbone.kind == "causal"
    if causal:
        whole = causal_lm.head(backbone.model)
    else:
        whole = pooled.head(backbone.model, output, pooling="mean", dropout=0.1)
    model: Any = network.trainable(whole, divisible=True)
    model.peft_step = step
    step.build(model, 1000)
    made: Any = optimizers.adamw(Optimizer(), 1000, backbone.blocks)
    if optimizer == "keras":
        made = keras.optimizers.AdamW(1e-4, weight_decay=0.01, global_clipnorm=1.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(made, loss=loss, jit_compile=xla, steps_per_execution=executed)
    model.optimizer.build(model.trainable_variables)
    ids = tf.constant(np.random.default_rng(0).integers(1000, 20000, (rows, width)), tf.int32)
    ones = tf.ones_like(ids)
    every = {"token_ids": ids, "segment_ids": ones * 0, "padding_mask": ones}
    x = {key: every[key] for key in model.input}
    y = ids if causal else tf.zeros(rows, tf.int64)
    iterator = iter(tf.data.Dataset.from_tensors((x, y)).repeat())
    model.make_train_function()
    learn = model.train_function
    held = network.on_all_cores(model) if apart else nullcontext()
    held.__enter__()

    def taken() -> float:
        begun = time.perf_counter()
        float(learn(iterator)["loss"])
        return time.perf_counter() - begun

    taken.held = held  # type: ignore[attr-defined]  # else it would end here
    return taken
