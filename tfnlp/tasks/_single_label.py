"""What the tasks that give one label to a row share.

Dimensions: N rows, B batch, C labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from pipelines.rows import Rows
from tfnlp.task import Arrays, Context, Tensors
from tfnlp.tasks import _labels

if TYPE_CHECKING:
    import tensorflow as tf


def learn(rows: Rows, column: str) -> tuple[dict[str, Any], Counter[str]]:
    """Learn the names of a column's labels, in alphabetical order, and count their rows.

    Example:
        >>> learn(Rows("a.csv", {"label": ["dog", "cat", "dog"]}, [1, 2, 3]), "label")
        ({'labels': ['cat', 'dog'], 'temperature': 1.0}, Counter({'dog': 2, 'cat': 1}))
    """
    counts = Counter(rows.columns[column])
    labels = sorted(counts)
    if len(labels) < 2:
        raise UserError(
            f"{rows.source}: every row has the {column} {labels[0]!r}; at least two are needed to "
            "tell apart"
        )
    return {"labels": labels, "temperature": 1.0}, counts


def grown(facts: Mapping[str, Any], labels: Iterable[str]) -> dict[str, Any]:
    """Return an earlier run's facts with further labels, not calibrated.

    Example:
        >>> grown({"labels": ["cat"], "temperature": 1.3, "doubt": 0.1}, ["bee"])
        {'labels': ['cat', 'bee'], 'temperature': 1.0, 'grown': [1]}
    """
    found = {**_labels.grown(facts, labels), "temperature": 1.0}
    found.pop("doubt", None)
    return found


def calibrate(context: Context, rows: Rows, answers: Arrays, column: str) -> dict[str, Any]:
    """Fit the temperature on the validation rows, and how sure they let an answer be.

    Example::

        answers = answering.answer(model, validation)
        calibrate(model.context, validation, answers, "label")  # {"temperature": 1.3, ...}
    """
    import numpy as np

    from tfnlp.evaluation.calibration import fit_temperature, least_doubt

    names = np.array(context.facts["labels"], object)
    targets = np.array(rows.columns[column], object)[:, None] == names
    logits = np.log(np.maximum(answers["scores"], 1e-30))
    return {"temperature": fit_temperature(logits, targets), "doubt": least_doubt(len(rows))}


def decode(
    context: Context, raw: Tensors, outputs: tf.Tensor, offsets: Tensors
) -> dict[str, tf.Tensor]:
    """Turn logits into answers.

    Returns:
        ``label`` string (B,), ``score`` float32 (B,), and for every label ``scores`` float32
        (B, C) under the names in ``labels`` string (B, C).

    Example::

        answers = decode(context, raw, network(features), offsets)
        answers["label"]  # [b"person", b"place"]
    """
    import tensorflow as tf

    from tfnlp.evaluation.calibration import mixing

    names = tf.constant(context.facts["labels"])
    scores = tf.nn.softmax(outputs / context.facts["temperature"])
    count = len(context.facts["labels"])
    share = mixing(context.facts.get("doubt", 0.0), count)
    scores = (1 - share) * scores + share / count
    return {
        "label": tf.gather(names, tf.argmax(scores, -1)),
        "score": tf.reduce_max(scores, -1),
        "scores": scores,
        "labels": tf.broadcast_to(names, tf.shape(scores)),
    }
