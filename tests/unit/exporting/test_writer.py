"""What a SavedModel leaves in the process that loads it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from tfnlp.exporting import writer
from tfnlp.inference import serving_ops

_SPEC = importlib.util.spec_from_file_location(
    "tiny_llama", Path(__file__).parents[1] / "generation" / "tiny_llama.py"
)
tiny = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(tiny)

_LOADED = """
import sys
from tfnlp.runtime.startup import quiet_start
with quiet_start():
    import tensorflow as tf
    tf.constant("")
from tensorflow.python.framework import ops
known = ops._gradient_registry._registry
before = set(known)
for _ in range(5):
    model = tf.saved_model.load(sys.argv[1])
print(sorted(known.keys() - before))
"""


@tf.custom_gradient
def doubled(x):
    return 2 * x, lambda upstream: 2 * upstream


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A Llama, in which TensorFlow's own silu has a gradient in Python, and one of ours."""
    llama = tiny.network()

    def call(token_ids):
        ones = tf.ones_like(token_ids)
        logits = llama({"token_ids": token_ids, "padding_mask": ones}, training=False)
        return {"logits": doubled(logits)}

    module = tf.Module()
    module.weights = [weight.value for weight in llama.weights]
    signature = tf.function(call, [tf.TensorSpec([None, None], tf.int32, "token_ids")])
    traced = signature.get_concrete_function()
    named = [each for each in traced.graph.get_operations() if each.type == "IdentityN"]
    assert len(named) > 1
    parent = tmp_path_factory.mktemp("saved_models") / "llama"
    folder = writer.write(parent, module, {"serving_default": traced}, lambda _: None)
    return folder, call


def test_loading_says_nothing_and_leaves_no_gradients_behind(saved):
    line = [sys.executable, "-c", _LOADED, str(saved[0])]
    told = subprocess.run(line, capture_output=True, text=True, check=True)
    assert (told.stdout, told.stderr) == ("[]\n", "")


def test_no_node_names_a_gradient_and_answers_are_the_same(saved):
    folder, call = saved
    graph = serving_ops.read(folder).meta_graphs[0]
    assert not graph.graph_def.library.registered_gradients
    assert not [n for n in serving_ops.every_node(graph) if "_gradient_op_type" in n.attr]
    ids = tf.constant([[3, 7, 2, 9]])
    told = tf.saved_model.load(str(folder)).signatures["serving_default"](token_ids=ids)
    tf.debugging.assert_near(told["logits"], call(ids)["logits"], atol=1e-4)
