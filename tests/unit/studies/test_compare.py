"""The study compare: what it proposes, and what it says of runs whose rows are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from pipelines.errors import UserError
from tfnlp.cli import arguments
from tfnlp.cli.settings import Given
from tfnlp.extensions import Trial
from tfnlp.options import Parser
from tfnlp.studies import compare
from tfnlp.studies.compare import Options

RATE = ("learning_rate=3e-4",)
DRAWS = np.random.default_rng(0).integers(0, 20, (50, 20))


def given():
    return Given(*arguments.read(["--dataset", "trec", "--seed", "7"], Parser())[:2])


def proposed(options, count=None):
    """Return what is proposed, in turn."""
    base, trials = given().experiment(), []
    while (settings := compare.propose(base, trials, options)) is not None:
        trials.append(Trial(base, settings))
        if len(trials) == count:
            break
    return [dict(trial.settings) for trial in trials]


def trial(settings, digits, *, metric="accuracy", value=None, **judged):
    """Return a run whose model has these rows right, a digit a row."""
    rows = np.array([digit == "1" for digit in digits])
    held = {metric: rows.mean() if value is None else value}
    kept = {
        "rows": len(rows),
        "sha256": "a",
        "numbers": [10 * place for place in range(1, len(rows) + 1)],
        "right": digits,
        "resampled": {metric: rows[DRAWS % len(rows)].mean(1).tolist()},
    }
    return Trial(
        given().vary(settings),
        settings,
        "complete",
        {"validation": held, "test": held},
        run=Path(f"run-{settings['seed']}"),
        judged={**kept, **judged},
    )


def report(*rights, against=RATE, **more):
    """Return the report on runs by turn, the one against the base first."""
    options = Options(against, (len(rights) + 1) // 2)
    several = zip(proposed(options), rights, strict=True)
    return compare.report([trial(s, right, **more) for s, right in several], options)


def verdict(found):
    return found.tables[0].rows[0][0]


def cells(found, title):
    (table,) = [table for table in found.tables if table.title.startswith(title)]
    return [dict(zip(table.header, row, strict=True)) for row in table.rows]


def test_sides_take_turns_on_the_same_seeds():
    assert proposed(Options(("learning_rate=3e-4", "peft=bitfit"), 2)) == [
        {"learning_rate": 3e-4, "peft": "bitfit", "seed": 7},
        {"seed": 7},
        {"learning_rate": 3e-4, "peft": "bitfit", "seed": 8},
        {"seed": 8},
    ]


def test_a_placebo_differs_by_seed_only():
    assert [s["seed"] for s in proposed(Options(("seed=100",), 2))] == [100, 7, 101, 8]


@pytest.mark.parametrize(
    ("against", "said"),
    [
        ((), "nothing to compare with"),
        (("learning_rate=0.0001",), "--against learning_rate=0.0001 is what the experiment has"),
        (("peft=none",), "--against peft=none is what the experiment has already"),
        (("epochs",), "--against epochs: it must be NAME=VALUE"),
        (("epochs=2,4",), "--against epochs=2,4: it must be NAME=VALUE"),
        (("epochs=2", "epochs=4"), "gives epochs twice"),
        (("seed=8",), "at least 3 away from --seed 7"),
        (("seed=x",), "a whole number"),
    ],
)
def test_what_cannot_be_compared_is_refused(against, said):
    with pytest.raises(UserError, match=said):
        proposed(Options(against))


def test_another_comparison_is_not_continued():
    trials = [Trial(given().experiment(), s) for s in proposed(Options(RATE), 2)]
    assert compare.propose(given().experiment(), trials, Options(RATE, 5)) is not None
    with pytest.raises(UserError, match="not made with --against epochs=2"):
        compare.propose(given().experiment(), trials, Options(("epochs=2",)))


def test_one_run_a_side_tells_of_models_only():
    """Nine rows right in one model alone, one in the other: McNemar's p is 0.0215."""
    found = report("1" * 18 + "01", "1" * 9 + "0" * 9 + "10")
    pair = cells(found, "Models")[0]
    assert (pair["only base right"], pair["only against right"]) == (1, 10)
    assert pair["McNemar's p"] == f"{stats.binomtest(1, 11).pvalue:.4f}"
    assert (pair["base"], pair["against"], pair["difference"]) == ("0.5000", "0.9500", "0.4500")
    assert "these two models differ on these rows: against is better by 0.4500 [" in verdict(found)
    assert "one run a side cannot say whether the settings differ" in verdict(found)
    alone = cells(found, "Rows that one side")
    assert alone[0] == {"side": "base", "rows": 1, "their numbers": "190"}
    assert alone[1]["their numbers"] == "100, 110, 120, 130, 140, 150, 160, 170, 180, 200"


def test_models_that_are_alike_do_not_differ():
    found = report("1" * 18 + "01", "1" * 18 + "10")
    assert "do not differ beyond chance on these rows" in verdict(found)
    assert "McNemar's p 1.0000" in verdict(found)


def test_mcnemar_does_not_decide_on_another_metric():
    """F1 rose on every draw, while as many rows are wholly right."""
    rights = "1" * 18 + "01", "1" * 18 + "10"
    settings, options = proposed(Options(RATE, 1)), Options(RATE, 1)
    drawn = np.linspace(0.4, 0.5, 50)
    trials = [
        trial(s, right, metric="f1", value=0.5 + up, resampled={"f1": (drawn + up).tolist()})
        for s, right, up in zip(settings, rights, (0.1, 0.0), strict=True)
    ]
    assert "these two models differ" in verdict(compare.report(trials, options))


def test_two_runs_a_side_are_too_few():
    found = report(*["1" * 18 + "01", "0" * 18 + "10"] * 2)
    assert "seed 8: these two models differ" in verdict(found)
    assert "two runs a side are too few to say whether the settings differ" in verdict(found)


def test_three_runs_a_side_tell_of_settings():
    found = report(*["1" * 18 + "01", "0" * 16 + "1110"] * 3)
    assert verdict(found).startswith("these settings differ: against is better by 0.8000 [")
    assert len(cells(found, "Models")) == 3
    found.figures["differences"]()
    found = report(*["1" * 18 + "01", "1" * 18 + "10"] * 3)
    assert verdict(found).startswith("no difference can be seen")


def test_less_is_better_of_an_error():
    found = report(*["1" * 18 + "01", "0" * 16 + "1110"] * 3, metric="mae")
    assert verdict(found).startswith("these settings differ: base is better by 0.8000 [")


def test_seeds_alone_are_told_apart_from_rows():
    plain = {"right": None, "resampled": {}}
    found = report(*["1" * 18 + "01", "0" * 16 + "1110"] * 3, **plain)
    assert any("the interval is that for these rows" in text for text in found.warnings)
    found = report("1" * 18 + "01", "0" * 16 + "1110", **plain)
    assert "whether these two models differ cannot be said" in verdict(found)


def test_a_placebo_is_said_to_be_one():
    assert (
        "the sides differ by nothing but the seed"
        in report("10", "01", against=("seed=99",)).warnings
    )
    assert not report("10", "01").warnings


@pytest.mark.parametrize("other", [{"rows": 3}, {"sha256": "b"}])
def test_other_rows_are_not_compared(other):
    one, two = proposed(Options(RATE, 1))
    with pytest.raises(UserError, match="not the same rows with the same targets"):
        compare.report([trial(one, "10"), trial(two, "10", **other)], Options(RATE, 1))


def test_a_failed_run_leaves_its_pair_out():
    settings = proposed(Options(RATE, 2))
    failed = Trial(given().vary(settings[2]), settings[2], "failed", error="the disk is full")
    trials = [trial(settings[0], "10"), trial(settings[1], "01"), failed, trial(settings[3], "11")]
    found = compare.report(trials, Options(RATE, 2))
    assert [row["seed"] for row in cells(found, "Models")] == ["7"]
    assert found.warnings == ["the run with seed 8 failed: the disk is full"]
