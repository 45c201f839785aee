"""Our conditional random field against tensorflow-addons 0.23's, and against every path there is.

Addons cannot be imported beside Keras 3: a process of its own, with Keras 2, computes its values.
"""

import importlib.util
import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfnlp.heads import crf

REFERENCE = """
import json, sys
import tf_keras.src.engine
sys.modules["keras.src.engine"] = tf_keras.src.engine
import numpy as np
import tensorflow as tf
import tensorflow_addons as tfa

asked = json.load(sys.stdin)
emissions = np.array(asked["emissions"], "float32")
tags, lengths = np.array(asked["tags"], "int32"), np.array(asked["lengths"], "int32")
found = {}
for name, moves in asked["moves"].items():
    moves = np.array(moves, "float32")
    first = emissions.copy()
    first[:, 0] += np.array(asked["start"][name], "float32")
    likelihood, _ = tfa.text.crf_log_likelihood(first, tags, lengths, moves)
    best, _ = tfa.text.crf_decode(first, moves, lengths)
    found[name] = {"likelihood": likelihood.numpy().tolist(), "best": best.numpy().tolist()}
print(json.dumps(found))
"""

TAGS = 7


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(1)
    start, moves = (x.numpy() for x in crf.legal_moves(TAGS))
    transitions = random.normal(size=(TAGS, TAGS)).astype("float32")
    lengths = np.array([12, 1, 7, 2, 9, 12])
    tags = np.zeros((6, 12), int)
    for row, place in np.ndindex(6, 12):  # legal ones
        before = tags[row, place - 1]
        legal = moves[before] == 0 if place else start == 0
        tags[row, place] = random.choice(np.nonzero(legal)[0])
    return {
        "emissions": random.normal(size=(6, 12, TAGS)).astype("float32") * 2,
        "tags": tags,
        "lengths": lengths,
        "moves": {"free": transitions, "constrained": transitions + moves},
        "start": {"free": np.zeros(TAGS, "float32"), "constrained": start},
    }


@pytest.fixture(scope="module")
def reference(data):
    if importlib.util.find_spec("tensorflow_addons") is None:
        pytest.skip("tensorflow-addons has no build for this Python (the last is for 3.11)")
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", REFERENCE],
        input=json.dumps(data, default=lambda array: array.tolist()),
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout.splitlines()[-1])


def asked(data, kind):
    """Our arguments, each row with the same transitions."""
    moves = np.broadcast_to(data["moves"][kind], (len(data["tags"]), TAGS, TAGS))
    lengths, start = tf.constant(data["lengths"]), tf.constant(data["start"][kind])
    return tf.constant(data["emissions"]), lengths, start, tf.constant(moves)


@pytest.mark.parametrize("kind", ["free", "constrained"])
def test_log_likelihood_is_that_of_addons(data, reference, kind):
    emissions, *rest = asked(data, kind)
    ours = tf.function(crf.log_likelihood, autograph=False)(
        emissions, tf.constant(data["tags"]), *rest
    )
    np.testing.assert_allclose(ours, reference[kind]["likelihood"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["free", "constrained"])
def test_viterbi_is_that_of_addons(data, reference, kind):
    best = tf.function(crf.viterbi, autograph=False)(*asked(data, kind)).numpy()
    for length, ours, theirs in zip(data["lengths"], best, reference[kind]["best"], strict=True):
        assert ours[:length].tolist() == theirs[:length]
        assert not ours[length:].any()


def every_path(data, row):
    """All legal paths of a short row, with their probabilities."""
    length = data["lengths"][row]
    paths = np.array(list(itertools.product(range(TAGS), repeat=length)))
    scores = data["start"]["constrained"][paths[:, 0]].astype(float)
    for place in range(length):
        scores += data["emissions"][row, place, paths[:, place]]
        if place:
            scores += data["moves"]["constrained"][paths[:, place - 1], paths[:, place]]
    weights = np.exp(scores - scores.max())
    return paths, weights / weights.sum()


@pytest.mark.parametrize("row", [1, 3])
def test_marginals_sum_over_every_path(data, row):
    ours = tf.function(crf.marginals, autograph=False)(*asked(data, "constrained")).numpy()
    paths, weights = every_path(data, row)
    for place in range(data["lengths"][row]):
        want = [weights[paths[:, place] == tag].sum() for tag in range(TAGS)]
        np.testing.assert_allclose(ours[row, place], want, atol=1e-6)


def test_the_gradient_is_that_of_finite_differences(data):
    tags, (emissions, lengths, start, moves) = tf.constant(data["tags"]), asked(data, "constrained")
    mixed = tf.constant(np.random.default_rng(0).normal(size=6), tf.float32)

    def value(emissions, moves):
        likelihood = crf.log_likelihood(emissions, tags, lengths, start, moves)
        return tf.reduce_sum(likelihood * mixed)

    with tf.GradientTape() as tape:
        tape.watch([emissions, moves])
        found = value(emissions, moves)
    gradients = [g.numpy() for g in tape.gradient(found, [emissions, moves])]
    random = np.random.default_rng(2)
    step = 1e-2
    for place, given in enumerate((emissions, moves)):
        for _ in range(8):
            way = random.normal(size=given.shape).astype("float32")
            ahead, behind = (
                float(
                    value(
                        *(
                            x + sign * step * way if i == place else x
                            for i, x in enumerate((emissions, moves))
                        )
                    )
                )
                for sign in (1, -1)
            )
            slope = (ahead - behind) / (2 * step)
            assert slope == pytest.approx((gradients[place] * way).sum(), abs=2e-2)
    for row, length in enumerate(data["lengths"]):
        assert not gradients[0][row, length:].any()


def test_the_constrained_path_is_legal_and_nothing_illegal_has_probability(data):
    arguments = asked(data, "constrained")
    start, moves = (x.numpy() for x in crf.legal_moves(TAGS))
    best, shares = crf.viterbi(*arguments).numpy(), crf.marginals(*arguments).numpy()
    for row, length in zip(best, data["lengths"], strict=True):
        assert start[row[0]] == 0
        assert not moves[row[: length - 1], row[1:length]].any()
    assert shares[:, 0, start < 0].max() == 0
    np.testing.assert_allclose(shares.sum(-1), 1.0, atol=1e-5)


def test_texts_without_words_and_of_one_word():
    signature = [tf.TensorSpec([None, None, 3]), tf.TensorSpec([None], tf.int32)]

    def graph(function, *more):  # in a graph of unknown lengths, as in a SavedModel
        def call(emissions, lengths, *rest):
            start, moves = crf.legal_moves(3)
            moves = tf.tile(moves[None], [tf.shape(emissions)[0], 1, 1])
            return function(emissions, *rest, lengths, start, moves)

        return tf.function(call, [*signature, *more], autograph=False)

    emissions, lengths = tf.constant([[[0.0, 1.0, 5.0]], [[0.0, 1.0, 5.0]]]), tf.constant([0, 1])
    tags = tf.TensorSpec([None, None], tf.int32)
    likelihood = graph(crf.log_likelihood, tags)(emissions, lengths, tf.constant([[0], [1]]))
    np.testing.assert_allclose(likelihood, [0.0, 1.0 - np.log(1 + np.e)], atol=1e-6)
    assert graph(crf.viterbi)(emissions, lengths).numpy().tolist() == [[0], [1]]
    shares = graph(crf.marginals)(emissions, lengths).numpy()
    np.testing.assert_allclose(shares[1, 0], [1 / (1 + np.e), np.e / (1 + np.e), 0], atol=1e-6)
    assert graph(crf.viterbi)(emissions[:0], lengths[:0]).shape == (0, 1)
    assert graph(crf.marginals)(emissions[:0], lengths[:0]).shape == (0, 1, 3)
