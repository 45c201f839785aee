"""Optuna, told of the settings that a search has tried."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pipelines.errors import UserError
from tfnlp.studies._search.objectives import Objective
from tfnlp.studies._search.space import Dimension, params
from tfnlp.studies._search.tried import Tried


def told(
    settings: Sequence[Tried],
    dimensions: Sequence[Dimension],
    goals: Sequence[Objective],
    sampler: Any = None,
) -> Any:
    """Return a study of Optuna's that knows the settings as its trials."""
    library = optuna()
    states = library.trial.TrialState
    directions = ["minimize" if goal.less else "maximize" for goal in goals]
    study = library.create_study(directions=directions, sampler=sampler, storage=None)
    held = {each.name: each for each in dimensions}
    for one in settings:
        own = params(one.settings, dimensions)
        values = [value for goal in goals if (value := one.mean(goal.of)) is not None]
        known = len(values) == len(goals)
        ended = states.COMPLETE if known else states.FAIL
        study.add_trial(
            library.trial.create_trial(
                params=dict(own),
                distributions={name: held[name].distribution() for name in own},
                values=values if known else None,
                state=states.RUNNING if one.state == "running" else ended,
            )
        )
    return study


def optuna() -> Any:
    """Return Optuna, which comes with an extra.

    Raises:
        UserError: it is not installed.
    """
    try:
        import optuna as library
    except ImportError as error:
        raise UserError("search needs optuna (pip install -e '.[search]')") from error
    return library


@contextmanager
def silent() -> Iterator[None]:
    """Hold back what Optuna logs and warns of, none of which a user can act on."""
    logger = logging.getLogger("optuna")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
