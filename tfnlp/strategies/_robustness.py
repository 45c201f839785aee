"""How well a model stands typos and an attack, beside the same model trained without the method."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines import augmentation, splits
from pipelines.augmentation import Edit, Span
from pipelines.rows import Rows
from tfnlp import task as tasks
from tfnlp.extensions import Outcome, Source, Step, Trainer
from tfnlp.options import option
from tfnlp.report import Report, Table

if TYPE_CHECKING:
    import keras

PLAIN = "plain"  # the name of the fit without the method
ATTACK_STEPS, ATTACK_SIZE = 20, 0.1
_JUDGED = 500  # rows; an attack takes 21 passes for each
_TYPO = 0.1  # share of the letters that are mistyped
_SEED = 1


@dataclass(frozen=True)
class Options:
    """What every method that is to make a model robust has."""

    compare: bool = option(
        True,
        "also train without it, and show both models' scores as they are, under typos and under "
        "an attack (as long again)",
    )


def train(
    trainer: Trainer,
    step: Callable[[], Step],
    *,
    train: Source | None = None,
    beside: Mapping[str, Source] | None = None,
) -> Outcome:
    """Fit by a step and report how robust the model is, beside one trained without it.

    Args:
        trainer: what fits.
        step: makes the step.
        train: in place of the training split.
        beside: further sources by name.

    Example::

        train(trainer, lambda: Perturbed([True, True], 0.1, 0.1))
    """
    name = str(trainer.experiment.strategy.name)
    found: dict[str, dict[str, float]] = {}
    if trainer.options.compare:
        before = _values(trainer.model.network)
        trainer.fit(name=PLAIN)
        found["without"] = _judged(trainer) | {"seconds": trainer.paces[PLAIN]}
        for variable, value in zip(trainer.model.network.variables, before, strict=True):
            variable.assign(value)
    trainer.fit(step(), train=train, beside=beside)
    found[name] = _judged(trainer) | {"seconds": trainer.paces["fit"]}
    return Outcome(report(name, found, len(_rows(trainer))))


def _values(network: keras.Model) -> list[Any]:
    """Return the values of all variables, where random generators stand among them."""
    import numpy as np

    return [np.array(variable) for variable in network.variables]


def _rows(trainer: Trainer) -> Rows:
    """Return the rows that are judged: test rows if there are any, of many some."""
    rows = trainer.splits.test or trainer.splits.validation
    return rows.take(splits.evenly(len(rows), _JUDGED))


def _judged(trainer: Trainer) -> dict[str, float]:
    """Return the score of the model as it is now: clean, under typos, attacked."""
    from tfnlp.strategies import _perturbation

    rows = _rows(trainer)
    attack = _perturbation.attack(ATTACK_STEPS, ATTACK_SIZE)
    reports = {
        "clean": trainer.evaluate(rows),
        "typos": trainer.evaluate(mistyped(trainer, rows)),
        "attacked": trainer.evaluate(rows, attack),
    }
    return {f"{kind}_{n}": v for kind, r in reports.items() for n, v in [*r.metrics.items()][:1]}


def mistyped(trainer: Trainer, rows: Rows) -> Rows:
    """Return rows with typos in their texts, the same for every model; targets stay right.

    Example::

        mistyped(trainer, splits.test).columns["text"][0]  # "Who wrtoe Hamlet?"
    """
    options = trainer.experiment.options
    task = tasks.load(trainer.experiment.task)
    numbered = dataclasses.replace(rows, numbers=list(range(len(rows))))
    both = augmentation.augmented(
        numbered, task.input_columns(options), task.target_columns(options), [typos], 1, (_SEED, 0)
    )
    place = dict(zip(both.numbers, range(len(both)), strict=True))  # the last: what was edited
    found = both.take([place[i] for i in range(len(rows))])
    return dataclasses.replace(found, numbers=rows.numbers)


def typos(text: str, spans: Sequence[Span], generator: random.Random) -> list[Edit]:
    """Return edits that swap some letters of words with the next, outside of spans.

    Example:
        >>> typos("wrote", [], random.Random(5))
        [Edit(start=2, end=4, text='to')]
    """
    held = {place for span in spans for place in range(span.start, span.end)}
    free = [
        i
        for i in range(len(text) - 1)
        if text[i : i + 2].isalpha() and text[i] != text[i + 1] and not held & {i, i + 1}
    ]
    edits: list[Edit] = []
    for place in sorted(generator.sample(free, min(len(free), max(1, round(_TYPO * len(free)))))):
        if not edits or place >= edits[-1].end:
            edits.append(Edit(place, place + 2, text[place + 1] + text[place]))
    return edits


def report(name: str, found: Mapping[str, Mapping[str, float]], rows: int) -> Report:
    """Return what was measured of a method, and of the model without it if there is one.

    Args:
        name: the strategy's.
        found: "without" and the name -> what was measured -> its value.
        rows: how many were judged.

    Example::

        report("fgm", {"fgm": {"clean_accuracy": 0.9, "seconds": 0.5}}, 500)
    """
    own = found[name]
    first = next(iter(own)).removeprefix("clean_")
    said = {
        f"clean_{first}": f"{first} of {rows} rows",
        f"typos_{first}": f"{first} with a tenth of the letters swapped with the next",
        f"attacked_{first}": (
            f"{first} attacked ({ATTACK_STEPS} steps of gradient ascent on the embeddings, at most "
            f"{ATTACK_SIZE:.0%} of their norm)"
        ),
        "seconds": "seconds a step",
    }
    table = Table(
        "Robustness",
        ("measured", *found),
        [(said[key], *(f"{values[key]:.3f}" for values in found.values())) for key in own],
    )
    metrics = {f"{kind}_{n}": v for kind, values in found.items() for n, v in values.items()}
    return Report(metrics, [table], warnings=_warnings(name, found, first, rows))


def _warnings(
    name: str, found: Mapping[str, Mapping[str, float]], first: str, rows: int
) -> list[str]:
    """Say so where the method does not help."""
    if "without" not in found:
        return []
    from tfnlp.evaluation import runs

    sign = -1 if runs.less_is_better(first) else 1
    gains = {
        kind: sign * (found[name][f"{kind}_{first}"] - found["without"][f"{kind}_{first}"])
        for kind in ("clean", "typos", "attacked")
    }
    if any(gain > 0 for gain in gains.values()):
        return []
    return [
        f"--strategy {name} made nothing better on these {rows} rows, and a step took "
        f"{found[name]['seconds'] / found['without']['seconds']:.1f} times as long"
    ]
