"""Two sides of runs, by one metric and by the rows that they were judged on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.errors import UserError
from tfnlp.extensions import Trial

if TYPE_CHECKING:
    import numpy as np

    from tfnlp.evaluation.comparing import Difference

ENOUGH = 3  # runs a side, from which something can be said about settings
_P = 0.05


@dataclass(frozen=True)
class Judged:
    """A run that has ended, by one metric.

    Attributes:
        trial: the run.
        value: its metric.
        drawn: the metric on rows drawn again; nothing where it is not known.
        right: whether each row is right; nothing where rows are not right or wrong.
    """

    trial: Trial
    value: float
    drawn: Sequence[float]
    right: np.ndarray


@dataclass(frozen=True)
class Sides:
    """What is compared: the runs of both sides by pair, those that have not ended being None."""

    split: str
    metric: str
    base: Sequence[Judged | None]
    against: Sequence[Judged | None]

    @property
    def pairs(self) -> list[tuple[Judged, Judged]]:
        """The pairs of which both runs have ended, the base's first."""
        both = zip(self.base, self.against, strict=False)
        return [(one, two) for one, two in both if one and two]

    @property
    def ended(self) -> tuple[list[Judged], list[Judged]]:
        """The runs that have ended, of the base and against it."""
        return [one for one in self.base if one], [two for two in self.against if two]


def sides_of(trials: Sequence[Trial]) -> Sides | None:
    """Return the runs of both sides by the first metric; None if none has ended."""
    from tfnlp.evaluation import runs

    ended = [trial.metrics for trial in trials if trial.metrics]
    if not ended:
        return None
    split = "test" if all(metrics.get("test") for metrics in ended) else "validation"
    metric = runs.headline(ended[0])
    judged = [_judged(trial, split, metric) for trial in trials]
    return Sides(split, metric, judged[1::2], judged[::2])


def _judged(trial: Trial, split: str, metric: str) -> Judged | None:
    """Return a run by its metric; None if it has none."""
    import numpy as np

    value = ((trial.metrics or {}).get(split) or {}).get(metric)
    if value is None:
        return None
    kept = trial.judged or {}
    drawn = [math.nan if v is None else v for v in (kept.get("resampled") or {}).get(metric, ())]
    right = np.array([digit == "1" for digit in kept.get("right") or ""], bool)
    return Judged(trial, value, drawn, right)


def check_rows(sides: Sides) -> None:
    """Raise UserError if the runs were not judged on the same rows, by count and targets."""
    base, against = sides.ended
    kept = [(one.trial, one.trial.judged) for one in [*base, *against] if one.trial.judged]
    for trial, judged in kept[1:]:
        if any(judged[name] != kept[0][1][name] for name in ("rows", "sha256")):
            raise UserError(
                f"{kept[0][0].run} was judged on {kept[0][1]['rows']} rows and {trial.run} on "
                f"{judged['rows']}, which are not the same rows with the same targets (the sides "
                "may differ in how models are trained, not in the rows they are judged on)"
            )


def settings_differ(sides: Sides) -> Difference | None:
    """Return the difference of the settings; None where there are too few runs."""
    import numpy as np

    from tfnlp.evaluation import comparing

    both = sides.ended
    if min(map(len, both)) < ENOUGH:
        return None
    first, second = ([run.value for run in side] for side in both)
    known = {len(run.drawn) for side in both for run in side}
    draws = known.pop() if len(known) == 1 else 0
    ours, theirs = (np.array([run.drawn[:draws] for run in side], float) for side in both)
    return comparing.settings(first, second, ours, theirs)


def models_differ(
    metric: str, base: Judged, against: Judged
) -> tuple[Difference, float | None, bool]:
    """Return the difference of two models, McNemar's p if rows are right or wrong, the verdict.

    McNemar's test decides where the metric is the share of rows that are right.
    """
    from tfnlp.evaluation import comparing

    drawn = [base.drawn, against.drawn]
    if len(base.drawn) != len(against.drawn):
        drawn = [(), ()]
    found = comparing.models(base.value, against.value, *drawn)
    if not (len(base.right) and len(base.right) == len(against.right)):
        return found, None, found.seen
    p = comparing.mcnemar(*only(base, against))
    share = abs(base.right.mean() - base.value) < 1e-6
    return found, p, p <= _P if share else found.seen


def only(base: Judged, against: Judged) -> tuple[int, int]:
    """Return how many rows one model alone has right."""
    one, two = base.right, against.right
    return int((one & ~two).sum()), int((two & ~one).sum())
