"""A tiny backbone, a run of it, and SavedModels whose answers follow from a word or two."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import keras
import keras_hub
import pytest
import tensorflow as tf
from tensorflow.python.framework import config as framework_config

_spec = importlib.util.spec_from_file_location(
    "small_run", Path(__file__).parent / "strategy_run.py"
)
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)


@pytest.fixture(scope="session")
def backbone(tmp_path_factory):
    """A BERT of random weights that reads single letters, in KerasHub's layout."""
    return _bert(tmp_path_factory.mktemp("backbone"), layers=1)


@pytest.fixture(scope="session")
def backbone_of_two_layers(tmp_path_factory):
    """As `backbone`, with a layer more."""
    return _bert(tmp_path_factory.mktemp("backbone_2"), layers=2)


@pytest.fixture(scope="session")
def backbone_with_marks(tmp_path_factory):
    """As `backbone`, with the signs that mark the arguments of a relation."""
    return _bert(tmp_path_factory.mktemp("backbone_marks"), layers=1, more=["$", "#"])


def _bert(folder, layers, more=()):
    """Write a BERT of random weights; returns its folder."""
    letters = [chr(i) for i in range(ord("a"), ord("z") + 1)]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *more]
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


@pytest.fixture(scope="session")
def small_experiment(backbone):
    """Return a function from a folder to an experiment of one epoch on 54 rows that it writes."""

    def made(folder):
        whole = _module.experiment(folder, backbone, "supervised")
        training = dataclasses.replace(whole.training, epochs=1, deterministic=False)
        export = dataclasses.replace(whole.export, export=True)
        return dataclasses.replace(whole, training=training, export=export)

    return made


@pytest.fixture(scope="session")
def run(small_experiment, tmp_path_factory):
    """A run's folder, trained in this process; its metrics.json names its SavedModel."""
    from tfnlp.api import training as api

    return api.train(small_experiment(tmp_path_factory.mktemp("run")))


def _has(text, word):
    return tf.cast(tf.strings.regex_full_match(text, f"(?s).*{word}.*"), tf.float32)


class Words(tf.Module):
    """Answers that depend on the words good, 好, 👍🏽, Ann and Dr alone."""

    def good(self, text):
        return tf.reduce_max(tf.stack([_has(text, w) for w in ("good", "好", "👍🏽")]), 0)

    def label(self, text):
        scores = tf.stack([0.9 - 0.7 * self.good(text), 0.1 + 0.7 * self.good(text)], 1)
        names = tf.constant(["bad", "fine"])
        return {
            "label": tf.gather(names, tf.argmax(scores, 1)),
            "score": tf.reduce_max(scores, 1),
            "scores": scores,
            "labels": tf.broadcast_to(names, tf.shape(scores)),
        }

    def labels(self, text):
        scores = tf.stack([0.2 + 0.7 * self.good(text), 0.1 + 0.8 * _has(text, "Ann")], 1)
        names = tf.constant(["praise", "person"])
        given = scores >= 0.5
        shown = tf.ragged.boolean_mask(tf.broadcast_to(names, tf.shape(scores)), given)
        return {
            "label": tf.strings.reduce_join(shown, -1, separator="|"),
            "scores": scores,
            "labels": tf.broadcast_to(names, tf.shape(scores)),
            "given": given,
        }

    def number(self, text):
        return {"value": 1.0 + 2.0 * self.good(text)}

    def people(self, text):
        there = tf.cast(_has(text, "Ann"), tf.int32)
        before = tf.strings.regex_replace(text, "(?s)Ann.*", "")
        start = tf.strings.length(before, "UTF8_CHAR")
        return {
            "entities": there,
            "entities/text": tf.fill([tf.size(text), 1], "Ann"),
            "entities/type": tf.fill([tf.size(text), 1], "person"),
            "entities/start": start[:, None],
            "entities/end": start[:, None] + 3,
            "entities/score": (0.5 + 0.4 * _has(text, "Dr"))[:, None],
        }

    def generated(self, text):
        return {"generated": text, "score": tf.zeros(tf.shape(text))}

    def vector(self, text):
        return {"embedding": tf.ones([tf.size(text), 4])}


@pytest.fixture(scope="session")
def word_models(tmp_path_factory):
    """A folder of SavedModels, one a kind of answer."""
    folder = tmp_path_factory.mktemp("words")
    module = Words()
    spec = [tf.TensorSpec([None], tf.string, "text")]
    for name in ("label", "labels", "number", "people", "generated", "vector"):
        call = tf.function(getattr(module, name), spec, autograph=False)
        tf.saved_model.save(module, str(folder / name), {"serving_default": call})
    return folder


@pytest.fixture(scope="session")
def strategy_run():
    """The module beside this file, which trains by a strategy and may be killed."""
    return _module


@pytest.fixture
def deterministic():
    """Undo what a deterministic run switches on."""
    yield
    framework_config.disable_op_determinism()  # TensorFlow lets none but its own tests do this
