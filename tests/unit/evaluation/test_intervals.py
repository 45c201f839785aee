from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from tfnlp.evaluation import intervals


def of_metrics(measure, values, rows):
    return intervals.of_metrics(intervals.resampled(measure, values, rows), values, rows)


def share(right):
    return lambda places: {"accuracy": float(right[places].mean())}


@pytest.mark.parametrize("rate", [0.5, 0.8, 0.95])
def test_the_interval_of_an_accuracy_is_about_the_binomial_one(rate):
    right = np.arange(500) < 500 * rate
    low, high = of_metrics(share(right), {"accuracy": rate}, 500)["accuracy"]
    known = binomtest(int(500 * rate), 500).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((known.low, known.high), abs=0.01)


@pytest.mark.parametrize("rows", [2, 38, 500])
def test_all_right_is_not_certain(rows):
    for value, method in ((1.0, "high"), (0.0, "low")):
        low, high = of_metrics(share(np.full(rows, value)), {"accuracy": value}, rows)["accuracy"]
        known = binomtest(int(value * rows), rows).proportion_ci(method="exact")
        assert (low, high) == pytest.approx((known.low, known.high)), method


def test_what_is_no_number_has_no_interval():
    values = {"nothing": float("nan"), "some": 0.5}

    def measure(places):
        return {"nothing": float("nan"), "some": float("nan") if places[0] else 0.5}

    assert list(of_metrics(measure, values, 9)) == ["some"]
    assert of_metrics(measure, values, 1) == {}


def test_the_same_rows_give_the_same_interval():
    right = np.arange(50) % 3 > 0
    assert len({of_metrics(share(right), {"accuracy": 0.66}, 50)["accuracy"] for _ in "ab"}) == 1


def test_a_figure_over_pairs_has_no_interval_that_leaves_it_out():
    points = np.random.default_rng(0).normal(size=60)

    def nearest(places):
        apart = np.abs(points[places][:, None] - points[places]) + np.eye(len(places)) * 9
        return {
            "accuracy": float((points[places] > 0).mean()),
            "nearest": float(apart.min(1).mean()),
        }

    found = of_metrics(nearest, nearest(np.arange(60)), 60)
    assert set(found) == {"accuracy"}  # a row that is drawn twice is its own neighbour
