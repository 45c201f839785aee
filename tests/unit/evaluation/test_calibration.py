from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.special import expit as sigmoid
from scipy.special import log_softmax, softmax
from sklearn.metrics import f1_score

from tfnlp.evaluation.calibration import (
    best_thresholds,
    bound_warnings,
    expected_calibration_error,
    fit_temperature,
    least_doubt,
    mixed,
    unmixed,
)
from tfnlp.heads.metrics import LogitF1

SETTINGS = settings(deadline=None, max_examples=50)  # the machine may be busy


@pytest.mark.parametrize("average", ["micro", "macro"])
def test_f1_of_logits_equals_scikit_learns(average):
    random = np.random.default_rng(0)
    targets = (random.random((200, 7)) < 0.3).astype("float32")
    logits = random.normal(size=(200, 7)).astype("float32") + targets
    metric = LogitF1(average=average, name="f1")
    for start in range(0, 200, 64):
        metric.update_state(targets[start : start + 64], logits[start : start + 64])
    expected = f1_score(targets, logits > 0, average=average)
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)


# Calibration


def test_calibration_error_of_known_cases():
    right = np.array([True, False] * 50)
    assert expected_calibration_error(np.full(100, 0.5), right) == 0
    assert expected_calibration_error(np.full(100, 1.0), right) == 0.5
    assert expected_calibration_error(np.full(100, 0.0), right) == 0.5
    # Two bins: nine tenths of the rows are right at .9, one tenth is wrong at .4.
    confidences = np.array([0.9] * 90 + [0.4] * 10)
    right = np.array([True] * 81 + [False] * 9 + [False] * 10)
    assert expected_calibration_error(confidences, right) == pytest.approx(0.1 * 0.4)


def test_calibration_error_takes_bins_one_by_one():
    # Over- and underconfidence of different bins do not cancel out.
    confidences = np.array([0.2] * 10 + [0.8] * 10)
    right = np.array([True] * 10 + [False] * 10)
    assert expected_calibration_error(confidences, right) == pytest.approx(0.8)
    assert expected_calibration_error(confidences, right, bins=1) == pytest.approx(0)


@SETTINGS
@given(
    arrays.arrays(np.float32, st.integers(1, 60), elements=st.floats(0, 1, width=32)),
    st.integers(0, 2**32 - 1),
)
def test_calibration_error_lies_between_the_mean_gap_and_one(confidences, seed):
    right = np.random.default_rng(seed).random(len(confidences)) < 0.5
    error = expected_calibration_error(confidences, right)
    assert abs(right.mean() - confidences.mean(dtype=float)) - 1e-5 <= error <= 1


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 8.0])
def test_a_known_temperature_is_found(temperature):
    random = np.random.default_rng(1)
    true_logits = random.normal(scale=2, size=(20_000, 5))
    drawn = (softmax(true_logits, -1).cumsum(-1) > random.random((20_000, 1))).argmax(-1)
    logits = (true_logits * temperature).astype("float32")
    assert fit_temperature(logits, np.eye(5)[drawn]) == pytest.approx(temperature, rel=0.05)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_a_known_temperature_of_independent_labels_is_found(temperature):
    random = np.random.default_rng(2)
    true_logits = random.normal(scale=2, size=(20_000, 5))
    targets = (random.random((20_000, 5)) < sigmoid(true_logits)).astype("float32")
    found = fit_temperature(true_logits * temperature, targets, exclusive=False)
    assert found == pytest.approx(temperature, rel=0.05)


@SETTINGS
@given(
    logits=arrays.arrays(np.float32, (6, 3), elements=st.floats(-50, 50, width=32)),
    right=arrays.arrays(np.int64, 6, elements=st.integers(0, 2)),
)
def test_the_temperature_stays_in_bounds_and_does_not_raise_the_loss(logits, right):
    temperature = fit_temperature(logits, np.eye(3)[right])
    assert 0.05 <= temperature <= 20
    smoothed = mixed(np.eye(3)[right], least_doubt(6), 3)

    def loss(scaled: np.ndarray) -> float:
        return -(smoothed * log_softmax(scaled.astype(float), -1)).sum(-1).mean()

    assert loss(logits / temperature) <= loss(logits) + 1e-3


def test_answers_that_are_always_wrong_become_unsure():
    logits = np.array([[9.0, 0.0], [8.0, 0.0], [0.0, 7.0]])
    assert fit_temperature(logits, np.eye(2)[[1, 1, 0]]) > 19
    assert "at its bound" in bound_warnings(20.0)[0]
    assert bound_warnings(19.0) == bound_warnings(1.0) == bound_warnings(0.06) == []


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("size", [0.1, 1.0, 30.0])
def test_answers_that_are_always_right_do_not_become_surer(exclusive, size):
    right = np.eye(4)[np.arange(38) % 4]
    assert fit_temperature(size * (2 * right - 1), right, exclusive) >= 1


def test_one_wrong_answer_of_few_sharpens_little():
    logits = np.repeat([[1.0, 0.0]], 38, 0)
    targets = np.eye(2)[[0] * 37 + [1]]
    sure = softmax(logits / fit_temperature(logits, targets), -1).max()
    assert 0.9 < sure < 37 / 38


@pytest.mark.parametrize(("rows", "labels"), [(1, 2), (38, 2), (38, 77), (5000, 3), (0, 2)])
def test_no_answer_is_surer_than_its_rows_allow(rows, labels):
    scores = softmax(np.random.default_rng(0).normal(scale=30, size=(100, labels)), -1)
    honest = mixed(scores, least_doubt(rows), labels)
    assert honest.max() <= (rows + 1) / (rows + 2) + 1e-12
    assert honest.sum(-1) == pytest.approx(1)
    ranks = np.argsort(scores, -1, kind="stable")
    assert rows == 0 or (np.argsort(honest, -1, kind="stable")[:, -1] == ranks[:, -1]).all()
    if rows > 1:
        assert unmixed(honest, least_doubt(rows), labels) == pytest.approx(scores)


# Thresholds


SCORES = st.floats(0, 1, width=32) | st.sampled_from([0.0, 0.5, 1.0, 0.25, float(np.float32(0.1))])


@SETTINGS
@example(  # neighbouring floats: half way between them is one of them
    table=np.array([[np.nextafter(np.float32(0.25), np.float32(1)), 1], [0.25, 0]], np.float32)
)
@given(table=arrays.arrays(np.float32, st.tuples(st.integers(1, 30), st.just(2)), elements=SCORES))
def test_thresholds_are_never_worse_than_one_half(table):
    table = np.repeat(table, 20, 0)  # so that each label has rows enough
    scores, targets = table[:, :1], (table[:, 1:] > 0.5).astype("float32")
    (threshold,) = best_thresholds(scores, targets)
    chosen = np.float32(threshold)  # as the SavedModel compares
    f1 = f1_score(targets, scores >= chosen, zero_division=0.0)
    assert f1 >= f1_score(targets, scores >= 0.5, zero_division=0.0)
    every = [f1_score(targets, scores >= cut, zero_division=0.0) for cut in np.unique(scores)]
    assert f1 == pytest.approx(max(every))
    assert 0 <= threshold <= 1


def test_a_label_without_rows_keeps_one_half():
    assert best_thresholds(np.array([[0.9], [0.1]]), np.zeros((2, 1))) == [0.5]


def test_each_frequent_label_has_its_own_threshold():
    scores = np.repeat([[0.3, 0.9], [0.2, 0.8], [0.1, 0.7]], 20, 0)
    targets = np.repeat([[1.0, 1], [0, 0], [0, 0]], 20, 0)
    assert best_thresholds(scores, targets) == pytest.approx([0.25, 0.85])


def test_rare_labels_share_one_threshold():
    """Of three rows a threshold of one's own fits them alone."""
    scores = np.repeat([[0.3, 0.2, 0.9], [0.1, 0.1, 0.7]], 30, 0)
    targets = np.repeat([[1.0, 0, 0], [0, 0, 0]], 30, 0)
    targets[:3, 1:] = 1
    first, second, third = best_thresholds(scores, targets)
    assert first == pytest.approx(0.2)
    assert second == third
    assert best_thresholds(scores[::10], targets[::10]) == [0.5, 0.5, 0.5]
