"""What an earlier run has learned is gone on with: facts, weights, and what cannot be."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pipelines.errors import UserError
from pipelines.rows import Rows
from tfnlp import task as tasks
from tfnlp.runs import storage
from tfnlp.runs.experiment_yaml import from_values
from tfnlp.training import continuing
from tfnlp.training.model import prepare

NAMES = [
    *("classification", "multi_label", "relation_extraction", "ner", "ordinal", "regression"),
    *("extractive_qa", "similarity"),
]
# By task what new rows have in place of the sample's: another label.
NEW = {
    "classification": {"label": ["thing", "person", "thing", "thing"]},
    "multi_label": {"labels": [["new"], ["food", "new"], [], ["new"]]},
    "relation_extraction": {"relation": ["zoo", "born_in", "zoo", "ate"]},
    "ner": {"entities": [[(0, 5, "new")], [], [(0, 1, "abc")], []]},
}
HEADS = ("logits/", "emissions/", "crf/")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A BERT of random weights that reads letters, in KerasHub's layout; a function of its size."""
    import keras
    import keras_hub

    def made(layers=2, letters="abcdefghijklmnopqrstuvwxyz"):
        folder = tmp_path_factory.mktemp("bert")
        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, "$", "#"]
        vocabulary += [f"##{letter}" for letter in letters]
        keras.utils.set_random_seed(0)
        keras_hub.models.BertBackbone(
            vocabulary_size=len(vocabulary),
            num_layers=layers,
            num_heads=2,
            hidden_dim=16,
            intermediate_dim=32,
            max_sequence_length=64,
        ).save_to_preset(str(folder))
        keras_hub.models.BertTokenizer(vocabulary, lowercase=True).save_to_preset(str(folder))
        return str(folder)

    return made


@pytest.fixture(scope="module")
def backbone(bert):
    return bert()


def _experiment(task, backbone, peft=None, seed=1, **options):
    values = {
        "task": {"name": task, "max_length": 32, **options},
        "data": {"train": "rows.jsonl"},
        "backbone": {"name": backbone},
        "earlier": {"start_from": "RUN"},
        "seed": seed,
        **({"peft": peft} if peft else {}),
    }
    return from_values(values, tasks.load(task).options, "the test")


def _rows(task, options, **changed):
    sample = tasks.load(task).sample(options)
    columns = {name: [row.get(name) for row in sample] for name in sample[0]}
    return Rows("rows.jsonl", {**columns, **changed}, [1, 2, 3, 4])


def _begun(made, rows=None):
    """Return a model with weights of its own, as if trained."""
    model = prepare(made, rows or _rows(made.task, made.options))
    random = np.random.default_rng(0)
    for weight in model.network.trainable_weights:
        weight.assign(weight.numpy() + random.normal(0, 0.02, weight.shape))
    return model


def _kept(model, folder):
    storage.save(model, folder)
    return storage.load(folder)


@pytest.mark.parametrize("task", NAMES)
def test_old_weights_stay_and_new_labels_follow(task, backbone, tmp_path):
    first = _kept(_begun(_experiment(task, backbone)), tmp_path)
    rows = _rows(task, first.experiment.options, **NEW.get(task, {}))
    second = continuing.prepare(_experiment(task, backbone, seed=2), rows, first)
    before, now = (m.context.facts for m in (first, second))
    assert now.get("labels", [])[: len(before.get("labels", []))] == before.get("labels", [])
    new = len(now.get("labels", [])) - len(before.get("labels", []))
    assert new == (0 if task not in NEW else 2 if task in ("ner", "relation_extraction") else 1)
    for old, weight in zip(first.network.weights, second.network.weights, strict=True):
        part = weight.numpy()[tuple(slice(0, size) for size in old.shape)]
        assert np.array_equal(part, old.numpy()), old.path
        assert (tuple(old.shape) == tuple(weight.shape)) == (
            not new or not old.path.startswith(HEADS)
        )
    again = _kept(second, tmp_path / "second")
    assert again.context.facts == now


def test_numbers_and_grades_keep_their_scale(backbone):
    first = _begun(_experiment("regression", backbone))
    rows = _rows("regression", first.experiment.options, target=[100.0, 200.0, 300.0, 400.0])
    second = continuing.prepare(_experiment("regression", backbone), rows, first)
    assert second.context.facts == first.context.facts
    first = _begun(_experiment("ordinal", backbone))
    rows = _rows("ordinal", first.experiment.options, grade=[1.0, 3.0, 7.0, 1.0])
    with pytest.raises(UserError, match=r"row 3: grade 7.*--start-from adds no grades"):
        continuing.prepare(_experiment("ordinal", backbone), rows, first)
    rows = _rows("ordinal", first.experiment.options, grade=[1.0, 3.0, 1.0, 1.0])
    made = continuing.prepare(_experiment("ordinal", backbone), rows, first)
    assert made.context.facts["grades"] == [1.0, 3.0, 4.0, 5.0]


def test_weights_of_labels_and_thresholds_follow_the_labels(backbone):
    made = _experiment("multi_label", backbone, class_weights="balanced")
    first = _begun(made)
    facts = {**first.context.facts, "thresholds": [0.3, 0.4], "temperature": 2.0, "doubt": 0.1}
    first = dataclasses.replace(first, context=dataclasses.replace(first.context, facts=facts))
    rows = _rows("multi_label", made.options, **NEW["multi_label"])
    found = continuing.grown(made, rows, first)
    assert found["labels"] == ["food", "service", "new"]
    assert found["thresholds"] == [0.3, 0.4, 0.5]
    assert found["class_weights"] == [2.0, 1.0, pytest.approx(2 / 3)]  # none of service here
    assert found["temperature"] == 1.0
    assert "doubt" not in found


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ({"task": "regression"}, "is a run of --task classification, not of regression"),
        ({"pooling": "cls"}, r"the network .* is another .*say --pooling mean\)"),
        ({"windows": 2}, r"the network .* is another .*say --windows 1\)"),
        ({"pair": True}, r"reads text, and this run text_a and text_b \(say --no-pair\)"),
        ({"peft": {"name": "lora"}}, None),
        ({"label_smoothing": 0.1, "head_dropout": 0.3, "max_length": 16}, None),
    ],
)
def test_what_differs_is_named(now, told, backbone):
    first = _begun(_experiment("classification", backbone))
    made = _experiment(**{"task": "classification", "backbone": backbone, **now})
    rows = _rows(made.task, made.options)
    if told is None:
        continuing.prepare(made, rows, first)
        return
    with pytest.raises(UserError, match=told) as error:
        continuing.prepare(made, rows, first)
    assert "\n" not in str(error.value)


def test_another_backbone_is_named(bert, backbone):
    first = _begun(_experiment("classification", backbone))
    made = _experiment("classification", "minilm-l6-en")
    with pytest.raises(UserError, match=r"trained on the backbone .* \(say --backbone "):
        continuing.check(made, first)
    for other, told in ((bert(letters="abc"), "another vocabulary"), (bert(layers=1), "network")):
        made = _experiment("classification", other)
        with pytest.raises(UserError, match=told):
            continuing.prepare(made, _rows(made.task, made.options), first)


@pytest.mark.parametrize("now", [None, "bitfit", "lora", "adapters"])
@pytest.mark.parametrize("before", [None, "bitfit", "lora", "adapters"])
def test_peft_before_and_after(before, now, backbone, tmp_path):
    about = [{"name": name} if name else None for name in (before, now)]
    first = _kept(_begun(_experiment("classification", backbone, about[0])), tmp_path / "first")
    made = _experiment("classification", backbone, about[1], seed=2)
    rows = _rows(made.task, made.options)
    if before == "adapters" and now != before:
        with pytest.raises(UserError, match="--peft adapters, whose layers cannot be folded"):
            continuing.prepare(made, rows, first)
        return
    second = continuing.prepare(made, rows, first)
    features = second.encode({"text": np.array(["a red leaf", "b"])})[0]
    wanted = first.network(features)
    assert np.allclose(second.network(features), wanted, atol=1e-5)
    again = _kept(second, tmp_path / "second")
    assert np.allclose(again.network(features), wanted, atol=1e-5)
    assert second.moved == (now is not None and before != now)


def test_renamed_labels_keep_their_numbers(backbone, tmp_path):
    first = _begun(_experiment("classification", backbone))
    model = continuing.renamed(first, {"person": "who"})
    assert model.context.facts["labels"] == ["who", "place"]
    rows = _rows("classification", first.experiment.options, label=["who", "bee", "who", "place"])
    second = continuing.prepare(_experiment("classification", backbone), rows, model)
    assert second.context.facts["labels"] == ["who", "place", "bee"]
    assert _kept(second, tmp_path).context.facts == second.context.facts
    for names, told in (
        ({"nobody": "who"}, "has no label 'nobody'; it has: person, place"),
        ({"person": "place"}, "has a label 'place' already"),
    ):
        with pytest.raises(UserError, match=told):
            continuing.renamed(first, names)
    swapped = continuing.renamed(first, {"person": "place", "place": "person"})
    assert swapped.context.facts["labels"] == ["place", "person"]


def test_a_label_that_was_perhaps_renamed_is_named(backbone):
    first = _begun(_experiment("classification", backbone))
    made = _experiment("classification", backbone)
    rows = _rows("classification", made.options, label=["Per-son", "place", "plaice", "zoo"])
    second = continuing.prepare(made, rows, first)
    (told,) = continuing.remarks(second, first, rows)
    assert "'Per-son' is a new label, and no row has 'person'" in told
    assert "--renamed person=Per-son" in told


def test_a_step_may_have_one_label(backbone):
    first = _begun(_experiment("classification", backbone))
    rows = _rows("classification", first.experiment.options, label=["bee"] * 4)
    second = continuing.prepare(_experiment("classification", backbone), rows, first)
    assert second.network.output_shape == (None, 3)
