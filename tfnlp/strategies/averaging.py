"""Averaging: the backbone as it was and as it is after training, or those of several runs."""

from __future__ import annotations

from dataclasses import dataclass

from tfnlp.extensions import Outcome, Strategy, Trainer
from tfnlp.options import option
from tfnlp.report import Report, Table
from tfnlp.strategies import _earlier, _weights
from tfnlp.strategies._weights import Weights


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
    before = _weights.weights_of(network)
    others = {
        name: _weights.same_beginning(trainer, name, "--averaging-soup")
        for name in trainer.options.soup
    }
    trainer.fit()
    found["trained"] = _earlier.judged(trainer)
    if others:
        every = {"this run": _weights.weights_of(network), **others}
        taken = _weights.soup(trainer, every)
        found[f"soup of {len(taken)} of {1 + len(others)} runs"] = _earlier.judged(trainer)
    after = _weights.weights_of(network)
    _weights.put(network, average(trainer, before, after, trainer.options.share))
    found["averaged"] = _earlier.judged(trainer)
    names = list(found["averaged"])
    rows = [(who, *(f"{values[name]:.4f}" for name in names)) for who, values in found.items()]
    header = ("weights", *(name.replace("_", " of ", 1) for name in names))
    metrics = {f"{who}_{n}": found[who][n] for who in ("trained", "averaged") for n in names}
    return Outcome(Report(metrics, [Table("Averaging", header, rows)]))


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


STRATEGY = Strategy(
    summary="average the backbone before and after training (WiSE-FT), or of runs (greedy soup)",
    options=Options,
    train=train,
)
