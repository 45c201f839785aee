from __future__ import annotations

import dataclasses

import pytest

from pipelines.errors import UserError
from tfnlp.studies import _settings, grid


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        ("learning_rate=1e-5,3e-5", "learning_rate", [1e-5, 3e-5]),
        ("epochs=2,4", "epochs", [2, 4]),
        ("peft=none,bitfit", "peft", [None, "bitfit"]),
        ("freeze-embeddings=true, false", "freeze_embeddings", [True, False]),
        ("pair=yes,no", "pair", [True, False]),
        ("backbone=minilm-l6-en,./1e5x", "backbone", ["minilm-l6-en", "./1e5x"]),
        ("dropout=.1,-1,1.", "dropout", [0.1, -1, 1.0]),
        ("encoding=nan,1_000", "encoding", ["nan", "1_000"]),
    ],
)
def test_values_are_read(text, name, values):
    read = _settings.parse(text)
    assert read == (name, values)
    assert [type(value) for value in read[1]] == [type(value) for value in values]


@pytest.mark.parametrize("text", ["epochs", "epochs=", "=1", "epochs=1,,2"])
def test_what_is_no_list_of_values_is_refused(text):
    with pytest.raises(UserError, match="NAME=VALUE,VALUE"):
        _settings.parse(text)


def test_every_combination_is_tried_once(simulate):
    trials, report = simulate(
        "grid",
        lambda e: e.optimizer.learning_rate * 1000 + (e.augment != ()) / 10,
        vary=("learning_rate=1e-4,3e-4", "augment=none,aeda", "aeda_ratio=0.2,0.4"),
    )
    # In trials without aeda its ratio is not varied.
    each = [(t.settings["learning_rate"], t.settings.get("aeda_ratio")) for t in trials]
    assert each == [(1e-4, None), (1e-4, 0.2), (1e-4, 0.4), (3e-4, None), (3e-4, 0.2), (3e-4, 0.4)]
    assert trials[2].experiment.augment[0].options.ratio == 0.4
    table = report.tables[0]
    assert table.header == ("settings", "accuracy (test)")
    assert table.rows[0] == ("learning_rate=0.0001, augment=none", "0.1000")
    assert table.rows[4] == ("learning_rate=0.0003, augment=aeda, aeda_ratio=0.2", "0.4000 best")
    assert "may have been lucky" in report.warnings[0]
    assert report.to_frame("Cells")["mean"].tolist() == pytest.approx(
        [0.1, 0.2, 0.2, 0.3, 0.4, 0.4]
    )


def test_peft_none_takes_it_out(simulate):
    trials, _ = simulate("grid", lambda e: 0.5, "--peft", "bitfit", vary=("peft=none,bitfit",))
    assert [t.experiment.peft and t.experiment.peft.name for t in trials] == [None, "bitfit"]
    assert [t.experiment.optimizer.learning_rate for t in trials] == [1e-4, 3e-3]


TABLE = """
data:
  trec: {dataset: trec, limit: 300}
  mine: {train: a.csv, test: b.csv, text_column: review}
plain:
bitfit: {peft: bitfit, learning_rate: 1e-3}
"""


def scored(experiment):
    """Return 0.5, 0.6, 0.7 of seeds 0, 1, 2, and 0.1 more of bitfit on trec."""
    if experiment.data.train and experiment.peft and experiment.seed == 2:
        return None
    return 0.5 + experiment.seed / 10 + bool(experiment.peft and experiment.data.dataset) / 10


def test_a_table_of_settings_and_data(simulate, tmp_path):
    (tmp_path / "table.yaml").write_text(TABLE)
    trials, report = simulate("grid", scored, settings=str(tmp_path / "table.yaml"), seeds=3)
    assert len(trials) == 12
    places = {(t.experiment.data.dataset, t.experiment.data.train) for t in trials}
    assert places == {("trec", None), (None, "a.csv")}
    assert trials[1].experiment.data.columns == {"text": "review"}
    assert trials[2].experiment.optimizer.learning_rate == 1e-3
    table = report.tables[0]
    assert table.header == ("settings", "trec: accuracy (test)", "mine: accuracy (test)")
    # Student's t with 2 degrees of freedom: 4.30265 * 0.1 / sqrt(3) = 0.24842; with 1 degree, of
    # the 2 runs that have ended: 12.7062 * 0.05 = 0.63531
    assert table.rows == [
        ("plain", "0.6000 (0.3516 to 0.8484)", "0.6000 (0.3516 to 0.8484) best"),
        ("bitfit", "0.7000 (0.4516 to 0.9484) best", "0.5500 (-0.0853 to 1.1853)"),
    ]
    assert report.warnings == ["bitfit on mine with seed 2 failed: no memory"]
    assert report.figures["grid"]().get_axes()


def test_the_best_is_the_row_with_the_best_mean_on_validation_rows(simulate):
    # The luckiest run is of the row that is worse.
    values = {1e-4: (0.9, 0.5, 0.5), 3e-4: (0.7, 0.7, 0.7)}
    trials, _ = simulate(
        "grid",
        lambda e: values[e.optimizer.learning_rate][e.seed],
        vary=("learning_rate=1e-4,3e-4",),
        seeds=3,
        split="validation",
    )
    found = trials[grid.best(trials, grid.Options(("learning_rate=1e-4,3e-4",), seeds=3))]
    assert (found.experiment.optimizer.learning_rate, found.experiment.seed) == (3e-4, 0)


def test_the_best_is_of_the_first_column(simulate, tmp_path):
    """Scores of other rows do not compete: the second data set is the easier one."""
    (tmp_path / "table.yaml").write_text(TABLE)

    trials, _ = simulate("grid", scored, settings=str(tmp_path / "table.yaml"), seeds=3)
    options = grid.Options(settings=str(tmp_path / "table.yaml"), seeds=3)
    better = [
        dataclasses.replace(t, metrics={**t.metrics, "validation": {"accuracy": 0.99}})
        if t.metrics and t.experiment.data.train
        else t
        for t in trials
    ]
    assert better[grid.best(better, options)].experiment.data.dataset == "trec"


def test_rows_that_are_as_good_are_marked_alike(simulate):
    _, report = simulate("grid", lambda e: min(e.training.epochs, 2) / 4, vary=("epochs=1,2,3",))
    assert [row[1] for row in report.tables[0].rows] == ["0.2500", "0.5000 best", "0.5000 best"]


def test_less_may_be_better(simulate):
    _, report = simulate(
        "grid", lambda e: e.training.epochs, vary=("epochs=1,2",), metric="rmse", split="validation"
    )
    assert report.tables[0].header == ("settings", "rmse (validation)")
    assert [row[1] for row in report.tables[0].rows] == ["1.0000 best", "2.0000"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no rows"),
        ("[]", "holds no rows"),
        ("data: {a: {dataset: trec}}", "holds no rows"),
        ("a: {", "is not YAML"),
        ("a: [1]", r"row 'a' is \[1\]"),
        ("1: {epochs: 1}", "row 1 is not named by a text"),
        ("a: {epochs: 1}\na: {epochs: 2}", "line 2: 'a' stands there twice"),
        ("a: {epochs: 1, epochs: 2}", "'epochs' stands there twice"),
        ("a: {epochs: 1}\nb: {epochs: 1}", "row 'b' has the settings of 'a'"),
        ("a:\nb: {learning_rate: 0.0001}", "row 'b' has the settings of 'a', some of them as"),
        (
            "a: {learning_rate: 1e-3}\nb: {learning_rate: 0.001}",
            "row 'b' has the settings of 'a', ",
        ),
        ("a:\nb: {lora_rank: 4}", "lora_rank is an option of peft lora, which is not chosen"),
        ("a: {epoch: 1}", "row 'a': there is no setting 'epoch'; did you mean 'epochs'"),
        ("a:\nb: {epochs: few}", "row 'b': epochs: 'few' is not a whole number"),
        ("a: {backbone: 3}", "row 'a': backbone: 3 is not a text"),
        ("a:\nb: {peft: bitfitt}", "row 'b': there is no peft 'bitfitt'; did you mean 'bitfit'"),
        ("a: {aeda_ratio: 0.1}", "row 'a': aeda_ratio is an option of augment aeda"),
        ("a: {seed: 4}", "row 'a' sets the seed"),
        ("data: []\na:", "data must hold"),
        ("data: {}\na:", "data must hold"),
        ("data: {x: {limit: 3}}\na:", "data 'x' says no data"),
        ("data: {x: {dataset: trec}}\na: {train: a.csv}", "row 'a' sets train, which its column"),
        ("data: {x: {dataset: trec, limt: 3}}\na:", "data 'x': there is no setting 'limt'"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(text, said, simulate, tmp_path):
    file = tmp_path / "table.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=said) as caught:
        simulate("grid", scored, settings=str(file))
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        (["epochs=1,2", "epochs=3"], "a setting twice"),
        (["epochs=1,1"], "is there twice"),
        (["seed=1,2"], "give --grid-seeds"),
        (["aeda_ratio=0.2,0.4"], "aeda_ratio is an option of augment aeda, which is not chosen"),
        (["name=a,b"], "there is no setting 'name'"),
        (["epochs=0,1"], "epochs: 0 is too small"),
        (["peft=bitfitt"], "did you mean 'bitfit'"),
    ],
)
def test_values_that_cannot_be_used_are_refused(vary, said, simulate):
    with pytest.raises(UserError, match=said) as caught:
        simulate("grid", scored, vary=tuple(vary))
    assert "--vary" in str(caught.value)


def test_a_row_that_the_file_has_no_more_is_in_no_cell(simulate, tmp_path):
    file = tmp_path / "table.yaml"
    file.write_text("a:\nb: {epochs: 1}")
    before, _ = simulate("grid", scored, settings=str(file))
    file.write_text("c: {epochs: 2}\na:")
    after, report = simulate("grid", scored, trials=before, settings=str(file))
    assert [t.settings.get("epochs") for t in after] == [None, 1, 2]
    assert [row[0] for row in report.tables[0].rows] == ["c", "a"]
    assert "1 trials have settings that the file no longer has" in report.warnings
