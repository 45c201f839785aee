"""Whether models or settings differ: values by hand and by SciPy, and how often it is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tfnlp.evaluation import comparing

NONE = np.zeros((3, 0))


def test_mcnemar_by_hand():
    assert comparing.mcnemar(1, 9) == pytest.approx(2 * (1 + 10) / 2**10)
    assert comparing.mcnemar(9, 1) == comparing.mcnemar(1, 9)
    assert comparing.mcnemar(5, 5) == comparing.mcnemar(0, 0) == 1.0
    assert comparing.mcnemar(0, 6) == pytest.approx(2 / 2**6)


def test_the_paired_bootstrap_is_of_the_same_rows():
    one, two = [0.8, 0.7, 0.9, np.nan], [0.85, 0.75, 0.97, 0.9]
    found = comparing.models(0.8, 0.86, one, two)
    margin = stats.t.ppf(0.975, 2) * np.std([0.05, 0.05, 0.07], ddof=1)
    expected = (0.06, 0.06 - margin, 0.06 + margin)
    assert (found.value, found.low, found.high) == pytest.approx(expected)
    assert found.seen
    assert comparing.models(0.8, 0.86, [], []).low == -np.inf


def test_where_rows_tell_nothing_it_is_welchs_interval():
    first, second = [0.90, 0.92, 0.91], [0.95, 0.99, 0.96]
    found = comparing.settings(first, second, NONE, NONE)
    welch = stats.ttest_ind(second, first, equal_var=False).confidence_interval()
    assert (found.low, found.high) == pytest.approx(tuple(welch))
    assert found.value == pytest.approx(np.mean(second) - np.mean(first))


def test_what_rows_do_to_all_seeds_alike_is_added():
    """All seeds of a side move by the same amount with the rows: nothing of it averages out."""
    first, second = np.array([0.90, 0.92, 0.91]), np.array([0.95, 0.99, 0.96])
    moves = np.array([-0.02, 0.0, 0.02, 0.04])
    found = comparing.settings(first, second, first[:, None] + 0 * moves, second[:, None] + moves)
    seeds = first.var(ddof=1) / 3 + second.var(ddof=1) / 3
    alone = comparing.settings(first, second, NONE, NONE)
    wider = np.sqrt((seeds + moves.var(ddof=1)) / seeds)
    assert found.high - found.value == pytest.approx((alone.high - alone.value) * wider)


def test_three_seeds_that_are_alike_by_luck_are_not_certain():
    random = np.random.default_rng(0)
    rows = np.array([[random.permutation(300) < 240 for _ in range(3)] for _ in range(2)])
    draws = np.random.default_rng(1).integers(0, 300, (200, 300))
    drawn = rows[:, :, draws].mean(-1)
    found = comparing.settings(*rows.mean(-1), *drawn)
    assert found.value == 0
    assert found.high == pytest.approx(
        stats.t.ppf(0.975, 2) * (drawn[1].mean(0) - drawn[0].mean(0)).std(ddof=1)
    )


def sides(random, runs, rows, of_seed, points=0.0):
    """Return which rows two sides' runs have right: luck of row, of seed and of both."""
    level = random.normal(1.0, 1.0, rows)
    return [
        level + add + random.normal(0, of_seed, (runs, 1)) + random.normal(size=(runs, rows)) > 0
        for add in (0.0, points)
    ]


@pytest.mark.parametrize(("runs", "of_bootstrap"), [(3, 0.1), (5, 0.055)])
def test_the_same_settings_seldom_differ(runs, of_bootstrap):
    """At most one pair in twenty; the percentile bootstrap takes more for different."""
    draws = np.random.default_rng(0).multinomial(300, [1 / 300] * 300, 100).T / 300
    pick = np.random.default_rng(1).integers(0, runs, (2, runs, 100))
    random, seen, by_bootstrap = np.random.default_rng(2), [], []
    for _ in range(400):
        both = sides(random, runs, 300, of_seed=0.3)
        drawn = [side @ draws for side in both]
        seen.append(comparing.settings(*(side.mean(1) for side in both), *drawn).seen)
        means = [np.take_along_axis(*pair, 0).mean(0) for pair in zip(drawn, pick, strict=True)]
        low, high = np.quantile(means[1] - means[0], [0.025, 0.975])
        by_bootstrap.append(low > 0 or high < 0)
    assert np.mean(seen) <= 0.05
    assert np.mean(by_bootstrap) > of_bootstrap


def test_settings_that_differ_are_seen():
    random, draws = np.random.default_rng(0), np.random.default_rng(0).integers(0, 300, (100, 300))
    seen = []
    for _ in range(100):
        both = sides(random, 5, 300, of_seed=0.05, points=0.4)
        drawn = [side[:, draws].mean(-1) for side in both]
        seen.append(comparing.settings(*(side.mean(1) for side in both), *drawn).seen)
    assert np.mean(seen) > 0.9
