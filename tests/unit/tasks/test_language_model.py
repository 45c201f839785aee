"""Plain text in blocks, and label smoothing."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from pipelines.encoding import packing, prompts
from pipelines.errors import UserError
from pipelines.rows import Rows
from pipelines.tokenizers import vocabularies
from tfnlp import task as tasks
from tfnlp.heads import masked_lm
from tfnlp.runs.experiment_yaml import from_values
from tfnlp.training import answering, examples
from tfnlp.training.model import prepare

TEXTS = ["the cat sat on the mat", "a dog ran", "the mat was red and the cat was not"] * 8


def test_every_token_is_predicted_once():
    tokenizer = vocabularies.learn(TEXTS, 60, seed=0)
    blocks = packing.stream(tokenizer, TEXTS, 10, start=1, between=[2])
    flat = np.concatenate([block[1:] for block in blocks])
    flat = flat[flat >= 0]
    want = [i for text in TEXTS for i in [*tokenizer.tokenize([text])[0].numpy().tolist(), 2]]
    assert flat.tolist() == want
    assert blocks[0, 0] == 1
    assert (blocks[1:, 0] == blocks[:-1, -1]).all()
    assert len(packing.stream(tokenizer, [""], 10, start=1, between=[2])) == 0


@pytest.fixture(scope="module")
def model():
    task = tasks.load("language_model")
    values = {
        "task": {"name": "language_model", "max_length": 16, "vocabulary_size": 100},
        "data": {"train": "rows.txt"},
        "backbone": {"name": "scratch:1x64"},
    }
    made = from_values(values, task.options, "the test")
    return prepare(made, Rows("rows.txt", {"text": TEXTS}, list(range(1, 25))))


def test_perplexity_counts_words(model):
    rows = Rows("rows.txt", {"text": TEXTS}, list(range(1, 25)))
    found = answering.evaluate(model, rows).metrics
    answers = answering.answer(model, rows)
    total, tokens = answers["loss"].sum(), answers["target_tokens"].sum()
    words = sum(len(text.split()) for text in TEXTS)
    np.testing.assert_allclose(found["perplexity"], np.exp(total / tokens), rtol=1e-4)
    np.testing.assert_allclose(found["perplexity_per_word"], np.exp(total / words), rtol=1e-3)
    lines = dataclasses.replace(model.context.options, separator="line")
    about = dataclasses.replace(model.context, options=lines)
    counted = model.task.report(about, rows, answers).metrics["perplexity_per_word"]
    np.testing.assert_allclose(counted, np.exp(total / (words + len(TEXTS))), rtol=1e-3)


def test_a_text_goes_on_where_its_last_tokens_end(model):
    long = " ".join(TEXTS)
    features, offsets = model.task.encode(model.context, {"text": tf.constant([long, ""])})
    ids = model.context.tokenizer.tokenize([long])[0].numpy().tolist()
    start = prompts.document_id(model.context.tokenizer)
    assert features["prompt"].numpy()[0].tolist() == [start, *ids[-15:]]
    assert offsets["lost"].numpy().tolist() == [len(ids) - 15, 0]
    assert features["prompt_lengths"].numpy().tolist() == [16, 1]
    assert features["prompt"].numpy()[1, 0] == start


def test_no_text_is_said(model):
    with pytest.raises(UserError, match="no text to learn from"):
        examples.examples(model, Rows("rows.txt", {"text": [""]}, [1]))


def test_label_smoothing_against_keras():
    import keras

    logits = np.random.default_rng(0).normal(size=(2, 3, 7)).astype("float32")
    labels = np.array([[1, 2, -1], [6, -1, -1]])
    flat = np.eye(7, dtype="float32")[[1, 2, 6]]
    want = keras.losses.categorical_crossentropy(
        flat, logits[[0, 0, 1], [0, 1, 0]], from_logits=True, label_smoothing=0.1
    )
    got = masked_lm.Crossentropy(0.1)(labels, logits)
    np.testing.assert_allclose(got, np.mean(want), rtol=1e-5)
