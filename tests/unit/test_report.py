"""The table of results that the terminal and the model card show."""

from tfnlp import report

METRICS = {
    "validation_untrained": {"f1": 0.1, "loss": 2.0},
    "validation": {"f1": 0.8, "loss": 0.5},
    "test": {"f1": 0.7, "loss": None},
    "intervals": {"f1": (0.6, 0.75)},
    "baseline": {"f1": 0.65},
    "strategy": None,
}


def test_the_interval_stands_beside_the_trained_model_it_belongs_to():
    table = report.results(METRICS)
    trained = ("trained (validation)", "trained (test)", "95% interval")
    assert table.header == ("metric", "untrained (validation)", *trained, "linear model")
    assert table.rows == [
        ("f1", "0.1000", "0.8000", "0.7000", "0.6000 to 0.7500", "0.6500"),
        ("loss", "2.0000", "0.5000", "–", "", "–"),
    ]


def test_test_rows_that_were_set_aside_are_said_to_be():
    metrics = {"validation": {"f1": 0.5}, "test": {"f1": 0.4}, "set_aside": 16}
    assert report.results(metrics).header[-1] == "trained (test, set aside from train)"
    assert report.results({**metrics, "set_aside": 0}).header[-1] == "trained (test)"


def test_without_test_rows_the_interval_is_of_the_validation_rows():
    table = report.results({**METRICS, "test": None, "baseline": None})
    assert table.header[2:] == ("trained (validation)", "95% interval")


def test_without_intervals_there_is_no_column_of_them():
    assert "95% interval" not in report.results({**METRICS, "intervals": {}}).header
