"""The training rows whose gradients speak most for an answer: TracIn on the last layer.

A step on a training row moves the loss of an answer by the product of both gradients. Those of rows
with large losses are so large that they would come first whatever the text is; so gradients are
taken at length 1.

Source: Pruthi et al. 2020, "Estimating training data influence by tracing gradient descent",
sections 3.2 and 3.5 (https://arxiv.org/abs/2002.08484), with the weights that were kept as the one
checkpoint; gradients of length 1: Hammoudeh and Lowd 2022, "Identifying a training-set attack's
target using renormalized influence estimation", section 5 (https://arxiv.org/abs/2201.10055).

Dimensions: N training rows, B rows of a batch, H hidden, C labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.rows import Record, Rows
from tfnlp.extensions import Attribution, Explanation, Subject, UnsuitableError, Wanted
from tfnlp.options import option


@dataclass(frozen=True)
class Options:
    """How many rows are named.

    Example::

        python -m tfnlp.explain RUN "It rained." --by influence --influence-count 10
    """

    count: int = option(5, "training rows that are named [rows]", minimum=1, maximum=1000)
    most: int = option(
        20_000, "training rows that are compared, evenly spaced if there are more [rows]", minimum=1
    )


def explain(
    subject: Subject, records: Iterable[Record], options: Options, wanted: Wanted
) -> Iterator[Attribution]:
    """Yield the training rows that speak most for each row's answer; of ``wanted.label``, for that.

    The gradient of a softmax's last layer is the product of the error, probabilities less the
    label, and of what the layer reads, so the cosine of two gradients is that of both.

    Example::

        for found in explain(subject, records, Options(), Wanted()):
            print(found.label, found.examples)
    """
    from tfnlp.explanations import _training_rows
    from tfnlp.training.last_layer import Vectors

    model = _training_rows.needs_run(subject, "influence")
    targets = model.task.target_columns(model.context.options)
    if [column.kind for column in targets] not in (["label"], ["labels"]):
        raise UnsuitableError(
            f"influence follows the errors of labels, and --task {model.experiment.task} gives none"
            " (take --by neighbours)"
        )
    names = model.context.facts["labels"]
    train, flag = _training_rows.rows_of(subject, options.most)
    vectors = Vectors(model)
    inputs = {column.name: train.columns[column.name] for column in subject.inputs}
    right = [[v] if isinstance(v, str) else v for v in train.columns[targets[0].name]]
    known = _gradients(vectors(train), subject.answer(inputs), right, names)

    def speaking(rows: Rows, answers: Sequence[Mapping[str, Any]]) -> Any:
        given = [[wanted.label] if wanted.label else _given(answer) for answer in answers]
        own = _gradients(vectors(rows), answers, given, names)
        return (own[0] @ known[0].T) * (own[1] @ known[1].T)

    yield from _training_rows.explained(
        subject, records, train, speaking, options.count, "influence", flag
    )


def _given(answer: Mapping[str, Any]) -> list[str]:
    """Return the labels of an answer."""
    if "given" in answer:
        return [n for n, given in zip(answer["scores"], answer["given"], strict=True) if given]
    return [answer["label"]]


def _gradients(
    vectors: Any,
    answers: Sequence[Mapping[str, Any]],
    labels: Sequence[Sequence[str]],
    names: Sequence[str],
) -> tuple[Any, Any]:
    """Return errors (B, C) and what the layer reads (B, H + 1), of length 1 each."""
    import numpy as np

    from tfnlp.explanations._training_rows import unit

    scores = np.array([[answer["scores"][name] for name in names] for answer in answers])
    right = np.array([[name in given for name in names] for given in labels])
    reads = np.concatenate([vectors, np.ones((len(vectors), 1), vectors.dtype)], 1)
    return unit(scores - right), unit(reads)


EXPLANATION = Explanation(
    summary="the training rows whose gradients speak most for each answer (TracIn)",
    options=Options,
    explain=explain,
)
