"""One of several ordered grades (1 to 5 stars) for a text or a pair of texts.

CORAL: one score a text and a threshold between each two neighbouring grades, so that the
probabilities of "above grade k" never cross (Cao, Mirjalili, Raschka 2020, "Rank consistent
ordinal regression", section 3, https://arxiv.org/abs/1901.07884).
"""

from __future__ import annotations

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

GRADE = Column("grade", "number", "the grade", ("rating", "stars", "score", "label", "target"))


@dataclass(frozen=True)
class Options(_pooled_text.TextOptions):
    """Options of ordinal regression.

    Example::

        python -m tfnlp.train --task ordinal --train stars.csv --pair
    """


def sample(options: Options) -> list[dict[str, Any]]:
    """Return four rows."""
    reviews = ["A masterpiece.", "Not bad.", "Boring from start to end.", "Good, if too long."]
    return _pooled_text.sample(options, reviews, [{"grade": x} for x in (5.0, 3.0, 1.0, 4.0)])


def learn(rows: Rows, options: Options) -> dict[str, Any]:
    """Learn the grades, in increasing order, and what share of the rows reaches each.

    Example:
        >>> learn(Rows("a.csv", {"grade": [1.0, 3.0, 3.0]}, [1, 2, 3]), Options())
        {'grades': [1.0, 3.0], 'reached': [0.625]}
    """
    grades = sorted(set(rows.columns["grade"]))
    if len(grades) < 2:
        raise UserError(f"{rows.source}: every row has the grade {grades[0]}; ordinal needs two")
    if len(grades) > 100:
        raise UserError(
            f"{rows.source}: the grade has {len(grades)} different values; ordinal takes at most "
            "100 (use --task regression)"
        )
    # Half a row on either side keeps the shares off 0 and 1.
    reached = [
        (sum(grade >= level for grade in rows.columns["grade"]) + 0.5) / (len(rows) + 1)
        for level in grades[1:]
    ]
    return {"grades": grades, "reached": reached}


def grow(facts: dict[str, Any], rows: Rows, options: Options) -> dict[str, Any]:
    """Return an earlier run's facts; the scale itself cannot grow, for grades share one score.

    Raises:
        UserError: a row has a grade that the earlier run has not.
    """
    for bad in unusable_rows(rows, facts):
        raise UserError(
            f"{rows.source}, {bad} (--start-from adds no grades: train on rows of all without it)"
        )
    return facts


def unusable_rows(rows: Rows, facts: dict[str, Any]) -> Iterator[BadRow]:
    """Yield the rows with a grade that training has not seen.

    Example:
        >>> rows = Rows("a.csv", {"grade": [3.0, 4.0]}, [1, 2])
        >>> [bad.number for bad in unusable_rows(rows, {"grades": [1.0, 3.0]})]
        [2]
    """
    known = facts["grades"]
    for number, grade in zip(rows.numbers, rows.columns["grade"], strict=True):
        if grade not in known:
            yield BadRow(
                number,
                f"grade {grade:g} is not among the training grades "
                f"({', '.join(f'{k:g}' for k in known)}; correct it or add training rows with it)",
            )


def encode_targets(
    context: Context, raw: Tensors, features: Tensors, offsets: Tensors
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Return for each grade but the lowest whether it is reached, float32 (B, C - 1)."""
    import tensorflow as tf

    reached = raw["grade"][:, None] >= tf.constant(context.facts["grades"][1:], tf.float32)
    return tf.cast(reached, tf.float32), None


def build(context: Context, backbone: keras.Model) -> keras.Model:
    """Build the model: outputs are the logits of reaching each grade, float32 (B, C - 1)."""
    from tfnlp.heads.ordinal import OrderedLogits

    output = OrderedLogits(context.facts["reached"], dtype="float32", name="logits")
    return _pooled_text.build(context, backbone, output)


def objective(context: Context) -> Objective:
    """Binary cross-entropy of each "is grade k reached"."""
    import keras

    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    return Objective(loss, [], monitor="val_loss", mode="min")


def decode(
    context: Context, raw: Tensors, outputs: tf.Tensor, offsets: Tensors
) -> dict[str, tf.Tensor]:
    """Turn logits into answers.

    Returns:
        ``grade`` float32 (B,); ``score`` float32 (B,), its probability; ``scores`` float32
        (B, C) of every grade; ``labels`` string (B, C), the grades' names.

    Example::

        answers = decode(context, raw, network(features), offsets)
        answers["grade"], answers["score"]  # [4.0], [0.61]
    """
    import tensorflow as tf

    grades = tf.constant(context.facts["grades"], tf.float32)
    names = tf.constant([f"{grade:g}" for grade in context.facts["grades"]])
    reached = tf.sigmoid(outputs)
    above = tf.pad(reached, [[0, 0], [1, 0]], constant_values=1.0)
    scores = above - tf.pad(reached, [[0, 0], [0, 1]])
    # Cao et al., equation 1: the grade is the number of thresholds that are passed.
    place = tf.reduce_sum(tf.cast(reached > 0.5, tf.int32), -1)
    return {
        "grade": tf.gather(grades, place),
        "score": tf.gather(scores, place, batch_dims=1),
        "scores": scores,
        "labels": tf.broadcast_to(names, tf.shape(scores)),
    }


def report(context: Context, rows: Rows, answers: Arrays) -> Report:
    """Mean absolute error, quadratic kappa, accuracy, and the confusion of grades."""
    from tfnlp.evaluation.regression import ordinal

    return ordinal(rows.columns["grade"], answers["grade"], context.facts["grades"])


def baseline(context: Context, train: Rows, rows: Rows) -> Fitted:
    """Return the grades next to what a ridge regression over words and their parts answers."""
    import numpy as np

    from tfnlp.evaluation import linear

    learned, asked = _pooled_text.texts_of(context, train, rows)
    fitted = linear.numbers(learned, train.columns["grade"], asked)
    grades = np.array(context.facts["grades"], float)
    nearest = np.abs(grades - fitted.answers["value"][:, None]).argmin(-1)
    return Fitted({"grade": grades[nearest]}, fitted.notes)


def log_odds(context: Context, raw: Tensors, outputs: tf.Tensor) -> tf.Tensor:
    """Return the log-odds of each grade, float32 (B, C), from those of reaching it.

    Example::

        log_odds(context, raw, tf.constant([[0.0]]))  # [[0.0, 0.0]]
    """
    import tensorflow as tf

    sure = 1e4  # that the lowest grade is reached, and that there is none beyond the highest
    reached = tf.pad(outputs, [[0, 0], [1, 0]], constant_values=sure)
    beyond = tf.pad(outputs, [[0, 0], [0, 1]], constant_values=-sure)
    below, above = tf.math.log_sigmoid(-reached), tf.math.log_sigmoid(beyond)
    # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a))
    width = tf.math.log(tf.maximum(-tf.math.expm1(beyond - reached), 1e-12))
    within = tf.math.log_sigmoid(reached) + tf.math.log_sigmoid(-beyond) + width
    return within - tf.reduce_logsumexp(tf.stack([below, above], -1), -1)


TASK = Task(
    summary="one of several ordered grades for a text or a pair of texts",
    dataset=None,
    options=Options,
    input_columns=_pooled_text.input_columns,
    target_columns=lambda options: (GRADE,),
    sample=sample,
    learn=learn,
    grow=grow,
    unusable_rows=unusable_rows,
    encode=_pooled_text.encode,
    encode_targets=encode_targets,
    build=build,
    objective=objective,
    decode=decode,
    report=report,
    baseline=baseline,
    reading="windows",
    classify=lambda answers: (answers["labels"], answers["scores"]),
    regress=lambda answers: answers["grade"],
    explaining=_explained.label(
        lambda context: [f"{grade:g}" for grade in context.facts["grades"]], log_odds
    ),
)
