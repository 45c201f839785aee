"""What frozen layers return is computed once, kept, and trained on as if it were computed anew."""

import dataclasses
import os

import numpy as np
import pytest
import tensorflow as tf

from pipelines.errors import UserError
from tfnlp.backbones import __main__ as command
from tfnlp.backbones import feature_files
from tfnlp.extensions import Source, Step
from tfnlp.training import examples, features, fit_rows

pytestmark = pytest.mark.usefixtures("deterministic")


class Killed(BaseException):
    """Stands for kill -9."""


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TFNLP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


@pytest.fixture
def made(backbone_of_two_layers, strategy_run, tmp_path):
    def made(folder, layers, strategy="supervised"):
        whole = strategy_run.experiment(tmp_path / folder, backbone_of_two_layers, strategy)
        frozen = dataclasses.replace(whole.backbone, freeze_layers=layers)
        return dataclasses.replace(whole, backbone=frozen)

    return made


@pytest.mark.parametrize("layers", [1, 2])
def test_the_upper_part_answers_as_the_whole(layers, made, strategy_run):
    model = strategy_run.trainer(made("whole", layers)).model
    upper = features.above(model)
    rows = strategy_run.trainer(made("rows", layers)).splits.train
    data = examples.arrange(upper, rows, shuffle=False)
    for x, _ in examples.batches(upper, data, range(1)):
        inputs = {name: x[name] for name in ("token_ids", "segment_ids", "padding_mask")}
        np.testing.assert_allclose(upper.network(x), model.network(inputs), atol=1e-5)
    assert {id(w) for w in upper.network.trainable_weights} == {
        id(w) for w in model.network.trainable_weights
    }


def test_nothing_is_cut_where_all_is_trained_or_only_embeddings_are_not(made, strategy_run):
    assert features.above(strategy_run.trainer(made("all", 0)).model) is None


@pytest.mark.slow
@pytest.mark.parametrize("layers", [1, 2])
def test_a_second_fit_computes_nothing_below(layers, made, strategy_run, monkeypatch, cache):
    first = strategy_run.fit(made("first", layers))
    assert len(list(cache.iterdir())) == 2  # training rows and validation rows

    def fail(*_):
        raise AssertionError("computed again")

    monkeypatch.setattr(features.Frozen, "_fill", fail)
    assert strategy_run.fit(made("second", layers)) == first


@pytest.mark.parametrize("emptied", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_killed_it_ends_as_if_it_was_not(emptied, made, strategy_run, capsys):
    whole = strategy_run.fit(made("whole", 1))

    def kill():
        raise Killed

    with pytest.raises(Killed):
        strategy_run.fit(made("cut", 1), further=strategy_run.killing("fit", 7, kill))
    if emptied:
        assert command.main(["--empty-features"]) == 0
        assert "MB" in capsys.readouterr().out
    assert strategy_run.fit(made("cut", 1), resume=True) == whole


@pytest.mark.slow
def test_the_head_fit_of_lp_ft_reads_vectors(made, strategy_run, cache):
    strategy_run.fit(made("lp_ft", 0, "lp_ft"))
    shapes = {np.load(f / "states.npy").shape for f in cache.iterdir()}
    assert {shape[1] for shape in shapes} == {16}
    assert sum(shape[0] for shape in shapes) == 54  # one vector a row


def test_more_than_the_limit_is_not_kept_and_that_is_said(made, strategy_run, monkeypatch, cache):
    monkeypatch.setenv(feature_files.LIMIT, "1e-7")
    trainer = strategy_run.trainer(made("large", 1))
    rows = trainer.splits.train
    sources = {"train": Source(rows)}
    given = (trainer.model, Step(), sources, rows, trainer.folder, False, None)
    found = fit_rows.arranged(*given)
    assert found.model is trainer.model
    assert "TFNLP_FEATURES_GB" in found.hints[0]
    assert not cache.exists() or not list(cache.iterdir())
    monkeypatch.setenv(feature_files.LIMIT, "much")
    with pytest.raises(UserError, match="TFNLP_FEATURES_GB is 'much'"):
        fit_rows.arranged(*given)


def test_what_was_not_used_for_longest_goes_first(monkeypatch, cache):
    def kept(name):
        return feature_files.kept(name, np.arange(101), 10, lambda states: states.fill(1.0))

    for age, name in enumerate("ab"):
        kept(name)
        os.utime(cache / name, (age, age))
    monkeypatch.setenv(feature_files.LIMIT, str(2.5 * feature_files.size(cache / "a") / 1e9))
    kept("c")
    assert {place.name for place in cache.iterdir()} == {"b", "c"}


def test_a_damaged_file_is_made_again(cache):
    for _ in range(2):
        found = feature_files.kept("a", np.arange(5), 3, lambda states: states.fill(2.0))
        assert found.states.sum() == 24
        (cache / "a" / "states.npy").write_bytes(b"damaged")


def test_vectors_follow_texts_and_weights(made, strategy_run, cache):
    trainer = strategy_run.trainer(made("vectors", 0))
    model, rows = trainer.model, trainer.splits.train
    first = features.vectors(model, rows)
    again = features.vectors(model, rows.take([3, 1]))
    np.testing.assert_allclose(again, first[[3, 1]], atol=1e-5)
    model.network.weights[0].assign(model.network.weights[0] * 2.0)
    assert not np.allclose(features.vectors(model, rows), first)
    assert len(list(cache.iterdir())) == 3
    assert tf.reduce_all(tf.math.is_finite(first))
