from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tfnlp.data_checks.findings import histogram

SETTINGS = settings(deadline=None)  # the machine may be busy


@SETTINGS
@given(st.lists(st.integers(-1000, 10**6) | st.floats(-1e9, 1e9), min_size=1, max_size=300))
def test_a_histogram_holds_every_number_once(values):
    table = histogram("numbers", np.array(values, float))
    assert 1 <= len(table.rows) <= 13
    assert sum(size for _, size, _ in table.rows) == len(values)
    for _, size, bar in table.rows:
        assert bool(bar) == bool(size)
        assert len(bar) <= 40


def test_a_histogram_counts_whole_numbers_in_whole_bins():
    table = histogram("grades", np.array([1, 1, 1, 2, 4]))
    assert [(span, size) for span, size, _ in table.rows] == [
        ("1", 3),
        ("2", 1),
        ("3", 0),
        ("4", 1),
    ]
    assert table.rows[0][2] == "█" * 40
    outlier = histogram("lengths", np.array([5] * 99 + [6] * 99 + [10_000]))
    assert [(span, size) for span, size, _ in outlier.rows] == [
        ("5", 99),
        ("6", 99),
        ("7 and more", 1),
    ]
