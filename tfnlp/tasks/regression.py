"""A number for a text or a pair of texts."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from pipelines.rows import BadRow, Column, Rows
from tfnlp.report import Fitted, Report
from tfnlp.task import Arrays, Context, Objective, Task, Tensors
from tfnlp.tasks import _explained, _pooled_text

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

TARGET = Column("target", "number", "the number", ("score", "rating", "value", "similarity", "y"))


@dataclass(frozen=True)
class Options(_pooled_text.TextOptions):
    """Options of regression.

    Example::

        python -m tfnlp.train --task regression --train scores.csv --pooling cls
    """


def sample(options: Options) -> list[dict[str, Any]]:
    """Return four rows."""
    reviews = ["A masterpiece.", "Not bad.", "Boring from start to end.", "Good, if too long."]
    return _pooled_text.sample(options, reviews, [{"target": x} for x in (3.5, 1.0, -2.5, 1.5)])


def learn(rows: Rows, options: Options) -> dict[str, Any]:
    """Learn the targets' mean and standard deviation; the model predicts in units of it.

    Example:
        >>> learn(Rows("a.csv", {"target": [1.0, 3.0]}, [1, 2]), Options())
        {'mean': 2.0, 'deviation': 1.0}
    """
    import numpy as np

    deviation = statistics.pstdev(rows.columns["target"])
    if deviation > 0 and len(set(np.array(rows.columns["target"], np.float32).tolist())) == 1:
        raise UserError(
            f"{rows.source}: the targets, such as {rows.columns['target'][0]!r}, are all the same "
            "in float32, in which they are learned (subtract a constant from all)"
        )
    if deviation == 0:
        raise UserError(
            f"{rows.source}: every row has the target {rows.columns['target'][0]}; regression "
            "needs different ones"
        )
    return {"mean": statistics.fmean(rows.columns["target"]), "deviation": deviation}


def unusable_rows(rows: Rows, facts: dict[str, Any]) -> Iterator[BadRow]:
    """Accept any number."""
    return iter(())


def encode_targets(
    context: Context, raw: Tensors, features: Tensors, offsets: Tensors
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Return the standardized numbers, float32 (B, 1)."""
    facts = context.facts
    return (raw["target"][:, None] - facts["mean"]) / facts["deviation"], None


def build(context: Context, backbone: keras.Model) -> keras.Model:
    """Build the model: outputs are standardized numbers, float32 (B, 1).

    Example::

        build(context, backbone)(features)  # (B, 1)
    """
    import keras

    return _pooled_text.build(
        context, backbone, keras.layers.Dense(1, dtype="float32", name="number")
    )


def objective(context: Context) -> Objective:
    """Mean squared error, in squared standard deviations of the training targets."""
    import keras

    metrics = [keras.metrics.MeanAbsoluteError(name="mae")]
    return Objective(keras.losses.MeanSquaredError(), metrics, monitor="val_loss", mode="min")


def decode(
    context: Context, raw: Tensors, outputs: tf.Tensor, offsets: Tensors
) -> dict[str, tf.Tensor]:
    """Return ``value`` float32 (B,), in the unit of the training targets.

    Example::

        decode(context, raw, network(features), offsets)["value"]  # [3.4, -1.2]
    """
    return {"value": outputs[:, 0] * context.facts["deviation"] + context.facts["mean"]}


def report(context: Context, rows: Rows, answers: Arrays) -> Report:
    """Pearson and Spearman correlation, errors, and the share of variance explained."""
    from tfnlp.evaluation.regression import regression

    return regression(rows.columns["target"], answers["value"])


def baseline(context: Context, train: Rows, rows: Rows) -> Fitted:
    """Return the answers of a ridge regression over words and their parts."""
    from tfnlp.evaluation import linear

    learned, asked = _pooled_text.texts_of(context, train, rows)
    return linear.numbers(learned, train.columns["target"], asked)


def explained(context: Context, raw: Tensors, outputs: tf.Tensor) -> tf.Tensor:
    """Return the numbers, float32 (B, 1), in the unit of the training targets."""
    return outputs * context.facts["deviation"] + context.facts["mean"]


TASK = Task(
    summary="a number for a text or a pair of texts",
    dataset="vader-movie",
    options=Options,
    input_columns=_pooled_text.input_columns,
    target_columns=lambda options: (TARGET,),
    sample=sample,
    learn=learn,
    unusable_rows=unusable_rows,
    encode=_pooled_text.encode,
    encode_targets=encode_targets,
    build=build,
    objective=objective,
    decode=decode,
    report=report,
    baseline=baseline,
    reading="windows",
    regress=lambda answers: answers["value"],
    explaining=_explained.number("value", explained),
)
