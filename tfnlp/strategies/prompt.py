"""Prompts: a language model is asked for labels in patterns, and the model learns its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from pipelines.rows import Rows
from tfnlp.config import Experiment
from tfnlp.extensions import Batch, Outcome, Source, Step, Strategy, Trainer
from tfnlp.options import option
from tfnlp.report import Report, Table, four_places
from tfnlp.strategies import _label_file, _probe, _prompting, _unlabelled
from tfnlp.task import Task

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

_SAID = "said"  # the language model's probabilities among extras


@dataclass(frozen=True)
class Options:
    """Who is asked, how, and for how many texts.

    Example::

        python -m tfnlp.train --train few.csv --unlabelled more.txt --strategy prompt
    """

    model: str = option(
        "smollm2-135m",
        "a causal backbone, or the folder of a run of --task masked_lm",
        metavar="MODEL",
    )
    pattern: tuple[str, ...] = option(
        ("{text}\nThis is about {label}",),
        "a text with {text} and {label}, which a causal model has at the end; given several times, "
        "their probabilities are averaged",
        metavar="TEXT",
    )
    against: _prompting.Against = option(
        "empty",
        "what a label's log-probability is compared with: the same pattern without a text, or the "
        "label's length",
    )
    texts: int = option(500, "unlabelled texts that are answered, evenly spaced [texts]", minimum=1)
    weight: float = option(1.0, "what the loss of texts answered is multiplied by", minimum=0.0)


def fits(task: Task, experiment: Experiment, options: Options) -> None:
    """Refuse other tasks, training without texts to answer, and patterns without their places.

    Raises:
        UserError: it is one.

    Example::

        fits(load("classification"), experiment, Options())
    """
    if experiment.task != "classification" or experiment.options.pair:
        raise UserError(
            "--strategy prompt asks for one label of a text (take --task classification without "
            "--pair)"
        )
    if experiment.data.unlabelled is None and experiment.data.labels:
        raise UserError("--strategy prompt with --labels needs --unlabelled FILE, texts to answer")
    _unlabelled.needed("prompt", experiment)
    _prompting.check(options.pattern)
    if experiment.augment:
        raise UserError("--augment has no effect on --strategy prompt (leave it out)")


def train(trainer: Trainer) -> Outcome:
    """Ask the language model, then fit on the labels and on what it said of texts without.

    Example::

        train(trainer).report.metrics["prompted_accuracy"]

    Source: Schick and Schütze 2021, "Exploiting cloze questions for few-shot text classification
        and natural language inference", section 3 (https://arxiv.org/abs/2001.07676), without
        fine-tuning of the language model.
    """
    from pipelines import splits

    own, rows = trainer.options, trainer.splits.train
    whole = _unlabelled.texts(trainer)
    said = list(_unlabelled.doubts(trainer, whole))
    more = whole.take(splits.evenly(len(whole), own.texts))
    metrics, beaten = _probe.beside(trainer)
    found = trainer.kept("prompted", partial(_asked, trainer, rows, more))
    joined, cells = _joined(trainer, rows, more, found)
    step = make(own.weight)
    source = Source(more, targets=False, extras={_SAID: joined.astype("float32")})
    trainer.fit(step, train=rows, beside={"more": source})
    judges = trainer.splits.test or trainer.splits.validation
    metric, score = next(iter(trainer.evaluate(judges).metrics.items()))
    beaten.rows.append(("what learned from the language model", metric, four_places(score)))
    head = ("pattern", "right of labelled rows", "right of texts whose label is known")
    tables = [beaten, Table(f"What {own.model} answers", head, cells)]
    return Outcome(Report(metrics, tables, warnings=said))


def _asked(trainer: Trainer, rows: Rows, more: Rows) -> np.ndarray:
    """Return the scores of labels for labelled and other texts by each pattern, (S, N + M, C)."""
    import numpy as np

    own, names = trainer.options, trainer.model.context.facts["labels"]
    labels = [_label_file.in_words(name) for name in names]
    texts = [*rows.columns["text"], *more.columns["text"]]
    score = _prompting.scorer(trainer, own.model)
    found = []
    for pattern in own.pattern:
        empty = score(pattern, [""], labels)
        parts = [score(pattern, [text], labels) for text in trainer.tracked(texts, "texts asked")]
        whole = np.concatenate(parts, 1)
        found.append(_prompting.normalised(whole, empty, own.against))
    return np.stack(found).astype(np.float32)


def _joined(
    trainer: Trainer, rows: Rows, more: Rows, found: np.ndarray
) -> tuple[np.ndarray, list[tuple[Any, ...]]]:
    """Return the patterns' mean probabilities of the other texts, (M, C), and how right each is.

    Each pattern has the temperature that fits its answers to the labelled rows best.
    """
    import numpy as np
    from scipy.special import softmax

    from tfnlp.evaluation.calibration import fit_temperature

    names = trainer.model.context.facts["labels"]
    targets = np.array(rows.columns["label"], object)[:, None] == np.array(names, object)
    truth = more.columns.get("label")
    parts, cells = [], []
    for pattern, scores in zip(trainer.options.pattern, found, strict=True):
        temperature = fit_temperature(scores[: len(rows)], targets)
        parts.append(softmax(scores / temperature, -1))
        cells.append((pattern, *_right(parts[-1], rows, truth, names)))
    mean = np.mean(parts, 0)
    if len(parts) > 1:
        cells.append(("all together", *_right(mean, rows, truth, names)))
    return mean[len(rows) :], cells


def _right(
    scores: np.ndarray, rows: Rows, truth: Sequence[str] | None, names: Sequence[str]
) -> tuple[str, str]:
    """Return the share of labelled rows, and of others whose label is known, that are right."""
    import numpy as np

    answers = np.array(names, object)[scores.argmax(-1)]
    first = answers[: len(rows)] == np.array(rows.columns["label"], object)
    if truth is None:
        return four_places(float(first.mean())), ""
    others = answers[len(rows) :] == np.array(truth, object)
    return four_places(float(first.mean())), four_places(float(others.mean()))


def make(weight: float) -> Step:
    """Return the step; it needs TensorFlow, which the options do not.

    Example::

        trainer.fit(make(1.0), beside={"more": source})
    """
    import tensorflow as tf

    class Prompted(Step):
        """The task's loss, and the cross-entropy of other texts' answers with what was said."""

        remedy = "lower --prompt-weight or --learning-rate"
        on_features = True

        def gradients(self, network: Any, batch: Batch) -> tuple[tf.Tensor, Any, list[Any]]:
            """Return the loss, the outputs of the labelled rows, and the gradients."""
            more = batch.beside["more"]
            with tf.GradientTape() as tape:
                outputs = network(batch.x, training=True)
                loss = self.loss(network, batch, outputs)
                answers = tf.nn.log_softmax(tf.cast(network(more.x, training=True), tf.float32))
                away = -tf.reduce_mean(tf.reduce_sum(more.extras[_SAID] * answers, -1))
                loss += tf.cast(weight * away / network.replicas, loss.dtype)
            return loss, outputs, network.gradients_of(tape, loss)

    return Prompted()


STRATEGY = Strategy(
    summary="learn what a language model answers to prompts about texts without labels (PET)",
    options=Options,
    train=train,
    fits=fits,
    takes_all=True,
    reads=("unlabelled", "labels"),
    rows=_label_file.read,
)
