from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy.special import expit, softmax
from scipy.stats import pearsonr, spearmanr
from sklearn import metrics

from tfnlp.evaluation import plots
from tfnlp.evaluation.classification import multi_label, single_label
from tfnlp.evaluation.regression import ordinal, regression
from tfnlp.report import Report, Table, markdown, png

SETTINGS = settings(deadline=None, max_examples=50)  # the machine may be busy
NAMES = ["a", "b|c", "天气", "$5 to $9", "[red]", "two\nlines"]


@pytest.fixture(autouse=True)
def every_warning_is_an_error():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def draw(report: Report, folder) -> None:
    """Draw every picture, as evaluate does."""
    for name, figure in report.figures.items():
        path = folder / f"{name}.png"
        path.write_bytes(png(figure()))
        assert path.read_bytes().startswith(b"\x89PNG")


def facts(labels, temperature=1.0, thresholds=None, doubt=0.0):
    cuts = [0.5] * len(labels) if thresholds is None else thresholds
    return {"labels": labels, "temperature": temperature, "thresholds": cuts, "doubt": doubt}


def check(report: Report) -> None:
    for table in report.tables:
        assert all(len(row) == len(table.header) for row in table.rows)
    assert all(isinstance(value, float) for value in report.metrics.values())


# One label a row


def test_single_label_equals_scikit_learn(tmp_path):
    random = np.random.default_rng(0)
    logits = random.normal(size=(300, 6)).astype("float32")
    place = np.where(random.random(300) < 0.6, logits.argmax(-1), random.integers(0, 6, 300))
    labels = [NAMES[i] for i in place]
    report = single_label(labels, softmax(logits / 2, -1), facts(NAMES, 2.0))
    given_place = logits.argmax(-1)
    expected = {
        "accuracy": metrics.accuracy_score(place, given_place),
        "macro_f1": metrics.f1_score(place, given_place, average="macro"),
        "weighted_f1": metrics.f1_score(place, given_place, average="weighted"),
        "mcc": metrics.matthews_corrcoef(place, given_place),
        "loss": metrics.log_loss(place, softmax(logits / 2, -1)),
    }
    assert {name: report.metrics[name] for name in expected} == pytest.approx(expected, abs=1e-5)
    assert next(iter(report.metrics)) == "accuracy"
    (table,) = report.tables
    each = metrics.precision_recall_fscore_support(place, given_place)
    for i, row in enumerate(table.rows):
        told = (NAMES[i], *(f"{value[i]:.3f}" for value in each[:3]), each[3][i])
        assert row == told
    assert report.warnings == []
    check(report)
    draw(report, tmp_path)


def test_the_error_before_calibration_is_that_of_the_logits():
    random = np.random.default_rng(1)
    logits = random.normal(size=(500, 3))
    labels = [NAMES[i] for i in random.integers(0, 3, 500)]
    calm = single_label(labels, softmax(logits / 4, -1), facts(NAMES[:3], 4.0))
    raw = single_label(labels, softmax(logits, -1), facts(NAMES[:3]))
    assert calm.metrics["ece_uncalibrated"] == pytest.approx(raw.metrics["ece"], abs=1e-6)
    assert raw.metrics["ece_uncalibrated"] == pytest.approx(raw.metrics["ece"], abs=1e-6)
    assert calm.metrics["ece"] < raw.metrics["ece"]  # the labels are random


def test_labels_never_seen_in_training_count_as_wrong(tmp_path):
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]], "float32")
    report = single_label(["a", "new", "b", "newer"], scores, facts(["a", "b"]))
    assert report.metrics["accuracy"] == 0.5
    # F1 of a is 2/4: one right of three answers; b is right; new and newer are 0.
    assert report.metrics["macro_f1"] == pytest.approx((0.5 + 1 + 0 + 0) / 4)
    assert report.metrics["loss"] == pytest.approx(-(np.log(0.9) + np.log(0.7)) / 2)
    assert [row[0] for row in report.tables[0].rows] == ["a", "b", "new", "newer"]
    assert report.warnings == [
        "2 labels never seen in training, answered wrongly wherever given (rows): 'new' (1), "
        "'newer' (1)"
    ]
    draw(report, tmp_path)


def test_rows_with_no_known_label_at_all_are_reported(tmp_path):
    report = single_label(["x", "y"], np.array([[0.9, 0.1], [0.8, 0.2]]), facts(["a", "b"]))
    assert report.metrics["accuracy"] == 0
    assert math.isnan(report.metrics["loss"])
    check(report)
    draw(report, tmp_path)


@SETTINGS
@given(st.lists(st.sampled_from([*NAMES, "new"]), min_size=1, max_size=8), st.integers(0, 99))
def test_any_few_rows_can_be_reported(labels, seed):
    scores = softmax(np.random.default_rng(seed).normal(size=(len(labels), 6)) * 9, -1)
    report = single_label(labels, scores.astype("float32"), facts(NAMES, 0.7))
    check(report)
    assert report.metrics["accuracy"] == np.mean(
        [NAMES[i] == label for i, label in zip(scores.argmax(-1), labels, strict=True)]
    )


# Several labels a row


def test_multi_label_equals_scikit_learn(tmp_path):
    random = np.random.default_rng(2)
    truth = random.random((300, 5)) < 0.3
    truth[:20] = False  # rows without a label
    logits = random.normal(size=(300, 5)) + truth
    names = NAMES[:5]
    labels = [[names[c] for c in np.flatnonzero(row)] for row in truth]
    scores, cuts = expit(logits / 1.5), np.array([0.3, 0.5, 0.6, 0.7, 0.4])
    answers = scores >= cuts
    report = multi_label(labels, scores, answers, facts(names, 1.5, cuts.tolist()))
    expected = {
        "micro_f1": metrics.f1_score(truth, answers, average="micro"),
        "micro_f1_at_half": metrics.f1_score(truth, logits >= 0, average="micro"),
        "macro_f1": metrics.f1_score(truth, answers, average="macro"),
        "exact_match": metrics.accuracy_score(truth, answers),
    }
    assert {name: report.metrics[name] for name in expected} == pytest.approx(expected)
    assert [row[5] for row in report.tables[0].rows] == [f"{cut:.3f}" for cut in cuts]
    worse = "the tuned thresholds are worse here than 0.5: micro-F1 0.495 against 0.541"
    assert [text.partition(" (")[0] for text in report.warnings] == [worse]
    good = multi_label(labels, scores, scores >= 0.5, facts(names, 1.5))
    assert good.warnings == []
    check(report)
    draw(report, tmp_path)


def test_a_single_possible_label_can_be_reported(tmp_path):
    scores = np.array([[0.9], [0.2], [0.8], [0.1]])
    report = multi_label([["a"], [], [], ["a"]], scores, scores >= 0.5, facts(["a"]))
    assert report.metrics["micro_f1"] == pytest.approx(0.5)
    assert report.metrics["macro_f1"] == pytest.approx(0.5)
    assert report.metrics["exact_match"] == pytest.approx(0.5)
    assert report.tables[0].rows == [("a", "0.500", "0.500", "0.500", 2, "0.500")]
    draw(report, tmp_path)


def test_rows_without_labels_and_unseen_labels_are_reported(tmp_path):
    scores = np.array([[0.9, 0.1], [0.2, 0.3]])
    report = multi_label([["a", "new"], []], scores, scores >= 0.5, facts(["a", "b"]))
    assert report.metrics["micro_f1"] == pytest.approx(2 / 3)  # new is missed
    assert report.metrics["exact_match"] == 0.5
    assert "1 label never seen in training" in report.warnings[0]
    assert report.warnings[1].startswith("1 of 2 labels has no row here and is not judged")
    draw(report, tmp_path)
    nothing = multi_label([[], []], scores, scores >= 2, facts(["a", "b"]))
    assert nothing.metrics["exact_match"] == 1
    assert nothing.metrics["micro_f1"] == 0
    check(nothing)
    draw(nothing, tmp_path)


# Numbers and grades


def test_regression_equals_scikit_learn_and_scipy(tmp_path):
    random = np.random.default_rng(3)
    truth = random.normal(size=200)
    values = (truth + random.normal(size=200)).astype("float32")
    report = regression(truth.tolist(), values)
    expected = {
        "pearson": pearsonr(truth, values)[0],
        "spearman": spearmanr(truth, values)[0],
        "mae": metrics.mean_absolute_error(truth, values),
        "rmse": metrics.mean_squared_error(truth, values) ** 0.5,
        "r2": metrics.r2_score(truth, values),
    }
    assert report.metrics == pytest.approx(expected)
    draw(report, tmp_path)


@pytest.mark.parametrize(
    ("truth", "values"),
    [([1.0], [2.0]), ([1.0, 1.0], [2.0, 3.0]), ([1.0, 2.0], [3.0, 3.0]), ([1e-9, 2.0], [1.0, 1.0])],
)
def test_numbers_without_spread_have_no_correlation(truth, values, tmp_path):
    report = regression(truth, np.array(values, "float32"))
    assert math.isnan(report.metrics["pearson"])
    assert report.metrics["mae"] == pytest.approx(np.abs(np.subtract(truth, values)).mean())
    assert "no correlation" in report.warnings[0]
    draw(report, tmp_path)


def test_ordinal_equals_scikit_learn_and_scipy(tmp_path):
    random = np.random.default_rng(4)
    truth = random.integers(1, 6, 200).astype(float)
    answers = np.clip(truth + random.integers(-1, 2, 200), 1, 5).astype("float32")
    report = ordinal(truth.tolist(), answers, [1.0, 2.0, 3.0, 4.0, 5.0])
    expected = {
        "mae": metrics.mean_absolute_error(truth, answers),
        "accuracy": (truth == answers).mean(),
        "quadratic_kappa": metrics.cohen_kappa_score(
            truth.astype(int), answers.astype(int), weights="quadratic"
        ),
        "spearman": spearmanr(truth, answers)[0],
    }
    assert {name: report.metrics[name] for name in expected} == pytest.approx(expected)
    counts = [row[1:] for row in report.tables[0].rows]
    assert np.array_equal(counts, metrics.confusion_matrix(truth.astype(int), answers.astype(int)))
    check(report)
    draw(report, tmp_path)


def test_grades_are_told_apart_in_the_precision_of_the_model():
    scale = [0.1, 0.7, 1e-7, 20000.2, 20000.3]
    report = ordinal(scale, np.array(scale, "float32"), sorted(scale))
    assert report.metrics["accuracy"] == 1
    assert report.metrics["mae"] == 0


def test_a_grade_never_seen_counts_as_wrong():
    report = ordinal([1.0, 4.0], np.array([1, 2], "float32"), [1.0, 2.0])
    assert report.metrics["accuracy"] == 0.5
    assert report.metrics["mae"] == 1
    assert "1 grade never seen in training" in report.warnings[0]
    assert "4.0 (1)" in report.warnings[0]


@pytest.mark.parametrize(
    ("truth", "answers"), [([1.0], [1]), ([1.0, 2.0], [1, 1]), ([1.0, 1.0], [1, 1]), ([2.0], [1])]
)
def test_few_or_equal_grades_can_be_reported(truth, answers, tmp_path):
    report = ordinal(truth, np.array(answers, "float32"), [1.0, 2.0])
    assert math.isnan(report.metrics["spearman"])
    check(report)
    draw(report, tmp_path)


# Pictures and tables


@pytest.mark.parametrize(
    "name", ["天气", "العربية", "😀", "$\\frac{$", "$5", "x" * 5000, "", "\x00"]
)
def test_any_label_name_is_drawn_without_a_complaint(name, tmp_path):
    counts = np.array([[3, 1], [0, 2]])
    for figure in (
        plots.confusion_matrix(counts, [name, "b"]),
        plots.bars("F1", [name, "b"], np.array([0.5, 1.0])),
    ):
        (tmp_path / "a.png").write_bytes(png(figure))
        width, height = figure.get_size_inches()
        assert max(width, height) < 25


def shown_bars(figure: Figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_bars_of_equal_names_stay_apart():
    figure = plots.bars("F1", ["x" * 50 + "1", "x" * 50 + "2"], np.array([0.1, 0.9]))
    assert [bar.get_width() for bar in figure.axes[0].patches] == [0.1, 0.9]
    assert len(shown_bars(figure)) == 2


def test_of_many_labels_the_best_and_worst_are_shown():
    names = [f"label {i}" for i in range(100)]
    assert shown_bars(plots.bars("F1", names, np.arange(100) / 100)) == [
        *names[:30],
        *names[-30:],
    ]
    figure = plots.confusion_matrix(np.eye(100, dtype=int), names)
    assert shown_bars(figure) == names[::2]


def test_a_table_in_markdown_keeps_its_cells_apart():
    table = Table("t", ("label", "f1"), [("a|b", 1), ("two\nlines", "0.5")])
    assert markdown(table).split("\n") == [
        "| label | f1 |",
        "| --- | --- |",
        "| a\\|b | 1 |",
        "| two lines | 0.5 |",
    ]


def test_a_perfect_macro_f1_says_which_labels_it_leaves_out():
    scores = np.array([[1.0, 0.0, 0.0]] * 4)
    facts = {"labels": ["ham", "spam", "sp\u00e4m"], "temperature": 1.0}
    report = single_label(["ham"] * 4, scores, facts)
    assert report.metrics["macro_f1"] == 1.0
    assert report.warnings == [
        "2 of 3 labels have no row here and are not judged; macro_f1 is of the others: 'spam', "
        "'späm'"
    ]


def test_a_test_set_whose_labels_are_kept_secret_is_named():
    scores = np.array([[0.9, 0.1], [0.6, 0.4]])
    facts = {"labels": ["0", "1"], "temperature": 1.0}
    said = single_label(["-1", "-1"], scores, facts).warnings[0]
    assert "'-1' (2) (if -1 stands for a label that is kept secret, leave" in said
    assert single_label(["0", "2"], scores, facts).warnings[0].endswith("'2' (1)")
