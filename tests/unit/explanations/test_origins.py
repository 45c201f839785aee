"""Every token is known by the text it came from; what is linear is explained exactly."""

from __future__ import annotations

import dataclasses
import unicodedata
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines import batching
from pipelines.rows import Record, Rows
from pipelines.tokenizers.numbered import Numbered
from pipelines.tokenizers.wordpiece import SPECIAL, WordPiece
from tfnlp import extensions, task
from tfnlp.extensions import Explanation, Wanted
from tfnlp.heads import pooled

LETTERS = [chr(i) for i in range(ord("a"), ord("z") + 1)]
PIECES = (
    *SPECIAL,
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS),
    "$",
    "#",
    *"好的杜甫住在成都。",
    "👍",
)
TOKENIZER = WordPiece(PIECES, lowercase=True, strip_accents=True)
TASKS = [
    ("classification", {}),
    ("classification", {"pair": True}),
    ("classification", {"windows": 3, "max_length": 12, "overlap": 2}),
    ("ner", {"max_length": 12}),
    ("extractive_qa", {"max_length": 24}),
    ("relation_extraction", {"max_length": 40}),
    ("similarity", {"pair": True}),
]


def context_of(name, **options):
    record = task.load(name)
    given = dataclasses.replace(record.options(), **options)
    facts = {"labels": ["a", "b"], "temperature": 1.0}
    return record, task.Context(given, TOKENIZER, given.max_length, facts, "encoder", 64)


@pytest.mark.parametrize(("name", "options"), TASKS)
def test_ids_are_those_that_are_read_and_places_those_of_their_texts(name, options):
    record, context = context_of(name, **options)
    columns = record.input_columns(context.options)
    rows = record.sample(context.options)
    rows[0] = {**rows[0], **{c.name: f"é👍 {rows[0][c.name]}" for c in columns}}
    texts = {column.name: [row[column.name] for row in rows] for column in columns}
    raw = batching.tensors(Rows("", texts, list(range(4))), columns)
    plain, _ = record.encode(context, raw)
    numbered = Numbered(TOKENIZER)
    features, _ = record.encode(dataclasses.replace(context, tokenizer=numbered), raw)
    marked = any(column.kind == "marked" for column in columns)
    origins = numbered.origins(features["token_ids"], raw, marked=marked)
    assert (origins.ids.numpy() == plain["token_ids"].numpy()).all()
    parts, pieces = [], []
    for row in range(4):
        for place in np.argwhere(origins.column[row].numpy() >= 0):
            ids, column, start, end = (int(each.numpy()[(row, *place)]) for each in origins)
            text = texts[columns[column].name][row].encode()[start:end].decode()
            parts.append(text)
            pieces.append(PIECES[ids].removeprefix("##"))
    assert len(parts) > 20
    if name == "ner":  # a piece has the place of its word
        bare = [unicodedata.normalize("NFD", part.lower()) for part in parts]
        known = [pair for pair in zip(bare, pieces, strict=True) if pair[1] != "[UNK]"]
        assert len(known) > 20
        assert all(piece in part for part, piece in known)
        return
    own = TOKENIZER.tokenize(tf.constant(parts))
    assert own.row_lengths().numpy().tolist() == [1] * len(parts)
    assert [PIECES[i].removeprefix("##") for i in own.flat_values.numpy()] == pieces


def linear(labels):
    """A run's model whose logits are linear in the embeddings of its tokens."""
    record, context = context_of("classification")
    inputs = {
        n: keras.Input((None,), dtype="int32", name=n)
        for n in ("token_ids", "segment_ids", "padding_mask")
    }
    states = keras.layers.Embedding(len(PIECES), 8, name="embedding")(inputs["token_ids"])
    backbone = keras.Model(inputs, {"tokens": states})
    output = keras.layers.Dense(len(labels), name="logits")
    network = pooled.head(backbone, output, pooling="mean", dropout=0.0)
    experiment = SimpleNamespace(task="classification", options=context.options)
    return SimpleNamespace(task=record, context=context, network=network, experiment=experiment)


@pytest.mark.parametrize("by", ["integrated_gradients", "gradient_input"])
def test_of_a_linear_model_a_weight_is_weight_times_input(by):
    keras.utils.set_random_seed(3)
    model = linear(["a", "b"])
    subject = SimpleNamespace(model=model, batch_size=2, name="linear")
    entry = extensions.load(Explanation, by)
    texts = ["no way", "好的 a", "x"]
    records = [Record(i, {"text": text}, {}) for i, text in enumerate(texts)]
    found = list(entry.explain(subject, records, entry.options(), Wanted("tokens")))
    embedding = model.network.get_layer("embedding").embeddings.numpy()
    kernel = model.network.get_layer("logits").kernel.numpy()
    for text, one in zip(texts, found, strict=True):
        ids = TOKENIZER.tokenize(tf.constant([text]))[0].numpy()
        shifts = embedding[ids] - embedding[TOKENIZER.pad_id]
        wanted = shifts @ kernel[:, ["a", "b"].index(one.label)] / (len(ids) + 2)
        assert [p.weight for p in one.pieces] == pytest.approx(wanted.tolist(), abs=1e-5)
        assert not list(one.flags)


def test_log_odds_of_grades_are_those_of_their_probabilities():
    ordinal = task.load("ordinal")
    facts = {"grades": [1.0, 2.0, 4.0]}
    context = SimpleNamespace(facts=facts)
    outputs = tf.constant([[2.0, -1.0], [0.3, 0.1], [9.0, 7.0]])
    scores = ordinal.decode(context, {}, outputs, {})["scores"].numpy().astype(float)
    odds = ordinal.explaining.logits(context, {}, outputs).numpy()
    assert odds == pytest.approx(np.log(scores / (1 - scores)), abs=1e-2)
