"""What is computed of two domains, of several tasks and of several runs, by hand."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines.errors import UserError
from tfnlp import task as tasks
from tfnlp.extensions import Batch
from tfnlp.runs.experiment_yaml import from_values
from tfnlp.strategies import _domains, _fusion, domain_adversarial, mmd, multi_task


def test_a_reversed_gradient_is_the_gradient_times_minus_the_scale():
    x = tf.constant([[1.0, -2.0], [0.5, 3.0]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = domain_adversarial.reversed_gradient(x, tf.constant(0.3))
        loss = tf.reduce_sum(y**2)
    assert np.allclose(y, x)
    assert np.allclose(tape.gradient(loss, x), -0.3 * 2 * x)


def test_the_schedule_is_the_paper_s():
    assert domain_adversarial.schedule(tf.constant(0.0)).numpy() == 0
    for p in (0.1, 0.5, 1.0):
        wanted = 2 / (1 + np.exp(-10 * p)) - 1
        assert domain_adversarial.schedule(tf.constant(p)).numpy() == pytest.approx(wanted)


def test_the_discrepancy_is_that_of_its_definition():
    random = np.random.default_rng(0)
    one, other = random.normal(size=(5, 3)), random.normal(1, size=(4, 3))
    both = np.concatenate([one, other])
    mean = np.mean([[((a - b) ** 2).sum() for a in both] for b in both])

    def kernel(a, b):
        away = ((a - b) ** 2).sum()
        return np.mean([np.exp(-away / (w * mean)) for w in (0.25, 0.5, 1, 2, 4)])

    def average(x, y):
        return np.mean([[kernel(a, b) for a in x] for b in y])

    wanted = average(one, one) + average(other, other) - 2 * average(one, other)
    found = mmd.discrepancy(tf.constant(one, tf.float32), tf.constant(other, tf.float32))
    assert found.numpy() == pytest.approx(wanted, rel=1e-4)
    assert abs(mmd.discrepancy(tf.constant(one), tf.constant(one)).numpy()) < 1e-6


@pytest.mark.parametrize("module", [domain_adversarial, mmd])
def test_a_step_adds_its_term_to_the_task_s_loss(module, network, batch):
    step = module.make(module.Options(target="x"))
    network.step = step
    step.build(network, 30)
    whole = Batch(batch.x, batch.y, None, beside={"target": Batch(batch.x, None, None)})
    loss, outputs, gradients = step.gradients(network, whole)
    plain = network.compute_loss(batch.x, batch.y, outputs, None, training=True)
    assert loss.numpy() >= plain.numpy() - 1e-5
    assert len(gradients) == len(network.trainable_weights) + len(step.trainable)
    if module is domain_adversarial:  # nothing is reversed yet, but the classifier learns
        assert any(np.abs(g).max() > 0 for g in gradients[len(network.trainable_weights) :])
        step.updated(network, whole)
        assert float(step.seen.numpy()) == 3


def test_domains_that_differ_are_told_apart():
    found = {"mmd": {"test_accuracy": 0.5, "distance": 1.0}, "source alone": {"test_accuracy": 0.6}}
    assert "did not help" in _domains._warnings("mmd", found)[0]
    found["source alone"] = {"test_accuracy": 0.4}
    assert _domains._warnings("mmd", found) == []


def test_rows_of_a_batch_are_shared_out_by_size_to_a_power():
    assert multi_task.shared_out([900, 100], 32, 1.0) == [29, 3]
    assert multi_task.shared_out([900, 100], 32, 0.0) == [16, 16]
    assert multi_task.shared_out([10**6, 1], 32, 1.0) == [32, 1]


def test_labels_are_joined_by_name():
    tags = np.arange(5.0)[None]  # outside, and two for b and a each
    wide = _fusion.spread(tags, 1, ["b", "a"], ["a", "c", "b"])[0]
    assert wide[[0, 5, 6, 1, 2]].tolist() == [0, 1, 2, 3, 4]
    assert np.isnan(wide[[3, 4]]).all()


@pytest.mark.parametrize(
    ("strategy", "task", "message"),
    [
        ({"name": "mmd"}, "classification", "--strategy mmd needs --target"),
        ({"name": "domain_adversarial", "target": "x"}, "similarity", "not for similarity"),
        ({"name": "domain_adaptive"}, "classification", "needs --target"),
        ({"name": "domain_adaptive", "target": "x"}, "masked_lm", "not for masked_lm"),
        ({"name": "multi_task"}, "classification", "needs --together-with"),
        (
            {"name": "multi_task", "together_with": ["a"], "weight": {"a": "-1"}},
            "classification",
            "--multi-task-weight a=-1: it must be a positive number",
        ),
        ({"name": "fusion", "runs": ["a"]}, "classification", "two or more folders of runs"),
        (
            {"name": "fusion", "runs": ["a", "b"], "by": "soup", "unlabelled": "x"},
            "classification",
            "--fusion-unlabelled is about answers",
        ),
    ],
)
def test_what_is_refused_before_anything_is_read(strategy, task, message):
    values = {"task": {"name": task}, "data": {"train": "a.csv"}, "strategy": strategy}
    with pytest.raises(UserError, match=message):
        from_values(values, tasks.load(task).options, "the test")
