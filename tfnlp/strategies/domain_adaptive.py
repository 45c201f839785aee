"""Domain-adaptive pretraining: masked pieces of the domain's texts first, then the task."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from pipelines import splits
from pipelines.errors import UserError
from pipelines.rows import Rows
from tfnlp import task as tasks
from tfnlp.config import Experiment
from tfnlp.extensions import Outcome, Strategy, Trainer
from tfnlp.options import option
from tfnlp.report import Report, Table
from tfnlp.strategies import _earlier, _unlabelled
from tfnlp.task import Task

PLAIN, DOMAIN = "plain", "domain"  # the names of the fits without it, and of the first stage
_HELD = 20  # one text of so many is for validation
_METHOD = "domain_adaptive"


@dataclass(frozen=True)
class Options:
    """Which texts are of the domain, and how long they are read.

    Example::

        python -m tfnlp.train --train shoes.csv --strategy domain_adaptive --target shoes.txt
    """

    target: str | None = option(
        None,
        "a file of texts of the domain, with the columns of the training file but for its targets",
        flag="--target",
        metavar="FILE",
    )
    epochs: int = option(3, "passes over the texts of the domain, at most [epochs]", minimum=1)
    rate: float = option(
        1e-4, "highest learning rate while they are read", minimum=1e-8, maximum=1.0
    )
    mask_rate: float = option(
        0.15, "share of their pieces that is hidden", minimum=0.01, maximum=0.9
    )
    compare: bool = option(True, "also train without it, and show both (as long again)")


def fits(task: Task, experiment: Experiment, options: Options) -> None:
    """Refuse a training without texts of the domain, and tasks that are not on an encoder.

    Raises:
        UserError: no file is named, or the task writes or is masked_lm itself.

    Example::

        fits(load("classification"), experiment, Options(target="shoes.txt"))
    """
    if options.target is None:
        raise UserError("--strategy domain_adaptive needs --target (a file of texts of the domain)")
    if task.writing is not None or experiment.task == "masked_lm":
        raise UserError(
            f"--strategy domain_adaptive prepares an encoder for another task, not for "
            f"{experiment.task} (take a task that labels or compares texts)"
        )


def train(trainer: Trainer) -> Outcome:
    """Fit the masked language model, then the task, on one backbone; compare with the task alone.

    Example::

        train(trainer).report.metrics["domain_adaptive_test_accuracy"]

    Source: Gururangan et al. 2020, "Don't stop pretraining", section 3
        (https://arxiv.org/abs/2004.10964).
    """
    own, network, found = trainer.options, trainer.model.network, {}
    rows = _unlabelled.read(trainer, own.target)
    assert rows is not None  # `fits` refuses none
    reader = trainer.beside(_experiment(trainer), _texts(rows))
    if own.compare:
        before = _earlier.values(network)
        trainer.fit(name=PLAIN)
        found["task alone"] = _judged(trainer)
        for variable, value in zip(network.variables, before, strict=True):
            variable.assign(value)
    settings = {
        "training": {"epochs": own.epochs, "patience": own.epochs},
        "optimizer": {"learning_rate": own.rate},
    }
    history = reader.fit(name=DOMAIN, settings=settings)
    trainer.fit()
    found[_METHOD] = _judged(trainer)
    perplexity = [epoch["val_perplexity"] for epoch in history]
    return Outcome(report(found, perplexity))


def _experiment(trainer: Trainer) -> Experiment:
    """Return the experiment of the first stage."""
    made, own = trainer.experiment, trainer.options
    task = tasks.load("masked_lm")
    options = task.options(max_length=min(128, made.options.max_length), mask_rate=own.mask_rate)
    return dataclasses.replace(made, task="masked_lm", options=options, augment=())


def _texts(rows: Rows) -> splits.Splits:
    """Return the texts of all columns, some of them for validation."""
    texts = [text for column in rows.columns.values() for text in column if text.strip()]
    if len(texts) < 2:
        raise UserError(f"{rows.source} has {len(texts)} texts; the domain needs more than one")
    whole = Rows(rows.source, {"text": texts}, list(range(1, len(texts) + 1)))
    held = splits.evenly(len(texts), max(1, len(texts) // _HELD))
    kept = sorted(set(range(len(texts))) - set(held))
    return splits.Splits(whole.take(kept), whole.take(held), None)


def _judged(trainer: Trainer) -> dict[str, float]:
    """Return the first metric of validation and test rows."""
    parts = {"validation": trainer.splits.validation, "test": trainer.splits.test}
    found = {}
    for part, rows in parts.items():
        if rows:
            name, value = next(iter(trainer.evaluate(rows).metrics.items()))
            found[f"{part}_{name}"] = value
    return found


def report(found: dict[str, dict[str, float]], perplexity: list[float]) -> Report:
    """Return the task's scores with the method and without it, and what the first stage came to.

    Args:
        found: "task alone" and the method -> by split and metric the value.
        perplexity: of hidden pieces of held-out texts, after each epoch of the first stage.

    Example::

        report({"domain_adaptive": {"test_accuracy": 0.9}}, [30.0, 20.0]).metrics
    """
    rows = [
        (key.replace("_", " of ", 1), *(f"{one[key]:.4f}" for one in found.values()))
        for key in found[_METHOD]
    ]
    table = Table("With texts of the domain", ("measured", *found), rows)
    read = Table(
        "Hidden pieces of the domain's texts",
        ("epoch", "perplexity"),
        [(str(epoch), f"{value:.2f}") for epoch, value in enumerate(perplexity, 1)],
    )
    metrics = {
        f"{who.replace(' ', '_')}_{key}": value
        for who, one in found.items()
        for key, value in one.items()
    }
    metrics["domain_perplexity"] = min(perplexity)
    return Report(metrics, [table, read])


STRATEGY = Strategy(
    summary="read texts of the domain as a masked language model first, then train the task",
    options=Options,
    train=train,
    fits=fits,
)
