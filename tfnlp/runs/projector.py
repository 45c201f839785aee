"""TensorBoard's projector: a vector of each row, with its texts, targets and answers.

Dimensions: N rows, H hidden.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf
from tensorboard.plugins.projector import ProjectorConfig

from pipelines import batching
from pipelines.atomic import write_text
from pipelines.rows import Rows

if TYPE_CHECKING:
    from tfnlp.training.model import TrainedModel

LONGEST_CELL = 200  # characters of a text
EMBEDDINGS = ("embedding", "embedding_a")  # answers that are a vector of the row, as TF Hub's are


def project(model: TrainedModel, rows: Rows, folder: Path) -> None:
    """Write a vector of each row, float (N, H), with texts, targets and answers.

    It is the answer, if that is an embedding, or what the output layer is given.

    Args:
        model: trained.
        rows: at most ``logging.projector`` of them are taken, chosen by the seed.
        folder: one with event files, or TensorBoard does not look there.

    Example::

        project(model, splits.validation, run / "report" / "validation")
    """
    wanted = min(model.experiment.logging.projector, len(rows))
    if not wanted or not projected(model):
        return
    chosen = np.random.default_rng(model.experiment.seed).permutation(len(rows))[:wanted]
    rows = rows.take(sorted(chosen.tolist()))
    vectors, answers = _look(model, rows)
    columns = {**rows.columns, **{f"answer_{n}": list(v) for n, v in answers.items()}}
    lines = ["\t".join(columns)]
    lines += ["\t".join(map(_cell, row)) for row in zip(*columns.values(), strict=True)]
    numbers = io.StringIO()
    np.savetxt(numbers, vectors, "%.4g", delimiter="\t")
    settings = ProjectorConfig()
    shown = settings.embeddings.add(tensor_name="texts", tensor_path="projector-vectors.tsv")
    shown.metadata_path = "projector-rows.tsv"
    for name, text in {
        shown.tensor_path: numbers.getvalue(),
        shown.metadata_path: "\n".join(lines) + "\n",
        "projector_config.pbtxt": str(settings),
    }.items():
        write_text(folder / name, text)


def projected(model: TrainedModel) -> bool:
    """Return whether there is one vector that stands for a row.

    Example::

        projected(model)  # True of a classifier, False of a model that writes
    """
    if model.task.writing:
        return False
    last = model.network.layers[-1].input
    return _embeds(model) or (not isinstance(last, list) and len(last.shape) == 2)


def _embeds(model: TrainedModel) -> bool:
    """Return whether the answer is a vector."""
    return "embed" in model.task.extra_inputs(model.experiment.options)


def _look(model: TrainedModel, rows: Rows) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return each row's vector, and its answers of one value."""
    task, context = model.task, model.context
    last = model.network.layers[-1].input
    both = keras.Model(model.network.input, [last, model.network.output])

    @tf.function(reduce_retracing=True, autograph=False)
    def look(raw: Any) -> Any:
        features, offsets = task.encode(context, raw)
        vectors, outputs = both(features, training=False)
        answers = task.decode(context, raw, outputs, offsets)
        if _embeds(model):
            vectors = next(answers[name] for name in EMBEDDINGS if name in answers)
        return tf.cast(vectors, tf.float32), {n: a for n, a in answers.items() if a.shape.rank == 1}

    raw = batching.tensors(rows, task.input_columns(model.experiment.options))
    parts = []
    for start in range(0, len(rows), 64):
        part = {name: column[start : start + 64] for name, column in raw.items()}
        parts.append(tf.nest.map_structure(lambda t: t.numpy(), look(part)))
    vectors, answers = zip(*parts, strict=True)
    return np.concatenate(vectors), {n: np.concatenate([a[n] for a in answers]) for n in answers[0]}


def _cell(value: Any) -> str:
    """Write a value into one cell of a TSV file; TensorBoard drops empty ones at a line's end."""
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, list | tuple):
        value = ", ".join(value)
    text = f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)
    text = " ".join(text.split())
    text = text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"
    return text or "(empty)"
