"""A network with its task, tokenizer and facts.

Dimensions: N rows, B batch, W windows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from pipelines.errors import UserError
from pipelines.rows import Column, Rows
from pipelines.tokenizers.tokenizer import Tokenizer
from tfnlp import extensions
from tfnlp import task as tasks
from tfnlp.backbones import embeddings, insertions, loading
from tfnlp.config import Experiment
from tfnlp.extensions import Peft, Strategy
from tfnlp.generation import signatures
from tfnlp.runtime import keras_patches, precision
from tfnlp.task import Context, Kind, Task, Tensors
from tfnlp.training.network import single, trainable

if TYPE_CHECKING:
    from tfnlp.training.features import Frozen


@dataclass(frozen=True)
class TrainedModel:
    """A model and what turns strings into its inputs and its outputs into answers.

    Attributes:
        experiment: what made it.
        task: the record of functions.
        context: options, tokenizer and facts.
        network: the functional Keras model.
        blocks: the backbone's layers from the embeddings up; empty for a loaded model.
        lengths: that the batches of its training examples are padded to, shortest first [tokens];
            empty until `tfnlp.training.trainer.Trainer` fills it in.
        backbone: under the head, for further heads; None for a loaded model.
        moved: whether weights that are not trained are others than the backbone has them, because
            an earlier run trained them (`tfnlp.training.continuing`).
        frozen: what the part below this network returns for rows, if it is the upper part of one.

    Example::

        model.respond({"text": tf.constant(["Who wrote Hamlet?"])})["label"]  # [b"HUM"]
    """

    experiment: Experiment
    task: Task
    context: Context
    network: keras.Model
    blocks: tuple[tuple[keras.layers.Layer, ...], ...] = ()
    lengths: list[int] = field(default_factory=list)
    moved: bool = False
    backbone: loading.Backbone | None = None
    frozen: Frozen | None = None

    @cached_property
    def encode(self) -> Any:
        """Raw columns -> features and offsets, as the task's ``encode``, traced once for all uses.

        Its graph of string operations takes longer to trace than the network's.
        """
        return tf.function(partial(self.task.encode, self.context), autograph=False)

    @cached_property
    def count(self) -> Any:
        """Raw columns -> tokens in each window, int64 (B, W), and tokens cut, int64 (B,)."""

        @tf.function(autograph=False)
        def count(raw: Tensors) -> tuple[tf.Tensor, tf.Tensor]:
            features, offsets = self.encode(raw)
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
            if self.task.writing and asked == set(raw):
                return self.task.writing.generate(self.context, self.network, raw)
            features, offsets = self.encode(raw)
            outputs = self.network(features, training=False)
            return self.task.decode(self.context, raw, outputs, offsets)

        return respond

    def cut(self) -> tuple[keras.Model, keras.Model]:
        """Return the network in two parts; see `tfnlp.extensions.TrainedModel.cut`."""
        return embeddings.cut(self.network)


def columns(experiment: Experiment, task: Task, targets: bool = True) -> tuple[Column, ...]:
    """Return the raw columns that this experiment reads.

    Example::

        [column.name for column in columns(experiment, task)]  # ["text", "label"]
    """
    wanted = task.input_columns(experiment.options)
    return wanted + task.target_columns(experiment.options) if targets else wanted


def prepare(experiment: Experiment, train: Rows, known: Context | None = None) -> TrainedModel:
    """Learn the facts, load the backbone and build the model, not compiled yet.

    Args:
        experiment: what decides the run.
        train: the training rows.
        known: facts and vocabularies, where they are not learned from the rows.

    Raises:
        UserError: the rows cannot be learned from, or the backbone does not fit the options.

    Example::

        model = prepare(experiment, splits.train)
        model.network.count_params()
    """
    policy = precision.start(experiment.training.precision, training=True)
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(experiment.seed)
    task = tasks.load(experiment.task)
    facts = known.facts if known else task.learn(train, experiment.options)
    backbone, target = backbone_of(experiment, task, train, known)
    for misfit in misfits(experiment, task, backbone):
        raise UserError(misfit)
    context = context_of(experiment, backbone, target, facts)
    return build(experiment, task, context, backbone)


def build(
    experiment: Experiment, task: Task, context: Context, backbone: loading.Backbone
) -> TrainedModel:
    """Build a model on a backbone that fits it, some of whose weights are not trained.

    Raises:
        UserError: the backbone cannot be trained for the task, or by the peft method.

    Example::

        model = build(experiment, task, context, loading.load("minilm-l6-en"))
    """
    _adapt(experiment, backbone, start=True)
    # Packed blocks have as many logits as tokens, which would be held twice.
    network = trainable(
        task.build(context, backbone.model), divisible=task.rowwise and not task.pack
    )
    if experiment.peft and task.save_extra and not insertions.can_merge(network):
        raise UserError(
            f"--peft {experiment.peft.name} adds layers that the backbone which {experiment.task} "
            "leaves behind cannot have (take --peft lora, which is folded into it)"
        )
    strategy = extensions.load(Strategy, experiment.strategy.name)
    count = len(backbone.blocks) if strategy.head_only else _frozen(experiment)
    held = [layer for block in backbone.blocks[:count] for layer in block]
    trained = any(weight.trainable for layer in held for weight in layer.weights)
    if experiment.peft and experiment.backbone.freeze_embeddings and not trained:
        raise UserError(
            f"--freeze-embeddings has no effect with --peft {experiment.peft.name}, which does not "
            "train them (leave it out)"
        )
    for layer in held:
        layer.trainable = False
    return TrainedModel(experiment, task, context, network, backbone.blocks, backbone=backbone)


def rebuilt(experiment: Experiment, task: Task, context: Context) -> keras.Model:
    """Build the network of a model again; its trained weights are still to be set.

    Args:
        experiment: what made the model.
        task: its task.
        context: the model's.

    Raises:
        UserError: the backbone cannot be loaded.

    Example::

        network = rebuilt(experiment, task, context)
    """
    settings = experiment.backbone
    backbone = loading.load(settings.name, dropout=settings.dropout, layers=settings.layers)
    _adapt(experiment, backbone)
    with keras_patches.undrawn():
        return task.build(context, backbone.model)


def _adapt(experiment: Experiment, backbone: loading.Backbone, start: bool = False) -> None:
    """Let the experiment's peft method decide what of a backbone is trained.

    It does not see the blocks that are frozen: nothing is added where nothing would be trained.
    """
    if experiment.peft:
        count = _frozen(experiment)
        open_blocks = ((),) * count + backbone.blocks[count:]
        seen = dataclasses.replace(backbone, blocks=open_blocks)
        peft = extensions.load(Peft, experiment.peft.name)
        peft.adapt(seen, experiment.peft.options)
        if start and peft.start:
            peft.start(seen, experiment.peft.options)


def _frozen(experiment: Experiment) -> int:
    """Return how many blocks of the backbone are frozen, the embeddings' being the first."""
    settings = experiment.backbone
    return settings.freeze_layers + 1 if settings.freeze_layers else int(settings.freeze_embeddings)


def on_one_device(model: TrainedModel) -> TrainedModel:
    """Return a model, trained on replicas or not, whose network knows of no strategy.

    Example::

        on_one_device(model).network.save("model.keras")
    """
    own = model.network
    if not model.experiment.peft or own.distribute_strategy.num_replicas_in_sync == 1:
        return dataclasses.replace(model, network=single(own))
    # Keras clones layers by their settings, which know nothing of what peft added.
    network = rebuilt(model.experiment, model.task, model.context)
    network.set_weights(own.get_weights())
    for weight, other in zip(network.weights, own.weights, strict=True):
        weight.trainable = other.trainable
    return dataclasses.replace(model, network=network)


@contextmanager
def merged(model: TrainedModel) -> Iterator[TrainedModel]:
    """Yield the model as it is exported: what peft added is part of the backbone, where it can be.

    Example::

        with merged(model) as whole:
            whole.network.count_params()
    """
    if not model.experiment.peft:
        yield model
        return
    try:
        with insertions.merged(model.network):
            signatures.forget(model.network)
            yield dataclasses.replace(model)  # whose functions are traced anew
    finally:
        signatures.forget(model.network)


def longest_example(task: Task, options: Any, kind: Kind) -> int:
    """Return the longest that a window of an example can be [tokens].

    A causal model reads what is asked and what is written in one, other models each by itself.

    Example::

        longest_example(task, options, "causal")  # 128 + 64: prompt and answer
    """
    written = task.writing.max_tokens(options) if task.writing and kind == "causal" else 0
    return int(options.max_length) + written


def room(experiment: Experiment, task: Task, backbone: loading.Backbone) -> int:
    """Return the greatest ``--max-length`` that a backbone has positions for [tokens].

    Example::

        room(experiment, task, loading.load("minilm-l6-en"))  # 512
    """
    options = experiment.options
    written = longest_example(task, options, backbone.kind) - options.max_length
    return int(backbone.max_length - written)


def misfits(experiment: Experiment, task: Task, backbone: loading.Backbone) -> Iterator[str]:
    """Yield why a backbone does not fit the options, a sentence each.

    Example::

        list(misfits(experiment, task, backbone))
        # ["--max-length 600 is more than the 512 tokens that minilm-l6-en has positions for ..."]
    """
    length, name = experiment.options.max_length, experiment.backbone.name
    longest = room(experiment, task, backbone)
    if length > longest:
        written = backbone.max_length - longest
        more = f" with --max-tokens {written}" if written else ""
        remedy = f"at most {longest} fit"
        if task.reading == "windows":
            remedy = "use --windows to read longer texts"
        elif longest < 1:
            remedy = "give fewer --max-tokens"
        yield (
            f"--max-length {length}{more} is more than the {backbone.max_length} tokens that "
            f"{name} has positions for ({remedy})"
        )
    layers, frozen = len(backbone.blocks) - 1, experiment.backbone.freeze_layers
    if frozen > layers:
        yield f"--freeze-layers {frozen} is more than the {layers} layers of {name} (give fewer)"


def context_of(
    experiment: Experiment,
    backbone: loading.Backbone,
    target: Tokenizer | None,
    facts: dict[str, Any],
) -> Context:
    """Return the context of a task on a backbone.

    Args:
        experiment: its options.
        backbone: what is fine-tuned.
        target: the vocabulary that is written with, if it is not the backbone's.
        facts: what the task learned.

    Example::

        context = context_of(experiment, backbone, None, task.learn(rows, experiment.options))
    """
    return Context(
        experiment.options,
        backbone.tokenizer,
        min(experiment.options.max_length, backbone.max_length),
        facts,
        backbone.kind,
        backbone.max_length,
        target,
        backbone.chat,
    )


def backbone_of(
    experiment: Experiment, task: Task, train: Rows, known: Context | None = None
) -> tuple[loading.Backbone, Tokenizer | None]:
    """Load the backbone, and learn the vocabulary that is written with if it needs another.

    Args:
        experiment: names the backbone.
        task: what it is for.
        train: the training rows.
        known: has the vocabularies, where they are not learned from the rows.

    Raises:
        UserError: there is no such backbone, or it is of a kind that the task is not for.

    Example::

        backbone, target = backbone_of(experiment, task, splits.train)
    """
    settings, options = experiment.backbone, experiment.options
    if settings.name.partition(":")[0] == loading.SCRATCH:
        if experiment.peft:
            raise UserError(
                f"--peft {experiment.peft.name} trains a few weights of a pretrained backbone, "
                f"and --backbone {settings.name} has only random ones (leave out --peft)"
            )
        learned = known.tokenizer if known else None
        if task.writing and not learned:
            learned = task.writing.vocabulary(train, options, None)
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
    if task.writing is None or backbone.kind != "encoder":
        return backbone, None
    if known:
        return backbone, known.target
    return backbone, task.writing.vocabulary(train, options, backbone.tokenizer)
