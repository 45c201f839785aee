"""Small models that predict is tried with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tensorflow as tf

ALL = {"max_tokens": 64, "stop": ""}
WAYS = {
    "sample": {"temperature": 1.0, "top_k": 0, "top_p": 0.9, "sampling_seed": 0, **ALL},
    "beam": {"beams": 4, "length_penalty": 1.0, **ALL},
    "contrastive": {"top_k": 5, "alpha": 0.6, **ALL},
}
DTYPES = {int: tf.int32, float: tf.float32, str: tf.string}


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
    (folder / "saved_models/length/.tfnlp-new-here-1-0").mkdir()
    (folder / "saved_models/marked/1/inputs.json").write_text('{"text": "marked"}')
    broken = folder / "saved_models/broken/1"
    broken.mkdir(parents=True)
    (broken / "saved_model.pb").write_bytes(b"\xff\x00no protobuf")
    return folder


def specs(way: str) -> list[tf.TensorSpec]:
    settings = [
        tf.TensorSpec([None], DTYPES[type(value)], name) for name, value in WAYS[way].items()
    ]
    return [tf.TensorSpec([None], tf.string, "text"), *settings]


def as_text(values: tf.Tensor) -> tf.Tensor:
    if values.dtype == tf.string:
        return values
    return tf.strings.as_string(values, shortest=values.dtype == tf.float32)


class Backwards(tf.Module):
    """Writes a text backwards, a byte a token: an emoji takes four, a space before a comma goes.

    Sampled, above a temperature of 0, it writes in capitals.
    """

    def written(self, text, count):
        text = tf.strings.substr(text, tf.zeros_like(count), count)
        return tf.strings.regex_replace(text, " ,", ",")

    def told(self, text, count, stop):
        count = tf.minimum(count, tf.strings.length(text))
        whole = self.written(text, count)
        ended = tf.map_fn(
            lambda both: tf.strings.regex_replace(both[0], both[1] + ".*", ""),
            (whole, stop),
            fn_output_signature=tf.string,
        )
        return {
            "generated": tf.where(stop == "", whole, ended),
            "score": -tf.cast(count, tf.float32) / 8,
            "tokens": count,
            "cut": tf.zeros_like(count),
        }

    def backwards(self, text):
        return tf.strings.reduce_join(tf.strings.unicode_split(text, "UTF-8")[:, ::-1], axis=1)

    def sampled(self, told):
        text = self.backwards(told["text"])
        return tf.where(told["temperature"] > 0, tf.strings.upper(text), text)

    def way(self, way):
        names = [spec.name for spec in specs(way)]

        def write(*inputs):
            told = dict(zip(names, inputs, strict=True))
            text = self.sampled(told) if way == "sample" else self.backwards(told["text"])
            parts = [f"{name}=" + as_text(told[name]) for name in names[1:]]
            return {
                **self.told(text, told["max_tokens"], told["stop"]),
                "told": tf.strings.join([way, *parts], " "),
            }

        return tf.function(write, specs(way), autograph=False)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def serve(self, text):
        text = self.backwards(text)
        return self.told(text, tf.strings.length(text), tf.zeros_like(text))

    def shown(self, text, count, most, stop):
        told = self.told(text, count, stop)
        state = {"state_000": text, "state_001": count, "state_002": most, "state_003": stop}
        stopped = told["generated"] != self.written(text, told["tokens"])
        done = stopped | (count >= tf.minimum(most, tf.strings.length(text)))
        return {**told, **state, "done": done}

    def start(self):
        names = [spec.name for spec in specs("sample")]

        def begin(*inputs):
            told = dict(zip(names, inputs, strict=True))
            none = tf.zeros_like(told["max_tokens"])
            return self.shown(self.sampled(told), none, told["max_tokens"], told["stop"])

        return tf.function(begin, specs("sample"), autograph=False)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "state_000"),
            tf.TensorSpec([None], tf.int32, "state_001"),
            tf.TensorSpec([None], tf.int32, "state_002"),
            tf.TensorSpec([None], tf.string, "state_003"),
            tf.TensorSpec([], tf.int32, "steps"),
        ]
    )
    def advance(self, state_000, state_001, state_002, state_003, steps):
        return self.shown(state_000, state_001 + steps, state_002, state_003)


@pytest.fixture(scope="session")
def writers(tmp_path_factory) -> Path:
    """A working folder with models: one for each way to write by itself, and others."""
    folder = tmp_path_factory.mktemp("writers")
    module = Backwards()
    signatures = {name: module.way(name) for name in WAYS}
    signatures |= {"serving_default": module.serve}
    tf.saved_model.save(module, str(folder / "whole"), signatures)
    signatures |= {"start": module.start(), "advance": module.advance}
    first = folder / "saved_models" / "sample" / "1"
    tf.saved_model.save(module, str(first), signatures)
    for name in ("greedy", "beam", "contrastive", "talk", "whole", "bare"):
        source = folder / "whole" if name == "whole" else first
        shutil.copytree(source, folder / "saved_models" / name / "1")
    for name in ("sample", "greedy", "beam", "contrastive", "talk", "whole"):
        decoding = {"talk": "greedy", "whole": "sample"}.get(name, name)
        written = {"serving_default": {"decoding": decoding}, **WAYS}
        (folder / "saved_models" / name / "1/settings.json").write_text(json.dumps(written))
    (folder / "saved_models/talk/1/inputs.json").write_text('{"text": "turns"}')
    return folder


@pytest.fixture
def _at_writers(writers, tmp_path, monkeypatch):
    """Run in an empty folder that sees the models that write."""
    (tmp_path / "saved_models").symlink_to(writers / "saved_models")
    monkeypatch.chdir(tmp_path)
