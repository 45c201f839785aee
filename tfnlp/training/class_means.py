"""Nearest class mean on a frozen encoder: a model that nothing is forgotten by.

Dimensions: N rows, C labels, H hidden.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from pipelines import batching
from pipelines.rows import Rows
from tfnlp.backbones import loading
from tfnlp.runtime import precision
from tfnlp.training import examples
from tfnlp.training.model import TrainedModel

_BATCH = 64
_PER_LABEL = 100  # rows that a mean is taken of


def possible(model: TrainedModel) -> bool:
    """Return whether rows have one label each, and a text of theirs is read in one piece.

    Example::

        possible(model)  # True of classification
    """
    targets = model.task.target_columns(model.experiment.options)
    kinds = [column.kind for column in targets]
    return kinds == ["label"] and model.task.windows(model.experiment.options) == 1


def answers(model: TrainedModel, train: Rows, rows: Rows) -> list[str]:
    """Return for each row the label whose training rows' mean vector is nearest to it.

    Vectors are the means of the tokens' states of the backbone as it was pretrained, of norm 1;
    near is by cosine. Of more than 100 rows a label, that many are taken, evenly spaced.

    Args:
        model: says which backbone it is, and how texts are encoded.
        train: rows with labels, of all steps.
        rows: N rows.

    Example::

        answers(model, splits.train, splits.test)[:2]  # ["LOC", "HUM"]

    Source: Mensink et al. 2013, "Distance-based image classification", section 3
        (https://doi.org/10.1109/TPAMI.2013.83); in continual learning Janson et al. 2022, "A simple
        baseline that questions the use of pretrained-models in continual learning"
        (https://arxiv.org/abs/2210.04428).
    """
    (column,) = model.task.target_columns(model.experiment.options)
    labels = np.array(train.columns[column.name], object)
    names = sorted(set(labels))
    chosen = []
    for name in names:
        places = np.flatnonzero(labels == name)
        chosen.append(places[:: -(-len(places) // _PER_LABEL)])
    settings = model.experiment.backbone
    backbone = loading.load(settings.name, layers=settings.layers)
    vectors = _vectors(model, backbone, train.take(np.concatenate(chosen).tolist()))
    ends = np.cumsum([len(places) for places in chosen])[:-1]
    means = np.stack([part.mean(0) for part in np.split(vectors, ends)])
    means /= np.linalg.norm(means, axis=-1, keepdims=True)
    nearest = (_vectors(model, backbone, rows) @ means.T).argmax(-1)
    return [names[place] for place in nearest]


def _vectors(model: TrainedModel, backbone: loading.Backbone, rows: Rows) -> np.ndarray:
    """Return rows as vectors of norm 1, float32 (N, H)."""
    raw = examples.unlabelled(model, rows)
    order, back = batching.by_length(examples.measure(model, raw).lengths, _BATCH)
    names = [tensor.name for tensor in backbone.model.inputs]

    @tf.function(autograph=False, reduce_retracing=True)
    def mean(batch: dict[str, tf.Tensor]) -> tf.Tensor:
        x, _ = model.encode(batch)
        states = backbone.model({name: x[name] for name in names}, training=False)["tokens"]
        mask = tf.cast(x["padding_mask"], tf.float32)[..., None]
        total = tf.reduce_sum(tf.cast(states, tf.float32) * mask, 1)
        return tf.math.l2_normalize(total, -1)

    with precision.exact():
        found = [mean({n: tf.gather(c, places) for n, c in raw.items()}) for places in order]
    return np.asarray(np.concatenate([part.numpy() for part in found])[back])
