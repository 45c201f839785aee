from __future__ import annotations

import pytest

from pipelines.errors import UserError
from tfnlp.runs.experiment_yaml import to_values, write_yaml


def scored(experiment):
    """Return what the learning rate, aeda and the seed add."""
    rate = experiment.optimizer.learning_rate
    noise = (0.0, 0.01, 0.02)[experiment.seed]
    better = 0.1 * (rate == 3e-4) + 0.003 * experiment.seed * (experiment.augment != ())
    return 0.8 + noise + better


def test_each_setting_is_put_back_in_its_turn(simulate):
    line = ["--learning-rate", "3e-4", "--augment", "aeda", "--aeda-ratio", "0.5", "--epochs", "3"]
    trials, report = simulate("ablation", scored, *line)
    changes = [{k: v for k, v in t.settings.items() if k != "seed"} for t in trials]
    each = [{}, {"learning_rate": None}, {"epochs": None}, {"aeda_ratio": None}]
    each.append({"augment": None, "augment_times": None})
    assert changes == each * 3
    assert [t.settings["seed"] for t in trials] == [0] * 5 + [1] * 5 + [2] * 5
    assert trials[1].experiment.optimizer.learning_rate == 1e-4
    assert trials[2].experiment.training.epochs is None
    assert trials[3].experiment.augment[0].options.ratio == 1 / 3
    assert trials[4].experiment.augment == ()
    table, given = report.tables
    # Paired, the noise of the seeds cancels: the rate's change is -0.1 with no spread at all, and
    # aeda's is 0, -0.003, -0.006, whose interval is 4.30265 * 0.003 / sqrt(3) = 0.00745 wide.
    assert table.rows == [
        ("learning_rate=0.0001, not 0.0003", 3, "-0.1000", "-0.1000", "-0.1000", "helps"),
        ("augment=none, not aeda", 3, "-0.0030", "-0.0105", "+0.0045", "cannot say"),
        ("epochs=none, not 3", 3, "0.0000", "0.0000", "0.0000", "cannot say"),
        (f"aeda_ratio={1 / 3}, not 0.5", 3, "0.0000", "0.0000", "0.0000", "cannot say"),
    ]
    assert given.rows[0][:2] == ("accuracy (test)", 3)
    assert report.figures["ablation"]().get_axes()


def test_of_errors_less_is_better(simulate):
    line = ["--learning-rate", "3e-4"]
    _, report = simulate("ablation", scored, *line, metric="rmse")
    assert [row[-1] for row in report.tables[0].rows] == ["hurts"]


def test_with_an_entry_goes_what_it_brought(simulate, tmp_path):
    trials, _ = simulate("ablation", scored, "--peft", "bitfit")
    base, without = trials[0].experiment, trials[1].experiment
    assert (base.optimizer.learning_rate, without.optimizer.learning_rate) == (3e-3, 1e-4)
    # So it does where a file has written down all values.
    write_yaml(base, tmp_path / "base.yaml")
    again, _ = simulate("ablation", scored, "--config", str(tmp_path / "base.yaml"))
    assert [to_values(t.experiment) for t in again] == [to_values(t.experiment) for t in trials]
    assert [t.settings for t in again] == [t.settings for t in trials]


def test_augmenters_are_put_back_one_by_one(simulate, tmp_path, monkeypatch):
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours/again.py").write_text("from tfnlp.augmenters.aeda import AUGMENTER\n")
    monkeypatch.syspath_prepend(tmp_path)
    line = ["--augment", "aeda", "--augment-times", "2"]
    trials, _ = simulate("ablation", scored, *line, "--augment", "ours.again", seeds=1)
    left = [[one.name for one in t.experiment.augment] for t in trials]
    assert left == [["aeda", "ours.again"], ["ours.again"], ["aeda"]]
    trials, _ = simulate("ablation", scored, *line, seeds=1)
    assert trials[-1].experiment.augment == ()
    assert trials[-1].experiment.data.augment_times == 1


def test_defaults_of_a_task_are_defaults(simulate):
    with pytest.raises(UserError, match="no setting differs"):
        simulate("ablation", scored, "--task", "similarity", "--deterministic")
    line = ["--task", "similarity", "--learning-rate", "1e-4"]
    trials, _ = simulate("ablation", scored, *line, seeds=1)
    assert trials[1].experiment.optimizer.learning_rate == 5e-5


def test_one_seed_has_no_interval_and_failures_are_told(simulate):
    line = ["--learning-rate", "3e-4", "--epochs", "3"]

    def failing(experiment):
        return scored(experiment) if experiment.training.epochs else None

    _, report = simulate("ablation", failing, *line, seeds=1)
    assert report.tables[0].rows == [
        ("learning_rate=0.0001, not 0.0003", 1, "-0.1000", "–", "–", "cannot say"),
        ("epochs=none, not 3", 0, "", "", "", "no pair of runs"),
    ]
    assert report.warnings == ["epochs=none, not 3 with seed 0 failed: no memory"]
