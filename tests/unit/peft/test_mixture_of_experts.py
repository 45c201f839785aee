"""Mixtures of adapters on a small encoder: the paper's formulas, the mean, routes and loads."""

from __future__ import annotations

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines.errors import UserError
from tests.unit.peft.conftest import MASK, answers, train
from tfnlp.backbones import encoder, experts, insertions
from tfnlp.peft import mixture_of_experts as moe
from tfnlp.training.network import trainable

INNER = np.random.default_rng(4).normal(size=(1, 7, 24)).astype("float32")


def adapted(backbone, **options):
    """The last projections of both layers, with mixtures whose experts differ."""
    moe.adapt(backbone, moe.Options(experts=3, size=5, **options))
    train(backbone)
    return insertions.inserted(backbone.model)


def by_hand(y, own, down, up):
    """The paper's formula for rows, with functions that choose or average."""
    inner = np.maximum(y @ down(own.down.numpy()) + down(own.down_bias.numpy()), 0)
    return y + inner @ up(own.up.numpy()) + up(own.up_bias.numpy())


@pytest.mark.parametrize(("share", "above"), [(False, 3), (True, 1)])
def test_all_begin_as_the_same_near_the_identity(backbone, share, above):
    before = answers(backbone)
    moe.adapt(backbone, moe.Options(experts=3, size=5, share=share))
    assert 0 < np.abs(answers(backbone) - before).max() < 1e-3
    trained = sum(int(np.prod(w.shape)) for w in backbone.model.trainable_weights)
    assert trained == 2 * (3 * (16 * 5 + 5) + above * (5 * 16 + 16))
    for own in experts.mixtures(backbone.model):
        assert np.ptp(own.down.numpy(), axis=0).max() == 0 < np.ptp(own.down.numpy())


@pytest.mark.parametrize("share", [False, True])
def test_in_training_a_pass_goes_through_the_experts_that_were_drawn(backbone, share):
    _, output = adapted(backbone, share=share)
    own = output.insertion
    y = np.matmul(INNER, output.kernel.numpy()) + output.bias.numpy()
    own.routes.chosen = tf.constant([[0, 0], [2, 1]])
    found = output(INNER, training=True).numpy()
    up = (lambda w: w[0]) if share else (lambda w: w[1])
    np.testing.assert_allclose(found, by_hand(y, own, lambda w: w[2], up), rtol=0, atol=1e-5)


@pytest.mark.parametrize("share", [False, True])
def test_otherwise_through_the_mean_of_their_weights(backbone, share):
    _, output = adapted(backbone, share=share)
    own = output.insertion
    y = np.matmul(INNER, output.kernel.numpy()) + output.bias.numpy()
    own.routes.chosen = tf.constant([[0, 0], [2, 1]])
    want = by_hand(y, own, lambda w: w.mean(0), lambda w: w.mean(0))
    for training in (False, None):
        found = output(INNER, training=training).numpy()
        np.testing.assert_allclose(found, want, rtol=0, atol=1e-5)


def test_the_quick_path_equals_that_of_the_sublayers(backbone):
    adapted(backbone)
    quick = answers(backbone)
    with encoder.as_kerashub(backbone.model):
        np.testing.assert_allclose(answers(backbone), quick, rtol=0, atol=1e-5)


def test_merged_one_adapter_stays_that_answers_the_same(backbone):
    adapted(backbone, share=False)
    before = answers(backbone)
    weights = sum(int(np.prod(w.shape)) for w in backbone.model.weights)
    with insertions.merged(backbone.model):
        for layer in insertions.inserted(backbone.model):
            assert isinstance(layer.insertion, insertions.Bottleneck)
        less = sum(int(np.prod(w.shape)) for w in backbone.model.weights)
        assert weights - less == 2 * 2 * (16 * 5 + 5 + 5 * 16 + 16)  # two experts of three
        np.testing.assert_allclose(answers(backbone), before, rtol=0, atol=1e-6)
    assert len(experts.mixtures(backbone.model)) == 2
    assert sum(int(np.prod(w.shape)) for w in backbone.model.weights) == weights
    np.testing.assert_array_equal(answers(backbone), before)


def learner(backbone, consistency=1.0, share=False):
    """A classifier on the encoder, with its step, and a batch of four rows."""
    adapted(backbone, share=share)
    vector = keras.layers.Dense(3, name="logits")(backbone.model.output[:, 0])
    network = trainable(keras.Model(backbone.model.input, vector), divisible=True)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.SGD(0.0), loss=loss, jit_compile=False)
    options = moe.Options(experts=3, size=5, consistency=consistency, share=share)
    network.peft_step = moe.Routing(options)
    network.peft_step.build(network, 9)
    states = np.random.default_rng(1).normal(size=(4, 5, 16)).astype("float32")
    x = {"states": tf.constant(states), "mask": tf.constant(np.tile(MASK, (2, 1)))}
    return network, x, tf.constant(np.eye(3, dtype="float32")[[0, 1, 2, 1]])


def passes(network, x, streams, seed=5, count=3):
    """The outputs of passes in training from a state of the generator, as in a fit."""
    network.streams = streams
    network.peft_step.generator.state.assign([seed, 0])

    @tf.function
    def once(x):
        return network(x, training=True)

    found = [once(x).numpy() for _ in range(count)]
    network.streams = 1
    return found


def test_all_parts_of_a_batch_go_through_the_same_experts_and_each_pass_through_others(backbone):
    network, x, _ = learner(backbone)
    whole = passes(network, x, 1)
    assert np.abs(whole[0] - whole[1]).max() > 1e-3
    np.testing.assert_allclose(passes(network, x, 2), whole, rtol=0, atol=1e-5)


def test_the_load_counts_a_pass_once_and_begins_anew_with_each_epoch(backbone):
    network, x, _ = learner(backbone)
    passes(network, x, 2, count=30)
    taken = network.peft_step.taken.numpy()
    assert (taken.sum(-1) == 30).all()
    logs = network.peft_step.logs()
    assert logs["load_least"] == pytest.approx(taken.min() / 30)
    want = taken.sum((0, 1)) / taken.sum()
    assert [logs[f"load_{i}"] for i in (1, 2, 3)] == pytest.approx(want)
    assert 0 < logs["load_least"] < 1 / 3
    assert set(network.peft_step.logs().values()) == {0.0}


def test_the_load_of_a_shared_projection_is_none_of_an_experts(backbone):
    network, x, _ = learner(backbone, share=True)
    passes(network, x, 1, count=10)
    taken = network.peft_step.taken.numpy()[:, 0]
    assert network.peft_step.logs()["load_1"] == pytest.approx(taken[:, 0].sum() / taken.sum())


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_two_passes_of_a_batch_are_to_agree(backbone, weight):
    network, x, y = learner(backbone, weight)
    one, other = passes(network, x, 1, count=2)
    network.peft_step.generator.state.assign([5, 0])
    found = network.train_on_batch(x, y)
    p, q = (tf.nn.softmax(z).numpy() for z in (one, other))
    apart = ((p - q) * np.log(p / q)).sum(-1).mean() / 2
    assert apart > 1e-3
    cross = -(y.numpy() * np.log(p)).sum(-1).mean()
    assert float(found) == pytest.approx(cross + weight * apart, rel=1e-4)
    assert network.peft_step.taken.numpy()[0, 0].sum() == 2 + (2 if weight else 1)


def test_the_report_compares_the_mean_with_experts_at_random(backbone):
    network, x, _ = learner(backbone)
    before = network(x, training=False).numpy()
    seen = []

    @tf.function
    def answer(x):
        return network(x, training=False)

    def evaluate():
        seen.append(answer(x).numpy())
        return {"accuracy": len(seen) / 10, "loss": 1.0}

    report = network.peft_step.report(network, {"accuracy": 0.9, "loss": 1.0}, evaluate)
    assert report.metrics == {"random_accuracy": pytest.approx(0.2), "random_loss": 1.0}
    assert report.tables[0].rows[0] == ("accuracy", "0.9000", "0.2000")
    assert len(seen) == 3
    for found in seen:
        assert np.abs(found - before).max() > 1e-3
    assert np.abs(seen[0] - seen[1]).max() > 1e-3
    np.testing.assert_array_equal(network(x, training=False).numpy(), before)


def test_other_backbones_are_refused():
    other = SimpleNamespace(name="smollm2", kind="causal", blocks=())
    with pytest.raises(UserError, match="is for encoders, and the backbone 'smollm2' is causal"):
        moe.adapt(other, moe.Options())


def test_tasks_that_write_are_refused():
    network = SimpleNamespace(input={"token_ids": None, "decoder_ids": None})
    with pytest.raises(UserError, match="is for tasks that do not write text"):
        moe.Routing(moe.Options()).build(network, 1)


def test_experts_wider_than_the_backbone_are_refused(backbone):
    with pytest.raises(UserError, match="--mixture-of-experts-size 65 is no bottleneck"):
        moe.adapt(backbone, moe.Options(size=65))
