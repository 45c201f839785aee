"""The options by which runs are compared, named as their flags are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, TypeAlias

from tfnlp.config import Experiment
from tfnlp.extensions import SUPERVISED
from tfnlp.options import flag_of

Option: TypeAlias = bool | int | float | str

# Sections whose options decide a run's result, and options in them that do not.
_SECTIONS = ("backbone", "optimizer", "training", "earlier")
_LEFT_OUT = ("checkpoint_minutes", "give_up")


def options(experiment: Experiment) -> dict[str, Option]:
    """Name what decides a run by the flags' words with ``_``; without what is not set.

    Example::

        options(experiment)["learning_rate"]  # 0.0001
    """
    data, strategy = experiment.data, experiment.strategy
    found: dict[str, Any] = {
        "task": experiment.task,
        "seed": experiment.seed,
        "data": data.dataset or data.train or data.labels,
        "limit": data.limit,
        "strategy": strategy.name if strategy.name != SUPERVISED else None,
        "peft": experiment.peft.name if experiment.peft else None,
        "augment": ", ".join(one.name for one in experiment.augment) or None,
        "augment_times": data.augment_times if experiment.augment else None,
    }
    sections = [experiment.options, *(getattr(experiment, name) for name in _SECTIONS)]
    for section in sections:
        found.update(_named(section))
    for entry in filter(None, (strategy, experiment.peft, *experiment.augment)):
        found.update(_named(entry.options, entry.name.rpartition(".")[2].replace("_", "-") + "-"))
    return {
        name: value if isinstance(value, Option) else str(value)
        for name, value in found.items()
        if value is not None and value != {} and name not in _LEFT_OUT
    }


def _named(section: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a section's options by their flags' words."""
    for field in dataclasses.fields(section):
        if "help" in field.metadata:
            value = getattr(section, field.name)
            yield flag_of(field, prefix)[2:].replace("-", "_"), value
