"""Averaging: the backbone as it was and as it is after training, or those of several runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from tfnlp.extensions import Outcome, Strategy, Subject, Trainer
from tfnlp.options import option
from tfnlp.report import Report, Table
from tfnlp.strategies import _earlier

if TYPE_CHECKING:
    import numpy as np

Weights = dict[str, "np.ndarray"]  # by their paths


@dataclass(frozen=True)
class Options:
    """Of what the average is.

    Example::

        python -m tfnlp.train --train may.csv --start-from RUN --strategy averaging
    """

    share: float = option(
        0.5,
        "share of the trained backbone in the average; the rest is as training began",
        minimum=0.0,
        maximum=1.0,
    )
    soup: tuple[str, ...] = option(
        (),
        "a run with the same beginning as this one, to be averaged with it where that makes the "
        "validation rows no worse, before all else; may be repeated",
        metavar="RUN",
    )


def train(trainer: Trainer) -> Outcome:
    """Fit, average, and report the scores of what was averaged.

    Example::

        train(trainer).report.tables[0].rows

    Source: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", section 3
        (https://arxiv.org/abs/2109.01903), of the backbone alone, for a head begins at random;
        Wortsman et al. 2022, "Model soups", recipe 1 (https://arxiv.org/abs/2203.05482).
    """
    network, found = trainer.model.network, {}
    before = weights_of(network)
    others = {name: same_beginning(trainer, name) for name in trainer.options.soup}
    trainer.fit()
    found["trained"] = _earlier.judged(trainer)
    if others:
        taken = soup(trainer, others)
        found[f"soup of {len(taken)} of {1 + len(others)} runs"] = _earlier.judged(trainer)
    put(network, average(trainer, before, weights_of(network), trainer.options.share))
    found["averaged"] = _earlier.judged(trainer)
    names = list(found["averaged"])
    rows = [(who, *(f"{values[name]:.4f}" for name in names)) for who, values in found.items()]
    header = ("weights", *(name.replace("_", " of ", 1) for name in names))
    metrics = {f"{who}_{n}": found[who][n] for who in ("trained", "averaged") for n in names}
    return Outcome(Report(metrics, [Table("Averaging", header, rows)]))


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


def average(trainer: Trainer, before: Weights, after: Weights, share: float) -> Weights:
    """Return the backbone's average of two sets of weights; the head is the second's.

    Args:
        trainer: says which weights are the backbone's.
        before: as training began.
        after: as it ended.
        share: of the second.

    Example::

        average(trainer, before, after, 0.5)["logits/kernel"] is after["logits/kernel"]  # True
    """
    layers = [layer for block in trainer.model.blocks for layer in block]
    backbone = {weight.path for layer in layers for weight in layer.weights}
    return {
        path: (1 - share) * before[path] + share * value if path in backbone else value
        for path, value in after.items()
    }


def same_beginning(trainer: Trainer, name: str) -> Weights:
    """Return the weights of a run that began as this one did.

    Raises:
        UserError: there is no such run, or it began otherwise: with another head most of all.

    Example::

        same_beginning(trainer, "tensorboard_logs/may/RUN")
    """
    subject: Subject = trainer.load(name)
    other, own = subject.experiment, trainer.experiment
    if subject.model is None or other is None:
        raise UserError(
            f"--averaging-soup {name} is a SavedModel, and weights are averaged (give the folder "
            "of its run, tensorboard_logs/NAME/RUN)"
        )
    same = {
        "--task": (other.task, own.task),
        "--backbone": (other.backbone.name, own.backbone.name),
        "--seed": (other.seed, own.seed),
        "--start-from": (other.earlier.start_from, own.earlier.start_from),
    }
    for flag, (theirs, mine) in same.items():
        if theirs != mine:
            raise UserError(
                f"--averaging-soup {name} did not begin as this run does: {flag} was {theirs}, and "
                f"is {mine} (runs of one beginning differ in how they go on, such as their "
                "--learning-rate)"
            )
    found, shapes = weights_of(subject.model.network), weights_of(trainer.model.network)
    labels = [m.context.facts.get("labels") for m in (subject.model, trainer.model)]
    if labels[0] != labels[1] or {p: v.shape for p, v in found.items()} != {
        p: v.shape for p, v in shapes.items()
    }:
        raise UserError(
            f"--averaging-soup {name} has another network or other labels than this run (train it "
            "on the same rows with the same options for the network)"
        )
    return found


def soup(trainer: Trainer, others: Mapping[str, Weights]) -> list[str]:
    """Average the trained model with others, as far as validation rows get no worse by each.

    Args:
        trainer: has the model, whose weights are set.
        others: name -> weights of runs with the same beginning.

    Returns:
        The names of what was averaged, the best first; the present run is ``this run``.

    Example::

        soup(trainer, {"RUN": same_beginning(trainer, "RUN")})
    """
    import numpy as np

    from tfnlp.evaluation.runs import less_is_better

    network = trainer.model.network
    every = {"this run": weights_of(network), **others}

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


STRATEGY = Strategy(
    summary="average the backbone before and after training (WiSE-FT), or of runs (greedy soup)",
    options=Options,
    train=train,
)
