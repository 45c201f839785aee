from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pipelines.errors import UserError
from tfnlp.evaluation import power_law
from tfnlp.studies import learning_curve


def scored(experiment):
    """Return 0.9 - rows ** -0.5 and up to 0.002 more or less."""
    rows = experiment.data.limit or 1600
    return 0.9 - rows**-0.5 + 0.002 * (experiment.seed - 1)


def test_sizes_are_shares_of_what_the_first_run_had(simulate):
    trials, report = simulate("learning_curve", scored)
    first = [t.settings for t in trials[:5]]
    assert first == [{"seed": 0}, *({"limit": n, "seed": 0} for n in (100, 200, 400, 800))]
    assert [t.settings["seed"] for t in trials] == [0] * 5 + [1] * 5 + [2] * 5
    table = report.tables[0]
    # 0.9 - 1 / 40 and 4.30265 * 0.002 / sqrt(3) = 0.00497 to each side
    assert table.rows[-1] == ("1,600", 3, "0.8750 (0.8700 to 0.8800)")
    (gain,) = report.metrics.values()
    assert gain == pytest.approx(1600**-0.5 - 3200**-0.5, abs=3e-4)
    ((low, high),) = report.intervals.values()
    assert 0 < low < gain < high < 0.02
    answer = report.tables[-1].rows[0][0]
    assert answer.startswith("Yes: of 3,200 rows, twice as many, accuracy (test) is expected to be")
    assert "expected to be 0.882" in answer  # 0.9 - 3200 ** -0.5
    axes = report.figures["learning_curve"]().get_axes()[0]
    assert axes.lines[0].get_xdata()[-1] == pytest.approx(3200)


def test_sizes_may_be_given(simulate):
    trials, report = simulate("learning_curve", scored, sizes=(50, 100), seeds=2)
    assert [t.settings["limit"] for t in trials] == [50, 100, 50, 100]
    assert report.tables[-1].rows[0][0].startswith("Too few runs to tell: it takes 3 sizes with 3")
    assert not report.metrics
    assert report.figures["learning_curve"]().get_axes()
    with pytest.raises(UserError, match="a size twice"):
        simulate("learning_curve", scored, sizes=(50, 50))


def test_a_curve_that_is_flat_says_nothing(simulate):
    _, report = simulate("learning_curve", lambda e: 0.8 + 0.01 * (e.seed - 1))
    assert report.tables[-1].rows[0][0].startswith("These runs cannot tell")


def test_a_score_that_falls_is_no_help(simulate):
    _, report = simulate("learning_curve", lambda e: 1 - scored(e))
    assert report.tables[-1].rows[0][0].startswith("No: ")
    _, report = simulate("learning_curve", lambda e: 1 - scored(e), metric="rmse")
    assert report.tables[-1].rows[0][0].startswith("Yes: ")


def test_sizes_that_were_judged_by_rows_of_their_own_are_told_of(simulate):
    trials, report = simulate("learning_curve", scored, sizes=(50, 100), split="validation")
    assert not report.warnings
    trials[0].metrics["rows"]["validation"] = 10
    _, report = simulate(
        "learning_curve", scored, trials=trials, sizes=(50, 100), split="validation"
    )
    assert "give --test" in report.warnings[0]


def test_without_a_first_run_it_says_what_to_do(simulate):
    trials, report = simulate("learning_curve", lambda e: None)
    assert len(trials) == 1
    assert report.warnings[0] == "the run on all rows with seed 0 failed: no memory"
    assert "--learning-curve-sizes" in report.warnings[1]
    assert report.figures["learning_curve"]().get_axes()


def test_the_fit_is_that_of_its_points():
    rows = np.repeat([100, 200, 400, 800], 3)
    law = power_law.fit(rows, 0.95 - 2 * rows**-0.5)
    a, b, c = law.curves[0]
    assert (a, b * 800**c, c) == pytest.approx((0.95, -2, 0.5), rel=0.05)
    assert law.at(np.array([3200]))[0, 0] == pytest.approx(0.95 - 2 * 3200**-0.5, abs=1e-3)


def test_a_bound_holds():
    rows = np.repeat([100, 200, 400], 3)
    scores = 0.3 * np.log10(rows) + 0.1  # which goes on to 1.6
    assert power_law.fit(rows, scores).at(np.array([1e9]))[0, 0] > 1
    held = power_law.fit(rows, scores, (0.0, 1.0)).at(np.array([1e9]))
    assert held.max() <= 1


def test_the_interval_covers_what_is_true():
    random = np.random.default_rng(0)
    rows = np.repeat([50, 100, 200, 400, 800], 3)
    true = 800**-0.5 - 1600**-0.5
    held = 0
    for _ in range(40):
        law = power_law.fit(rows, 0.95 - rows**-0.5 + random.normal(0, 0.01, len(rows)), (0, 1))
        _, low, high = law.gain(800, 1600)
        held += low <= true <= high
    assert held >= 34  # 36 of 40 is what it comes to


@pytest.mark.parametrize("rows", [[1, 1, 1, 2, 2, 2], [1, 1, 1, 2, 2, 2, 4, 4]])
def test_of_too_few_runs_there_is_no_curve(rows):
    assert power_law.fit(np.array(rows), np.linspace(0.1, 0.9, len(rows))) is None


def test_the_best_is_of_those_that_most_rows_trained():
    few, most = (
        SimpleNamespace(metrics={"validation": {"accuracy": score}, "rows": {"train": rows}})
        for score, rows in ((1.0, 40), (0.9, 800))
    )
    assert learning_curve.best([most, few, SimpleNamespace(metrics=None)], None) == 0
