"""Earlier runs that become one: their labels joined by name, their answers, their weights.

Dimensions: N rows, C labels of the fused model, H hidden.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pipelines.errors import UserError
from pipelines.rows import Rows
from tfnlp import task as tasks
from tfnlp.extensions import Subject, Trainer
from tfnlp.strategies import _teacher, _weights
from tfnlp.strategies._weights import Weights

if TYPE_CHECKING:
    import numpy as np

    from tfnlp.training.model import TrainedModel

FLAG = "--fusion-runs"


@dataclass(frozen=True)
class Parent:
    """An earlier run.

    Attributes:
        name: as it was named.
        subject: what was loaded.
    """

    name: str
    subject: Subject

    @property
    def model(self) -> TrainedModel:
        """Its model."""
        return cast("TrainedModel", self.subject.model)

    @property
    def labels(self) -> list[str]:
        """The labels that it knows."""
        return list(self.model.context.facts.get("labels", ()))

    @property
    def short(self) -> str:
        """What it is called in a table."""
        return self.model.experiment.name


def parents(trainer: Trainer, names: Sequence[str]) -> list[Parent]:
    """Load earlier runs, and check that they do what this run is to do.

    Raises:
        UserError: one is no run, of another task, or reads other columns.

    Example::

        parents(trainer, ["tensorboard_logs/films/RUN", "tensorboard_logs/shoes/RUN"])
    """
    own = trainer.experiment
    wanted = [column.name for column in trainer.model.task.input_columns(own.options)]
    found = []
    for name in names:
        subject = trainer.load(name)
        if subject.model is None or subject.experiment is None:
            raise UserError(
                f"{FLAG} {name} is a SavedModel (give the folder of its run, "
                "tensorboard_logs/NAME/RUN)"
            )
        if subject.experiment.task != own.task:
            raise UserError(
                f"{FLAG} {name} is a run of --task {subject.experiment.task}, and this run is of "
                f"{own.task} (fuse runs of one task)"
            )
        theirs = [column.name for column in subject.inputs]
        if theirs != sorted(wanted):
            raise UserError(
                f"{FLAG} {name} reads {' and '.join(theirs)}, and this run {' and '.join(wanted)} "
                "(fuse runs that read the same)"
            )
        found.append(Parent(name, subject))
    return found


def joined_facts(trainer: Trainer, every: Sequence[Parent]) -> dict[str, Any] | None:
    """Return this run's facts with the labels that earlier runs know besides; None of none.

    Example::

        joined_facts(trainer, every)["labels"]  # ["bad", "good", "mixed"]
    """
    context = trainer.model.context
    known = context.facts.get("labels")
    if known is None:
        return None
    more = sorted({label for one in every for label in one.labels} - set(known))
    task = tasks.load(trainer.experiment.task)
    if not more or task.grow is None:
        return None
    forms: dict[str, Callable[[str], Any]] = {
        "label": lambda n: n,
        "labels": lambda n: [n],
        "spans": lambda n: [(0, 1, n)],
    }
    targets = task.target_columns(context.options)
    columns = {c.name: [forms[c.kind](n) for n in more] for c in targets if c.kind in forms}
    rows = Rows("the earlier runs", columns, list(range(1, len(more) + 1)))
    facts = task.grow(dict(context.facts), rows, context.options)
    return {**facts, "grown": context.facts.get("grown", [])}


# ---------------------------------------------------------------- answers


def answers(trainer: Trainer, every: Sequence[Parent], rows: Rows) -> np.ndarray:
    """Return what earlier runs answer to rows together, as `agreement.towards` wants it.

    A label's probability is the mean over the runs that know it; what a row has of all labels is
    made to add up to 1 then.

    Args:
        trainer: of the fused model.
        every: the runs.
        rows: N rows.

    Returns:
        Log-probabilities of choices, float32 (N, ..., C); numbers or vectors as of
        `_teacher.outputs`.

    Example::

        answers(trainer, every, rows).shape  # (N, C)
    """
    import numpy as np

    student = cast("TrainedModel", trainer.model)
    teachers = [_teacher.Teacher(one.subject, student, trainer.tracked) for one in every]
    known = student.context.facts.get("labels")
    if known is None or all(set(one.labels) == set(known) for one in every):
        return _teacher.outputs(teachers, rows)
    found = []
    for teacher, parent in zip(teachers, every, strict=True):
        own = _log_probabilities(parent.model, teacher, rows)
        axis = 1 if own.ndim == 3 and own.shape[1:] == (len(parent.labels), 2) else own.ndim - 1
        found.append(spread(own, axis, parent.labels, known))
    shape = np.max([one.shape for one in found], 0)
    wide = [_padded(one, shape) for one in found]
    with np.errstate(all="ignore"):
        counts = np.sum([~np.isnan(one) for one in wide], 0)
        mean = np.nansum([np.exp(one) for one in wide], 0) / np.maximum(counts, 1)
    if mean.ndim == 3 and mean.shape[1:] == (len(known), 2):  # yes and no of each label
        mean = np.where(counts > 0, mean, 0.5)
    whole = mean.sum(-1, keepdims=True)
    return np.asarray(np.log(np.maximum(mean / np.maximum(whole, 1e-30), 1e-30)), np.float32)


def _log_probabilities(model: Any, teacher: _teacher.Teacher, rows: Rows) -> np.ndarray:
    """Return a run's log-probabilities of its own labels."""
    from tfnlp.heads import agreement

    loss = model.task.objective(model.context).loss

    def say(x: Any, outputs: Any) -> Any:
        import tensorflow as tf

        found = agreement.choices(loss, x, outputs)
        assert found is not None  # a task with labels
        return tf.nn.log_softmax(tf.cast(found[0], tf.float32))

    return _teacher.each(model, teacher, rows, say)


def _padded(values: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    import numpy as np

    wider = [(0, size - there) for size, there in zip(shape, values.shape, strict=True)]
    return np.pad(values, wider, constant_values=np.nan)


def spread(values: np.ndarray, axis: int, labels: Sequence[str], known: Sequence[str]) -> Any:
    """Return an array whose axis of labels has the places of others, NaN where one is not known.

    Args:
        values: of labels, or of the tags of spans: outside, and two for each label.
        axis: of the labels.
        labels: theirs.
        known: where they are to be, in this order.

    Example:
        >>> import numpy as np
        >>> spread(np.array([0.1, 0.9]), 0, ["b", "a"], ["a", "c", "b"]).tolist()
        [0.9, nan, 0.1]
    """
    import numpy as np

    places = [known.index(label) for label in labels]
    size = len(known)
    if values.shape[axis] == 1 + 2 * len(labels):
        places = [0, *(1 + 2 * place + part for place in places for part in (0, 1))]
        size = 1 + 2 * size
    shape = [*values.shape[:axis], size, *values.shape[axis + 1 :]]
    wide = np.full(shape, np.nan, values.dtype)
    wide[(slice(None),) * axis + (places,)] = values
    return wide


# ---------------------------------------------------------------- weights


def check_beginning(trainer: Trainer, every: Sequence[Parent]) -> None:
    """Refuse runs whose backbones did not begin with the same weights as this one's.

    Raises:
        UserError: one began with others, and why.

    Example::

        check_beginning(trainer, parents(trainer, names))
    """
    from tfnlp.backbones import loading

    own = trainer.experiment
    mine = loading.digest(own.backbone.name) or own.backbone.name.replace("_", "-")
    for one in every:
        theirs = one.model.experiment
        said = loading.digest(theirs.backbone.name) or theirs.backbone.name.replace("_", "-")
        why = ""
        if said != mine:
            why = f"on the backbone {theirs.backbone.name}, not {own.backbone.name}"
        elif theirs.backbone.layers != own.backbone.layers:
            why = f"with --layers {theirs.backbone.layers}, not {own.backbone.layers}"
        elif theirs.earlier.start_from != own.earlier.start_from:
            why = f"from the run {theirs.earlier.start_from}, not {own.earlier.start_from}"
        if why:
            raise UserError(
                f"{FLAG} {one.name} began {why}: what runs learned can be added up only where all "
                "began with the same weights (take --fusion-by answers)"
            )


def backbone_paths(trainer: Trainer) -> set[str]:
    """Return the paths of the backbone's weights."""
    layers = [layer for block in trainer.model.blocks for layer in block]
    return {weight.path for layer in layers for weight in layer.weights}


def joined_heads(trainer: Trainer, every: Sequence[Parent], trained: Sequence[Weights]) -> Weights:
    """Return the weights of a head whose labels are those of all runs, each the mean of theirs.

    Args:
        trainer: of the fused model, whose weights stand for what no run knows.
        every: the runs.
        trained: their weights.

    Raises:
        UserError: a run has another head.

    Example::

        joined_heads(trainer, every, trained)["logits/kernel"].shape  # (H, C)
    """
    import numpy as np

    backbone, own = backbone_paths(trainer), _weights.weights_of(trainer.model.network)
    known = trainer.model.context.facts.get("labels", [])
    found = {}
    for path in own.keys() - backbone:
        wide = []
        for one, weights in zip(every, trained, strict=True):
            value = weights.get(path)
            if value is not None and one.labels:
                for axis in _axes(value, len(one.labels)):
                    value = spread(value, axis, one.labels, known)
            if value is None or value.shape != own[path].shape:
                raise UserError(
                    f"{FLAG} {one.name} has another head than this run (train it with the same "
                    "options for the network, or take --fusion-by answers)"
                )
            wide.append(value)
        if not np.issubdtype(own[path].dtype, np.floating):
            continue  # the state of a random generator
        stack = np.stack(wide)
        counts = np.sum(~np.isnan(stack), 0)
        mean = np.nansum(stack, 0) / np.maximum(counts, 1)
        found[path] = np.where(counts > 0, mean, own[path]).astype(own[path].dtype)
    return found


def _axes(value: np.ndarray, count: int) -> list[int]:
    """Return the axes of a head's weight that have a place for each label, or two for its tags."""
    sizes = (count, 1 + 2 * count)
    if value.ndim == 2 and value.shape[0] == value.shape[1] and value.shape[0] in sizes:
        return [0, 1]  # transitions between tags
    return [value.ndim - 1] if value.ndim and value.shape[-1] in sizes else []


def added(before: Weights, trained: Sequence[Weights], paths: set[str], share: float) -> Weights:
    """Return weights with what several runs learned added up.

    Args:
        before: as all began.
        trained: of each run.
        paths: of the weights.
        share: what the sum is multiplied by.

    Example:
        >>> import numpy as np
        >>> runs = [{"w": np.array([2.0])}, {"w": np.array([3.0])}]
        >>> added({"w": np.array([1.0])}, runs, {"w"}, 0.5)["w"].tolist()
        [2.5]

    Source: Ilharco et al. 2023, "Editing models with task arithmetic", section 2
        (https://arxiv.org/abs/2212.04089).
    """
    return {
        path: before[path] + share * sum(one[path] - before[path] for one in trained)
        for path in paths
    }


# ---------------------------------------------------------------- domains


def domains(every: Sequence[Parent]) -> Iterator[tuple[Parent, Rows | str]]:
    """Yield each run with the rows that it was judged on, or why they cannot be read any more."""
    from tfnlp.training import examples

    for one in every:
        try:
            experiment = one.model.experiment
            splits = examples.read_splits(experiment, tasks.load(experiment.task))
        except UserError as error:
            yield one, str(error)
            continue
        yield one, splits.test or splits.validation


def score(trainer: Trainer, model: Any, rows: Rows) -> tuple[str, float]:
    """Return the first metric of a model on rows, among the labels of the fused model.

    A row whose label the model does not know is wrong.

    Args:
        trainer: of the fused model.
        model: that one, or an earlier run's.
        rows: with labels that the fused model knows.

    Example::

        score(trainer, every[0].model, rows)  # ("accuracy", 0.71)
    """
    from tfnlp.training import answering

    context, task = trainer.model.context, trainer.model.task
    inputs = [column.name for column in task.input_columns(context.options)]
    asked = dataclasses.replace(rows, columns={name: rows.columns[name] for name in inputs})
    labels, known = (one.facts.get("labels", []) for one in (model.context, context))
    found = answering.answer(model, asked, asked=True)
    if labels != known:
        for name in {"scores", "given"} & found.keys():
            found[name] = _known_alone(found[name], labels, known)
    return next(iter(task.report(context, rows, found).metrics.items()))


def _known_alone(values: Any, labels: Sequence[str], known: Sequence[str]) -> Any:
    """Return values by the fused model's labels, 0 for those that are not known."""
    import numpy as np

    wide = np.zeros((len(values), len(known)), values.dtype)
    wide[:, [known.index(label) for label in labels]] = values
    return wide
