"""One label for a text or a pair of texts, with calibrated probabilities.

Fine-tuning as in Devlin et al. 2019, "BERT", section 4.1 (https://arxiv.org/abs/1810.04805).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pipelines.rows import BadRow, Column, Rows
from tfnlp.options import option
from tfnlp.report import Fitted, Report
from tfnlp.task import Arrays, Context, Objective, Task, Tensors
from tfnlp.tasks import _explained, _labels, _pooled_text, _single_label
from tfnlp.tasks._pooled_text import encode

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

LABEL = Column("label", "label", "the label", ("class", "category", "intent", "sentiment", "tag"))


@dataclass(frozen=True)
class Options(_pooled_text.TextOptions):
    """Options of classification.

    Example::

        python -m tfnlp.train --task classification --train a.csv --class-weights balanced
    """

    label_smoothing: float = option(
        0.0, "share of the target spread over all labels", minimum=0.0, maximum=0.5
    )
    class_weights: Literal["none", "balanced"] = option(
        "none", "weigh rows by the inverse frequency of their label"
    )


def sample(options: Options) -> list[dict[str, Any]]:
    """Return four rows."""
    questions = [
        "Who wrote Hamlet?",
        "Where is Mount Fuji?",
        "Who was Marie Curie?",
        "Où est Lyon?",
    ]
    labels = ["person", "place", "person", "place"]
    return _pooled_text.sample(options, questions, [{"label": label} for label in labels])


def learn(rows: Rows, options: Options) -> dict[str, Any]:
    """Learn the label names, in alphabetical order, and their weights.

    Example:
        >>> learn(Rows("a.csv", {"label": ["dog", "cat"]}, [1, 2]), Options())["labels"]
        ['cat', 'dog']
    """
    facts, counts = _single_label.learn(rows, "label")
    return facts | _weights(len(rows), counts, options)


def _weights(rows: int, counts: Counter[str], options: Options) -> dict[str, Any]:
    """Return the weights of labels, in alphabetical order, if rows are to be weighed."""
    if options.class_weights != "balanced":
        return {}
    return {"class_weights": [rows / (len(counts) * counts[name]) for name in sorted(counts)]}


def grow(facts: dict[str, Any], rows: Rows, options: Options) -> dict[str, Any]:
    """Return an earlier run's facts with the labels of new rows; see `tfnlp.task.Task.grow`.

    Example:
        >>> rows = Rows("a.csv", {"label": ["bee"]}, [1])
        >>> grow({"labels": ["cat", "dog"], "temperature": 1.3}, rows, Options())["labels"]
        ['cat', 'dog', 'bee']
    """
    counts = Counter(rows.columns["label"])
    found = _single_label.grown(facts, counts)
    found.pop("class_weights", None)
    if own := _weights(len(rows), counts, options):
        own = {"labels": sorted(counts), **own}
        found["class_weights"] = _labels.spread(found, own, "class_weights", 1.0)
    return found


def unusable_rows(rows: Rows, facts: dict[str, Any]) -> Iterator[BadRow]:
    """Yield the rows with a label that training has not seen."""
    return _labels.unseen_labels(rows, "label", facts["labels"])


def encode_targets(
    context: Context, raw: Tensors, features: Tensors, offsets: Tensors
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Return the labels as one-hot float32 (B, C), and the rows' weights float32 (B,) if any."""
    import tensorflow as tf

    from pipelines.encoding.labels import one_hot

    targets = one_hot(raw["label"], context.facts["labels"])
    weights = context.facts.get("class_weights")
    return targets, None if weights is None else tf.linalg.matvec(targets, tf.constant(weights))


def objective(context: Context) -> Objective:
    """Cross-entropy; the best epoch is the one with the highest validation accuracy."""
    import keras

    loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=context.options.label_smoothing
    )
    metrics = [
        keras.metrics.CategoricalAccuracy(name="accuracy"),
        keras.metrics.F1Score(average="macro", name="macro_f1"),
    ]
    return Objective(loss, metrics, monitor="val_accuracy", mode="max")


def report(context: Context, rows: Rows, answers: Arrays) -> Report:
    """Accuracy, macro-F1, Matthews correlation, calibration error, and a table by label."""
    from tfnlp.evaluation.classification import single_label

    return single_label(rows.columns["label"], answers["scores"], context.facts)


def baseline(context: Context, train: Rows, rows: Rows) -> Fitted:
    """Return the answers of a linear SVM over words and their parts."""
    from tfnlp.evaluation import linear

    learned, asked = _pooled_text.texts_of(context, train, rows)
    return linear.one_label(learned, train.columns["label"], asked, context.facts["labels"])


def setting_signatures(context: Context, network: keras.Model) -> dict[str, Any]:
    """Return the way in with labels of a request's own, of a model that knows labels by name.

    Example::

        setting_signatures(context, network)  # {"labels": (call, specs, {"labels": "no|yes"})}
    """
    known = context.facts.get("open_labels")
    if known is None:
        return {}
    from functools import partial

    from tfnlp.heads import open_labels

    names = context.facts["labels"]
    between = "\n" if any("|" in name for name in names) else "|"
    call, specs = open_labels.signature(
        partial(encode, context), network, known["patterns"], known["temperature"], names
    )
    return {open_labels.SIGNATURE: (call, specs, {open_labels.SIGNATURE: between.join(names)})}


TASK = Task(
    summary="one label for a text or a pair of texts",
    dataset="trec",
    options=Options,
    input_columns=_pooled_text.input_columns,
    target_columns=lambda options: (LABEL,),
    sample=sample,
    learn=learn,
    grow=grow,
    unusable_rows=unusable_rows,
    encode=encode,
    encode_targets=encode_targets,
    build=_pooled_text.build_logits,
    objective=objective,
    calibrate=lambda context, rows, answers: _single_label.calibrate(
        context, rows, answers, "label"
    ),
    decode=_single_label.decode,
    report=report,
    baseline=baseline,
    setting_signatures=setting_signatures,
    reading="windows",
    classify=lambda answers: (answers["labels"], answers["scores"]),
    explaining=_explained.label(lambda context: context.facts["labels"]),
)
