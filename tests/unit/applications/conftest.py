"""A model of triples that is easily predicted: a text's first, second and third word."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from pipelines.columns import Column
from tfnlp.inference.saved_model import ServedModel


def triples_of(text: str) -> list[dict]:
    """Return what the models here answer to a text."""
    words = text.split()
    if len(words) < 3:
        return []
    ends = {"head": words[0], "head_type": "thing", "tail": words[2], "tail_type": "thing"}
    return [{**ends, "relation": words[1], "score": 0.5}]


@pytest.fixture
def model() -> ServedModel:
    """The same as a function."""
    return ServedModel(
        (Column("text", "text", ""),),
        lambda texts: [{"triples": triples_of(text)} for text in texts["text"]],
    )


class Words(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def serve(self, text):
        words = tf.strings.split(text)
        padded = tf.concat([words, tf.fill([tf.size(text), 3], "")], 1)[:, :3].to_tensor()
        head, relation, tail = tf.unstack(padded, 3, 1)
        kinds = dict.fromkeys(("head_type", "tail_type"), tf.fill(tf.shape(text), "thing"))
        values = {"head": head, "relation": relation, "tail": tail, **kinds}
        values["score"] = tf.fill(tf.shape(text), 0.5)
        whole = words.row_lengths() >= 3
        count = tf.cast(whole, tf.int32)
        return {"triples": count, **{f"triples/{n}": v[:, None] for n, v in values.items()}}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def length(self, text):
        return {"length": tf.strings.length(text)}


@pytest.fixture(scope="session")
def saved(tmp_path_factory) -> Path:
    """A folder of SavedModels: triples, and one that answers something else."""
    folder = tmp_path_factory.mktemp("saved")
    module = Words()
    for name, function in (("triples", module.serve), ("length", module.length)):
        tf.saved_model.save(module, str(folder / name / "1"), {"serving_default": function})
    return folder
