"""Distillation: a small model learns what a large one answers, besides the labels."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from tfnlp import task as tasks
from tfnlp.config import Experiment
from tfnlp.extensions import Batch, Outcome, Source, Step, Strategy, Trainer
from tfnlp.options import option
from tfnlp.report import Report, Table
from tfnlp.strategies import _hidden, _teacher, _unlabelled
from tfnlp.task import Task

if TYPE_CHECKING:
    import tensorflow as tf

    from pipelines.rows import Rows

PLAIN = "plain"  # the name of the fit without a teacher
# What the teacher's outputs, and the vectors that its head is given, are called among extras.
_SAID, _THOUGHT = "teacher", "teacher_vectors"


@dataclass(frozen=True)
class Options:
    """Who teaches, and how much it counts.

    Example::

        python -m tfnlp.train --layers 3 --strategy distillation --distillation-teacher RUN
    """

    teacher: tuple[str, ...] = option(
        (),
        "a run's folder, a SavedModel or a server's address; given several times, the answers are "
        "averaged",
        metavar="MODEL",
    )
    weight: float = option(
        0.5, "share of the teacher's answers in the loss; the rest is the labels'", maximum=1.0
    )
    temperature: float = option(
        2.0, "that softens the probabilities of both", minimum=0.01, maximum=100.0
    )
    unlabelled: str | None = option(
        None,
        "a file of further texts for the teacher to answer, with the columns of the training file "
        "but for its targets",
        metavar="FILE",
    )
    hidden_epochs: int = option(
        0,
        "epochs in which, before all else, the vectors that the head is given are drawn to the "
        "teacher's",
        minimum=0,
    )
    compare: bool = option(
        True, "also train the student without a teacher, and show both (as long again)"
    )


def fits(task: Task, experiment: Experiment, options: Options) -> None:
    """Refuse a training without a teacher, and a task whose outputs have no form to be learned.

    Raises:
        UserError: there is no teacher, or the task masks or writes text.

    Example::

        fits(load("classification"), experiment, Options(teacher=("saved_models/big",)))
    """
    if not options.teacher:
        raise UserError(
            "--strategy distillation needs --distillation-teacher (the folder of a run, a "
            "SavedModel or a server's address)"
        )
    if experiment.task == "masked_lm":
        raise UserError(
            "--strategy distillation is not for masked_lm, which hides other pieces each time "
            "(take a task that labels, compares or writes texts)"
        )
    if options.hidden_epochs and len(options.teacher) > 1:
        raise UserError(
            "--distillation-hidden-epochs draws vectors to those of one teacher (give one "
            "--distillation-teacher)"
        )
    if task.writing is not None and (options.unlabelled or options.hidden_epochs):
        raise UserError(
            "--strategy distillation takes no unlabelled texts and no hidden epochs for "
            f"{experiment.task}, which writes (leave out --distillation-unlabelled and "
            "--distillation-hidden-epochs)"
        )
    if experiment.augment:
        raise UserError(
            "--augment changes the texts that the teacher has answered (leave it out, or give "
            "further texts by --distillation-unlabelled)"
        )


def train(trainer: Trainer) -> Outcome:
    """Fit on the labels and the teacher's answers; compare it with the labels alone.

    Example::

        train(trainer).report.metrics["student_accuracy"]

    Source: Hinton et al. 2015, "Distilling the knowledge in a neural network", section 2
        (https://arxiv.org/abs/1503.02531).
    """
    own = trainer.options
    teachers = [_teacher.Teacher.of(trainer, source) for source in own.teacher]
    writes = tasks.load(trainer.experiment.task).writing is not None
    more = _unlabelled.read(trainer, own.unlabelled)
    rows = {"train": trainer.splits.train, **({"more": more} if more else {})}

    def taught(name: str) -> Source:
        extras = {_SAID: lambda: _teacher.outputs(teachers, rows[name])}
        if own.hidden_epochs:
            extras[_THOUGHT] = lambda: teachers[0].vectors(rows[name])
        held = {what: trainer.kept(f"{what}_{name}", make) for what, make in extras.items()}
        return Source(rows[name], targets=name == "train", extras=held)

    # A vocabulary's logits are too many to be kept: those teachers answer in each step.
    live = [teacher.network for teacher in teachers] if writes else []
    train = None if writes else taught("train")
    beside = {"more": taught("more")} if more else None
    found: dict[str, Report] = {}
    if own.compare:
        before = [variable.numpy() for variable in trainer.model.network.variables]
        trainer.fit(name=PLAIN)
        found["without teacher"] = trainer.evaluate(_judged(trainer))
        for variable, value in zip(trainer.model.network.variables, before, strict=True):
            variable.assign(value)
    if own.hidden_epochs:
        assert train is not None  # `fits` refuses tasks that write
        _drawn_near(trainer, train, beside)
    trainer.fit(make(own, live), train=train, beside=beside)
    found["student"] = trainer.evaluate(_judged(trainer))
    return Outcome(report(trainer, teachers, found))


def _drawn_near(trainer: Trainer, train: Source, beside: Mapping[str, Source] | None) -> None:
    """Draw the student's vectors to the teacher's, and keep the weights of the last epoch.

    Source: Jiao et al. 2020, "TinyBERT", section 3.1 and equation 8
        (https://arxiv.org/abs/1909.10351), for the vector of a text in place of each token's.
    """
    network, epochs = trainer.model.network, trainer.options.hidden_epochs
    trainer.fit(
        _hidden.make(_THOUGHT, train.extras[_THOUGHT].shape[-1]),
        train=train,
        beside=beside,
        name="hidden",
        settings={"training": {"epochs": epochs, "patience": epochs}},
        score=lambda: {"score": float(network.optimizer.iterations)},  # later is better
    )


def make(own: Options, live: Sequence[Any] = ()) -> Step:
    """Return the step; it needs TensorFlow, which the options do not.

    Args:
        own: the weight and the temperature.
        live: networks that answer each batch, of which no answers were kept.

    Example::

        trainer.fit(make(Options(weight=0.7)), train=Source(rows, extras={"teacher": said}))
    """
    import tensorflow as tf

    from tfnlp.heads import agreement, masked_lm

    class Taught(Step):
        """Shares of the task's loss and of the distance from the teacher's answers."""

        remedy = "lower --distillation-weight or --learning-rate"

        def loss(self, network: Any, batch: Batch, outputs: Any) -> tf.Tensor:
            """Return the loss of rows with targets."""
            loss = super().loss(network, batch, outputs)
            away = self._away(network, batch, outputs)
            return (1 - own.weight) * loss + own.weight * tf.cast(away, loss.dtype)

        def gradients(self, network: Any, batch: Batch) -> tuple[tf.Tensor, Any, list[Any]]:
            """Return the loss, of unlabelled rows too, the outputs, and the gradients."""
            with tf.GradientTape() as tape:
                if live:
                    with tape.stop_recording():
                        said = [one(batch.x, training=False) for one in live]
                        said = [tf.nn.log_softmax(tf.cast(one, tf.float32)) for one in said]
                    mean = tf.reduce_logsumexp(tf.stack(said), 0) - math.log(len(said))
                    batch = dataclasses.replace(batch, extras={_SAID: mean})
                outputs = network(batch.x, training=True)
                loss = self.loss(network, batch, outputs)
                for other in batch.beside.values():
                    answers = network(other.x, training=True)
                    away = self._away(network, other, answers)
                    loss += own.weight * tf.cast(away, loss.dtype)
            return loss, outputs, network.gradients_of(tape, loss)

        def _away(self, network: Any, batch: Batch, outputs: Any) -> tf.Tensor:
            said = batch.extras[_SAID]
            if live:
                away = masked_lm.divergence(batch.y, said, outputs, own.temperature)
            else:
                away = agreement.towards(network.loss, batch.x, said, outputs, own.temperature)
            return away / network.replicas

    return Taught()


def _judged(trainer: Trainer) -> Rows:
    """Return the rows that are judged: test rows if there are any."""
    return trainer.splits.test or trainer.splits.validation


def report(trainer: Trainer, teachers: list[_teacher.Teacher], found: dict[str, Report]) -> Report:
    """Return scores, sizes and speed of the teachers, the student, and it without a teacher.

    Example::

        report(trainer, teachers, {"student": trainer.evaluate(rows)}).tables[0].rows
    """
    from tfnlp.evaluation import runs
    from tfnlp.training import answering

    rows, student = _judged(trainer), teachers[0].student
    name, score = next(iter(found["student"].metrics.items()))
    metrics = {f"{who.replace(' ', '_')}_{name}": r.metrics[name] for who, r in found.items()}
    size, took = student.network.count_params(), answering.latency(student, rows)
    cells = [
        (who, f"{r.metrics[name]:.4f}", f"{size:,}", f"{took:.2f}") for who, r in found.items()
    ]
    for place, teacher in enumerate(teachers):
        who = "teacher" if len(teachers) == 1 else f"teacher {place + 1}"
        key = who.replace(" ", "_")
        reached, ms = teacher.report(rows).metrics[name], teacher.latency(rows)
        metrics |= {f"{key}_{name}": reached, f"times_as_fast_as_{key}": ms / took}
        known = teacher.model  # a SavedModel does not tell how many weights it has
        weights = f"{known.network.count_params():,}" if known else ""
        cells.insert(place, (who, f"{reached:.4f}", weights, f"{ms:.2f}"))
    table = Table("Teacher and student", ("model", name, "parameters", "ms a row"), cells)
    plain = found.get("without teacher")
    sign = -1 if runs.less_is_better(name) else 1
    lost = plain is not None and sign * plain.metrics[name] >= sign * score
    warnings = [f"the teacher did not help: without it {name} is as good"] * lost
    return Report(metrics, [table], warnings=warnings)


STRATEGY = Strategy(
    summary="learn the answers of a larger model besides the labels",
    options=Options,
    train=train,
    fits=fits,
)
