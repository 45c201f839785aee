"""Any number of labels for a text or a pair of texts, each with a threshold of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pipelines.errors import UserError
from pipelines.rows import BadRow, Column, Rows
from tfnlp.needs import Need
from tfnlp.options import option
from tfnlp.report import Fitted, Report
from tfnlp.task import Arrays, Context, Objective, Task, Tensors
from tfnlp.tasks import _explained, _labels, _pooled_text

if TYPE_CHECKING:
    import tensorflow as tf

LABELS = Column(
    "labels", "labels", "the labels, several in a row", ("label", "tags", "classes", "categories")
)


@dataclass(frozen=True)
class Options(_pooled_text.TextOptions):
    """Options of multi-label classification.

    Example::

        python -m tfnlp.train --task multi_label --train rows.csv --thresholds half
    """

    label_smoothing: float = option(
        0.0, "how far targets are moved from 0 and 1 towards 1/2", minimum=0.0, maximum=0.5
    )
    class_weights: Literal["none", "balanced"] = option(
        "none",
        "weigh rows by the inverse frequency of their rarest label",
        needs=Need(
            lambda known: known.facts is None or len(known.facts["labels"]) > 1,
            "has no effect where the rows have a single label",
        ),
    )
    thresholds: Literal["tuned", "half"] = option(
        "tuned", "the probability from which a label is given: best F1 on validation, or 0.5"
    )


def sample(options: Options) -> list[dict[str, Any]]:
    """Return four rows."""
    reviews = ["Great food, slow service.", "The food was cold.", "Friendly staff!", "Dull."]
    labels = [["food", "service"], ["food"], ["service"], []]
    return _pooled_text.sample(options, reviews, [{"labels": given} for given in labels])


def learn(rows: Rows, options: Options) -> dict[str, Any]:
    """Learn the label names, in alphabetical order, and their weights.

    Example:
        >>> learn(Rows("a.csv", {"labels": [["food"], ["staff", "food"]]}, [1, 2]), Options())
        {'labels': ['food', 'staff'], 'temperature': 1.0, 'thresholds': [0.5, 0.5]}
    """
    counts = Counter(label for given in rows.columns["labels"] for label in set(given))
    if not counts:
        raise UserError(f"{rows.source}: no row has a label; multi_label needs at least one")
    facts: dict[str, Any] = {
        "labels": sorted(counts),
        "temperature": 1.0,
        "thresholds": [0.5] * len(counts),
    }
    return facts | _weights(counts, options)


def _weights(counts: Counter[str], options: Options) -> dict[str, Any]:
    """Return the weights of labels, in alphabetical order, if they are to be weighed."""
    if options.class_weights != "balanced":
        return {}
    mean = sum(counts.values()) / len(counts)
    return {"class_weights": [mean / counts[name] for name in sorted(counts)]}


def grow(facts: dict[str, Any], rows: Rows, options: Options) -> dict[str, Any]:
    """Return an earlier run's facts with the labels of new rows; see `tfnlp.task.Task.grow`.

    Example:
        >>> facts = {"labels": ["food"], "temperature": 1.2, "thresholds": [0.4]}
        >>> grow(facts, Rows("a.csv", {"labels": [["bar"]]}, [1]), Options())["thresholds"]
        [0.4, 0.5]
    """
    counts = Counter(label for given in rows.columns["labels"] for label in set(given))
    found = {**_labels.grown(facts, counts), "temperature": 1.0}
    found["thresholds"] = _labels.spread(found, facts, "thresholds", 0.5)
    for name in ("doubt", "class_weights"):
        found.pop(name, None)
    if own := _weights(counts, options) if counts else {}:
        own = {"labels": sorted(counts), **own}
        found["class_weights"] = _labels.spread(found, own, "class_weights", 1.0)
    return found


def unusable_rows(rows: Rows, facts: dict[str, Any]) -> Iterator[BadRow]:
    """Yield the rows with a label that training has not seen."""
    return _labels.unseen_labels(rows, "labels", facts["labels"])


def encode_targets(
    context: Context, raw: Tensors, features: Tensors, offsets: Tensors
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Return the labels as many-hot float32 (B, C), and the rows' weights float32 (B,) if any."""
    import tensorflow as tf

    from pipelines.encoding.labels import many_hot

    targets = many_hot(raw["labels"], context.facts["labels"])
    weights = context.facts.get("class_weights")
    if weights is None:
        return targets, None
    heaviest = tf.reduce_max(targets * tf.constant(weights), axis=-1)
    return targets, tf.where(heaviest > 0, heaviest, 1.0)


def objective(context: Context) -> Objective:
    """Binary cross-entropy of each label; the best epoch has the lowest validation loss.

    F1 would be the natural criterion, but at the fixed threshold of one half it stays at 0 for the
    first epochs of a task with rare labels, and would stop the training there.
    """
    import keras

    from tfnlp.heads.metrics import LogitF1

    loss = keras.losses.BinaryCrossentropy(
        from_logits=True, label_smoothing=context.options.label_smoothing
    )
    metrics = [LogitF1(average="micro", name="micro_f1"), LogitF1(average="macro", name="macro_f1")]
    return Objective(loss, metrics, monitor="val_loss", mode="min")


def calibrate(context: Context, rows: Rows, answers: Arrays) -> dict[str, Any]:
    """Fit the temperature, then each label's threshold, on the validation rows.

    Example::

        calibrate(model.context, validation, answering.answer(model, validation))
        # {"temperature": 1.2, "doubt": 0.01, "thresholds": [0.4, 0.6]}
    """
    import numpy as np
    from scipy.special import expit, logit

    from tfnlp.evaluation.calibration import best_thresholds, fit_temperature, least_doubt, mixed

    names = context.facts["labels"]
    targets = np.array([[name in row for name in names] for row in rows.columns["labels"]])
    logits = logit(np.clip(answers["scores"], 1e-7, 1 - 1e-7))
    temperature = fit_temperature(logits, targets, exclusive=False)
    doubt = least_doubt(len(rows))
    facts: dict[str, Any] = {"temperature": temperature, "doubt": doubt}
    if context.options.thresholds == "tuned":
        scores = mixed(expit(logits / temperature), doubt, 2)
        # A label of which there are no rows keeps the threshold that an earlier run gave it.
        facts["thresholds"] = [
            before if before != 0.5 and not there else found
            for found, before, there in zip(
                best_thresholds(scores, targets),
                context.facts["thresholds"],
                np.any(targets, axis=0).tolist(),
                strict=True,
            )
        ]
    return facts


def decode(
    context: Context, raw: Tensors, outputs: tf.Tensor, offsets: Tensors
) -> dict[str, tf.Tensor]:
    """Turn logits into answers.

    Returns:
        ``label`` string (B,), the labels given joined by ``|`` ("" if none); ``scores`` float32
        (B, C) under the names in ``labels`` string (B, C); ``given`` bool (B, C).

    Example::

        answers = decode(context, raw, network(features), offsets)
        answers["label"]  # [b"food|service", b""]
    """
    import tensorflow as tf

    from tfnlp.evaluation.calibration import mixing

    names = tf.constant(context.facts["labels"])
    scores = tf.sigmoid(outputs / context.facts["temperature"])
    share = mixing(context.facts.get("doubt", 0.0), 2)
    scores = (1 - share) * scores + share / 2
    given = scores >= tf.constant(context.facts["thresholds"], tf.float32)
    labels = tf.broadcast_to(names, tf.shape(scores))
    return {
        "label": tf.strings.reduce_join(tf.ragged.boolean_mask(labels, given), -1, separator="|"),
        "scores": scores,
        "labels": labels,
        "given": given,
    }


def report(context: Context, rows: Rows, answers: Arrays) -> Report:
    """Micro- and macro-F1, exact match, and a table by label."""
    from tfnlp.evaluation.classification import multi_label

    return multi_label(rows.columns["labels"], answers["scores"], answers["given"], context.facts)


def baseline(context: Context, train: Rows, rows: Rows) -> Fitted:
    """Return the answers of a linear SVM for each label, over words and their parts."""
    from tfnlp.evaluation import linear

    learned, asked = _pooled_text.texts_of(context, train, rows)
    return linear.many_labels(learned, train.columns["labels"], asked, context.facts["labels"])


TASK = Task(
    summary="any number of labels for a text or a pair of texts",
    dataset=None,
    options=Options,
    input_columns=_pooled_text.input_columns,
    target_columns=lambda options: (LABELS,),
    sample=sample,
    learn=learn,
    grow=grow,
    unusable_rows=unusable_rows,
    encode=_pooled_text.encode,
    encode_targets=encode_targets,
    build=_pooled_text.build_logits,
    objective=objective,
    calibrate=calibrate,
    decode=decode,
    report=report,
    baseline=baseline,
    reading="windows",
    classify=lambda answers: (answers["labels"], answers["scores"]),
    explaining=_explained.label(lambda context: context.facts["labels"]),
)
