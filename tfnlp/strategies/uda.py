"""UDA: a text without a label and a changed copy of it shall be answered alike."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines import augmentation
from pipelines.errors import UserError
from pipelines.rows import Rows
from tfnlp.config import Entry, Experiment
from tfnlp.extensions import Batch, Material, Outcome, Source, Step, Strategy, Trainer
from tfnlp.options import option
from tfnlp.report import Report, four_places
from tfnlp.strategies import _probe, _table, _unlabelled
from tfnlp.task import Task

if TYPE_CHECKING:
    import tensorflow as tf

PLAIN = "plain"  # the name of the fit on the labels alone
_OF = "of"  # which text a changed copy was made of, among extras


@dataclass(frozen=True)
class Options:
    """How much it counts, and when.

    Example::

        python -m tfnlp.train --train few.csv --unlabelled more.txt --strategy uda --augment aeda
    """

    weight: float = option(1.0, "what the unlabelled texts' loss is multiplied by", minimum=0.0)
    temperature: float = option(
        0.4, "that sharpens the answers to texts as they are", minimum=0.01, maximum=10.0
    )
    confidence: float = option(
        0.8, "the probability of an answer from which it is learned from", minimum=0.0, maximum=1.0
    )
    times: int = option(2, "changed copies of each text", minimum=1, maximum=100)
    compare: bool = option(True, "also train on the labels alone, and show both (as long again)")


def fits(task: Task, experiment: Experiment, options: Options) -> None:
    """Refuse other tasks than those of one label, and a training without unlabelled texts.

    Raises:
        UserError: it is one.

    Example::

        fits(load("classification"), experiment, Options())
    """
    if experiment.task != "classification":
        raise UserError(
            f"--strategy uda compares the labels that texts are given, not what "
            f"{experiment.task} answers (take --task classification)"
        )
    _table.check("uda", task, experiment)
    _unlabelled.needed("uda", experiment)


def train(trainer: Trainer) -> Outcome:
    """Fit on the labels, and on texts without them by their changed copies.

    Example::

        train(trainer).report.metrics["supervised_accuracy"]

    Source: Xie et al. 2020, "Unsupervised data augmentation for consistency training", sections 2.2
        and 3 (https://arxiv.org/abs/1904.12848), without the annealing of its training signal.
    """
    rows = trainer.splits.train
    more = _unlabelled.texts(trainer)
    said = list(_unlabelled.doubts(trainer, more))
    metrics, beaten = _probe.beside(trainer)
    judges = trainer.splits.test or trainer.splits.validation
    copies, of = changed(trainer, more)
    scores = {}
    if trainer.options.compare:
        restore = _probe.restorer(trainer)
        trainer.fit(train=rows, name=PLAIN)
        scores["on the labels alone"] = trainer.evaluate(judges).metrics
        restore()
    source = Source(copies, targets=False, extras={_OF: of})
    step = make(trainer.options, _table.Table(trainer, more))
    trainer.fit(step, train=rows, beside={"more": source})
    scores["with unlabelled texts"] = trainer.evaluate(judges).metrics
    (metric, _), *_ = scores["with unlabelled texts"].items()
    beaten.rows.extend((kind, metric, four_places(s[metric])) for kind, s in scores.items())
    if trainer.options.compare:
        alone = scores["on the labels alone"][metric]
        metrics[f"supervised_{metric}"] = alone
        if scores["with unlabelled texts"][metric] <= alone:
            said.append(f"the unlabelled texts did not help: without them {metric} is as good")
    return Outcome(Report(metrics, [beaten], warnings=said))


def changed(trainer: Trainer, rows: Rows) -> tuple[Rows, Any]:
    """Return changed copies of texts, and the place of the text that each was made of, int64 (M,).

    They are made by the augmenters that ``--augment`` names, or by AEDA.

    Raises:
        UserError: no text could be changed, or an augmenter cannot work on these.

    Example::

        changed(trainer, texts)  # (2 * N rows, [0, 0, 1, 1, ...])
    """
    import numpy as np

    from tfnlp import task as tasks
    from tfnlp.training import augmenting

    experiment = trainer.experiment
    inputs = tasks.load(experiment.task).input_columns(experiment.options)
    named = experiment.augment or (_usual(),)
    names = {column.name for column in inputs}
    columns = {name: column for name, column in rows.columns.items() if name in names}
    numbered = Rows(rows.source, columns, list(range(len(rows))))
    found = augmentation.augmented(
        numbered,
        inputs,
        (),
        augmenting.editors(named, Material(numbered, inputs, (), trainer.load)),
        trainer.options.times,
        (experiment.seed, 0),
    )
    copies = found.take(list(range(len(rows), len(found))))
    if not len(copies):
        raise UserError(f"no text of {rows.source} could be changed (name another --augment)")
    return copies, np.array(copies.numbers, np.int64)


def _usual() -> Entry:
    """Return the augmenter that is taken if none is named."""
    module = importlib.import_module("tfnlp.augmenters.aeda")
    return Entry("aeda", module.AUGMENTER.options())


def make(own: Options, table: _table.Table) -> Step:
    """Return the step; it needs TensorFlow, which the options do not.

    Args:
        own: weight, temperature and confidence.
        table: the inputs of the texts as they are.

    Example::

        trainer.fit(make(Options(), table), beside={"more": source})
    """
    import tensorflow as tf

    class Consistent(Step):
        """The task's loss, and the divergence of changed texts' answers from sure ones."""

        remedy = "lower --uda-weight or --learning-rate"

        def build(self, network: Any, total_rows: int) -> None:
            """Make what counts the texts that are learned from."""
            import keras

            self.share = keras.metrics.Mean(name="confident")
            self.metrics = [self.share]

        def gradients(self, network: Any, batch: Batch) -> tuple[tf.Tensor, Any, list[Any]]:
            """Return the loss, the outputs of the labelled rows, and the gradients."""
            more = batch.beside["more"]
            answers = network(table.of(more.extras[_OF]), training=False)
            logits = tf.stop_gradient(tf.cast(answers, tf.float32))
            sure = tf.reduce_max(tf.nn.softmax(logits), -1) >= own.confidence
            target = tf.nn.softmax(logits / own.temperature)
            used = tf.cast(sure, tf.float32)
            self.share.update_state(used)
            with tf.GradientTape() as tape:
                outputs = network(batch.x, training=True)
                loss = self.loss(network, batch, outputs)
                copies = tf.nn.log_softmax(tf.cast(network(more.x, training=True), tf.float32))
                away = -tf.reduce_sum(target * copies, -1)
                extra = own.weight * tf.reduce_mean(used * away) / network.replicas
                loss += tf.cast(extra, loss.dtype)
            return loss, outputs, network.gradients_of(tape, loss)

    return Consistent()


STRATEGY = Strategy(
    summary="answer a text without a label and a changed copy of it alike (UDA)",
    options=Options,
    train=train,
    fits=fits,
    takes_all=True,
    reads=("unlabelled",),
)
