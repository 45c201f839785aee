"""Many rows answered, a chunk at a time, in order of length and given back in their own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from pipelines.columns import as_request
from pipelines.rows import Record
from tfnlp.inference.saved_model import Answers, ServedModel

# Rows read at a time: enough to sort by length, so that a batch needs little padding.
CHUNK = 1024


def answered(
    records: Iterable[Record], model: ServedModel, batch_size: int = 32, at_once: int = 1
) -> Iterator[list[tuple[Record, dict[str, Any]]]]:
    """Yield records with their answers, in order, a chunk of some 1,000 at a time.

    Args:
        records: rows of the model's columns.
        model: what answers.
        batch_size: rows it is asked at a time.
        at_once: times it is asked at once; a server answers several.

    Example::

        for record, answer in itertools.chain.from_iterable(answered(records, model)): ...
    """
    records = iter(records)
    while chunk := list(itertools.islice(records, max(CHUNK, batch_size))):
        values = [record.values for record in chunk]
        answers = answered_rows(values, model, batch_size, partial(_asked, model, at_once))
        yield list(zip(chunk, answers, strict=True))


def answered_rows(
    rows: Sequence[Mapping[str, Any]],
    model: ServedModel,
    batch_size: int,
    ask: Callable[[list[dict[str, list[Any]]]], Iterable[Answers]],
) -> Answers:
    """Return the answers to rows, in their order; the model is asked in order of length.

    Args:
        rows: N rows, at least one, of the model's columns.
        model: what answers.
        batch_size: rows it is asked at a time.
        ask: from batches, each B values by column, to their answers, batch by batch.

    Example::

        answered_rows(rows, model, 32, lambda batches: map(model.answer, batches))
    """
    from pipelines import batching

    lengths = [sum(len(as_request(value)) for value in row.values()) for row in rows]
    batches, back = batching.by_length(lengths, batch_size)
    asked = [{name: [rows[i][name] for i in b] for name in model.inputs} for b in batches]
    answers = list(itertools.chain.from_iterable(ask(asked)))
    return [answers[index] for index in back]


def _asked(
    model: ServedModel, at_once: int, batches: Sequence[Mapping[str, Sequence[Any]]]
) -> Iterator[Answers]:
    """Yield the answers to batches, in order."""
    if at_once == 1:
        yield from map(model.answer, batches)
        return
    pool = ThreadPoolExecutor(at_once)
    try:
        yield from pool.map(model.answer, batches)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # after an error or Ctrl-C


def arrays(answers: Answers) -> dict[str, Any]:
    """Turn an answer a row into named arrays of N rows; of a mapping the values, in its order.

    Example::

        arrays([{"label": "HUM", "scores": {"HUM": 0.9, "LOC": 0.1}}])["scores"].shape  # (1, 2)
    """
    import numpy as np

    found: dict[str, np.ndarray] = {}
    for name, first in answers[0].items():
        values = [answer[name] for answer in answers]
        if isinstance(first, dict):
            values = [list(value.values()) for value in values]
        if isinstance(first, list) and all(not v or isinstance(v[0], dict) for v in values):
            found[name] = np.empty(len(values), object)  # lists of things, of any length
            found[name][:] = values
            continue
        array = np.array(values, object if isinstance(first, str) else None)
        # The model computes in float32; so the report's sums are the same as after training.
        found[name] = array.astype(np.float32) if array.dtype == np.float64 else array
    return found
