"""What strategies share that go on from an earlier run: its rows, its answers, and what is lost.

Dimensions: N rows, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pipelines import selection, splits
from pipelines.errors import UserError
from pipelines.rows import Rows
from tfnlp import task as tasks
from tfnlp.config import Experiment
from tfnlp.extensions import Origin, Outcome, Trainer
from tfnlp.options import option
from tfnlp.report import Report, Table
from tfnlp.strategies import _teacher
from tfnlp.task import Task

if TYPE_CHECKING:
    import numpy as np

    from tfnlp.extensions import Subject
    from tfnlp.training.model import TrainedModel

PLAIN = "plain"  # the name of the fit without the method
_JUDGED = 1000  # rows
_NEVER = -1e9  # the logit of what is not chosen


@dataclass(frozen=True)
class Options:
    """What every strategy has that goes on from an earlier run."""

    compare: bool = option(
        True,
        "also go on without it, and show what either forgets (as long again)",
    )


def fits(task: Task, experiment: Experiment, options: Any) -> None:
    """Refuse a training that goes on from no earlier run.

    Raises:
        UserError: none is named.

    Example::

        fits(load("classification"), experiment, Options())
    """
    if experiment.earlier.start_from is None:
        raise UserError(
            f"--strategy {experiment.strategy.name} keeps what an earlier run has learned, and "
            "none is named (say --start-from RUN)"
        )


def answerable(task: Task, experiment: Experiment, options: Any) -> None:
    """Refuse what the earlier model's answers cannot be learned for.

    Raises:
        UserError: no run is named, the task writes or hides pieces, or texts would be changed.

    Example::

        answerable(load("classification"), experiment, Options())
    """
    fits(task, experiment, options)
    name = experiment.strategy.name
    if task.writing is not None or experiment.task == "masked_lm":
        raise UserError(
            f"--strategy {name} learns the earlier model's answers, which are too many for "
            f"{experiment.task} (take --strategy replay)"
        )
    if experiment.augment:
        raise UserError(
            f"--augment changes the texts that the earlier model has answered (leave it out with "
            f"--strategy {name})"
        )


def origin(trainer: Trainer) -> Origin:
    """Return the earlier run; `fits` has made sure that there is one."""
    found = trainer.origin
    if found is None:
        raise UserError("there is no earlier run to go on from here (train by the command)")
    return found


def old_rows(trainer: Trainer, files: Sequence[str]) -> Rows:
    """Return the rows of files of earlier steps, with the names that their labels have now.

    Raises:
        UserError: they cannot be read, or have labels that no step knows.

    Example::

        old_rows(trainer, ["march.csv", "april.csv"])
    """
    experiment, earlier = trainer.experiment, origin(trainer)
    data, task = experiment.data, tasks.load(experiment.task)
    targets = task.target_columns(experiment.options)
    columns = (*task.input_columns(experiment.options), *targets)
    how = (columns, data.columns, data.on_bad_row, data.label_separator, data.layout())
    parts = [splits.from_files({"train": file}, *how)["train"] for file in files]
    from tfnlp.training import continuing

    rows = [continuing.rows_renamed(part, targets, earlier.renamed) for part in parts]
    for one in rows:
        task.check(one, trainer.model.context.facts)
    return rows[0] if len(rows) == 1 else selection.joined(rows, " and ".join(files))


def answers(trainer: Trainer, rows: Rows, *, new: bool) -> np.ndarray:
    """Return what the earlier model answers, as `tfnlp.heads.agreement.towards` wants it.

    Args:
        trainer: has the earlier run.
        rows: N rows, with targets or without.
        new: whether new labels are among the choices, with no probability; otherwise the choices
            are the earlier labels.

    Returns:
        Log-probabilities of choices, or numbers or vectors, float32 (N, ...).

    Example::

        answers(trainer, trainer.splits.train, new=False).shape  # (N, C)
    """
    from tfnlp.heads import agreement

    model = cast("TrainedModel", origin(trainer).model)
    loss = model.task.objective(model.context).loss

    def say(x: Any, outputs: Any) -> Any:
        import tensorflow as tf

        found = agreement.choices(loss, x, outputs)
        return outputs if found is None else tf.nn.log_softmax(tf.cast(found[0], tf.float32))

    student = cast("TrainedModel", trainer.model)
    teacher = _teacher.Teacher(cast("Subject", origin(trainer)), student, trainer.tracked)
    found = _teacher.each(model, teacher, rows, say)
    known, now = (m.context.facts.get("labels", ()) for m in (model, student))
    more = len(now) - len(known)
    return with_new(found, len(known), more) if new and more else found


def with_new(found: np.ndarray, known: int, more: int) -> np.ndarray:
    """Return log-probabilities with further labels that are not chosen.

    Args:
        found: (N, known), or of labels each for itself (N, known, 2), yes and no; or of the tags of
            spans (N, ..., 1 + 2 known).
        known: labels.
        more: how many follow.

    Example:
        >>> import numpy as np
        >>> with_new(np.log([[0.5, 0.5]]), 2, 1).round(1).tolist()
        [[-0.7, -0.7, -1000000000.0]]
    """
    import numpy as np

    if found.ndim == 3 and found.shape[1:] == (known, 2):
        no = np.broadcast_to(np.array([_NEVER, 0.0], found.dtype), (len(found), more, 2))
        return np.concatenate([found, no], 1)
    wider = more if found.shape[-1] == known else 2 * more
    return np.pad(found, [(0, 0)] * (found.ndim - 1) + [(0, wider)], constant_values=_NEVER)


def compared(trainer: Trainer, fit: Callable[[], Any]) -> Outcome:
    """Fit, and report what was lost and learned, beside a model trained without the method.

    Args:
        trainer: what fits.
        fit: trains by the method.

    Example::

        compared(trainer, lambda: trainer.fit(step, beside=beside))
    """
    name = str(trainer.experiment.strategy.name)
    found: dict[str, dict[str, float]] = {}
    network = trainer.model.network
    if trainer.options.compare:
        before = values(network)
        trainer.fit(name=PLAIN)
        found["without"] = judged(trainer)
        for variable, value in zip(network.variables, before, strict=True):
            variable.assign(value)
    fit()
    found[name] = judged(trainer)
    return Outcome(report(name, found))


def values(network: Any) -> list[Any]:
    """Return the values of all variables, where random generators stand among them.

    Example::

        before = values(trainer.model.network)
    """
    import numpy as np

    return [np.array(variable) for variable in network.variables]


def judged(trainer: Trainer) -> dict[str, float]:
    """Return the scores of the model as it is now on earlier and on new rows.

    Example::

        judged(trainer)  # {"old_accuracy": 0.81, "new_accuracy": 0.9}
    """
    held_out = trainer.origin.held_out if trainer.origin else {}
    parts = {"new": trainer.splits.test or trainer.splits.validation}
    if held_out:
        parts = {"old": selection.joined(list(held_out.values()), "earlier rows"), **parts}
    found = {}
    for part, rows in parts.items():
        some = rows.take(splits.evenly(len(rows), _JUDGED))
        name, value = next(iter(trainer.evaluate(some).metrics.items()))
        found[f"{part}_{name}"] = value
    return found


def report(name: str, found: Mapping[str, Mapping[str, float]]) -> Report:
    """Return what was lost and learned with a method, and without it if that is known.

    Args:
        name: the strategy's.
        found: "without" and the name -> as `judged` returned it.

    Example:
        >>> found = {"without": {"old_f1": 0.4}, "ewc": {"old_f1": 0.6}}
        >>> report("ewc", found).metrics
        {'without_old_f1': 0.4, 'ewc_old_f1': 0.6}
    """
    own = found[name]
    said = {"old": "of earlier rows", "new": "of new rows"}
    rows = []
    for key in own:
        part, _, metric = key.partition("_")
        cells = (f"{one[key]:.4f}" for one in found.values())
        rows.append((f"{metric} {said[part]}", *cells))
    table = Table("What was kept", ("measured", *found), rows)
    metrics = {f"{kind}_{n}": v for kind, values in found.items() for n, v in values.items()}
    return Report(metrics, [table], warnings=_warnings(name, found))


def _warnings(name: str, found: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Say so where the method keeps nothing."""
    from tfnlp.evaluation.forgetting import loss

    old = next((key for key in found[name] if key.startswith("old_")), None)
    if "without" not in found or old is None:
        return []
    if loss(old.removeprefix("old_"), found[name][old], found["without"][old]) > 0:
        return []
    return [f"--strategy {name} kept no more of the earlier rows than training without it"]
