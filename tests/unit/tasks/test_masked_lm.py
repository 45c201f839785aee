"""Masked language modelling: its examples, its answers, and the backbone that it leaves behind."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines.encoding import masking
from pipelines.errors import UserError
from pipelines.rows import Rows
from tfnlp import task as tasks
from tfnlp.backbones import loading
from tfnlp.runs import storage
from tfnlp.runs.experiment_yaml import from_values
from tfnlp.training import answering, examples
from tfnlp.training.model import prepare


def _rows(*texts):
    return Rows("rows.txt", {"text": list(texts)}, list(range(1, len(texts) + 1)))


@pytest.fixture(scope="module")
def model():
    task = tasks.load("masked_lm")
    made = from_values(
        {
            "task": {"name": "masked_lm", "max_length": 16},
            "data": {"train": "rows.txt"},
            "backbone": {"layers": 1},
        },
        task.options,
        "the test",
    )
    return prepare(made, _rows("a", "b"))


def test_examples_are_full_blocks_hidden_again_in_each_epoch(model):
    raw = examples.examples(model, _rows(*["The cat sat on the mat."] * 40))
    assert raw["token_ids"].shape == (23, 16)  # of 14 pieces; 40 texts of 7, 39 separators
    first, offsets = model.task.encode(model.context, raw)
    again, _ = model.task.encode(model.context, {**raw, "seed": raw["seed"] + 20})
    assert (first["token_ids"] != again["token_ids"]).numpy().any()
    assert (
        first["hidden"].numpy().sum(1).tolist() == (offsets["labels"] != -1).numpy().sum(1).tolist()
    )
    assert offsets["labels"].shape[1] == 2  # 15 % of 11 or 12 ordinary pieces


def test_answers_of_blocks_are_the_likelihoods_of_what_was_hidden(model):
    rows = _rows(*["The cat sat on the mat."] * 9)
    raw = examples.examples(model, rows)
    features, offsets = model.task.encode(model.context, raw)
    logits = model.network(features).numpy()
    scores = logits - np.logaddexp.reduce(logits, -1, keepdims=True)
    got = answering.answer(model, rows)
    for row, labels in enumerate(offsets["labels"].numpy()):
        hidden = [(i, label) for i, label in enumerate(labels) if label != masking.NOTHING]
        assert got["hidden"][row] == len(hidden)
        want = -sum(scores[row, i, label] for i, label in hidden)
        np.testing.assert_allclose(got["loss"][row], want, rtol=1e-4)
        assert got["right"][row] == sum(logits[row, i].argmax() == label for i, label in hidden)
    metrics = model.task.report(model.context, rows, got).metrics
    mean = got["loss"].sum() / got["hidden"].sum()
    assert metrics["perplexity"] == pytest.approx(np.exp(mean), rel=1e-4)


def test_gaps_of_a_text_are_filled(model):
    texts = ["A [MASK] and [MASK].", "No gap.", "", "[MASK]" * 30]
    answers = {n: t.numpy() for n, t in model.respond({"text": tf.constant(texts)}).items()}
    assert answers["masks"].tolist() == [2, 0, 0, 14]  # of 30, as many as 16 tokens hold
    assert answers["masks/tokens"].shape == (4, 14, 5)
    alone = {n: t.numpy() for n, t in model.respond({"text": tf.constant(texts[:1])}).items()}
    np.testing.assert_allclose(alone["masks/scores"][0], answers["masks/scores"][0, :2], atol=1e-6)
    assert alone["masks/token"].tolist() == answers["masks/tokens"][:1, :2, 0].tolist()
    assert (np.diff(alone["masks/scores"]) <= 0).all()
    assert not answers["masks/scores"][1].any()
    assert set(answers["masks/token"][1]) == {b""}


def test_texts_without_a_token_are_refused(model):
    with pytest.raises(UserError, match=r"rows\.txt has no text to learn from"):
        examples.examples(model, _rows("", " "))


def test_the_backbone_it_leaves_gives_the_states_of_the_trained_one(model, tmp_path):
    random = np.random.default_rng(0)
    for block in model.blocks:
        for layer in block:
            layer.set_weights([w + random.normal(0, 0.02, w.shape) for w in layer.get_weights()])
    storage.save(model, tmp_path)
    loaded = loading.load(str(tmp_path / "model" / "backbone"))
    ids = np.array([[101, 2040, 2626, 102]], "int32")
    features = {"token_ids": ids, "segment_ids": ids * 0, "padding_mask": ids * 0 + 1}
    inner = model.network.get_layer("transformer_layer_0")
    got = loaded.model(features)["tokens"]
    states = type(model.network)(model.network.input, inner.output)
    want = states({**features, "hidden": ids * 0})
    np.testing.assert_allclose(got, want, atol=1e-5)
    assert loaded.tokenizer.pieces() == model.context.tokenizer.pieces()
