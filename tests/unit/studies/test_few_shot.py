"""study few_shot: the same draws for every method, and what its tables say."""

from __future__ import annotations

import pytest

from pipelines.errors import UserError
from tfnlp.studies import few_shot


def scored(experiment):
    """Return a score by which setfit is best on few rows, and plain training on many."""
    rows = experiment.data.rows_per_label or 100
    better = {"setfit": 0.1 if rows < 16 else -0.1, "zero_shot": -0.2}
    return 0.6 + rows / 1000 + better.get(experiment.strategy.name, 0.0)


def test_every_method_has_the_same_draws(simulate):
    trials, report = simulate(
        "few_shot",
        scored,
        methods=("zero_shot", "linear_probe", "setfit"),
        sizes=(0, 2, 32),
        draws=2,
    )
    draws = {}
    for trial in trials:
        name, size = few_shot.place(trial)
        draws.setdefault((name, size), []).append(trial.experiment.seed)
    assert draws[("linear_probe", 2)] == draws[("setfit", 2)] == [0, 1]
    assert draws[("zero_shot", 0)] == [0]
    assert draws[("linear_probe", None)] == [0]  # it is the same each time
    assert all(t.experiment.data.validation is None for t in trials)
    assert len(trials) == few_shot.length(
        (),
        few_shot.Options(
            methods=("zero_shot", "linear_probe", "setfit"), sizes=(0, 2, 32), draws=2
        ),
    )
    assert few_shot.best(trials, few_shot.Options()) == max(
        range(len(trials)), key=lambda i: trials[i].metrics["test"]["accuracy"]
    )
    best = {row[0]: row[1] for row in report.tables[0].rows}
    assert best == {"0": "zero_shot", "2": "setfit", "32": "linear_probe", "all": "linear_probe"}
    axes = report.figures["few_shot"]().get_axes()[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "2", "32", "all"]


def test_what_the_study_says_itself_is_refused(simulate):
    with pytest.raises(UserError, match="there is no such method"):
        simulate("few_shot", scored, methods=("best",))
    with pytest.raises(UserError, match="one twice"):
        simulate("few_shot", scored, sizes=(2, 2))
