from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tfnlp.cli import arguments
from tfnlp.cli.settings import Given
from tfnlp.extensions import Trial
from tfnlp.options import Parser
from tfnlp.report import png
from tfnlp.studies import _costs, _scores, grid

BASE = Given(*arguments.read(["--dataset", "trec"], Parser())[:2]).experiment()


def trial(scores, parameters=100, seconds=60.0, monitor="val_accuracy", settings=None):
    """Return a trial whose epochs had these validation scores."""
    held = {monitor.removeprefix("val_"): max(scores)}
    costs = {"parameters": parameters, "seconds": seconds, "latency": 1.0}
    metrics = {"validation": held, "test": held, "monitor": monitor, "costs": costs}
    story = [{monitor: score} for score in scores]
    return Trial(BASE, settings or {}, "complete", metrics, story, Path("run"))


def test_minutes_until_a_score():
    # Four epochs in two minutes.
    one = trial([0.5, 0.7, 0.9, 0.8], seconds=120)
    assert [_costs.reached(one, goal) for goal in (0.5, 0.6, 0.9, 0.91)] == [0.5, 1, 1.5, np.inf]
    loss = trial([3.0, 2.0, 1.0], seconds=180, monitor="val_loss")
    assert [_costs.reached(loss, goal) for goal in (2.5, 0.5)] == [2, np.inf]


def test_costs_stand_beside_scores():
    cells = {
        ("full", "a"): [trial([0.6, 0.8], 1_000_000, 60), trial([0.9, 1.0], 1_000_000, 80)],
        ("lora", "a"): [trial([0.5, 0.9], 1000, 30), trial([0.9, 0.8], 1000, 40)],
        ("head", "a"): [trial([0.5, 0.6], 10, 10), trial([0.5, 0.6], 10, 10)],
        ("full", "b"): [trial([0.5], 1_000_000, 60)],
    }
    table = _costs.table(cells)
    assert table is not None
    assert table.header[-2:] == ("best epoch (validation)", "minutes until as good as full")
    assert table.rows == [
        ("full", "a", "1,000,000", "1.17", "0.9000", "– (1 of 2 runs)"),
        ("lora", "a", "1,000", "0.58", "0.9000", "0.42"),
        ("head", "a", "10", "0.17", "0.6000", "– (0 of 2 runs)"),
        ("full", "b", "1,000,000", "1.00", "0.5000", "1.00"),
    ]
    titles = {"a": "a: accuracy (test)", "b": "b: accuracy (test)"}
    figures = _costs.figures(cells, titles)
    assert list(figures) == ["score_by_parameters", "score_by_minutes"]
    left, right = figures["score_by_parameters"]().axes
    drawn = [x for line in left.lines if (x := line.get_xydata().tolist())]
    assert drawn == [[[1_000_000, 0.9]], [[1000, 0.9]], [[10, 0.6]]]
    assert (left.get_xscale(), right.get_xscale()) == ("log", "linear")
    assert all(png(draw()) for draw in figures.values())


def seeded(*scores):
    """Return trials of seeds 0, 1, ... with these scores."""
    made = [trial([score]) for score in scores]
    experiments = [dataclasses.replace(BASE, seed=seed) for seed in range(len(scores))]
    return [dataclasses.replace(t, experiment=e) for t, e in zip(made, experiments, strict=True)]


def test_what_a_seed_does_to_both_cancels_out():
    cells = {("full", "a"): seeded(0.5, 0.7, 0.9), ("lora", "a"): seeded(0.51, 0.72, 0.93)}
    cells["head", "b"] = seeded(0.1, 0.2)
    table = _scores.beside_first(cells)
    assert table is not None
    assert table.title == "Beside full, on the same seeds"
    # 0.02, and 4.303 (t of two degrees of freedom) times 0.01 / sqrt(3).
    assert table.rows == [("lora", "a", 3, "+0.0200", "-0.0048", "+0.0448")]
    assert _scores.beside_first({("full", ""): seeded(0.5), ("lora", ""): seeded(0.6)}) is None


def test_few_minutes_are_not_shown_as_thousandths():
    cells = {("a", ""): [trial([0.5], seconds=6)], ("b", ""): [trial([0.6], seconds=7)]}
    (axes,) = _costs.figures(cells, {"": "accuracy"})["score_by_minutes"]().axes
    axes.figure.canvas.draw()
    assert not any("m" in label.get_text() for label in axes.get_xticklabels())


def test_what_costs_as_much_has_no_picture_and_old_runs_no_table():
    same = {("a", ""): [trial([0.5])], ("b", ""): [trial([0.6])]}
    assert _costs.figures(same, {"": "accuracy"}) == {}
    assert (
        _costs.table({("a", ""): [Trial(BASE, {}, "complete", {"validation": {"f1": 1}})]}) is None
    )
    assert _costs.table({("a", ""): [Trial(BASE, {})]}) is None


@pytest.mark.parametrize("columns", ["", "data:\n  trec: {dataset: trec}\n"])
def test_trials_bear_the_names_of_their_cells(tmp_path, columns):
    file = tmp_path / "table.yaml"
    file.write_text(f"{columns}plain:\nfast: {{learning_rate: 1e-3}}\n")
    options = grid.Options(settings=str(file))
    trials: list[Trial] = []
    while (settings := grid.propose(BASE, trials, options)) is not None:
        trials.append(trial([0.5], settings=settings))
    more = {"data": "trec"} if columns else {}
    assert grid.labels(trials, options) == [{"row": "plain", **more}, {"row": "fast", **more}]
    lost = trial([0.5], settings={"epochs": 9})
    assert grid.labels([lost], options)[0]["row"] == ""
    assert [t.title for t in grid.report(trials, options).tables][-1] == "Costs"
