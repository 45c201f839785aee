"""MPNet: its distances, its layer, and the catalog's model against Hugging Face's transformers."""

from __future__ import annotations

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines.encoding import segments
from tfnlp.backbones import loading, mpnet

# Of transformers 4.57.6 and torch 2.13 on float32, the checkpoint in the five packages: token ids,
# six numbers of the first and the last token's state and of the mean over tokens, the norm of all,
# and four numbers of the pooled vector.
LONG = " ".join(f"Sentence {i} says that the river rose by {i * 7} metres." for i in range(20))
REFERENCE = {
    "Who wrote Hamlet?": (
        [0, 2044, 2630, 8433, 1033, 2],
        [0.0650594, -0.1299965, -0.0572634, 0.0964038, -0.3020627, -0.0985805],
        [-0.0845424, 0.086622, 0.0500725, -0.1052343, -0.029226, -0.0284465],
        [0.0446112, 0.096551, -0.0511711, -0.0348539, 0.1868442, 0.0445328],
        8.8131,
        [0.0540358, 0.0250397, -0.0586594, -0.0437346],
    ),
    "Café NAÏVE résumé, it's 5°C!": (
        [0, 7672, 15747, 13750, 1014, 2013, 1009, 1059, 1023, 7741, 2282, 1003, 2],
        [-0.0067898, -0.1443138, -0.0503767, 0.0249232, -0.0528947, -0.0939647],
        [0.0974251, 0.0868531, 0.0810834, -0.0896747, -0.1052263, -0.0945542],
        [0.0212353, 0.0038661, 0.1383131, 0.0597482, -0.1112583, -0.1534466],
        12.0044,
        [0.0418897, -0.0693497, -0.0048942, -0.0423833],
    ),
    "今天天气很好 👍🏽 ok": (
        [0, 104, 1815, 1815, 104, 104, 104, 104, 7933, 2],
        [0.0864281, -0.0428071, -0.005622, 0.0899429, 0.1882918, -0.0125384],
        [-0.174522, 0.0420798, -0.1282663, 0.1200836, -0.111488, 0.0491238],
        [0.0522278, 0.0990047, -0.0266506, -0.1235584, -0.0803001, 0.2031275],
        9.8657,
        [-0.0024187, 0.071493, 0.0051333, 0.0413529],
    ),
    "": (
        [0, 2],
        [-0.0247408, 0.1214769, -0.0133281, 0.0498897, 0.0291564, 0.065639],
        [-0.0441538, 0.0346931, -0.0179518, -0.0038516, -0.0995905, -0.037673],
        [-0.1083492, 0.0473224, -0.0138727, 0.0137469, -0.1000082, 0.0120848],
        2.7967,
        [-0.0198611, -0.0081033, -0.0769936, -0.0076667],
    ),
    LONG: (
        None,
        [0.0439348, -0.0253988, -0.1276022, -0.0089762, -0.0852253, -0.0214952],
        [0.0303627, -0.0216942, 0.0949664, 0.0818005, -0.1113254, 0.0190852],
        [0.0105319, 0.0553162, -0.0064247, 0.0402141, -0.0010512, 0.2273306],
        48.0719,
        [-0.0263108, 0.0547113, -0.0841287, 0.0267845],
    ),
}


def test_distances_fall_into_t5s_buckets():
    """Of transformers: MPNetEncoder.relative_position_bucket, key minus query from -600 to 600."""
    layer = mpnet.RelativeBias(num_heads=1)
    layer.build((None, None))
    layer.table.assign(np.arange(32.0)[:, None])
    found = layer(tf.ones((2, 601), tf.int32))
    assert found.shape == (1, 1, 601, 601)
    buckets = found.numpy().astype(int)[0, 0]
    firsts = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91]
    expected = np.searchsorted(firsts, np.arange(601), side="right") - 1
    np.testing.assert_array_equal(buckets[:, 0], expected)  # keys before the query
    np.testing.assert_array_equal(buckets[0, 1:], expected[1:] + 16)
    np.testing.assert_array_equal(buckets[3, 2:6], [1, 0, 17, 18])


def layer_and_inputs():
    keras.utils.set_random_seed(5)
    layer = mpnet.BiasedEncoder(32, 4, 0.1, keras.activations.gelu, name="layer")
    layer.build((None, None, 16))
    random = np.random.default_rng(1)
    layer.set_weights([random.normal(0, 0.5, w.shape) for w in layer.weights])
    x = tf.constant(random.normal(size=(3, 7, 16)), tf.float32)
    bias = tf.constant(random.normal(size=(1, 4, 7, 7)), tf.float32)
    return layer, x, tf.cast(tf.sequence_mask([7, 2, 1], 7), tf.int32), bias


def test_sublayers_that_were_changed_compute_what_they_say():
    """As methods that train few weights do with them."""
    layer, x, mask, bias = layer_and_inputs()
    quick = layer(x, padding_mask=mask, attention_bias=bias)
    dense = layer._feedforward_output_dense
    call = dense.call
    dense.call = lambda inputs: call(inputs)  # the same, but not known to be
    assert not layer._is_plain()
    np.testing.assert_allclose(layer(x, padding_mask=mask, attention_bias=bias), quick, atol=2e-5)
    dense.call = lambda inputs: 2 * call(inputs)
    assert not np.allclose(layer(x, padding_mask=mask, attention_bias=bias), quick, atol=1e-2)


def test_the_bias_counts_and_padding_does_not():
    layer, x, mask, bias = layer_and_inputs()
    found = layer(x, padding_mask=mask, attention_bias=bias)
    assert not np.allclose(layer(x, padding_mask=mask, attention_bias=2 * bias), found, atol=1e-2)
    other = tf.where(mask[..., None] > 0, x, 9.0)
    changed = layer(other, padding_mask=mask, attention_bias=bias)
    real = mask.numpy().astype(bool)
    np.testing.assert_allclose(changed[real], found[real], atol=1e-6)


def test_dropout_is_drawn_in_training_alone():
    layer, x, mask, bias = layer_and_inputs()
    still = layer(x, padding_mask=mask, attention_bias=bias)
    np.testing.assert_array_equal(layer(x, padding_mask=mask, attention_bias=bias), still)
    moved = layer(x, padding_mask=mask, attention_bias=bias, training=True)
    assert not np.allclose(moved, still, atol=1e-2)


def test_a_kept_network_is_loaded_as_model_cards_say(tmp_path):
    network = mpnet.MPNetBackbone(9, 1, 2, 8, 16, max_sequence_length=6)
    outputs = network.output["sequence_output"]
    keras.Model(network.input, outputs).save(tmp_path / "model.keras")
    code = (
        "import sys, keras, tfnlp.heads; "
        "print(keras.models.load_model(sys.argv[1], compile=False).count_params())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model.keras")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pooler = network.pooled_dense.count_params()
    assert int(done.stdout) == network.count_params() - pooler


@pytest.fixture(scope="module")
def base():
    return loading.load("mpnet-base-en")


@pytest.mark.slow
def test_the_catalogs_model_gives_the_states_of_the_original(base):
    features, lost = segments.encode(base.tokenizer, [tf.constant([*REFERENCE])], 512, 1, 0)
    assert not lost.numpy().any()
    found = base.model.predict_on_batch(features)
    for row, (text, (ids, first, last, mean, norm, pooled)) in enumerate(REFERENCE.items()):
        count = int(features["padding_mask"][row].numpy().sum())
        given = features["token_ids"][row, :count].numpy().tolist()
        assert len(given) == 222 if text == LONG else given == ids
        states = found["tokens"][row, :count]
        np.testing.assert_allclose(states[0, :6], first, atol=1e-5)
        np.testing.assert_allclose(states[-1, -6:], last, atol=1e-5)
        np.testing.assert_allclose(states.mean(0)[100:106], mean, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(states), norm, atol=1e-3)
        np.testing.assert_allclose(found["pooled"][row, :4], pooled, atol=1e-5)


@pytest.mark.slow
def test_a_pair_is_separated_as_in_pretraining(base):
    """Of transformers: MPNetTokenizerFast(["Who wrote it?"], ["Shakespeare."])."""
    texts = [tf.constant(["Who wrote it?"]), tf.constant(["Shakespeare."])]
    features, _ = segments.encode(base.tokenizer, texts, 32, 1, 0)
    count = int(features["padding_mask"].numpy().sum())
    given = features["token_ids"][0, :count].numpy().tolist()
    assert given == [0, 2044, 2630, 2013, 1033, 2, 2, 8105, 1016, 2]
