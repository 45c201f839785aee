"""Small models that predict is tried with."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf


class Length(tf.Module):
    """Labels a text by its length; every output depends on the row's own text."""

    def __init__(self) -> None:
        self.names = tf.Variable(["short", "long", "长"], trainable=False)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def serve(self, text):
        length = tf.cast(tf.strings.length(text, "UTF8_CHAR"), tf.float32)
        scores = tf.stack([1 / (1 + length), 0.7 - length / 100, length / 10], 1)
        return {
            "label": tf.gather(self.names, tf.argmax(scores, 1)),
            "score": tf.reduce_max(scores, 1),
            "labels": tf.tile(self.names[None], [tf.shape(text)[0], 1]),
            "scores": scores,
            "bytes": tf.strings.length(text),
            "batch": tf.fill(tf.shape(text), tf.shape(text)[0]),
        }


class Pair(tf.Module):
    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "text_a"),
            tf.TensorSpec([None], tf.string, "text_b"),
        ]
    )
    def serve(self, text_a, text_b):
        return {"score": tf.cast(text_a == text_b, tf.float32), "joined": text_a + text_b}


class Strange(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.int32, "ids")])
    def ids(self, ids):
        return {"sum": tf.reduce_sum(ids, 1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def fails(self, text):
        return {"number": tf.strings.to_number(text)}


@pytest.fixture(scope="session")
def home(tmp_path_factory) -> Path:
    """A working folder with saved_models/ in it."""
    folder = tmp_path_factory.mktemp("home")
    length, pair, strange = Length(), Pair(), Strange()
    for name, module, signature in (
        ("length/2", Strange(), strange.fails),
        ("length/10", length, length.serve),
        ("pair/1", pair, pair.serve),
        ("ids/1", strange, strange.ids),
        ("fails/1", strange, strange.fails),
        ("bare/1", strange, None),
        ("marked/1", length, length.serve),
    ):
        signatures = {} if signature is None else {"serving_default": signature}
        if name == "marked/1":
            signatures["embed"] = length.serve
        tf.saved_model.save(module, str(folder / "saved_models" / name), signatures)
    (folder / "saved_models/length/.3.partial").mkdir()
    (folder / "saved_models/marked/1/inputs.json").write_text('{"text": "marked"}')
    broken = folder / "saved_models/broken/1"
    broken.mkdir(parents=True)
    (broken / "saved_model.pb").write_bytes(b"\xff\x00no protobuf")
    return folder
