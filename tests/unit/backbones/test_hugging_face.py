"""Encoders in Hugging Face layout against transformers."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines.encoding import segments
from tfnlp.backbones import hugging_face, loading

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("tiny_folders", HERE / "tiny_folders.py")
tiny_folders = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny_folders)
REFERENCE = json.loads((HERE / "tiny_folders.json").read_text("utf-8"))


@pytest.fixture(params=["mpnet"])
def kind(request):
    return request.param


@pytest.fixture
def folder(kind, tmp_path):
    return tiny_folders.write(kind, tmp_path / kind)


def encoded(tokenizer, *texts):
    columns = [tf.constant(column) for column in texts]
    return segments.encode(tokenizer, columns, tiny_folders.LENGTH, 1, 0)[0]


def rows(features):
    counts = tf.reduce_sum(features["padding_mask"], 1).numpy()
    return [ids[:n].tolist() for ids, n in zip(features["token_ids"].numpy(), counts, strict=True)]


def test_token_ids_are_those_of_transformers(kind, folder):
    tokenizer = loading.load(str(folder)).tokenizer
    given = rows(encoded(tokenizer, tiny_folders.TEXTS))
    assert given[: tiny_folders.SHORT] == REFERENCE[kind]["ids"]
    assert [*map(len, given)] == REFERENCE[kind]["lengths"]
    assert rows(encoded(tokenizer, ["the cat"], ["who saw"])) == [REFERENCE[kind]["pair"]]


def test_hidden_states_are_those_of_transformers(kind, folder):
    backbone = loading.load(str(folder))
    compare(kind, backbone)
    assert backbone.max_length >= tiny_folders.LENGTH
    assert len(backbone.blocks) == tiny_folders.LAYERS + 1


def compare(kind, backbone):
    """Compare a backbone's states with the reference: of each token three numbers."""
    features = encoded(backbone.tokenizer, tiny_folders.TEXTS)
    states = backbone.model.predict_on_batch(features)["tokens"]
    wanted = REFERENCE[kind]
    assert wanted["lengths"][-1] == tiny_folders.LENGTH
    for row, count, expected in zip(states, wanted["lengths"], wanted["states"], strict=False):
        np.testing.assert_allclose(row[:count, :3].reshape(-1), expected, rtol=0, atol=1e-5)
    long = states[-1, ::10, :3].reshape(-1)
    np.testing.assert_allclose(long, wanted["long"], rtol=0, atol=1e-5)


def test_what_is_written_is_read_again(kind, folder, tmp_path):
    config = json.loads((folder / "config.json").read_text("utf-8"))
    network = hugging_face.read(folder, config)
    copy = tmp_path / "copy"
    copy.mkdir()
    hugging_face.write(network, config, copy)
    again = hugging_face.read(copy, config)
    for one, other in zip(network.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_lowest_layers_can_be_kept(folder):
    whole, lowest = loading.load(str(folder)), loading.load(str(folder), layers=1)
    features = encoded(whole.tokenizer, tiny_folders.TEXTS[:2])
    inner = whole.model.get_layer("transformer_layer_0").output
    inner = keras.Model(whole.model.input, inner)
    wanted = inner.predict_on_batch(features)
    got = lowest.model.predict_on_batch(features)["tokens"]
    np.testing.assert_allclose(got, wanted, atol=1e-6)
