"""A training strategy as a record: what is done after supervised training; one file each.

``--strategy supervised`` does nothing more. Another one is a file in ``tfnlp/strategies/`` whose
``STRATEGY`` is such a record; as task files do, it keeps TensorFlow and Keras inside its functions,
because ``--help`` imports it for its options.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import discover
from pipelines.errors import UserError
from pipelines.rows import Rows

if TYPE_CHECKING:
    import keras

    from tfnlp.config import Experiment
    from tfnlp.report import Report
    from tfnlp.task import Context, Tensors

SUPERVISED = "supervised"


@dataclass(frozen=True)
class Stage:
    """What a strategy is given when supervised training has ended.

    Attributes:
        experiment: what decides the run.
        options: an instance of the strategy's options.
        context: the task's.
        network: trained, with the weights of its best epoch; the strategy changes them in place.
        raw: the training rows as tensors of examples.
        train: the training rows.
        validation: rows by which the strategy may choose.
        test: rows that it is judged on; None if there are none.
        folder: where its checkpoints are kept while the run lasts.
        resume: go on from the newest whole checkpoint there, if there is one.
        log: (step, scalars by name) -> writes them for TensorBoard, steps counted from 1.
    """

    experiment: Experiment
    options: Any
    context: Context
    network: keras.Model
    raw: Tensors
    train: Rows
    validation: Rows
    test: Rows | None
    folder: Path
    resume: bool
    log: Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True)
class Outcome:
    """What a strategy did.

    Attributes:
        report: metrics, tables, figures and sentences that are added to the final report.
        facts: JSON values added to the context's, such as whose weights were kept.
    """

    report: Report
    facts: dict[str, Any]


@dataclass(frozen=True)
class Strategy:
    """A training strategy.

    Attributes:
        summary: one line, shown by ``--help``.
        options: dataclass; each field is a flag.
        check: (experiment, the strategy's options) -> None; raises UserError in one sentence for
            what the strategy is not for. It is called before anything is read.
        after: Stage -> Outcome; called once supervised training has ended, and again if the run
            is resumed after that.
        defaults: section -> option -> the default, where it is another with this strategy; over
            those of the task.
    """

    summary: str
    options: type
    check: Callable[[Experiment, Any], None]
    after: Callable[[Stage], Outcome]
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def load(name: str) -> Strategy | None:
    """Find a strategy by its name, or an outsider's by its module; None is supervised alone.

    Raises:
        UserError: there is no such strategy, or the module defines none.
    """
    if name == SUPERVISED:
        return None
    module = discover.load("tfnlp.strategies", name, "strategy")
    strategy = getattr(module, "STRATEGY", None)
    if not isinstance(strategy, Strategy):
        raise UserError(
            f"the module {module.__name__} defines no STRATEGY (a tfnlp.extensions.Strategy)"
        )
    return strategy
