"""Decoding against KerasHub's samplers, where those can be compared: prompts of one length."""

import importlib.util
from pathlib import Path

import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from tfnlp.backbones import families
from tfnlp.generation import sampling, search
from tfnlp.heads import causal_lm

_PLACE = Path(__file__).parent.parent / "unit" / "generation" / "tiny_llama.py"
_SPEC = importlib.util.spec_from_file_location("tiny_llama", _PLACE)
tiny = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(tiny)

PROMPTS = np.random.default_rng(0).integers(6, tiny.SIZE, (5, 7)).tolist()
WAYS = {
    "greedy": (sampling.Sampler, {}, keras_hub.samplers.GreedySampler()),
    "beam": (search.BeamSearch, {}, keras_hub.samplers.BeamSampler(4)),
    "contrastive": (
        search.ContrastiveSearch,
        {"top_k": 5},
        keras_hub.samplers.ContrastiveSampler(5, 0.6),
    ),
}


@pytest.fixture(scope="module")
def network():
    return tiny.network()


def theirs(network, sampler, prompts, tokens):
    """What KerasHub's generate_step writes after prompts of one length."""
    model = families.inside(network)
    model.compile(sampler=sampler)
    ids = tf.pad(tf.constant(prompts), [[0, 0], [0, tokens]])
    mask = tf.pad(tf.ones_like(prompts, tf.bool), [[0, 0], [0, tokens]])
    # An end token of theirs continues in a beam; so none is met here.
    written = model.generate_step({"token_ids": ids, "padding_mask": mask}, stop_token_ids=None)
    return written["token_ids"].numpy()[:, len(prompts[0]) :].tolist()


@pytest.mark.parametrize("way", WAYS)
def test_the_same_tokens_as_keras_hub(network, way):
    loop, given, sampler = WAYS[way]
    stop = sampling.Stop((tiny.SIZE,), tiny.PAD, tiny.words)  # an end that is never written
    write = tf.function(
        lambda features, settings: (
            loop(causal_lm.Cached(network), stop).write(features, settings).ids
        ),
        autograph=False,
    )
    ours = write(tiny.prompts(*PROMPTS), tiny.settings(5, **given)).to_list()
    assert ours == theirs(network, sampler, PROMPTS, 12)


@pytest.mark.slow
def test_keras_hubs_beams_depend_on_their_neighbours(network):
    """Why its sampler does not serve: a longer prompt's own tokens count as choices there."""
    model = families.inside(network)
    model.compile(sampler=keras_hub.samplers.BeamSampler(4))
    loop = search.BeamSearch(causal_lm.Cached(network), tiny.STOP)
    ours = tf.function(lambda f, given: loop.write(f, given).ids, autograph=False)

    @tf.function(autograph=False, reduce_retracing=True)
    def step(ids, mask):
        return model.generate_step({"token_ids": ids, "padding_mask": mask}, None)["token_ids"]

    def ask(rows):
        width = max(map(len, rows)) + 12
        ids = tf.constant([row + [0] * (width - len(row)) for row in rows])
        mask = tf.constant([[i < len(row) for i in range(width)] for row in rows])
        return step(ids, mask).numpy()

    differ = 0
    for long in PROMPTS:
        alone = ask([long])[0, len(long) :].tolist()
        beside = ask([PROMPTS[0][:2], long])[1, len(long) : len(long) + 12].tolist()
        differ += alone != beside
    assert differ
    for long in PROMPTS[:2]:
        rows = tiny.prompts(PROMPTS[0][:2], long), tiny.prompts(long)
        beside, alone = (ours(row, tiny.settings(2 - i))[-1] for i, row in enumerate(rows))
        assert beside.numpy().tolist() == alone.numpy().tolist()
