"""What is added to embeddings: its size, its direction, the masks of passes, mean gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tfnlp.backbones import embeddings
from tfnlp.extensions import Batch
from tfnlp.strategies import _perturbation


def embedded(network, batch):
    return embeddings.embedding(network)(batch.x["token_ids"]).numpy()


def test_norms_leave_padding_out(network, batch):
    table = embedded(network, batch)
    wanted = [np.linalg.norm(table[0]), np.linalg.norm(table[1, :2]), np.linalg.norm(table[2])]
    np.testing.assert_allclose(_perturbation.norms(network, batch.x), wanted, rtol=1e-6)


@given(scale=st.sampled_from([1e-30, 1e-8, 1.0, 1e8, 1e30]), seed=st.integers(0, 99))
def test_scaled_has_the_norm_whatever_the_gradients_size(scale, seed):
    direction = np.random.default_rng(seed).normal(size=(2, 3, 4)).astype("float32") * scale
    x = {"padding_mask": tf.constant([[1, 1, 0], [1, 1, 1]])}
    found = _perturbation.scaled(tf.constant(direction), x, tf.constant([0.5, 2.0])).numpy()
    np.testing.assert_allclose(np.linalg.norm(found, axis=(1, 2)), [0.5, 2.0], rtol=1e-5)
    assert (found[0, 2] == 0).all()
    real = direction[1] / np.linalg.norm(direction[1].astype("float64"))
    np.testing.assert_allclose(found[1], 2 * real, rtol=1e-4, atol=1e-6)


def test_scaled_of_nothing_is_nothing():
    x = {"padding_mask": tf.ones([1, 2], tf.int32)}
    found = _perturbation.scaled(tf.zeros([1, 2, 3]), x, tf.constant([1.0]))
    np.testing.assert_array_equal(found, np.zeros([1, 2, 3]))


def test_within_shortens_only_what_is_too_long():
    added = tf.constant([[[3.0, 4.0]], [[0.3, 0.4]]])
    found = _perturbation.within(added, tf.constant([1.0, 1.0]))
    np.testing.assert_allclose(found, [[[0.6, 0.8]], [[0.3, 0.4]]], rtol=1e-6)


def _by_hand(network, batch, added):
    """Return loss and gradients of a pass with the masks that the network draws now."""
    with tf.GradientTape() as tape:
        tape.watch(added)
        outputs = network(batch.x, training=True, added=added)
        loss = network.compute_loss(batch.x, batch.y, outputs, None, training=True)
    found = tape.gradient(loss, [*network.trainable_weights, added])
    return loss, [tf.convert_to_tensor(gradient) for gradient in found]


def test_fgm_is_the_mean_of_both_passes_with_one_mask(network, batch):
    seeds = _perturbation.Seeds(network)
    step = _perturbation.Perturbed([True, True], step=0.3, size=0.3)
    loss, _, gradients = step.gradients(network, batch)
    seeds.put_back()
    nothing = embeddings.zeros(network, batch.x)
    first, (*one, upwards) = _by_hand(network, batch, nothing)
    sizes = 0.3 * _perturbation.norms(network, batch.x)
    norm = tf.norm(tf.reshape(upwards, [3, -1]), axis=1)
    seeds.put_back()
    second, (*other, _) = _by_hand(network, batch, upwards * (sizes / norm)[:, None, None])
    assert second > first  # the way up
    np.testing.assert_allclose(loss, (first + second) / 2, rtol=1e-5)
    for found, a, b in zip(gradients, one, other, strict=True):
        np.testing.assert_allclose(tf.convert_to_tensor(found), (a + b) / 2, rtol=1e-4, atol=1e-6)


def test_pgd_learns_from_the_first_and_the_last_pass(network, batch):
    passes = []

    class Counted(_perturbation.Perturbed):
        def loss(self, network, batch, outputs):
            passes.append(super().loss(network, batch, outputs))
            return passes[-1]

    step = Counted([True, False, False, True], step=0.1, size=0.2)
    loss, _, _ = step.gradients(network, batch)
    assert len(passes) == 4
    assert passes[3] > passes[1] > passes[0]
    np.testing.assert_allclose(loss, (passes[0] + passes[3]) / 2, rtol=1e-6)


def test_noise_is_no_larger_than_the_size_and_another_each_step(network, batch):
    step = _perturbation.Perturbed([True], step=0.1, size=0.2, noise=True)
    step.build(network, 3)
    own = _perturbation.norms(network, batch.x)
    one, other = (step._first(network, batch, own).numpy() for _ in range(2))
    assert (np.linalg.norm(one, axis=(1, 2)) <= 0.2 * own.numpy() + 1e-6).all()
    assert (one[1, 2] == 0).all()
    assert np.abs(one - other).max() > 0
    assert step.variables  # its place is in the checkpoints


def test_an_attack_raises_the_loss_within_its_size(network, batch):
    found = tf.function(lambda: _perturbation.attack(20, 0.5)(network, batch))()
    norms = np.linalg.norm(found.numpy(), axis=(1, 2))
    assert (norms <= 0.5 * _perturbation.norms(network, batch.x).numpy() + 1e-6).all()

    def loss(added):
        outputs = network(batch.x, training=False, added=added)
        return network.compute_loss(batch.x, batch.y, outputs, None, training=False)

    assert loss(found) > loss(tf.zeros_like(found))
    one = tf.function(lambda: _perturbation.attack(1, 0.5)(network, batch))()
    assert loss(found) >= loss(one) - 1e-6


def test_the_mean_of_a_tables_gradients_is_of_its_rows():
    one = tf.IndexedSlices(tf.constant([[2.0], [4.0]]), tf.constant([0, 1]), tf.constant([3, 1]))
    other = tf.IndexedSlices(tf.constant([[6.0]]), tf.constant([1]), tf.constant([3, 1]))
    found = tf.convert_to_tensor(_perturbation.mean([one, other]))
    np.testing.assert_allclose(found, [[1.0], [5.0], [0.0]])
    assert _perturbation.mean([None, None]) is None
    np.testing.assert_allclose(_perturbation.mean([tf.constant(4.0), None]), 2.0)


def test_windows_that_a_row_does_not_need_are_left_out():
    keras.utils.set_random_seed(1)
    from tfnlp.heads import token_tags
    from tfnlp.training.network import trainable

    ids = keras.Input([None], dtype="int32", name="token_ids")
    mask = keras.Input([None], dtype="int32", name="padding_mask")
    tokens = keras.layers.Embedding(9, 4)(ids) * keras.ops.cast(mask, "float32")[..., None]
    backbone = keras.Model([ids, mask], {"tokens": tokens})
    head = token_tags.head(backbone, 3, dropout=0.0, with_crf=False)
    network = trainable(head, divisible=True)
    x = {
        "token_ids": tf.constant([[[1, 2], [3, 4]], [[5, 6], [0, 0]]]),
        "padding_mask": tf.constant([[[1, 1], [1, 1]], [[1, 1], [0, 0]]]),
    }
    added = tf.random.stateless_normal([2, 2, 2, 4], [1, 2])
    dense = head.get_layer("emissions")
    table = embeddings.embedding(network).embeddings
    wanted = dense(tf.gather(table, x["token_ids"]) + added).numpy()
    for parts in (1, 2):
        network.streams = parts
        found = network(x, added=added).numpy()
        np.testing.assert_allclose(found[0], wanted[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found[1, 0], wanted[1, 0], rtol=1e-5, atol=1e-6)
    batch = Batch(x, None, None)
    assert _perturbation.norms(network, batch.x).shape == (2,)


@pytest.mark.parametrize("name", ["translation", "language_model", "masked_lm"])
def test_tasks_that_write_are_refused(name):
    from types import SimpleNamespace

    from pipelines.errors import UserError
    from tfnlp import task

    made = SimpleNamespace(strategy=SimpleNamespace(name="fgm"), task=name)
    with pytest.raises(UserError, match=f"--strategy fgm is for tasks that read .* not for {name}"):
        _perturbation.fits(task.load(name), made, None)
