"""Strategies for few labels train, are kept, answer and resume; and what they are made of."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipelines.errors import UserError
from pipelines.rows import Rows
from tfnlp.backbones import loading
from tfnlp.heads import open_labels
from tfnlp.inference import saved_model
from tfnlp.runs import storage
from tfnlp.runs.experiment_yaml import from_values
from tfnlp.strategies import _label_file, _probe, _prompting, _unlabelled, self_training, setfit
from tfnlp.tasks.multi_label import TASK as MULTI_LABEL
from tfnlp.training import examples

pytestmark = pytest.mark.usefixtures("deterministic")


class Killed(BaseException):
    """Stands for kill -9."""


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TFNLP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def texts(tmp_path):
    """A file of texts, of which two thirds have a label, for the report alone."""
    file = tmp_path / "more.jsonl"
    lines = [{"text": f"a {n} red {'leaf ' * (n % 3)}", "label": "water"} for n in range(12)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(file)


@pytest.fixture
def made(backbone, strategy_run, tmp_path):
    """Return a function from a folder and a strategy to an experiment on 54 rows."""

    def made(folder, name, options=None, epochs=1, **data):
        whole = strategy_run.experiment(tmp_path / folder, backbone, {"name": "supervised"})
        values = {
            "task": {"name": "classification", "max_length": 32, "unit_vectors": True},
            "data": {"train": whole.data.train, **data},
            "backbone": {"name": backbone, "dropout": 0.1},
            "strategy": {"name": name, **(options or {})},
            "training": {**dataclasses.asdict(whole.training), "give_up": [], "patience": None},
            "logging": {"projector": 0},
            "export": dataclasses.asdict(whole.export),
            "name": "toy",
        }
        values["training"]["epochs"] = epochs
        return from_values(values, type(whole.options), "the test")

    return made


def said(score):
    """Return what scores labels as a language model would, the same for the same text."""

    def scorer(trainer, name):
        def scores(pattern, texts, labels):
            likely = [[-float(abs(hash_of(t) - hash_of(n))) for n in labels] for t in texts]
            return np.stack([np.array(likely), np.ones((len(texts), len(labels)))])

        return scores

    return scorer


def hash_of(text):
    return sum(map(ord, text)) % 7


# ---------------------------------------------------------------- runs


def test_the_probe_trains_on_all_rows_and_is_judged_by_those_held_out(made, strategy_run):
    run, found = strategy_run.train(made("probe", "linear_probe", epochs=None))
    model = storage.load(run)
    assert found["metrics"]["rows"]["train"] == found["metrics"]["rows"]["validation"] == 54
    assert 0.5 < found["metrics"]["validation"]["accuracy"] <= 1.0  # apple and sea are told apart
    assert model.context.facts["temperature"] != 1.0
    assert found["histories"] == {}
    answers, own = strategy_run.answers(run)
    assert answers == own


def test_zero_shot_answers_with_labels_of_the_request(made, strategy_run, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("label,description\nfruit,red apple\nwater,\n 水 ,blue sea\nwater,\n")
    made = made("zero", "zero_shot", epochs=None, train=None, labels=str(labels))
    made = dataclasses.replace(made, export=dataclasses.replace(made.export, export=True))
    run, _ = strategy_run.train(made)
    place = json.loads((run / "metrics.json").read_text())["saved_model"]
    whole = saved_model.opened(Path(place))
    assert whole.settings.choose({"labels": "a|b"})[0] == "labels"
    asked = {"text": ["red apple", "blue sea"]}
    own = whole.model().answer(asked)
    assert [one["label"] for one in own] == ["fruit", "水"]
    assert list(own[0]["scores"]) == ["fruit", "water", "水"]
    given = {"labels": " blue sea \nred  apple\nblue sea\n水|b\n"}
    others = whole.model("labels", given).answer(asked)
    assert list(others[0]["scores"]) == ["blue sea", "red  apple", "水|b"]
    assert [one["label"] for one in others] == ["red  apple", "blue sea"]
    same = whole.model("labels", {}).answer(asked)  # a request without has the model's own
    assert list(same[0]["scores"]) == ["fruit", "water", "水"]


@pytest.mark.slow
def test_setfit_is_judged_by_folds_and_by_the_probe(made, strategy_run):
    trainer = strategy_run.trainer(made("setfit", "setfit", {"pairs": 16}, epochs=None))
    before = trainer.model.network.get_layer("logits").get_weights()[0]
    found = setfit.train(trainer)
    assert set(trainer.histories) == {"fold_1", "fold_2", "contrast"}
    assert 0.0 <= found.validation.metrics["accuracy"] <= 1.0
    assert found.facts["temperature"] > 0
    assert found.report.metrics["linear_probe_accuracy"] > 0.5
    assert not np.allclose(trainer.model.network.get_layer("logits").get_weights()[0], before)


@pytest.mark.slow
def test_setfit_killed_in_a_fold_ends_as_if_it_was_not(made, strategy_run):
    def one(folder):
        return made(folder, "setfit", {"pairs": 48}, epochs=None)

    def kill():
        raise Killed

    whole = strategy_run.fit(one("whole"))
    assert set(whole[1]) == {"fold_1", "fold_2", "contrast"}
    with pytest.raises(Killed):
        strategy_run.fit(one("cut"), further=strategy_run.killing("fold_2", 2, kill))
    assert strategy_run.fit(one("cut"), resume=True) == whole


@pytest.mark.parametrize(
    ("name", "options", "fits"),
    [
        ("self_training", {"rounds": 1, "confidence": 0.4}, {"teacher", "fit"}),
        ("uda", {"compare": False, "confidence": 0.0}, {"fit"}),
        ("prompt", {"texts": 5}, {"fit"}),
    ],
)
def test_it_learns_from_texts_without_labels(
    name, options, fits, made, strategy_run, texts, monkeypatch
):
    from tfnlp import extensions

    monkeypatch.setattr(_prompting, "scorer", said(None))
    trainer = strategy_run.trainer(made(name, name, options, unlabelled=texts))
    found = extensions.load(extensions.Strategy, name).train(trainer)
    assert set(trainer.histories) == fits
    tables = {table.title: table.rows for table in found.report.tables}
    assert tables["What must be beaten"][0][0] == "linear probe on the frozen backbone"
    assert "linear_probe_accuracy" in found.report.metrics
    if name == "self_training":
        ((_, count, taken, right, share),) = tables["Answers that became labels"]
        assert count == 12
        assert 0 <= right <= taken
        assert share == "" or float(share) == pytest.approx(right / taken, abs=1e-4)
    if name == "prompt":
        assert tables["What smollm2-135m answers"][0][1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "kill"),
    [
        ("self_training", {"rounds": 2, "confidence": 0.4}, "round_1"),
        ("uda", {"confidence": 0.0}, "fit"),
        ("prompt", {"texts": 5}, "fit"),
        ("setfit", {"pairs": 48}, "contrast"),
    ],
)
def test_whole_runs_resume_and_answer(name, options, kill, made, strategy_run, texts, monkeypatch):
    monkeypatch.setattr(_prompting, "scorer", said(None))
    more = {} if name == "setfit" else {"unlabelled": texts}
    epochs = None if name == "setfit" else 1

    def stop():
        raise Killed

    _, whole = strategy_run.train(made("whole", name, options, epochs, **more))
    cut = made("cut", name, options, epochs, **more)
    with pytest.raises(Killed):
        strategy_run.train(cut, further=strategy_run.killing(kill, 2, stop))
    run, found = strategy_run.train(cut, resume=True)
    assert found == whole
    answers, own = strategy_run.answers(run)
    assert answers == own


# ---------------------------------------------------------------- parts


def test_rows_for_validation_may_be_none(made, strategy_run):
    trainer = strategy_run.trainer(made("all", "supervised", epochs=2, validation_share=0.0))
    assert examples.takes_all(trainer.experiment, trainer.splits)
    assert "all 54 rows" in " ".join(trainer.splits.warnings)
    given = made("given", "linear_probe", epochs=None, validation_share=0.2)
    assert not examples.takes_all(given)


def test_options_without_effect_are_refused(made):
    with pytest.raises(UserError, match="--epochs has no effect on --strategy linear_probe"):
        made("a", "linear_probe", epochs=3)
    with pytest.raises(UserError, match="--epochs has no effect on --strategy setfit"):
        made("a", "setfit", epochs=3)
    with pytest.raises(UserError, match="needs --unlabelled FILE"):
        made("a", "uda")
    with pytest.raises(UserError, match="give that, or name a file"):
        made("a", "self_training", unlabelled="rest")
    with pytest.raises(UserError, match=r"must have \{\} once"):
        made("a", "zero_shot", {"pattern": ["no place"]}, epochs=None)
    with pytest.raises(UserError, match=r"must have \{text\} and \{label\} once"):
        made("a", "prompt", {"pattern": ["{text}"]}, unlabelled="rest", rows_per_label=2)


def test_pairs_are_unique_capped_and_drawn_of_every_label():
    labels = [frozenset([str(n % 300)]) for n in range(900)]
    found = list(setfit.pairs(labels, 1000, random.Random(0)))
    assert len({tuple(sorted(pair)) for pair in found}) == len(found) == 900  # 3 of each label
    assert all(labels[a] == labels[b] and a != b for a, b in found)
    many = [frozenset("a")] * 2000
    assert len(list(setfit.pairs(many, 500, random.Random(0)))) == 500
    mixed = [frozenset("ab"), frozenset("b"), frozenset("c"), frozenset()]
    found = list(setfit.pairs(mixed, 9, random.Random(0)))
    assert {tuple(sorted(pair)) for pair in found} == {(0, 1), (2, 2), (3, 3)}


def test_the_contrastive_loss_is_what_its_formula_gives():
    vectors = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], np.float32)
    marks = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    cosines = vectors @ vectors.T / 0.5
    others = [np.log(np.exp(np.delete(cosines[a], a)).sum()) for a in (0, 1)]
    each = [others[0] - cosines[0, 1], others[1] - cosines[1, 0]]
    found = setfit.contrast(tf.constant(3 * vectors), tf.constant(marks), 0.5)
    assert float(found) == pytest.approx(np.mean(each), rel=1e-5)
    alone = setfit.contrast(tf.constant(vectors), tf.eye(3), 0.5)
    assert float(alone) == 0.0


def test_a_probe_of_several_labels_and_of_a_label_with_one_row(made, strategy_run):
    trainer = strategy_run.trainer(made("parts", "linear_probe", epochs=None))
    vectors = np.random.default_rng(0).normal(size=(7, 16)).astype(np.float32)
    names = ["fruit", "fruit", "water", "water", "fruit", "water", "rare"]
    rows = Rows("rows", {"text": ["x"] * 7, "label": names}, list(range(7)))
    context = dataclasses.replace(
        trainer.model.context,
        facts={**trainer.model.context.facts, "labels": ["fruit", "rare", "water"]},
    )
    trainer.model = dataclasses.replace(trainer.model, context=context)
    found = _probe.of(trainer, rows, vectors)
    assert (vectors @ found.kernel + found.bias).argmax(1).tolist() == [0, 0, 2, 2, 0, 2, 1]
    assert 6 not in found.places
    assert len(found.places) == len(set(found.places.tolist()))
    options = MULTI_LABEL.options()
    experiment = dataclasses.replace(trainer.experiment, task="multi_label", options=options)
    trainer.model = dataclasses.replace(
        trainer.model, experiment=experiment, task=MULTI_LABEL, context=context
    )
    several = [[n] if n != "rare" else ["rare", "water"] for n in names]
    rows = Rows("rows", {"text": ["x"] * 7, "labels": several}, rows.numbers)
    both = _probe.of(trainer, rows, vectors)
    logits = vectors @ both.kernel + both.bias
    assert (logits[:, 0] > 0).tolist() == [name == "fruit" for name in names]


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        ("one\none\n", "too few to choose from"),
        ("lost_card\nlost card\n", "read the same"),
    ],
)
def test_labels_that_cannot_be_chosen_from_are_refused(lines, match, tmp_path):
    from types import SimpleNamespace

    from tfnlp.config_data import Data

    file = tmp_path / "labels.txt"
    file.write_text(lines)
    with pytest.raises(UserError, match=match):
        _label_file.read(SimpleNamespace(data=Data(labels=str(file))))


def test_labels_that_stand_there_twice_count_once(tmp_path):
    from types import SimpleNamespace

    from tfnlp.config_data import Data

    file = tmp_path / "labels.txt"
    file.write_text("lost card\n 卡丢了 \nlost card\n")
    given = SimpleNamespace(data=Data(labels=str(file)))
    assert _label_file.read(given).columns["label"] == ["lost card", "卡丢了"]
    assert _label_file.repeated(given) == ["lost card"]


def test_labels_of_a_request_are_listed_once_each():
    asked = tf.constant(["a| b |a", "c|d\ne\n\n", "", "卡 丢了|a"])
    found = open_labels.listed(asked).to_list()
    assert [[name.decode() for name in row] for row in found] == [
        ["a", "b"],
        ["c|d", "e"],
        [],
        ["卡 丢了", "a"],
    ]


def test_answers_are_accepted_by_label_and_in_balance():
    scores = np.array([[0.95, 0.05]] * 9 + [[0.45, 0.55], [0.2, 0.8], [0.3, 0.7]])
    places, labels = self_training.accepted(scores, 0.9, 0.0)
    # Of the second label none is above .9: its threshold is half way from chance, .7.
    assert places == [*range(9), 10, 11]
    assert labels == [0] * 9 + [1, 1]
    balanced, _ = self_training.accepted(scores, 0.9, 1.0)
    assert len(balanced) == 7  # at most the median of 9 and 2, which is 5, of the first
    assert self_training.accepted(np.full((3, 2), 0.5), 0.9, 1.0) == ([], [])


def test_test_rows_among_unlabelled_texts_and_another_language_are_told(
    made, strategy_run, tmp_path
):
    file = tmp_path / "more.txt"
    file.write_text("red apple  0\n" + "Где моя карта? 我的卡在哪里?\n" * 60)
    test = tmp_path / "test.csv"
    test.write_text("text,label\nred apple  0,fruit\nblue sea x,water\n")
    trainer = strategy_run.trainer(made("told", "uda", unlabelled=str(file), test=str(test)))
    found = list(_unlabelled.doubts(trainer, _unlabelled.texts(trainer)))
    assert any("1 of the unlabelled texts" in one and "judges" in one for one in found)
    assert any("unknown to the backbone" in one for one in found)


def test_the_rest_are_the_rows_that_were_not_drawn(made, strategy_run):
    trainer = strategy_run.trainer(made("rest", "uda", unlabelled="rest", rows_per_label=3))
    assert len(trainer.splits.train) == 6
    rest = _unlabelled.texts(trainer)
    assert len(rest) == 48
    assert not set(rest.numbers) & set(trainer.splits.train.numbers)


def test_a_prompt_is_read_once_and_scores_are_those_of_whole_texts(backbone):
    tokenizer = loading.load(backbone).tokenizer
    causal = loading.scratch("scratch:1x64", tokenizer, None)
    scorer = _prompting._Causal(causal)
    labels = ["ab", "c d e"]
    found = scorer.scores("x {text} is {label}", ["red", "bl"], labels)
    assert found[1].tolist() == [[2, 3], [2, 3]]
    for place, text in enumerate(("red", "bl")):
        prompt = [i for part in ("x ", text, " is") for i in _ids(tokenizer, part)]
        for number, label in enumerate(labels):
            ids = _ids(tokenizer, f" {label}")
            whole = np.array([prompt + ids])
            logits = scorer.model({"token_ids": whole, "padding_mask": np.ones_like(whole)})
            likely = tf.nn.log_softmax(tf.cast(logits, tf.float32))[0].numpy()
            wanted = sum(likely[len(prompt) - 1 + i, token] for i, token in enumerate(ids))
            assert found[0, place, number] == pytest.approx(wanted, abs=1e-3)
    with pytest.raises(UserError, match="must end with"):
        scorer.scores("{label}: {text}", ["red"], labels)


def _ids(tokenizer, text):
    return tokenizer.tokenize(tf.constant([text]))[0].numpy().tolist()
