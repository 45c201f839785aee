"""The same experiment under several seeds: how much of a score is luck.

Source: Reimers and Gurevych 2017, "Reporting score distributions makes a difference"
(https://arxiv.org/abs/1707.09861).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tfnlp.config import Experiment
from tfnlp.extensions import SEEDS, Settings, Study, Trial
from tfnlp.options import option
from tfnlp.report import Report, Table, four_places

_SPLITS = ("test", "validation")


@dataclass(frozen=True)
class Options:
    """How many seeds.

    Example::

        python -m tfnlp.study seeds --train rows.csv --seeds-count 3
    """

    count: int = option(5, "seeds, from --seed on [runs]", minimum=2)


def propose(base: Experiment, trials: Sequence[Trial], options: Options) -> Settings | None:
    """Return the next seed.

    Example::

        propose(experiment, [], Options())  # {"seed": 42}, that of the experiment
    """
    done = len(trials)
    if done >= options.count:
        return None
    return {"seed": (base.seed + done) % SEEDS}


def report(trials: Sequence[Trial], options: Options) -> Report:
    """Return mean, standard deviation and the mean's 95% interval of each metric, and all runs.

    Example::

        report(trials, Options()).tables[0].title  # "Metrics over the seeds"
    """
    import numpy as np

    from tfnlp.evaluation import intervals, runs

    ended = [trial.metrics for trial in trials if trial.metrics]
    rows = []
    for split in _SPLITS:
        for name in _names(ended, split):
            values = [m[split][name] for m in ended if _number(m, split, name) is not None]
            low, high = intervals.t_interval(values)
            deviation = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
            spread = map(four_places, (float(np.mean(values)), deviation, low, high))
            rows.append((split, name, *spread, len(values)))
    head = ("rows", "metric", "mean", "standard deviation", "95% from", "to", "runs")
    best = runs.best([trial.metrics for trial in trials])
    tables = [Table("Metrics over the seeds", head, rows), _runs(trials, best)]
    failed = [trial for trial in trials if trial.state == "failed"]
    warnings = [f"the run with seed {t.experiment.seed} failed: {t.error}" for t in failed]
    return Report({}, tables, warnings=warnings)


def _names(ended: Sequence[Any], split: str) -> list[str]:
    """Return the metrics that a split has a number of, in their order."""
    found = [name for metrics in ended for name in metrics.get(split) or ()]
    numbers = (name for name in found if any(_number(m, split, name) is not None for m in ended))
    return list(dict.fromkeys(numbers))


def _number(metrics: Any, split: str, name: str) -> float | None:
    """Return a metric of a run; None if it has none."""
    value: float | None = (metrics.get(split) or {}).get(name)
    return value


def _runs(trials: Sequence[Trial], best: int | None) -> Table:
    """Return a line for each run, with the first metric of each split."""
    rows = []
    for place, trial in enumerate(trials):
        cells = []
        for split in _SPLITS:
            held = (trial.metrics or {}).get(split) or {}
            first = next(iter(held.values()), None)
            cells.append("" if first is None else four_places(first))
        mark = "best" if place == best else ""
        rows.append((place + 1, trial.experiment.seed, trial.state, *cells, mark, trial.run or ""))
    metric = next((next(iter(t.metrics["validation"])) for t in trials if t.metrics), "metric")
    head = ("trial", "seed", "state", *(f"{metric} ({split})" for split in _SPLITS), "", "run")
    return Table("Runs", head, rows)


STUDY = Study(
    summary="the same experiment under several seeds",
    options=Options,
    propose=propose,
    report=report,
)
