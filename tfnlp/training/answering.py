"""How good a model is on some rows, and what it writes for them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from pipelines import batching, splits
from pipelines.rows import Rows
from tfnlp.evaluation import intervals
from tfnlp.extensions import Batch
from tfnlp.inference.saved_model import fold
from tfnlp.report import Report, Table
from tfnlp.runtime import precision, threads
from tfnlp.training.examples import arrange
from tfnlp.training.model import TrainedModel, columns

# (network, batch) -> what is added to the batch's token embeddings.
Perturb: TypeAlias = Callable[[keras.Model, Batch], tf.Tensor]

TIMED, _WRITTEN = 256, 16  # rows that are timed
_BEGUN = 8  # words of a text that a language model is shown


def evaluate(model: TrainedModel, rows: Rows, *, sure: bool = False) -> Report:
    """Return the report on a model's answers; a task that writes does so for some of the rows.

    Args:
        model: what answers.
        rows: the rows.
        sure: with the confidence intervals of its metrics.

    Example::

        evaluate(model, splits.test).metrics["accuracy"]  # 0.968
    """
    answers = answer(model, rows)
    writing = model.task.writing
    if writing is None:
        return intervals.judged(model.task, model.context, rows, answers, sure=sure)
    if not model.task.target_columns(model.experiment.options):
        report = model.task.report(model.context, rows, answers)
        report.tables.append(samples(model, rows))
        return report
    places = splits.evenly(len(rows), model.experiment.options.judged)
    some = rows.take(places)
    answers |= {"judged": np.array(places), **answer(model, some, asked=True)}
    report = model.task.report(model.context, rows, answers)
    if writing.figures:
        texts = answers["generated"].tolist()
        report.figures.update(writing.figures(model.context, model.network, some, texts))
    return report


def baseline(model: TrainedModel, train: Rows, rows: Rows) -> Report | None:
    """Return the report on a linear model that learned from the same rows; None without one.

    Example::

        baseline(model, splits.train, splits.test).metrics["accuracy"]  # 0.87
    """
    if not (model.experiment.training.baseline and model.task.baseline):
        return None
    fitted = model.task.baseline(model.context, train, rows)
    report = model.task.report(model.context, rows, fitted.answers)
    # Of a linear SVM's scores only the order means anything.
    values = {n: v for n, v in report.metrics.items() if not n.startswith(("loss", "ece"))}
    return Report(values, warnings=[f"the linear model {note}" for note in fitted.notes])


def _beginning(text: str) -> str:
    """Return the first words of a text, at most half of them."""
    words = text.split()
    return " ".join(words[: min(_BEGUN, (len(words) + 1) // 2)])


def samples(model: TrainedModel, rows: Rows, wanted: int = 5) -> Table:
    """Return a table of texts written for some rows, for a person to look at.

    Example::

        samples(model, splits.validation).rows[0]  # ("Where is it?", "¿Dónde está?", "¿Dónde es?")
    """
    some = rows.take(splits.evenly(len(rows), wanted))
    # Without targets the model continues the texts, of which it is given the beginning.
    if not model.task.target_columns(model.experiment.options):
        begun = {n: [_beginning(text) for text in c] for n, c in some.columns.items()}
        some = dataclasses.replace(some, columns=begun)
    answers = answer(model, some, asked=True)
    cells = [
        (*(str(value) for value in values), str(text))
        for *values, text in zip(*some.columns.values(), answers["generated"], strict=True)
    ]
    return Table("samples", (*some.columns, "generated"), cells)


def answer(
    model: TrainedModel, rows: Rows, *, asked: bool = False, perturb: Perturb | None = None
) -> dict[str, np.ndarray]:
    """Answer rows by the same functions that are exported.

    Args:
        model: what answers.
        rows: the rows.
        asked: with the columns that a request has, and nothing else; not as in evaluation.
        perturb: what is added to the token embeddings of each batch.

    Returns:
        The named answers, lists folded, in the order of the rows or of the task's examples.

    Example::

        answer(model, rows)["label"][:2]  # array(["LOC", "HUM"])
    """
    one, order, back = _prepared(model, rows, asked, perturb)
    found = threads.each(one, order)
    return {name: np.concatenate([part[name] for part in found])[back] for name in found[0]}


def _prepared(
    model: TrainedModel, rows: Rows, asked: bool, perturb: Perturb | None = None
) -> tuple[Callable[[np.ndarray], dict[str, np.ndarray]], list[np.ndarray], np.ndarray]:
    """Return what answers a batch of places, the batches, and where each of their rows stood."""
    inputs = columns(model.experiment, model.task, targets=False)
    raw = batching.tensors(rows, inputs) if asked else None
    data = arrange(model, rows, shuffle=False, raw=raw)
    plan = data.plan
    order, back = batching.by_length(data.sizes.lengths, plan.batch_size, plan.budget)
    respond = _perturbed(model, perturb) if perturb else model.respond
    with precision.exact():
        respond.get_concrete_function(batching.specs(data.raw))

    def one(places: np.ndarray) -> dict[str, np.ndarray]:
        batch = {name: tf.gather(column, places) for name, column in data.raw.items()}
        # Of each thread: answers depend on the row alone, and are those of tfnlp.evaluate.
        with precision.exact():
            return fold({n: tensor.numpy() for n, tensor in respond(batch).items()})

    return one, order, back


def _perturbed(model: TrainedModel, perturb: Perturb) -> Any:
    """Return what answers raw columns with something added to their token embeddings."""

    @tf.function(autograph=False)
    def respond(raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        features, offsets = model.encode(raw)
        targets, weights = model.task.encode_targets(model.context, raw, features, offsets)
        added = perturb(model.network, Batch(features, targets, weights))
        outputs = model.network(features, training=False, added=added)
        return model.task.decode(model.context, raw, outputs, offsets)

    return respond


def latency(model: TrainedModel, rows: Rows) -> float:
    """Return how long a row takes to be answered, in batches as evaluation has them [ms].

    It is the time of all batches by the number of rows, so more cores make it shorter. Some of the
    rows are asked, evenly spaced; a task that writes is asked as a request asks it.

    Args:
        model: has been evaluated already: the first call of a graph takes longer.
        rows: those for validation.

    Example::

        latency(model, splits.validation)  # 1.9
    """
    asked = bool(model.task.writing and model.task.target_columns(model.experiment.options))
    some = rows.take(splits.evenly(len(rows), _WRITTEN if asked else TIMED))
    one, order, _ = _prepared(model, some, asked)
    began = time.perf_counter()
    threads.each(one, order)
    return 1000 * (time.perf_counter() - began) / len(some)


def calibrated(model: TrainedModel, validation: Rows) -> TrainedModel:
    """Return the model with what the validation rows say about its probabilities.

    Example::

        calibrated(model, splits.validation).context.facts["temperature"]  # 1.3
    """
    if not (model.experiment.training.calibrate and model.task.calibrate):
        return model
    answers = answer(model, validation)
    added = model.task.calibrate(model.context, validation, answers)
    context = dataclasses.replace(model.context, facts={**model.context.facts, **added})
    return dataclasses.replace(model, context=context)
