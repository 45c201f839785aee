"""An experiment's steps: prepare, arrange, answer, fit and calibrate.

Dimensions: N rows, B batch, C classes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines import batching, splits
from pipelines.errors import UserError
from pipelines.rows import Column, Rows
from pipelines.tokenizers.tokenizer import Tokenizer
from tfnlp import distribution, optimizers, streams
from tfnlp import task as tasks
from tfnlp.backbones import loading
from tfnlp.config import Experiment
from tfnlp.inference.saved_model import fold
from tfnlp.runtime import precision, threads
from tfnlp.strategies import supervised
from tfnlp.task import Context, Objective, Task, Tensors

EVALUATION_BATCH = 64


@dataclass(frozen=True)
class Model:
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
    def answer(self) -> Any:
        """Raw columns -> answers: the path that is exported."""

        @tf.function(autograph=False)
        def answer(raw: Tensors) -> dict[str, tf.Tensor]:
            asked = {column.name for column in columns(self.experiment, self.task, targets=False)}
            if self.task.generate and asked == set(raw):
                return self.task.generate(self.context, self.network, raw)
            features, offsets = self.task.encode(self.context, raw)
            outputs = self.network(features, training=False)
            return self.task.decode(self.context, raw, outputs, offsets)

        return answer


def columns(experiment: Experiment, task: Task, targets: bool = True) -> tuple[Column, ...]:
    """Return the raw columns that this experiment reads."""
    wanted = task.inputs(experiment.options)
    return wanted + task.targets(experiment.options) if targets else wanted


def read_splits(experiment: Experiment, task: Task) -> splits.Splits:
    """Read the rows of all splits and look for leakage between them.

    Raises:
        UserError: a file, data set, column or row cannot be used.
    """
    data = experiment.data
    wanted = columns(experiment, task)
    how = (wanted, data.columns, data.on_bad_row, data.label_separator)
    if data.train:
        named = {"train": data.train, "validation": data.validation, "test": data.test}
        found = splits.from_files({k: v for k, v in named.items() if v}, *how)
    else:
        found = splits.from_dataset(str(data.dataset), *how)
    warnings = [
        f"{rows.source}: {len(rows.bad)} rows cannot be used and are left out, the first: "
        f"{rows.bad[0]}"
        for rows in found.values()
        if rows.bad
    ]
    inputs = [column.name for column in task.inputs(experiment.options)]
    warnings += splits.leakage(found, inputs)
    targets = task.targets(experiment.options)
    found["train"] = splits.limited(found["train"], targets, data.limit, experiment.seed)
    train, validation = splits.divide(found, targets, data.validation_share, experiment.seed)
    test = found.get("test")
    if data.limit_held_out:
        validation = validation.take(splits.evenly(len(validation), data.limit_held_out))
        test = test and test.take(splits.evenly(len(test), data.limit_held_out))
    return splits.Splits(train, validation, test, warnings)


def prepare(experiment: Experiment, train: Rows) -> Model:
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
        network = streams.streamed(network)
    if settings.freeze_layers >= len(backbone.blocks):
        raise UserError(
            f"--freeze-layers {settings.freeze_layers} is more than the "
            f"{len(backbone.blocks) - 1} layers of {settings.name}"
        )
    frozen = settings.freeze_layers + 1 if settings.freeze_layers else settings.freeze_embeddings
    for block in backbone.blocks[: int(frozen)]:
        for layer in block:
            layer.trainable = False
    return Model(experiment, task, context, network, backbone.blocks)


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


def examples(model: Model, rows: Rows) -> dict[str, tf.Tensor]:
    """Hold rows, or what the task packs them into, as tensors with their seeds."""
    if model.task.pack:
        raw = model.task.pack(model.context, rows)
    else:
        raw = batching.tensors(rows, columns(model.experiment, model.task))
    return {**raw, "seed": tf.range(_size(raw), dtype=tf.int64)}


def _size(raw: Tensors) -> int:
    """Return how many examples there are, N."""
    return int(next(iter(raw.values())).shape[0])


def measure(model: Model, raw: Tensors) -> batching.Sizes:
    """Count the tokens of examples."""
    found = []
    model.count.get_concrete_function(batching.specs(raw))
    for start in range(0, _size(raw), 1024):
        part = {name: column[start : start + 1024] for name, column in raw.items()}
        tokens, lost = (counted.numpy() for counted in model.count(part))
        found.append((tokens.sum(1), (tokens > 0).sum(1), tokens.max(1), lost))
    return batching.Sizes(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


@dataclass(frozen=True)
class Data:
    """Rows as tensors of examples, with their sizes and the plan of their batches."""

    rows: Rows
    raw: dict[str, tf.Tensor]
    sizes: batching.Sizes
    plan: batching.Plan


def arrange(
    model: Model, rows: Rows, *, shuffle: bool, raw: dict[str, tf.Tensor] | None = None
) -> Data:
    """Plan the batches of some rows.

    Args:
        model: gives the encoding.
        rows: the rows.
        shuffle: in another order each epoch, in batches of the experiment's size; otherwise
            short rows first, in larger batches.
        raw: the rows as tensors, if not as :func:`examples` holds them.
    """
    experiment = model.experiment
    # A causal model has logits for every token of its rows, unless it is asked for new ones.
    large = raw is None and model.context.facts.get("form") == "causal"
    raw = examples(model, rows) if raw is None else raw
    sizes = measure(model, raw)
    size = experiment.training.batch_size
    size = size if shuffle or large else max(size, EVALUATION_BATCH)
    # Memory is for as many rows of max_length; of rows in many windows there are fewer.
    room = model.context.max_length * getattr(experiment.options, "windows", 1)
    plan = batching.Plan(
        sizes.lengths,
        size,
        batching.widths(sizes.lengths),
        experiment.seed if shuffle else None,
        model.network.distribute_strategy.num_replicas_in_sync if shuffle else 1,
        size * room,
    )
    return Data(rows, raw, sizes, plan)


def element(model: Model, raw: dict[str, tf.Tensor], width: tf.Tensor) -> Any:
    """Turn a batch's raw columns into what fit takes: (features, targets[, weights])."""
    task, context = model.task, model.context
    features, offsets = task.encode(context, raw)
    mask = features["padding_mask"]
    if "length" in offsets:
        return features, task.target(context, raw, features, offsets)[0]
    windows = tf.shape(mask, tf.int64)[1] if mask.shape.rank == 3 else 1
    narrow = tf.minimum(-(-width // windows), context.max_length)
    features = batching.pad(features, narrow, context.tokenizer.pad_id)
    targets, weights = task.target(context, raw, features, offsets)
    return (features, targets) if weights is None else (features, targets, weights)


def batches(
    model: Model,
    data: Data,
    epochs: range,
    start: int = 0,
    parts: range = range(1),
    of: int = 1,
) -> tf.data.Dataset:
    """Return the batches of some epochs, or some parts of each batch (see pipelines.batching)."""
    prepared = partial(element, model)
    return batching.batches(data.raw, data.plan, prepared, epochs, start, parts, of)


def answer(model: Model, rows: Rows, *, asked: bool = False) -> dict[str, np.ndarray]:
    """Answer rows by the same functions that are exported.

    Args:
        model: what answers.
        rows: the rows.
        asked: with the columns that a request has, and nothing else; not as in evaluation.

    Returns:
        The named answers, lists folded, in the order of the rows or of the task's examples.
    """
    inputs = columns(model.experiment, model.task, targets=False)
    raw = batching.tensors(rows, inputs) if asked else None
    data = arrange(model, rows, shuffle=False, raw=raw)
    order, _ = data.plan.epoch(0)
    model.answer.get_concrete_function(batching.specs(data.raw))

    def one(places: np.ndarray) -> dict[str, np.ndarray]:
        batch = {name: tf.gather(column, places) for name, column in data.raw.items()}
        return fold({n: tensor.numpy() for n, tensor in model.answer(batch).items()})

    found = threads.each(one, order)
    back = np.argsort(np.concatenate(order))
    return {name: np.concatenate([part[name] for part in found])[back] for name in found[0]}


def compile_model(model: Model, steps: int) -> Objective:
    """Compile the network for training; returns what it is trained for.

    Args:
        model: built by :func:`prepare`.
        steps: batches in the whole run.
    """
    objective = model.task.objective(model.context)
    with model.network.distribute_strategy.scope():
        optimizer = optimizers.adamw(model.experiment.optimizer, steps, model.blocks)
    model.network.compile(
        optimizer=optimizer,
        loss=objective.loss,
        metrics=objective.metrics,
        jit_compile=False,  # XLA would compile anew for each padded length
    )
    with model.network.distribute_strategy.scope():
        model.network.optimizer.build(model.network.trainable_variables)
    return objective


def fit(
    model: Model,
    train: Data,
    validation: Data,
    folder: Path,
    *,
    resume: bool,
    callbacks: list[keras.callbacks.Callback],
) -> supervised.State:
    """Train; the model ends with the weights of its best epoch.

    Args:
        model: built by :func:`prepare`.
        train: shuffled rows.
        validation: rows in a fixed order.
        folder: the run's folder; checkpoints are kept in ``checkpoints`` below.
        resume: go on where the newest checkpoint stands.
        callbacks: further Keras callbacks.
    """
    training = model.experiment.training
    steps = len(train.plan)
    objective = compile_model(model, steps * training.epochs)

    def dealt(data: Data, epochs: range, start: int = 0) -> Any:
        return distribution.dataset(
            model.network.distribute_strategy, partial(batches, model, data, epochs, start)
        )

    held = dealt(validation, range(1))

    def rows(epoch: int, batch: int) -> list[int]:
        return [train.rows.numbers[i] for i in train.plan.epoch(epoch)[0][batch]]

    feed = supervised.Feed(partial(dealt, train), steps, rows, held, len(validation.plan))
    _make_metrics(model, validation)
    with streams.used(model.network):
        return supervised.fit(
            model.network,
            objective,
            feed,
            epochs=training.epochs,
            patience=training.patience,
            folder=folder / "checkpoints",
            minutes=training.checkpoint_minutes,
            resume=resume,
            callbacks=callbacks,
        )


def _make_metrics(model: Model, data: Data) -> None:
    """Make the metrics' variables, as Keras does at the first batch: a checkpoint has them too."""
    row = {name: column[:1] for name, column in data.raw.items()}
    x, y, *weights = element(model, row, tf.constant(data.plan.widths[-1]))
    model.network.compute_metrics(x, y, model.network(x, training=False), *weights)
    model.network.reset_metrics()


def calibrated(model: Model, validation: Data) -> Model:
    """Return the model with what the validation rows say about its probabilities."""
    if not (model.experiment.training.calibrate and model.task.calibrate):
        return model
    answers = answer(model, validation.rows)
    added = model.task.calibrate(model.context, validation.rows, answers)
    context = dataclasses.replace(model.context, facts={**model.context.facts, **added})
    return dataclasses.replace(model, context=context)
