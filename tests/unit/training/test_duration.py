from __future__ import annotations

import dataclasses

import pytest

from tfnlp.cli.arguments import Parser, parse
from tfnlp.training import duration


def experiment(*flags):
    return parse(["--train", "a.csv", *flags], Parser())[0]


@pytest.mark.parametrize(
    ("steps", "epochs", "patience"), [(1, 400, 100), (7, 58, 15), (99, 5, 2), (170, 4, 2)]
)
def test_few_rows_are_seen_more_often(steps, epochs, patience):
    made = experiment()
    assert (made.training.epochs, made.training.patience) == (None, None)
    assert (duration.epochs(made, steps), duration.patience(made, steps)) == (epochs, patience)


def test_updates_count_and_not_batches():
    assert duration.epochs(experiment("--accumulate", "4"), 100) == 16
    # One update an epoch, by all batches: 4,000,000 epochs would make as many.
    assert duration.epochs(experiment("--accumulate", "100000"), 10) == 400
    assert duration.epochs(experiment("--accumulate", "4"), 7) == 200


def test_what_is_given_is_taken():
    made = experiment("--epochs", "3", "--patience", "1")
    assert (duration.epochs(made, 1), duration.patience(made, 1)) == (3, 1)


def test_a_tasks_own_length_is_taken():
    made = experiment("--task", "language_model")
    assert duration.epochs(made, 1) == made.training.epochs == 1


def test_a_fit_of_a_strategy_may_have_another():
    made = experiment("--epochs", "3")
    training = dataclasses.replace(made.training, epochs=None)
    assert duration.epochs(dataclasses.replace(made, training=training), 100) == 4
