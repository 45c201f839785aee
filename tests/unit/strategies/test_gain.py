"""What augmentation gained is said with its interval, and where it did not help."""

from __future__ import annotations

import pytest

from pipelines.rows import Rows
from tfnlp.report import Report
from tfnlp.strategies import _gain

ROWS = Rows("test.csv", {"text": ["a", "b"]}, [1, 2])


def told(name, without, augmented, drawn=()):
    sides = [Report({name: value}) for value in (without, augmented)]
    for side, shift in zip(sides, (0.0, augmented - without), strict=True):
        side.resampled[name] = [value + shift for value in drawn]
    return _gain.report(*sides, ROWS)


def test_a_gain_beyond_its_interval_is_no_warning():
    found = told("accuracy", 0.80, 0.90, [0.79, 0.80, 0.81])
    assert found.metrics["gain"] == pytest.approx(0.1)
    assert found.metrics["gain_low"] == pytest.approx(0.1)  # the same rows, so no spread
    assert found.warnings == []
    (table,) = found.tables
    assert table.rows[0][:4] == ("accuracy", "0.8000", "0.9000", "+0.1000")


def test_a_loss_is_said():
    found = told("accuracy", 0.90, 0.80, [0.89, 0.90, 0.91])
    assert "did not help" in found.warnings[0]


def test_of_an_error_less_is_better():
    assert told("mae", 0.9, 0.8, [0.89, 0.90, 0.91]).warnings == []
    assert "did not help" in told("mae", 0.8, 0.9, [0.79, 0.80]).warnings[0]


def test_without_an_interval_it_may_be_an_accident():
    found = told("bleu", 10.0, 11.0)
    assert "by accident" in found.warnings[0]
    assert "gain_low" not in found.metrics
    assert found.tables[0].rows[0][-1] == "not known"
