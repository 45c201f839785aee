"""What augmentation gained: the same model trained without it, for as many steps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tfnlp.extensions import Outcome, Source, Trainer
from tfnlp.report import Report, Table

if TYPE_CHECKING:
    from pipelines.rows import Rows

PLAIN = "plain"  # the name of the fit without augmentation
_DIGITS = ".4f"


def train(trainer: Trainer) -> Outcome:
    """Fit without augmentation, put the weights back, fit with it, and report the difference.

    Both fits have as many steps an epoch: without, the rows come again in place of those made of
    them. Each stops early by itself.

    Args:
        trainer: what fits; it has rows that differ by epoch.

    Example::

        train(trainer).report.metrics["gain"]
    """
    import numpy as np

    own, rows = trainer.splits.train, trainer.rows
    network = trainer.model.network
    before = [np.array(variable) for variable in network.variables]

    def again(epoch: int) -> Rows:
        count = len(rows(epoch)) if rows else len(own)
        return own.take([i % len(own) for i in range(count)])

    trainer.fit(train=Source(again), name=PLAIN)
    judged = trainer.splits.test or trainer.splits.validation
    without = trainer.evaluate(judged, sure=True)
    for variable, value in zip(network.variables, before, strict=True):
        variable.assign(value)
    trainer.fit()
    return Outcome(report(without, trainer.evaluate(judged, sure=True), judged))


def report(without: Report, augmented: Report, rows: Any) -> Report:
    """Return what was gained in the first metric, with its interval over the rows.

    Args:
        without: the report on the model without augmentation.
        augmented: the report on the model with it.
        rows: that both were judged on.

    Example::

        report(without, augmented, splits.test).metrics["gain"]
    """
    from tfnlp.evaluation import comparing, runs

    name = next(iter(augmented.metrics))
    values = (without.metrics[name], augmented.metrics[name])
    drawn = [one.resampled.get(name, ()) for one in (without, augmented)]
    found = comparing.models(*values, *drawn)
    sure = math.isfinite(found.low)
    interval = f"{found.low:+{_DIGITS}} to {found.high:+{_DIGITS}}" if sure else "not known"
    row = (name, *(f"{v:{_DIGITS}}" for v in values), f"{found.value:+{_DIGITS}}", interval)
    title = f"What augmentation gained on {len(rows)} rows of {rows.source}, at equal steps"
    table = Table(title, ("metric", "without", "with", "difference", "95% interval"), [row])
    better = -found.value if runs.less_is_better(name) else found.value
    warnings = []
    if better <= 0 or not (sure and found.seen):
        made = "did not help" if better <= 0 else "may have helped by accident"
        warnings = [
            f"augmentation {made}: {name} {values[1]:{_DIGITS}} with it and {values[0]:{_DIGITS}} "
            f"without, in as many steps, the difference's 95% interval {interval} (one seed each; "
            "python -m tfnlp.study compare trains several)"
        ]
    metrics = {f"without_{name}": values[0], f"augmented_{name}": values[1], "gain": found.value}
    if sure:
        metrics |= {"gain_low": found.low, "gain_high": found.high}
    return Report(metrics, [table], warnings=warnings)
