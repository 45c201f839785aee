"""Weights of whole networks: of several runs, averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from pipelines.errors import UserError
from tfnlp.extensions import Subject, Trainer

if TYPE_CHECKING:
    import numpy as np

    from tfnlp.training.model import TrainedModel

Weights = dict[str, "np.ndarray"]  # by their paths


def whole(model: Any) -> Weights:
    """Return a model's weights by path, with what peft added folded in.

    Raises:
        UserError: no matrix can do what peft added.

    Example::

        whole(storage.load(run))["logits/kernel"]  # (H, C)
    """
    from tfnlp.backbones import insertions
    from tfnlp.training.model import merged

    if not insertions.can_merge(model.network):
        raise UserError(
            f"the run of {model.experiment.name} was trained with --peft "
            f"{model.experiment.peft.name}, whose layers cannot be folded into the backbone (leave "
            "it out)"
        )
    with merged(cast("TrainedModel", model)) as one:
        return weights_of(one.network)


def weights_of(network: Any) -> Weights:
    """Return the values of all weights by path.

    Example::

        weights_of(network)["logits/kernel"]  # (H, C)
    """
    return {weight.path: weight.numpy() for weight in network.weights}


def put(network: Any, values: Mapping[str, np.ndarray]) -> None:
    """Set weights by path.

    Example::

        put(network, weights_of(other))
    """
    for weight in network.weights:
        if weight.path in values:
            weight.assign(values[weight.path])


def same_beginning(trainer: Trainer, name: str, flag: str) -> Weights:
    """Return the weights of a run that began as this one did.

    Args:
        trainer: what this run trains with.
        name: the other run's folder.
        flag: that names it, for messages.

    Raises:
        UserError: there is no such run, or it began otherwise: with another head most of all.

    Example::

        same_beginning(trainer, "tensorboard_logs/may/RUN", "--averaging-soup")
    """
    subject: Subject = trainer.load(name)
    other, own = subject.experiment, trainer.experiment
    if subject.model is None or other is None:
        raise UserError(
            f"{flag} {name} is a SavedModel, and weights are averaged (give the folder "
            "of its run, tensorboard_logs/NAME/RUN)"
        )
    same = {
        "--task": (other.task, own.task),
        "--backbone": (other.backbone.name, own.backbone.name),
        "--seed": (other.seed, own.seed),
        "--start-from": (other.earlier.start_from, own.earlier.start_from),
    }
    for option, (theirs, mine) in same.items():
        if theirs != mine:
            raise UserError(
                f"{flag} {name} did not begin as this run does: {option} was {theirs}, and "
                f"is {mine} (runs of one beginning differ in how they go on, such as their "
                "--learning-rate)"
            )
    found, shapes = whole(subject.model), weights_of(trainer.model.network)
    labels = [m.context.facts.get("labels") for m in (subject.model, trainer.model)]
    if labels[0] != labels[1] or {p: v.shape for p, v in found.items()} != {
        p: v.shape for p, v in shapes.items()
    }:
        raise UserError(
            f"{flag} {name} has another network or other labels than this run (train it "
            "on the same rows with the same options for the network)"
        )
    return found


def soup(trainer: Trainer, every: Mapping[str, Weights]) -> list[str]:
    """Average weights, the best first and others as far as validation rows get no worse by each.

    Args:
        trainer: has the model, whose weights are set.
        every: name -> weights of runs with the same beginning.

    Returns:
        The names of what was averaged, the best first.

    Example::

        soup(trainer, {"a": weights, "b": others})  # ["b", "a"]

    Source: Wortsman et al. 2022, "Model soups", recipe 1 (https://arxiv.org/abs/2203.05482).
    """
    import numpy as np

    from tfnlp.evaluation.runs import less_is_better

    network = trainer.model.network

    def score(names: Sequence[str]) -> float:
        several = [every[name] for name in names]
        put(network, {path: np.mean([w[path] for w in several], 0) for path in several[0]})
        metric, value = next(iter(trainer.evaluate(trainer.splits.validation).metrics.items()))
        return -value if less_is_better(metric) else value

    alone = {name: score([name]) for name in every}
    order = sorted(every, key=lambda name: -alone[name])
    taken, best = order[:1], alone[order[0]]
    for name in order[1:]:
        reached = score([*taken, name])
        if reached >= best:
            taken, best = [*taken, name], reached
    score(taken)
    return taken
