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
    assert loaded.kind == entry.find(loaded.name).kind
    ids = np.array([[loaded.tokenizer.start_id, 10, 11, loaded.tokenizer.end_id], [1, 2, 3, 4]])
    ones = np.ones_like(ids, "int32")
    inputs = {"token_ids": ids.astype("int32"), "padding_mask": ones}
    if loaded.kind == "encoder":
        inputs["segment_ids"] = ones * 0
    assert set(loaded.model.input) == set(inputs)
    outputs = answers(loaded, inputs)
    assert outputs["tokens"].shape == (2, 4, loaded.hidden_size)
    assert outputs["tokens"].dtype == tf.float32
    assert all(np.isfinite(value).all() for value in outputs.values())
    if loaded.kind == "encoder":
        assert outputs["pooled"].shape == (2, loaded.hidden_size)
    longest = {
        name: tf.repeat(value[:1, :1], loaded.max_length, 1) for name, value in inputs.items()
    }
    assert answers(loaded, longest)["tokens"].shape[1] == loaded.max_length


def answers(loaded, inputs):
    """What the model gives: an encoder tokens and pooled, the others KerasHub's hidden states."""
    output = loaded.model(inputs)
    return output if loaded.kind == "encoder" else {"tokens": output}


def test_a_causal_model_sees_no_later_token(loaded):
    ids = np.array([[5, 6, 7, 8], [5, 6, 9, 10]], "int32")
    inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids), "segment_ids": ids * 0}
    tokens = answers(loaded, {name: inputs[name] for name in loaded.model.input})["tokens"]
    same = np.allclose(tokens[0, :2], tokens[1, :2], atol=1e-4)
    assert same == (loaded.kind == "causal")


def test_the_catalog_says_how_many_parameters(loaded):
    assert entry.find(loaded.name).parameters == loaded.model.count_params()


def test_vocabulary_fits_the_weights(loaded):
    tokenizer = loaded.tokenizer
    rows = max(w.shape[0] for w in loaded.blocks[0][0].weights)
    assert len(tokenizer.pieces()) == tokenizer.vocabulary_size <= rows
    # A model that writes needs to know where it ends; it may fill up with any token, and has no
    # use for a mask.
    different = ["start", "end", "unknown"]
    different += ["pad", "mask"] if loaded.kind == "encoder" else []
    ids = [getattr(tokenizer, f"{role}_id") for role in different]
    assert len(set(ids)) == len(different)
    assert 0 <= tokenizer.pad_id < tokenizer.vocabulary_size
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
            made = {name: part.to_tensor(-1) for name, part in parts.items()}
            codes = tf.strings.unicode_decode(tokenizer.detokenize(ids), "UTF-8")
            return {**made, "written": codes.to_tensor(-1)}

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
    from pipelines.tokenizers import tokenizer as tokenizers

    loaded.tokenizer.save(tmp_path)
    again = tokenizers.load(tmp_path)
    assert again.pieces() == loaded.tokenizer.pieces()
    words = tf.constant(TEXTS)
    assert again.tokenize(words).to_list() == loaded.tokenizer.tokenize(words).to_list()
