"""Logistic regression on the vectors of texts, its strength and calibration by cross-validation.

Dimensions: N rows, M of them held out of some fold, C labels, H hidden.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pipelines import splits
from pipelines.errors import UserError
from pipelines.rows import Column, Rows
from tfnlp import task as tasks
from tfnlp.config import Experiment, Optimizer
from tfnlp.extensions import Outcome, TrainedModel, Trainer
from tfnlp.report import Report, Table, four_places
from tfnlp.task import Task

if TYPE_CHECKING:
    import numpy as np

NAMES = ("label", "labels")  # kinds of the targets that have labels
_STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)
_USUAL = 30.0  # where no row can be held out
_FOLDS = 5
_TRIED = 2000  # rows by which the strength is chosen
_UNKNOWN = -10.0  # logit of a label that a fold has no row of, below the others


@dataclass(frozen=True)
class Probe:
    """A linear head.

    Attributes:
        kernel: float32 (H, C).
        bias: float32 (C,).
        strength: the inverse of the regularisation, scikit-learn's C.
        places: rows that were held out of a fold, int (M,).
        logits: of those rows, by heads that had not learned from them, float32 (M, C).
    """

    kernel: np.ndarray
    bias: np.ndarray
    strength: float
    places: np.ndarray
    logits: np.ndarray


def check(name: str, task: Task, experiment: Experiment) -> None:
    """Refuse a task without labels, and options about a training that there is none of.

    Raises:
        UserError: the strategy is not for the task, or the option would have no effect.

    Example::

        check("linear_probe", load("classification"), experiment)
    """
    check_labels(name, task, experiment)
    if experiment.peft:
        raise UserError(
            f"--peft {experiment.peft.name} has no effect on --strategy {name}, which trains none "
            "of the backbone (leave it out)"
        )
    if experiment.augment:
        raise UserError(f"--augment has no effect on --strategy {name} (leave it out)")
    for field in dataclasses.fields(Optimizer):
        if getattr(experiment.optimizer, field.name) != getattr(Optimizer(), field.name):
            flag = "--" + field.name.replace("_", "-")
            raise UserError(f"{flag} has no effect on --strategy {name}, which takes no steps")
    for flag in ("epochs", "patience"):
        if getattr(experiment.training, flag) is not None:
            raise UserError(f"--{flag} has no effect on --strategy {name}, which takes no steps")


def check_labels(name: str, task: Task, experiment: Experiment) -> None:
    """Refuse a task whose rows have no labels, or whose head is given no vector of a text.

    Raises:
        UserError: it is one.

    Example::

        check_labels("setfit", load("ner"), experiment)  # raises
    """
    targets = task.target_columns(experiment.options)
    if [c.kind in NAMES for c in targets] != [True] or not hasattr(
        experiment.options, "unit_vectors"
    ):
        raise UserError(
            f"--strategy {name} is for tasks that give labels to a text, not for "
            f"{experiment.task} (take --task classification or multi_label)"
        )


def vectors(trainer: Trainer, rows: Rows) -> np.ndarray:
    """Return the vectors that the head is given of rows, by the weights as they are now.

    Returns:
        float32 (N, H); they are kept in the cache (`tfnlp.training.features`).

    Example::

        vectors(trainer, trainer.splits.train).shape  # (616, 384)
    """
    from tfnlp.training import features
    from tfnlp.training import model as models

    return features.vectors(cast(models.TrainedModel, trainer.model), rows)


def of(trainer: Trainer, rows: Rows, vectors: np.ndarray) -> Probe:
    """Return the head that is learned from rows and their vectors, float32 (N, H).

    Source: the frozen encoder that Tian et al. 2020, "Rethinking few-shot image classification: a
        good embedding is all you need?", section 3 (https://arxiv.org/abs/2003.11539), compare
        with; of sentences Tunstall et al. 2022, "SetFit", section 3
        (https://arxiv.org/abs/2209.11055).

    Example::

        of(trainer, rows, vectors(trainer, rows))
    """
    import numpy as np
    from threadpoolctl import threadpool_limits

    (column,) = tasks.load(trainer.experiment.task).target_columns(trainer.experiment.options)
    names = trainer.model.context.facts["labels"]
    targets = _targets(rows, column, names)
    scale = float(np.linalg.norm(vectors, axis=-1).mean()) or 1.0
    scaled = (vectors / scale).astype(np.float64)
    # Several threads wait for one another longer than they compute: the matrices are small.
    with threadpool_limits(1):
        strength, places, logits = _chosen(rows, column, scaled, targets, trainer.experiment.seed)
        kernel, bias = _fitted(scaled, targets, column, strength)
    found = (kernel / scale).astype(np.float32), bias.astype(np.float32)
    return Probe(*found, strength, places, logits.astype(np.float32))


def _targets(rows: Rows, column: Column, names: Sequence[str]) -> np.ndarray:
    """Return which labels rows have, bool (N, C)."""
    import numpy as np

    where = {name: place for place, name in enumerate(names)}
    found = np.zeros((len(rows), len(names)), bool)
    for row, value in enumerate(rows.columns[column.name]):
        for name in [value] if isinstance(value, str) else value:
            found[row, where[name]] = True
    return found


def _chosen(
    rows: Rows, column: Column, vectors: np.ndarray, targets: np.ndarray, seed: int
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the strength with the best likelihood, and the logits of rows held out with it."""
    import numpy as np

    from tfnlp.evaluation.calibration import fit_temperature

    numbered = Rows(rows.source, {column.name: rows.columns[column.name]}, list(range(len(rows))))
    numbered = splits.limited(numbered, [column], _TRIED, seed)
    some = np.array(numbered.numbers)
    parts_of = [(some[train], some[held]) for train, held in folds(numbered, column, _FOLDS)]
    if not parts_of:
        return _USUAL, np.zeros(0, int), np.zeros((0, targets.shape[1]))
    places = np.concatenate([held for _, held in parts_of])
    best: tuple[float, float, np.ndarray] | None = None
    for strength in _STRENGTHS:
        parts = []
        for train, held in parts_of:
            kernel, bias = _fitted(vectors[train], targets[train], column, strength)
            parts.append(vectors[held] @ kernel + bias)
        logits = np.concatenate(parts)
        exclusive = column.kind == "label"
        temperature = fit_temperature(logits, targets[places], exclusive)
        loss = _loss(logits / temperature, targets[places], exclusive)
        if best is None or loss < best[0]:
            best = loss, strength, logits
    assert best is not None
    return best[1], places, best[2]


def _loss(logits: np.ndarray, targets: np.ndarray, exclusive: bool) -> float:
    """Return the mean negative log-likelihood [nats]."""
    import numpy as np
    from scipy.special import log_softmax

    if exclusive:
        return float(-(log_softmax(logits, -1) * targets).sum(-1).mean())
    return float(np.logaddexp(0, np.where(targets, -logits, logits)).sum(-1).mean())


def _fitted(
    vectors: np.ndarray, targets: np.ndarray, column: Column, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the kernel (H, C) and the bias (C,) of a head, by scikit-learn."""
    import numpy as np

    count = targets.shape[1]
    kernel, bias = np.zeros((vectors.shape[1], count)), np.zeros(count)
    if column.kind == "label":
        there = np.flatnonzero(targets.any(0))
        weights, start = _regression(vectors, targets.argmax(-1), strength)
        if len(there) == 2:  # scikit-learn has one logit then, the second label's
            weights, start = np.stack([-weights, weights], 1) / 2, np.array([-start, start]) / 2
        kernel[:, there], bias[there] = weights.reshape(-1, len(there)), start.reshape(-1)
        bias[~targets.any(0)] = _UNKNOWN
        return kernel, bias
    for place in range(count):
        own = targets[:, place]
        if own.all() or not own.any():
            bias[place] = -_UNKNOWN if own.all() else _UNKNOWN
            continue
        weights, start = _regression(vectors, own, strength)
        kernel[:, place], bias[place] = weights, float(start)
    return kernel, bias


def _regression(
    vectors: np.ndarray, labels: np.ndarray, strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights, (H, C), of two labels (H,), and the intercepts."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 300 steps are near enough
        found = LogisticRegression(C=strength, max_iter=300).fit(vectors, labels)
    weights, start = found.coef_, found.intercept_
    return (weights[0], start[0]) if len(weights) == 1 else (weights.T, start)


def put(model: TrainedModel, probe: Probe) -> None:
    """Give a network's output layer the weights of a head.

    Example::

        put(trainer.model, probe)
    """
    kernel, bias = model.network.get_layer("logits").weights
    kernel.assign(probe.kernel)
    bias.assign(probe.bias)


def kept(trainer: Trainer, name: str, make: Callable[[], Probe]) -> Probe:
    """Return a head that a run fits once, from the run's folder when that is resumed.

    Example::

        kept(trainer, "probe", lambda: of(trainer, rows, vectors))
    """
    import numpy as np

    made: list[Probe] = []

    def one() -> Probe:
        if not made:
            made.append(make())
        return made[0]

    def head() -> np.ndarray:
        found = one()
        strength = np.full((1, len(found.bias)), found.strength, np.float32)
        return np.concatenate([found.kernel, found.bias[None], strength])

    def held() -> np.ndarray:
        found = one()
        return np.concatenate([found.places[:, None].astype(np.float64), found.logits], 1)

    whole, out = trainer.kept(name, head), trainer.kept(f"{name}_held", held)
    places = out[:, 0].astype(int)
    return Probe(whole[:-2], whole[-2], float(whole[-1, 0]), places, out[:, 1:].astype("float32"))


def judged(trainer: Trainer, rows: Rows, probe: Probe) -> Outcome:
    """Return the facts of calibration and the report on rows, by the folds they were held out of.

    Args:
        trainer: has the model.
        rows: N rows that the head was learned from.
        probe: the head.

    Returns:
        Nothing where no row could be held out, or rows for validation were given.

    Example::

        judged(trainer, trainer.splits.train, probe).facts["temperature"]  # 0.4
    """
    from tfnlp.training import examples

    task, context = trainer.model.task, trainer.model.context
    if not examples.takes_all(trainer.experiment, trainer.splits):
        return Outcome()
    if not len(probe.places):
        said = "no rows were held out, so nothing is calibrated: probabilities mean little"
        return Outcome(Report({}, warnings=[said]))
    some = rows.take(probe.places.tolist())
    facts: dict[str, Any] = {}
    if trainer.experiment.training.calibrate and task.calibrate:
        facts = task.calibrate(context, some, answers(trainer.model, probe.logits))
    told = answers(trainer.model, probe.logits, facts)
    whole = dataclasses.replace(context, facts={**context.facts, **facts})
    return Outcome(facts=facts, validation=task.report(whole, some, told))


def restorer(trainer: Trainer) -> Callable[[], None]:
    """Return what gives the network the weights that it has now.

    Example::

        restore = restorer(trainer)
        trainer.fit(name="teacher")
        restore()
    """
    variables = trainer.model.network.variables
    before = [variable.numpy() for variable in variables]

    def restore() -> None:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)

    return restore


def folds(rows: Rows, column: Column, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the places of rows that are learned from and held out, for each fold that has any.

    Example::

        folds(trainer.splits.train, column, 5)[0]  # (places, places)
    """
    import numpy as np

    numbered = Rows(rows.source, {column.name: rows.columns[column.name]}, list(range(len(rows))))
    found = []
    for number in range(1, count + 1):
        try:
            one = splits.fold(numbered, [column], number, count)
        except UserError:  # no row is left to be held out
            continue
        found.append((np.array(one[0].numbers), np.array(one[1].numbers)))
    return found


def answers(model: TrainedModel, logits: np.ndarray, facts: Any = None) -> dict[str, np.ndarray]:
    """Return what a model would answer with these logits, float32 (N, C), and further facts.

    Example::

        answers(trainer.model, probe.logits)["label"]
    """
    import tensorflow as tf

    from tfnlp.inference.saved_model import fold

    context = dataclasses.replace(model.context, facts={**model.context.facts, **(facts or {})})
    found = model.task.decode(context, {}, tf.constant(logits, tf.float32), {})
    return fold({name: tensor.numpy() for name, tensor in found.items()})


def beside(trainer: Trainer, name: str = "probe_beside") -> tuple[dict[str, float], Table]:
    """Return the score of a linear probe on the backbone as it is now, on the rows that are judged.

    Call it before anything is trained.

    Example::

        metrics, table = beside(trainer)  # {"linear_probe_accuracy": 0.84}
    """
    model, rows = trainer.model, trainer.splits.train
    judges = trainer.splits.test or trainer.splits.validation
    probe = kept(trainer, name, lambda: of(trainer, rows, vectors(trainer, rows)))
    logits = vectors(trainer, judges) @ probe.kernel + probe.bias
    if judges is trainer.splits.validation and not trainer.splits.test and len(probe.places):
        judges, logits = _held_out(trainer, rows, probe, judges, logits)
    found = model.task.report(model.context, judges, answers(model, logits)).metrics
    metric, score = next(iter(found.items()))
    cells = [("linear probe on the frozen backbone", metric, four_places(score))]
    shown = {f"linear_probe_{metric}": score} if math.isfinite(score) else {}
    return shown, Table("What must be beaten", ("model", "metric", "score"), cells)


def _held_out(
    trainer: Trainer, rows: Rows, probe: Probe, judges: Rows, logits: np.ndarray
) -> tuple[Rows, np.ndarray]:
    """Return the rows and logits of cross-validation where the rows that judge were trained on."""
    from tfnlp.training import examples

    if not examples.takes_all(trainer.experiment, trainer.splits):
        return judges, logits
    return rows.take(probe.places.tolist()), probe.logits
