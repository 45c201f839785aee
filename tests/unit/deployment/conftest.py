"""Two models to deploy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tensorflow as tf

from .saving import predict, save, write_warmups


@pytest.fixture(scope="session")
def saved(tmp_path_factory) -> Path:
    """Return a folder with two models, one of which takes settings."""
    folder = tmp_path_factory.mktemp("saved_models")
    save(folder / "loud" / "1")
    save(folder / "loud" / "2", warmups=("It's *loud*, isn't it? 你好",))

    def write(source, temperature):
        return {"generated": source + tf.strings.as_string(temperature)}

    specs = [tf.TensorSpec([None], tf.string, "source")]
    sample = tf.function(write, [*specs, tf.TensorSpec([None], tf.float32, "temperature")])
    default = tf.function(lambda source: {"generated": source}, specs)
    writer = save(folder / "writer" / "7", default, {"sample": sample}, warmups=())
    write_warmups(writer, [predict("writer", "Once", column="source")])
    settings = {"serving_default": {"decoding": "greedy"}, "sample": {"temperature": 0.5}}
    (writer / "settings.json").write_text(json.dumps(settings), "utf-8")
    return folder
