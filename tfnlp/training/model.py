"""A network with its task, tokenizer and facts.

Dimensions: N rows, B batch, W windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import tensorflow as tf

from pipelines.errors import UserError
from pipelines.rows import Column, Rows
from pipelines.tokenizers.tokenizer import Tokenizer
from tfnlp import task as tasks
from tfnlp.backbones import loading
from tfnlp.config import Experiment
from tfnlp.runtime import precision
from tfnlp.task import Context, Task, Tensors
from tfnlp.training import distribution
from tfnlp.training.network import streamed


@dataclass(frozen=True)
class TrainedModel:
    """A model and what turns strings into its inputs and its outputs into answers.

    Attributes:
        experiment: what made it.
        task: the record of functions.
        context: options, tokenizer and facts.
        network: the functional Keras model.
        blocks: the backbone's layers from the embeddings up; empty for a loaded model.
    """

    experiment: Experiment
    task: Task
    context: Context
    network: keras.Model
    blocks: tuple[tuple[keras.layers.Layer, ...], ...] = ()

    @cached_property
    def count(self) -> Any:
        """Raw columns -> tokens in each window, int64 (B, W), and tokens cut, int64 (B,)."""

        @tf.function(autograph=False)
        def count(raw: Tensors) -> tuple[tf.Tensor, tf.Tensor]:
            features, offsets = self.task.encode(self.context, raw)
            if "length" in offsets:
                return offsets["length"][:, None], offsets["lost"]
            if "padding_mask" not in features:  # a prompt for a causal model
                return tf.cast(features["prompt_lengths"], tf.int64)[:, None], offsets["lost"]
            tokens = tf.reduce_sum(tf.cast(features["padding_mask"], tf.int64), -1)
            return tokens if tokens.shape.rank == 2 else tokens[:, None], offsets["lost"]

        return count

    @cached_property
    def respond(self) -> Any:
        """Raw columns -> answers: the path that is exported."""

        @tf.function(autograph=False)
        def respond(raw: Tensors) -> dict[str, tf.Tensor]:
            asked = {column.name for column in columns(self.experiment, self.task, targets=False)}
            if self.task.generate and asked == set(raw):
                return self.task.generate(self.context, self.network, raw)
            features, offsets = self.task.encode(self.context, raw)
            outputs = self.network(features, training=False)
            return self.task.decode(self.context, raw, outputs, offsets)

        return respond


def columns(experiment: Experiment, task: Task, targets: bool = True) -> tuple[Column, ...]:
    """Return the raw columns that this experiment reads."""
    wanted = task.input_columns(experiment.options)
    return wanted + task.target_columns(experiment.options) if targets else wanted


def prepare(experiment: Experiment, train: Rows) -> TrainedModel:
    """Learn the facts, load the backbone and build the model, not compiled yet.

    Raises:
        UserError: the rows cannot be learned from, or the backbone does not fit the options.
    """
    policy = precision.start(experiment.training.precision, training=True)
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(experiment.seed)
    task = tasks.load(experiment.task)
    facts = task.learn(train, experiment.options)
    settings = experiment.backbone
    backbone, target = backbone_of(experiment, task, train)
    max_length = experiment.options.max_length
    writing = getattr(experiment.options, "max_tokens", 0) if backbone.kind == "causal" else 0
    if max_length + writing > backbone.max_length:
        more = f" with --max-tokens {writing}" if writing else ""
        remedy = "" if task.generate else " (use --windows to read longer texts)"
        raise UserError(
            f"--max-length {max_length}{more} is more than the {backbone.max_length} tokens that "
            f"{settings.name} has positions for{remedy}"
        )
    if task.generate:
        facts |= writing_facts(backbone)
    context = Context(experiment.options, backbone.tokenizer, max_length, facts, target)
    network = distribution.replicated(task.build(context, backbone.model))
    if not task.pack:  # of hidden pieces a model gives as many as the batch's richest block has
        network = streamed(network)
    if settings.freeze_layers >= len(backbone.blocks):
        raise UserError(
            f"--freeze-layers {settings.freeze_layers} is more than the "
            f"{len(backbone.blocks) - 1} layers of {settings.name}"
        )
    frozen = settings.freeze_layers + 1 if settings.freeze_layers else settings.freeze_embeddings
    for block in backbone.blocks[: int(frozen)]:
        for layer in block:
            layer.trainable = False
    return TrainedModel(experiment, task, context, network, backbone.blocks)


def writing_facts(backbone: loading.Backbone) -> dict[str, Any]:
    """Return what a task that writes must know of its backbone."""
    return {"form": backbone.kind, "positions": backbone.max_length, "chat": backbone.chat}


def backbone_of(
    experiment: Experiment, task: Task, train: Rows
) -> tuple[loading.Backbone, Tokenizer | None]:
    """Load the backbone, and learn the vocabulary that is written with if it needs another.

    Raises:
        UserError: there is no such backbone, or it is of a kind that the task is not for.
    """
    settings, options = experiment.backbone, experiment.options
    if settings.name.partition(":")[0] == loading.SCRATCH:
        learned = task.vocabulary(train, options, None) if task.vocabulary else None
        if learned is None or "causal" not in task.backbones:
            raise UserError(
                f"--backbone {settings.name} is for tasks that write; {experiment.task} needs a "
                "pretrained one"
            )
        return loading.scratch(settings.name, learned, settings.dropout), None
    backbone = loading.load(settings.name, dropout=settings.dropout, layers=settings.layers)
    if backbone.kind not in task.backbones:
        raise UserError(
            f"the backbone {settings.name!r} is {backbone.kind}; {experiment.task} needs one that "
            f"is {' or '.join(task.backbones)} (python -m tfnlp.backbones lists them)"
        )
    learns = task.vocabulary and backbone.kind == "encoder"
    target = task.vocabulary(train, options, backbone.tokenizer) if learns else None  # type: ignore[misc]
    return backbone, target
