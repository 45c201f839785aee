"""What every entry of the catalog must do; a new file in the catalog is tested by being there."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfnlp.backbones import entry, loading

BIG = 50_000_000  # parameters: loading takes a while
TEXTS = ["Café … naïve 今天天气很好 👍🏽 [SEP] </s> it's great.", "", "cafe\u0301\x00 b"]
CLIENT = """
import json, sys
import tensorflow as tf
import tensorflow_text
model = tf.saved_model.load(sys.argv[1])
answer = model.signatures["serving_default"](text=tf.constant(json.loads(sys.argv[2])))
assert not {"keras_hub", "tfnlp", "pipelines"} & {m.split(".")[0] for m in sys.modules}
print(json.dumps({name: value.numpy().tolist() for name, value in answer.items()}))
"""


def catalog():
    for name in entry.names():
        found = entry.find(name)
        slow = [pytest.mark.slow] if found.parameters > BIG else []
        yield pytest.param(name, marks=slow)


@pytest.fixture(scope="module", params=catalog())
def loaded(request):
    return loading.load(request.param)


def test_shapes_and_dtypes(loaded):
    ids = np.array([[loaded.tokenizer.start_id, 10, 11, loaded.tokenizer.end_id], [1, 2, 3, 4]])
    ones = np.ones_like(ids, "int32")
    inputs = {"token_ids": ids.astype("int32"), "segment_ids": ones * 0, "padding_mask": ones}
    assert set(loaded.model.input) == set(inputs)
    outputs = loaded.model(inputs)
    assert outputs["tokens"].shape == (2, 4, loaded.hidden_size)
    assert outputs["pooled"].shape == (2, loaded.hidden_size)
    assert all(np.isfinite(value).all() for value in outputs.values())
    assert outputs["tokens"].dtype == tf.float32
    longest = {
        name: tf.repeat(value[:1, :1], loaded.max_length, 1) for name, value in inputs.items()
    }
    assert loaded.model(longest)["tokens"].shape[1] == loaded.max_length


def test_the_catalog_says_how_many_parameters(loaded):
    assert entry.find(loaded.name).parameters == loaded.model.count_params()


def test_vocabulary_fits_the_weights(loaded):
    tokenizer = loaded.tokenizer
    rows = max(w.shape[0] for w in loaded.blocks[0][0].weights)
    assert len(tokenizer.pieces()) == tokenizer.vocabulary_size <= rows
    ids = [getattr(tokenizer, f"{role}_id") for role in ("pad", "start", "end", "unknown", "mask")]
    assert len(set(ids)) == 5
    assert all(tokenizer.pieces()[i][0] in "[<" for i in ids)


def test_the_tokenizer_is_exported_with_its_vocabulary(loaded, tmp_path):
    tokenizer = loaded.tokenizer

    class Exported(tf.Module):
        def __init__(self):
            super().__init__()
            self.encode.get_concrete_function()
            self.resources = tokenizer.resources  # those that the graph uses

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
        def encode(self, text):
            ids, starts, ends = tokenizer.tokenize_with_offsets(text)
            parts = {"ids": ids, "starts": starts, "ends": ends, "plain": tokenizer.tokenize(text)}
            return {name: part.to_tensor(-1) for name, part in parts.items()}

    module = Exported()
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.encode})
    command = [sys.executable, "-c", CLIENT, str(tmp_path), json.dumps(TEXTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    here = {
        name: value.numpy().tolist() for name, value in module.encode(tf.constant(TEXTS)).items()
    }
    assert json.loads(done.stdout) == here
    assert here["ids"] == here["plain"]
    assert len(here["ids"][0]) > 8


def test_the_tokenizer_is_saved_and_loaded(loaded, tmp_path):
    from pipelines import tokenizer as tokenizers

    loaded.tokenizer.save(tmp_path)
    again = tokenizers.load(tmp_path)
    assert again.pieces() == loaded.tokenizer.pieces()
    words = tf.constant(TEXTS)
    assert again.tokenize(words).to_list() == loaded.tokenizer.tokenize(words).to_list()
