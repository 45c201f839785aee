"""Multi-task learning: one backbone, a head for each task, trained on rows of all."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pipelines.errors import UserError
from tfnlp.config import Experiment
from tfnlp.extensions import Batch, Outcome, Source, Step, Strategy, Trainer
from tfnlp.options import option
from tfnlp.report import Report, Table
from tfnlp.strategies import _together
from tfnlp.strategies._together import Member
from tfnlp.task import Task

if TYPE_CHECKING:
    import tensorflow as tf

ALONE = "alone"  # what the names of the fits of single tasks begin with


@dataclass(frozen=True)
class Options:
    """Which tasks, how often, and how much they count.

    Example::

        python -m tfnlp.train --train reviews.csv --strategy multi_task --together-with topics.yaml
    """

    together_with: tuple[str, ...] = option(
        (),
        "an experiment.yaml with the task, data and name of a further head; may be repeated",
        flag="--together-with",
        metavar="FILE",
    )
    power: float = option(
        0.5,
        "rows of a batch are shared out by the tasks' numbers of rows to this power: 1 by size, 0 "
        "evenly",
        minimum=0.0,
        maximum=1.0,
    )
    weights: Literal["fixed", "uncertainty"] = option(
        "fixed",
        "how the tasks' losses are added: as their rows are shared out, or by an uncertainty that "
        "is learned for each",
    )
    weight: dict[str, str] = option(
        {},
        "what the loss of a task is multiplied by, by its name, such as topics=2; may be repeated",
        metavar="NAME=WEIGHT",
    )
    compare: bool = option(
        True, "also train each task alone on as many of its rows, and show both (as long again)"
    )


def fits(task: Task, experiment: Experiment, options: Options) -> None:
    """Refuse a training without a second task, and tasks that write.

    Raises:
        UserError: no other task is named, the task writes, or weights are said twice.

    Example::

        fits(load("classification"), experiment, Options(together_with=("topics.yaml",)))
    """
    if not options.together_with:
        raise UserError(
            "--strategy multi_task needs --together-with (an experiment.yaml with a further task)"
        )
    if task.writing is not None:
        raise UserError(
            f"--strategy multi_task is not for {experiment.task}, which writes (take tasks that "
            "label or compare texts)"
        )
    if options.weights == "uncertainty" and options.weight:
        raise UserError(
            "--multi-task-weight has no effect with --multi-task-weights uncertainty, which learns "
            "the weights (leave one of them out)"
        )
    weights_of(options)


def weights_of(options: Options) -> dict[str, float]:
    """Return what the losses of tasks are multiplied by, by name.

    Raises:
        UserError: one is no positive number.

    Example:
        >>> weights_of(Options(weight={"topics": "2"}))
        {'topics': 2.0}
    """
    found = {}
    for name, text in options.weight.items():
        try:
            found[name] = float(text)
        except ValueError:
            found[name] = math.nan
        if not 0 < found[name] < math.inf:
            raise UserError(f"--multi-task-weight {name}={text}: it must be a positive number")
    return found


def train(trainer: Trainer) -> Outcome:
    """Fit all tasks at once; compare with each alone on as many of its rows.

    Example::

        train(trainer).report.metrics["topics_accuracy"]

    Source: Liu et al. 2019, "Multi-task deep neural networks for natural language understanding",
        algorithm 1 (https://arxiv.org/abs/1901.11504), with rows of all tasks in each step.
    """
    own = trainer.options
    members = _together.members(trainer, own.together_with)
    names = [one.name for one in members]
    for name in own.weight:
        if name not in names:
            raise UserError(
                f"--multi-task-weight {name}: there is no such task; there are: {', '.join(names)}"
            )
    size = trainer.experiment.training.batch_size
    counts = [len(one.trainer.splits.train) for one in members]
    shares = shared_out(counts, size, own.power)
    before = _values(members)
    beside = {
        f"task_{place}": Source(one.trainer.splits.train, model=_in_batches(one, share))
        for place, (one, share) in enumerate(zip(members, shares, strict=True))
        if place
    }
    trainer.fit(
        make(members, shares, own),
        train=Source(trainer.splits.train),
        beside=beside,
        settings={"training": {"batch_size": shares[0]}},
        score=lambda: _scores(members),
    )
    steps = trainer.trained["fit"]
    together = _values(members)
    found = {one.name: one.score("test") for one in members}
    alone = {}
    if own.compare:
        for place, one in enumerate(members):
            _put(members, before)
            epochs = math.ceil(steps * shares[place] / counts[place])
            one.trainer.fit(
                name=f"{ALONE}_{place}",
                settings={"training": {"epochs": epochs, "patience": epochs}},
            )
            alone[one.name] = one.score("test")[1]
        _put(members, together)
    told = report(members, shares, steps, found, alone)
    return Outcome(told, heads={one.name: _head(one) for one in members[1:]})


def shared_out(counts: Sequence[int], size: int, power: float) -> list[int]:
    """Return how many rows of a batch are each task's, at least one.

    Args:
        counts: the tasks' numbers of rows.
        size: of a batch [rows].
        power: of the numbers.

    Example:
        >>> shared_out([900, 100], 32, 1.0), shared_out([900, 100], 32, 0.5)
        ([29, 3], [24, 8])
    """
    sizes = [count**power for count in counts]
    return [max(1, round(size * one / sum(sizes))) for one in sizes]


def _in_batches(member: Member, size: int) -> Any:
    """Return a task's model with batches of this size."""
    experiment = member.model.experiment
    training = dataclasses.replace(experiment.training, batch_size=size)
    return dataclasses.replace(
        member.model, experiment=dataclasses.replace(experiment, training=training)
    )


def _values(members: Sequence[Member]) -> list[Any]:
    """Return the values of all variables."""
    import numpy as np

    return [np.array(variable) for variable in _together.every_variable(members)]


def _put(members: Sequence[Member], values: Sequence[Any]) -> None:
    """Set all variables."""
    for variable, value in zip(_together.every_variable(members), values, strict=True):
        variable.assign(value)


def _scores(members: Sequence[Member]) -> dict[str, float]:
    """Return each task's score on validation rows, and their mean, by which an epoch is chosen."""
    from tfnlp.evaluation.runs import less_is_better

    found = {one.name: one.score() for one in members}
    # An error, of which less is better and which has any size, counts as 1 / (1 + error).
    said = [1 / (1 + value) if less_is_better(m) else value for m, value in found.values()]
    logs = {f"{name}_{metric}": value for name, (metric, value) in found.items()}
    return {**logs, "score": sum(said) / len(said)}


def make(members: Sequence[Member], shares: Sequence[int], own: Options) -> Step:
    """Return the step; it needs TensorFlow, which the options do not.

    Args:
        members: the tasks, the one that is fitted first.
        shares: rows of a batch that are each task's.
        own: how losses are added.

    Example::

        trainer.fit(make(members, [24, 8], Options()), beside={"task_1": source})

    Source: Kendall et al. 2018, "Multi-task learning using uncertainty to weigh losses", section
        3.2 (https://arxiv.org/abs/1705.07115), with s = log of the squared uncertainty.
    """
    import keras
    import tensorflow as tf

    weights = weights_of(own)

    class Together(Step):
        """The weighted losses of all tasks."""

        remedy = "lower --learning-rate"

        def build(self, network: Any, total_rows: int) -> None:
            """Make the tasks' losses, what is logged of them, and their uncertainties."""
            self.networks = [one.model.network for one in members[1:]]
            for one, other in zip(members[1:], self.networks, strict=True):
                loss = one.model.task.objective(one.model.context).loss
                other.compile(optimizer=keras.optimizers.SGD(), loss=loss, jit_compile=False)
                other.peft_step = network.peft_step
            added: list[Any] = []
            known = [network]
            for one in members[1:]:
                added += _together.own_weights(one.model, known)
                known.append(one.model.network)
            self.uncertainties = [
                keras.Variable(0.0, dtype="float32", name=f"log_variance_{place}")
                for place in range(len(members) if own.weights == "uncertainty" else 0)
            ]
            self.trainable = [*(w for w in added if w.trainable), *self.uncertainties]
            self.variables = [w for w in added if not w.trainable]
            self.metrics = [keras.metrics.Mean(name=f"{one.name}_loss") for one in members]
            self.metrics += [
                keras.metrics.Mean(name=f"{one.name}_weight")
                for one in members[: len(self.uncertainties)]
            ]

        def gradients(self, network: Any, batch: Batch) -> tuple[tf.Tensor, Any, list[Any]]:
            """Return the loss, the first task's outputs, and the gradients."""
            with tf.GradientTape() as tape:
                outputs = network(batch.x, training=True)
                losses = [self.loss(network, batch, outputs)]
                for other, part in zip(self.networks, batch.beside.values(), strict=True):
                    other.streams = network.streams
                    answers = other(part.x, training=True)
                    losses.append(self.loss(other, part, answers))
                loss = self._added(network, losses)
            for metric, value in zip(self.metrics, losses, strict=False):
                metric.update_state(value * network.replicas)
            for metric, s in zip(self.metrics[len(losses) :], self.uncertainties, strict=True):
                metric.update_state(tf.exp(-s.value))
            return loss, outputs, network.gradients_of(tape, loss)

        def _added(self, network: Any, losses: list[tf.Tensor]) -> tf.Tensor:
            """Return the weighted sum of the tasks' losses."""
            whole = tf.zeros([])
            for place, loss in enumerate(losses):
                loss = tf.cast(loss, tf.float32)
                if self.uncertainties:
                    s = tf.convert_to_tensor(self.uncertainties[place])
                    part = tf.exp(-s) * loss + s / 2 / network.replicas
                    whole += part / len(losses)
                else:
                    weight = weights.get(members[place].name, 1.0)
                    whole += weight * shares[place] / sum(shares) * loss
            return whole

    return Together()


def report(
    members: Sequence[Member],
    shares: Sequence[int],
    steps: int,
    found: Mapping[str, tuple[str, float]],
    alone: Mapping[str, float],
) -> Report:
    """Return each task's score, beside that of the task alone if it is known.

    Args:
        members: the tasks.
        shares: rows of a batch that were each task's.
        steps: in which they were trained.
        found: by name the metric and the score together.
        alone: by name the score alone.

    Example::

        report(members, [24, 8], 400, {"topics": ("accuracy", 0.9)}, {"topics": 0.89}).metrics
    """
    from tfnlp.evaluation.runs import less_is_better

    rows, metrics, lost = [], {}, []
    for one, share in zip(members, shares, strict=True):
        metric, value = found[one.name]
        metrics[f"{one.name}_{metric}"] = value
        trained = f"{share * steps:,} of {len(one.trainer.splits.train):,}"
        cells: list[str] = [one.name, one.model.experiment.task, trained, metric, f"{value:.4f}"]
        if alone:
            metrics[f"{one.name}_alone_{metric}"] = alone[one.name]
            gain = value - alone[one.name]
            cells += [f"{alone[one.name]:.4f}", f"{gain:+.4f}"]
            if (gain > 0) if less_is_better(metric) else (gain < 0):
                lost.append(one.name)
        rows.append(tuple(cells))
    header: tuple[str, ...] = ("task", "kind", "rows seen", "metric", "together")
    header += ("alone", "difference") if alone else ()
    table = Table("Tasks together and alone", header, rows)
    warnings = [f"trained alone, {name} is better" for name in lost]
    return Report(metrics, [table], warnings=warnings)


def _head(member: Member) -> tuple[Any, Mapping[str, Any]]:
    """Return what the run keeps of a further task: its calibrated model and its metrics."""
    from tfnlp.training import answering

    splits = member.trainer.splits
    model = answering.calibrated(member.model, splits.validation)
    found: dict[str, Any] = {
        "validation": answering.evaluate(model, splits.validation).metrics,
        "test": None,
    }
    if splits.test:
        found["test"] = answering.evaluate(model, splits.test).metrics
    return model, found


STRATEGY = Strategy(
    summary="one backbone with a head for each of several tasks, trained on rows of all",
    options=Options,
    train=train,
    fits=fits,
)
