"""What one experiment is: every option that decides a run, in sections."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from pipelines import discover
from pipelines.errors import UserError
from tfnlp.config_data import Data
from tfnlp.needs import Need
from tfnlp.options import option


@dataclass(frozen=True)
class Backbone:
    """The pretrained model.

    Example:
        >>> Backbone(freeze_layers=3).name
        'minilm-l6-en'
    """

    name: str = option(
        "minilm-l6-en",
        "catalog name (python -m tfnlp.backbones), KerasHub preset, hf://..., or a local folder",
        flag="--backbone",
    )
    dropout: float | None = option(
        None, "dropout inside the backbone; its own rate if not given", minimum=0.0, maximum=0.99
    )
    layers: int | None = option(
        None,
        "keep only the lowest layers of the backbone [layers]",
        minimum=1,
        needs=Need(
            lambda known: not known.from_scratch,
            "has no effect on --backbone {known.experiment.backbone.name}",
            "say --backbone scratch:LAYERSxHIDDEN",
        ),
    )
    freeze_embeddings: bool = option(False, "do not train the embeddings")
    freeze_layers: int = option(
        0, "do not train the lowest layers, nor the embeddings if above 0 [layers]", minimum=0
    )


@dataclass(frozen=True)
class Optimizer:
    """The steps of AdamW, their schedule, and what is done to the gradients.

    Example:
        >>> Optimizer(learning_rate=3e-5).schedule
        'linear'
    """

    learning_rate: float = option(
        1e-4,
        "the highest learning rate",
        minimum=0.0,
        needs=Need(
            lambda known: known.experiment.optimizer.learning_rate > 0,
            "trains nothing",
            "raise it",
        ),
    )
    weight_decay: float = option(
        0.01,
        "decoupled weight decay; none on biases and LayerNorm",
        minimum=0.0,
        needs=Need(
            lambda known: (
                known.experiment.optimizer.weight_decay * known.experiment.optimizer.learning_rate
                <= 1
            ),
            "takes weights beyond 0 in one step of --learning-rate "
            "{known.experiment.optimizer.learning_rate:g}",
            "lower it",
        ),
    )
    schedule: Literal["linear", "cosine", "constant"] = option(
        "linear",
        "how the learning rate falls after warm-up",
        needs=Need(
            lambda known: known.experiment.optimizer.warmup < 1,
            "has no effect with --warmup 1, after which there are no steps",
            "lower --warmup",
        ),
    )
    warmup: float = option(
        0.1, "share of the steps in which the learning rate rises", minimum=0.0, maximum=1.0
    )
    layer_decay: float = option(
        1.0,
        "learning rate of each layer relative to the one above it; 1 is the same for all",
        minimum=0.01,
        maximum=1.0,
        needs=Need(
            lambda known: known.layers_learn,
            "has no effect where no layer of the backbone is trained",
            "lower --freeze-layers",
        ),
    )
    clip_norm: float = option(
        1.0,
        "largest norm of the whole gradient; 0 is no clipping",
        minimum=0.0,
        maximum=1e30,
        needs=Need(  # AdamW adds 1e-7 to what it divides a weight's gradient by
            lambda known: not 0 < known.experiment.optimizer.clip_norm < 1e-6,
            "leaves gradients too small to train anything",
            "give at least 1e-6, or 0 for no clipping",
        ),
    )
    accumulate: int = option(
        1,
        "batches whose gradients are averaged for one update; an epoch ends with one [batches]",
        minimum=1,
        maximum=10**9,
    )


@dataclass(frozen=True)
class Training:
    """How long to train, and how.

    Example::

        python -m tfnlp.train --train rows.csv --epochs 8 --batch-size 64 --deterministic
    """

    epochs: int | None = option(
        None,
        "passes over the training rows, at most; if not given 4, or as many as make 400 updates if "
        "that is more [epochs]",
        minimum=1,
    )
    batch_size: int = option(
        32,
        "rows in a batch, over all devices [rows]",
        minimum=1,
        needs=Need(
            lambda known: known.experiment.training.batch_size >= known.fewest_rows,
            "teaches --task {known.experiment.task} nothing, which learns from the differences "
            "between the rows of a batch",
            "give at least {known.fewest_rows}",
        ),
    )
    patience: int | None = option(
        None,
        "epochs without a better validation score before training stops; if not given 2, or as "
        "many as make 100 updates if that is more [epochs]",
        minimum=1,
    )
    give_up: tuple[str, ...] = option(
        (),
        "stop after this epoch if no validation score so far is as good, such as 2=0.6",
        metavar="EPOCH=SCORE",
    )
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = option(
        "auto", "Keras dtype policy; auto: float32, with products in bfloat16 where the machine can"
    )
    deterministic: bool = option(
        False, "same seed, same machine: bit-for-bit the same weights (slower on GPU)"
    )
    distribute: Literal["none", "mirrored", "multiworker"] = option(
        "none", "tf.distribute strategy: this machine's GPUs, or the workers in TF_CONFIG"
    )
    checkpoint_minutes: float = option(
        5.0, "time between checkpoints; each epoch also ends with one [min]", minimum=0.0
    )
    baseline: bool = option(
        True, "fit a linear model to the same rows too, and show its scores beside the network's"
    )
    calibrate: bool = option(
        True,
        "fit the probabilities (temperature scaling), the thresholds of multi_label and when "
        "extractive_qa gives no answer to the validation rows after training",
    )

    def least(self) -> dict[int, float]:
        """Return by epoch the validation score without which training stops after it.

        Raises:
            UserError: ``give_up`` does not hold epochs and scores, or one that changes nothing.

        Example:
            >>> Training(give_up=("2=0.6",)).least()
            {2: 0.6}
        """
        found: dict[int, float] = {}
        for text in self.give_up:
            epoch, _, score = text.partition("=")
            try:
                after, value = int(epoch), float(score)
            except ValueError:
                after, value = 0, math.nan
            if after < 1 or not math.isfinite(value):
                raise UserError(f"--give-up {text}: it must be EPOCH=SCORE, such as 2=0.6")
            if after in found:
                raise UserError(f"--give-up says two scores for epoch {after} (leave one out)")
            if self.epochs and after >= self.epochs:
                raise UserError(
                    f"--give-up {text} has no effect with --epochs {self.epochs} (name an epoch "
                    "before the last)"
                )
            found[after] = value
        return found


_OF_EARLIER = Need(
    lambda known: known.experiment.earlier.start_from,
    "is about an earlier run, and none is named",
    "say --start-from RUN",
)


@dataclass(frozen=True)
class Earlier:
    """An earlier run that training goes on from.

    Example:
        >>> Earlier(start_from="tensorboard_logs/NAME/RUN").forget_at_most is None
        True
    """

    start_from: str | None = option(
        None,
        "folder of an earlier run of the same task, whose model is trained on; labels that are new "
        "are added to its own",
        metavar="RUN",
    )
    renamed: dict[str, str] = option(
        {},
        "a label of the earlier run that has another name now; may be repeated",
        metavar="OLD=NEW",
        needs=_OF_EARLIER,
    )
    forget_at_most: float | None = option(
        None,
        "write no SavedModel, and end with exit status 1, if on rows of earlier runs the first "
        "metric loses more than this",
        minimum=0.0,
        needs=_OF_EARLIER,
    )


@dataclass(frozen=True)
class Logging:
    """What TensorBoard is shown besides the scalars, the graph and the pictures, and who else is.

    Example:
        >>> Logging(projector=0).histograms
        False
    """

    histograms: bool = option(False, "histograms of every weight at each epoch")
    projector: int = option(
        500,
        "validation rows shown in the projector; 0 is none [rows]",
        minimum=0,
        needs=Need(
            lambda known: not known.experiment.logging.projector or known.projected,
            "has no effect on --task {known.experiment.task}, in which no one vector stands for a "
            "row",
        ),
    )
    track: tuple[str, ...] = option(
        (),
        f"log to a tracker too: {', '.join(discover.names('tfnlp.trackers'))}, or your own module; "
        "may be repeated",
        metavar="TRACKER",
        minimum=1,
    )


@dataclass(frozen=True)
class Export:
    """Where the results go.

    Example:
        >>> Export(saved_models="models").tensorboard_logs
        'tensorboard_logs'
    """

    saved_models: str = option("saved_models", "folder of the SavedModels, <name>/<version> below")
    tensorboard_logs: str = option("tensorboard_logs", "folder of the runs, <name>/<run> below")
    export_explain: bool = option(
        False,
        "give the SavedModel a signature explain: from texts to the answer and what each word did",
        needs=Need(
            lambda known: (
                known.experiment.export.export
                and known.task.explaining
                and known.task.explaining.chosen
            ),
            "has no effect with --no-export, and on --task {known.experiment.task} if it gives a "
            "text several answers or writes",
        ),
    )
    explain_by: Literal["gradient_input", "integrated_gradients"] = option(
        "integrated_gradients",
        "by which method; gradient_input takes the time of three answers in place of some twenty, "
        "and misses words that the other finds",
        needs=Need(
            lambda known: known.experiment.export.export_explain,
            "has no effect without --export-explain",
            "add --export-explain",
        ),
    )
    # The last, by whose absence a file is known that was cut off.
    export: bool = option(True, "write a SavedModel after training")


SECTIONS: dict[str, type] = {
    "data": Data,
    "backbone": Backbone,
    "optimizer": Optimizer,
    "training": Training,
    "earlier": Earlier,
    "logging": Logging,
    "export": Export,
}


@dataclass(frozen=True)
class Entry:
    """What is plugged in, such as a strategy.

    Attributes:
        name: the entry's, or an outsider's module.
        options: an instance of the entry's options.

    Example::

        Entry("lora", lora.Options(rank=8))
    """

    name: str
    options: Any


@dataclass(frozen=True)
class Experiment:
    """Everything that decides a run.

    Attributes:
        task: the task's name, as ``--task`` takes it.
        options: the task's own options, an instance of ``Task.options``.
        name: what runs and SavedModels are filed under.
        strategy: how it is trained.
        seed: where every random choice starts from.
        peft: which few weights are trained; None trains the backbone's own.
        augment: how further training rows are made of those that are there.
        earlier: the run that it goes on from.

    Example::

        experiment, _ = parse(["--train", "reviews.csv", "--epochs", "3"], Parser())
        experiment.training.epochs  # 3
    """

    task: str
    options: Any
    data: Data
    backbone: Backbone
    optimizer: Optimizer
    training: Training
    logging: Logging
    export: Export
    name: str
    strategy: Entry
    seed: int = 42
    peft: Entry | None = None
    augment: tuple[Entry, ...] = ()
    earlier: Earlier = Earlier()
