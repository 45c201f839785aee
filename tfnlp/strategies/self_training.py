"""Self-training: what a model is sure of among texts without labels becomes training rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from pipelines.errors import UserError
from pipelines.rows import Rows
from tfnlp.config import Experiment
from tfnlp.extensions import Outcome, Strategy, Trainer
from tfnlp.options import option
from tfnlp.report import Report, Table, four_places
from tfnlp.strategies import _probe, _unlabelled
from tfnlp.task import Task

if TYPE_CHECKING:
    import numpy as np

TEACHER = "teacher"  # the name of the fit on the labels alone


@dataclass(frozen=True)
class Options:
    """How often, and what is accepted.

    Example::

        python -m tfnlp.train --train few.csv --unlabelled more.txt --strategy self_training
    """

    rounds: int = option(
        2, "times that texts are answered and learned from, all anew [rounds]", minimum=1, maximum=9
    )
    confidence: float = option(
        0.9,
        "the probability from which an answer is accepted, of the label that is learned best; of "
        "others it is lower",
        minimum=0.0,
        maximum=1.0,
    )
    balance: float = option(
        3.0,
        "most texts accepted of a label, as a multiple of the median label's; 0 is no limit",
        minimum=0.0,
    )


def fits(task: Task, experiment: Experiment, options: Options) -> None:
    """Refuse a task whose rows have not one label each, and a training without unlabelled texts.

    Raises:
        UserError: it is one.

    Example::

        fits(load("classification"), experiment, Options())
    """
    if experiment.task != "classification":
        raise UserError(
            f"--strategy self_training gives texts one label each, not {experiment.task} (take "
            "--task classification)"
        )
    _unlabelled.needed("self_training", experiment)
    if experiment.augment:
        raise UserError(
            "--augment has no effect on --strategy self_training (leave it out, or take "
            "--strategy uda)"
        )


def train(trainer: Trainer) -> Outcome:
    """Fit on the labels, then, from the start again, on them and what the last model was sure of.

    Example::

        train(trainer).report.metrics["supervised_accuracy"]

    Source: Xie et al. 2020, "Self-training with noisy student improves ImageNet classification",
        algorithm 1 (https://arxiv.org/abs/1911.04252); thresholds by label of Zhang et al. 2021,
        "FlexMatch", equations 5 to 9 (https://arxiv.org/abs/2110.08263), once a round.
    """
    rows, own = trainer.splits.train, trainer.options
    more = _unlabelled.texts(trainer)
    said = list(_unlabelled.doubts(trainer, more))
    metrics, beaten = _probe.beside(trainer)
    judges = trainer.splits.test or trainer.splits.validation
    restore = _probe.restorer(trainer)
    trainer.fit(train=rows, name=TEACHER)
    scores = [next(iter(trainer.evaluate(judges).metrics.items()))]
    cells = []
    for number in range(1, own.rounds + 1):
        found = trainer.kept(f"answers_{number}", partial(_answers, trainer, more))
        names = trainer.model.context.facts["labels"]
        places, given = accepted(found, own.confidence, own.balance)
        labels = [names[place] for place in given]
        cells.append((number, len(more), len(places), *_right(more, places, labels)))
        restore()
        last = number == own.rounds
        both = joined(rows, more, places, labels)
        trainer.fit(train=both, name="fit" if last else f"round_{number}")
        scores.append(next(iter(trainer.evaluate(judges).metrics.items())))
    metric = scores[0][0]
    kinds = ["on the labels alone", *(f"after round {i + 1}" for i in range(own.rounds))]
    beaten.rows.extend(
        (kind, metric, four_places(s)) for kind, (_, s) in zip(kinds, scores, strict=True)
    )
    head = ("round", "texts", "accepted", "right", "share right")
    metrics |= {f"supervised_{metric}": scores[0][1]}
    if scores[-1][1] <= scores[0][1]:
        said.append(f"the unlabelled texts did not help: without them {metric} is as good")
    return Outcome(
        Report(metrics, [beaten, Table("Answers that became labels", head, cells)], warnings=said)
    )


def _answers(trainer: Trainer, rows: Rows) -> np.ndarray:
    """Return the probabilities that the model gives to labels of rows, float32 (N, C)."""
    import numpy as np

    from tfnlp.training import answering
    from tfnlp.training import model as models

    model = dataclasses.replace(cast(models.TrainedModel, trainer.model))  # traced anew
    inputs = {c.name for c in model.task.input_columns(model.context.options)}
    asked = dataclasses.replace(
        rows, columns={name: c for name, c in rows.columns.items() if name in inputs}
    )
    return np.asarray(answering.answer(model, asked, asked=True)["scores"], np.float32)


def accepted(scores: np.ndarray, confidence: float, balance: float) -> tuple[list[int], list[int]]:
    """Return which rows are accepted, and their labels.

    Args:
        scores: probabilities, (N, C).
        confidence: the threshold of the label of which most rows are above it.
        balance: most rows of a label, as a multiple of the median of those that have any; 0 is no
            limit.

    Returns:
        Places of rows in their order, and the place of each one's label.

    Example:
        >>> import numpy as np
        >>> accepted(np.array([[0.95, 0.05], [0.4, 0.6], [0.1, 0.9]]), 0.9, 0.0)
        ([0, 2], [0, 1])
    """
    import numpy as np

    best, sure = scores.argmax(1), scores.max(1)
    count = scores.shape[1]
    above = np.bincount(best[sure >= confidence], minlength=count).astype(float)
    learned = above / max(above.max(), 1.0)
    thresholds = confidence * learned / (2.0 - learned)
    floor = 1.0 / count + (confidence - 1.0 / count) / 2  # half way from chance
    taken = sure >= np.maximum(thresholds, floor)[best]
    counts = np.bincount(best[taken], minlength=count)
    if balance and counts.any():
        most = max(int(balance * np.median(counts[counts > 0])), 1)
        for label in np.flatnonzero(counts > most):
            own = np.flatnonzero(taken & (best == label))
            taken[own[np.argsort(-sure[own], kind="stable")[most:]]] = False
    places = np.flatnonzero(taken)
    return places.tolist(), best[places].tolist()


def _right(more: Rows, places: Sequence[int], labels: Sequence[str]) -> tuple[Any, Any]:
    """Return how many accepted answers are right, and which share, where the truth is known."""
    truth = more.columns.get("label")
    if truth is None or not places:
        return "", ""
    right = sum(truth[place] == label for place, label in zip(places, labels, strict=True))
    return right, four_places(right / len(places))


def joined(rows: Rows, more: Rows, places: Sequence[int], labels: Sequence[str]) -> Rows:
    """Return rows, and after them others with the labels that they are taken to have.

    Example:
        >>> rows = Rows("a.csv", {"text": ["Good."], "label": ["+"]}, [1])
        >>> joined(rows, Rows("b.txt", {"text": ["Bad."]}, [7]), [0], ["-"]).columns
        {'text': ['Good.', 'Bad.'], 'label': ['+', '-']}
    """
    some = more.take(places)
    columns = {**some.columns, "label": list(labels)}
    whole = {name: [*column, *columns[name]] for name, column in rows.columns.items()}
    return Rows(f"{rows.source} and {more.source}", whole, [*rows.numbers, *some.numbers])


STRATEGY = Strategy(
    summary="learn from own confident answers to texts without labels (self-training)",
    options=Options,
    train=train,
    fits=fits,
    takes_all=True,
    reads=("unlabelled",),
)
