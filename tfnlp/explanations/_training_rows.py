"""The rows that a run was trained on, and those of them that a text is explained by.

Dimensions: N training rows, B rows of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from pipelines import splits
from pipelines.rows import Record, Rows
from tfnlp.extensions import Attribution, Subject, TrainedModel, UnsuitableError

_HELD = 256  # rows that are asked about together


def rows_of(subject: Subject, most: int) -> tuple[Rows, str]:
    """Return training rows, evenly spaced if there are more than so many, and a flag or "".

    Example::

        rows, flag = rows_of(subject, 20_000)
    """
    rows = subject.trained_on()
    if len(rows) <= most:
        return rows, ""
    told = f"of {len(rows)} training rows {most} were compared, evenly spaced"
    return rows.take(splits.evenly(len(rows), most)), told


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors of length 1; zeros stay.

    Example:
        >>> unit(np.array([[3.0, 4.0]])).tolist()
        [[0.6, 0.8]]
    """
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    found: np.ndarray = np.divide(vectors, np.where(length > 0, length, 1.0))
    return found


def explained(
    subject: Subject,
    records: Iterable[Record],
    train: Rows,
    scores: Callable[[Rows, Sequence[Mapping[str, Any]]], np.ndarray],
    count: int,
    name: str,
    flag: str,
) -> Iterator[Attribution]:
    """Yield for each row the training rows that score highest.

    Args:
        subject: a run.
        records: its rows.
        train: N training rows.
        scores: B rows and their answers -> float (B, N).
        count: how many are named.
        name: what a score is called.
        flag: what a reader must know, or "".

    Example::

        yield from explained(subject, records, train, scores, 5, "similarity", "")
    """
    names = [column.name for column in subject.inputs]
    stream = iter(records)
    while held := list(islice(stream, _HELD)):
        columns = {n: [record.values[n] for record in held] for n in names}
        answers = subject.answer(columns)
        values = scores(Rows("", columns, [record.number for record in held]), answers)
        for record, answer, own in zip(held, answers, values, strict=True):
            label, score = told(answer)
            best = np.argsort(-own, kind="stable")[:count]
            examples = [_example(train, place, name, float(own[place])) for place in best]
            flags = (flag,) if flag else ()
            yield Attribution(record.number, record.values, label, score, (), flags, examples)


def _example(rows: Rows, place: int, name: str, score: float) -> dict[str, Any]:
    columns = {key: values[place] for key, values in rows.columns.items()}
    return {"row": rows.numbers[place], **columns, name: score}


def told(answer: Mapping[str, Any]) -> tuple[str, float]:
    """Return what an answer says in a word, and its score.

    Example:
        >>> told({"label": "LOC", "score": 0.9})
        ('LOC', 0.9)
    """
    if isinstance(answer.get("entities"), list):
        found = answer["entities"]
        scores = [entity["score"] for entity in found]
        return ", ".join(f"{e['type']}: {e['text']}" for e in found), min(scores, default=0.0)
    label = answer.get("label", answer.get("answer", answer.get("grade")))
    number = next((v for v in answer.values() if isinstance(v, float)), 0.0)
    name = next((n for n, v in answer.items() if isinstance(v, float)), "")
    if label is None:
        label = name
    label = f"{label:g}" if isinstance(label, float) else str(label)
    return label, float(answer.get("score", number))


def needs_run(subject: Subject, name: str) -> TrainedModel:
    """Return a run's model.

    Raises:
        UnsuitableError: the subject is no run, or its task writes.

    Example::

        model = needs_run(subject, "neighbours")
    """
    if subject.model is None:
        raise UnsuitableError(
            f"{name} needs the rows that a model was trained on, and {subject.name} is a "
            "SavedModel (name the run's folder, tensorboard_logs/NAME/RUN)"
        )
    if subject.model.task.explaining is None:
        raise UnsuitableError(
            f"{name} compares texts that get an answer, and a model of --task "
            f"{subject.model.experiment.task} writes"
        )
    return subject.model
