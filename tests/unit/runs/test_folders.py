"""Which run is resumed, and for how long."""

from __future__ import annotations

import pytest
import yaml

from pipelines.errors import UserError
from tfnlp.cli.arguments import Parser, parse
from tfnlp.runs import folders


def experiment(folder, *flags):
    return parse(["--train", "a.csv", "--tensorboard-logs", str(folder), *flags], Parser())[0]


def test_a_run_of_before_keeps_the_length_that_was_its_default(tmp_path):
    """Version 0.1.0 wrote 4 epochs and a patience of 2 where none were given."""
    run = folders.new_run(experiment(tmp_path, "--epochs", "4", "--patience", "2"))
    now = experiment(tmp_path)
    assert folders.last_run(now) == run
    training = folders.as_begun(now, run).training
    assert (training.epochs, training.patience) == (4, 2)


def test_a_run_without_a_length_goes_on_without(tmp_path):
    run = folders.new_run(experiment(tmp_path))
    assert yaml.safe_load((run / "experiment.yaml").read_text())["training"]["epochs"] is None
    now = experiment(tmp_path)
    assert folders.last_run(now) == run
    assert folders.as_begun(now, run) == now


def test_another_length_is_another_setting(tmp_path):
    folders.new_run(experiment(tmp_path, "--epochs", "4"))
    with pytest.raises(UserError, match=r"other settings \(training.epochs\)"):
        folders.last_run(experiment(tmp_path, "--epochs", "5"))


def test_other_rows_in_memory_are_no_setting(tmp_path, monkeypatch):
    monkeypatch.setenv("TFNLP_CACHE", str(tmp_path))
    line = ["--name", "mine", "--train"]
    begun = experiment(tmp_path, *line, str(tmp_path / "rows" / "0123456789abcdef.jsonl"))
    folders.new_run(begun)
    with pytest.raises(UserError, match="was begun with other rows"):
        folders.last_run(
            experiment(tmp_path, *line, str(tmp_path / "rows" / "fedcba9876543210.jsonl"))
        )
