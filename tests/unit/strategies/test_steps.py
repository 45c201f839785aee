"""Losses of R-Drop, SupCon, SMART, VAT and distillation against their formulas."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines.errors import UserError
from tfnlp.backbones import embeddings
from tfnlp.extensions import Batch
from tfnlp.strategies import _perturbation, distillation, mixup, r_drop, smart, supcon, vat


def cross_entropy(logits, y):
    return float(tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(y, logits)))


def symmetric(one, other):
    p, q = (tf.nn.log_softmax(each).numpy() for each in (one, other))
    return ((np.exp(p) - np.exp(q)) * (p - q)).sum(-1).mean() / 2


def test_r_drop_is_the_mean_loss_and_the_divergence_of_two_masks(network, batch):
    seeds = _perturbation.Seeds(network)
    step = r_drop.make(r_drop.Options(weight=3.0))
    step.build(network, 3)
    loss, outputs, gradients = step.gradients(network, batch)
    seeds.put_back()
    both = network({n: tf.concat([x, x], 0) for n, x in batch.x.items()}, training=True)
    one, other = both[:3], both[3:]
    assert np.abs(one - other).max() > 0  # other masks
    wanted = (cross_entropy(one, batch.y) + cross_entropy(other, batch.y)) / 2
    np.testing.assert_allclose(loss, wanted + 3 * symmetric(one, other), rtol=1e-5)
    np.testing.assert_allclose(outputs, one)
    assert all(gradient is not None for gradient in gradients)


def test_r_drop_refuses_a_network_without_dropout(network):
    network.get_layer("head_dropout").rate = 0.0
    with pytest.raises(UserError, match=r"give --dropout 0\.1"):
        r_drop.make(r_drop.Options()).build(network, 3)


def test_contrast_is_the_papers_formula():
    vectors = np.random.default_rng(1).normal(size=(5, 4))
    labels = np.array([0, 1, 0, 0, 2])  # 1 and 2 have no partner
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    logits = unit @ unit.T / 0.3
    each = []
    for i in (0, 2, 3):
        others = [k for k in range(5) if k != i]
        partners = [j for j in others if labels[j] == labels[i]]
        bottom = np.exp(logits[i, others]).sum()
        each.append(-np.mean([np.log(np.exp(logits[i, j]) / bottom) for j in partners]))
    found = supcon.contrast(tf.constant(vectors), tf.one_hot(labels, 3), 0.3)
    np.testing.assert_allclose(found, np.mean(each), rtol=1e-5)


def test_contrast_without_partners_is_nothing():
    assert float(supcon.contrast(tf.eye(3), tf.eye(3), 0.3)) == 0


def test_supcon_is_a_share_of_both_losses(network, batch):
    seeds = _perturbation.Seeds(network)
    step = supcon.make(supcon.Options(weight=0.25, temperature=0.5))
    step.build(network, 3)
    loss, outputs, _ = step.gradients(network, batch)
    seeds.put_back()
    np.testing.assert_allclose(outputs, network(batch.x, training=True))
    table = embeddings.embedding(network)(batch.x["token_ids"])
    mask = tf.cast(batch.x["padding_mask"], tf.float32)[..., None]
    vectors = tf.reduce_sum(table * mask, 1) / tf.reduce_sum(mask, 1)
    other = supcon.contrast(vectors, batch.y, 0.5)
    wanted = 0.75 * cross_entropy(outputs, batch.y) + 0.25 * float(other)
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)


def test_mixup_is_the_loss_of_mixed_vectors_and_targets(network, batch):
    network.get_layer("head_dropout").rate = 0.0
    step = mixup.make(mixup.Options(alpha=0.7))
    step.build(network, 3)
    (state,) = step.variables
    state.assign([3, 4])
    loss, outputs, gradients = step.gradients(network, batch)
    state.assign([3, 4])
    order = np.argsort(step.random.uniform([3]))
    share = float(keras.random.beta([], 0.7, 0.7, seed=step.random.generator))
    assert 0 < share < 1
    logits = network(batch.x, training=True).numpy()
    np.testing.assert_allclose(outputs, logits)
    # The head is linear, so that mixed vectors have mixed logits.
    both, y = share * logits + (1 - share) * logits[order], batch.y.numpy()
    wanted = cross_entropy(both, share * y + (1 - share) * y[order])
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)
    assert all(gradient is not None for gradient in gradients)


@pytest.mark.parametrize("method", [smart, vat])
def test_the_term_is_how_far_answers_move(method, network, batch):
    losses = {}
    for weight in (0.0, 1e3, 2e3):
        states = [v for v in network.variables if "seed" in v.path]
        for state in states:
            state.assign([1, 2])
        step = method.make(method.Options(weight=weight, size=0.5))
        step.build(network, 3)
        for state in step.variables:
            state.assign([3, 4])
        loss, outputs, _ = step.gradients(network, batch)
        losses[weight] = float(loss)
    np.testing.assert_allclose(losses[0.0], cross_entropy(outputs, batch.y), rtol=1e-5)
    term = losses[1e3] - losses[0.0]
    assert term > 0
    np.testing.assert_allclose(losses[2e3] - losses[0.0], 2 * term, rtol=1e-3)


def test_smart_moves_no_number_farther_than_its_share(network, batch):
    found = []
    step = smart.make(smart.Options(size=0.3))
    step.build(network, 3)
    own = step._moved
    step._moved = lambda *given: found.append(own(*given)) or found[-1]
    step.gradients(network, batch)
    table = embeddings.embedding(network)(batch.x["token_ids"]).numpy()
    for row, count in enumerate((3, 2, 3)):
        bound = 0.3 * np.sqrt((table[row, :count] ** 2).mean())
        assert 0.9 * bound < np.abs(found[0][row]).max() < 1.0001 * bound
    assert (found[0].numpy()[1, 2] == 0).all()


def test_vat_learns_from_texts_without_targets(network, batch):
    more = Batch({n: x[:2] for n, x in batch.x.items()}, None, None)
    both = Batch(batch.x, batch.y, None, beside={"more": more})
    passes = []
    step = vat.make(vat.Options())
    step.build(network, 3)
    own = step._term
    step._term = lambda network, x, *rest: (
        passes.append(len(x["token_ids"])) or own(network, x, *rest)
    )
    step.gradients(network, both)
    assert passes == [3, 2]


def test_distillation_is_a_share_of_both_losses(network, batch):
    said = tf.math.log(tf.constant([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]]))
    taught = Batch(batch.x, batch.y, None, {"teacher": said})
    more = Batch({n: x[:1] for n, x in batch.x.items()}, None, None, {"teacher": said[:1]})
    own = distillation.Options(weight=0.7, temperature=1.0)
    network.get_layer("head_dropout").rate = 0.0
    logits = network(batch.x)
    p, q = said.numpy(), tf.nn.log_softmax(logits).numpy()
    away = (np.exp(p) * (p - q)).sum(-1)
    wanted = 0.3 * cross_entropy(logits, batch.y) + 0.7 * away.mean()
    loss, _, _ = distillation.make(own).gradients(network, taught)
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)
    both = Batch(batch.x, batch.y, None, {"teacher": said}, {"more": more})
    loss, _, _ = distillation.make(own).gradients(network, both)
    np.testing.assert_allclose(loss, wanted + 0.7 * away[0], rtol=1e-5)
