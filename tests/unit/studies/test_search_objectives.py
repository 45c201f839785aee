"""The study search with objectives: what is looked for, the Pareto front, and who wins."""

from __future__ import annotations

import math

import pytest

from pipelines.errors import UserError
from tfnlp import study
from tfnlp.extensions import Trial
from tfnlp.report import png
from tfnlp.studies import search
from tfnlp.studies._search.objectives import Objective, ranked
from tfnlp.studies._search.tried import Tried, folds_of, group

from .fake_search import BASE, trained

BOTH = ("accuracy", "latency")


def searched(options, measure):
    """Return the trials of a search, whose score and costs a function gives by settings."""
    trials = []
    while (proposed := search.propose(BASE, trials, options)) is not None:
        assert proposed == search.propose(BASE, trials, options)
        score, costs = measure(proposed)
        trials.append(trained(proposed, [score] * 8, test=score, **costs))
    return trials


def test_the_front_is_what_nothing_beats():
    points = [(0.5, 1.0), (0.6, 2.0), (0.55, 2.0), (0.7, 9.0), (0.7, 8.0), (0.4, 1.0)]
    settings = [
        Tried({"warmup": n}, 1, [trained({}, [score], latency=latency)], [n])
        for n, (score, latency) in enumerate(points, 1)
    ]
    goals = [Objective("accuracy"), Objective("latency")]
    assert ranked(settings, goals) == [4, 1, 0]
    assert ranked(settings, goals[::-1]) == [0, 1, 4]
    assert ranked(settings, goals[:1])[:2] == [3, 4]
    settings.append(Tried({}, 1, [trained({}, [0.9])], [7]))  # of a version without latency
    assert ranked(settings, goals) == [4, 1, 0]


def test_a_search_for_two_finds_a_front():
    options = search.Options(vary=("warmup=0.0..1.0",), trials=20, finalists=1, objective=BOTH)

    def measure(settings):
        warmup = settings.get("warmup", 0.5)
        return 0.5 + 0.4 * math.sqrt(warmup), {"latency": 1 + 5 * warmup**2}

    trials = searched(options, measure)
    assert not any("give_up" in trial.settings for trial in trials)
    front = [trial.settings for trial in trials[:20]]
    finals = trials[20:]
    top = max(front[1:], key=lambda settings: settings["warmup"])
    assert {trial.settings.get("warmup") for trial in finals} == {None, top["warmup"]}
    report = search.report(trials, options)
    judged, table, every = report.tables[:3]
    assert "accuracy (test)" in judged.header
    assert "latency (ms a row)" in judged.header
    assert table.title.startswith("The Pareto front")
    assert table.header == ("trial", "warmup", "accuracy (validation)", "latency (ms a row)")
    assert len(table.rows) == len(every.rows) == 20  # each is better in one
    assert search.best(trials[:20], options) == front.index(top)
    for draw in report.figures.values():
        assert png(draw())[:4] == b"\x89PNG"
    other = search.Options(**{**vars(options), "objective": ("latency", "accuracy")})
    first = min(front[1:], key=lambda settings: settings["warmup"])
    assert search.best(trials[:20], other) == front.index(first)


def test_several_objectives_are_told_to_the_sampler():
    """It goes where the front is: what is best in one alone is beyond it, on either side."""
    options = search.Options(vary=("warmup=0.0..1.0",), trials=40, finalists=0, objective=BOTH)

    def measure(settings):
        warmup = settings.get("warmup", 0.95)
        # Between .2 and .3 all are of the front; elsewhere one is worse in both.
        away = max(0.2 - warmup, warmup - 0.3, 0)
        return 0.5 + warmup / 10 - away, {"latency": 1 + warmup + 10 * away}

    trials = searched(options, measure)
    late = [trial.settings["warmup"] for trial in trials[20:]]
    assert sum(0.15 <= warmup <= 0.35 for warmup in late) >= 8  # 4 of 20 if it knew nothing


def test_three_objectives_are_drawn():
    names = ("accuracy", "latency", "parameters")
    options = search.Options(vary=("warmup=0.0..1.0",), trials=6, finalists=0, objective=names)

    def measure(settings):
        warmup = settings.get("warmup", 0.5)
        return 0.5 + warmup / 4, {"latency": 1.0, "parameters": 1000 * 50 ** (2 * warmup)}

    report = search.report(searched(options, measure), options)
    assert png(report.figures["pareto_front"]())[:4] == b"\x89PNG"
    cells = report.tables[0].rows[0]
    assert cells[3] == "1"
    assert "," in cells[4]  # 48,213 parameters


@pytest.mark.parametrize(
    ("names", "prunes"), [((), True), (("accuracy",), True), (("latency",), False), (BOTH, False)]
)
def test_where_trials_are_given_up(names, prunes):
    options = search.Options(vary=("warmup=0.0..1.0",), trials=9, finalists=0, objective=names)
    trials = searched(options, lambda settings: (0.5, {"latency": 1.0}))
    assert ("give_up" in trials[-1].settings) == prunes


def test_one_objective_that_is_no_score():
    options = search.Options(
        vary=("warmup=0.0..1.0",), trials=9, finalists=1, objective=("latency",)
    )
    trials = searched(options, lambda s: (0.5, {"latency": 1 + s.get("warmup", 1.0)}))
    slowest = max(trial.settings.get("warmup", 1.0) for trial in trials)
    won = search.finalists(trials[:9], options)[0]["warmup"]
    assert won == min(trial.settings["warmup"] for trial in trials[1:9]) < slowest
    assert f"warmup {won}: better than" in search.report(trials, options).tables[0].title
    assert trials[search.best(trials, options)].settings["warmup"] == won


def test_an_unknown_objective_is_refused_with_those_that_there_are(tmp_path, monkeypatch):
    options = search.Options(objective=("acuracy", "latency"))
    first = search.propose(BASE, [], options)
    trials = [trained(first, [0.5], latency=1.0, seconds=9.0)]
    sentence = "--objective acuracy: .* there are accuracy, latency, seconds"
    with pytest.raises(UserError, match=sentence):
        search.propose(BASE, trials, options)
    with pytest.raises(UserError, match=sentence):
        search.report(trials, options)
    search.report([Trial(BASE, {}, "failed", error="out of memory")], options)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="--objective latency is there twice"):
        study.main(["search", "--objective", "latency", "--objective", "latency"])
    assert list(tmp_path.iterdir()) == []


def test_a_setting_has_the_means_of_its_folds():
    trials = [
        trained({"fold": f"{n}/2"}, [score], latency=latency)
        for n, (score, latency) in enumerate([(0.5, 1.0), (0.7, 2.0)], 1)
    ]
    assert folds_of(trials) == 2
    (one,) = group(trials)
    assert one.mean(Objective("accuracy").of) == pytest.approx(0.6)
    assert one.mean(Objective("latency").of) == 1.5
    assert group(trials[:1])[0].mean(Objective("latency").of) is None  # a fold is left
