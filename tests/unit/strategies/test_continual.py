"""What is learned beside new rows, and how weights are held, pulled and averaged: the formulas."""

from __future__ import annotations

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax, softmax

from pipelines import selection
from pipelines.errors import UserError
from pipelines.rows import Column, Rows
from tfnlp.extensions import Batch
from tfnlp.heads import agreement
from tfnlp.strategies import _earlier, _rehearsal, _weights, averaging, ewc, recadam
from tfnlp.training.network import trainable

X = np.array([[1.0, 2.0], [-1.0, 0.5]], np.float32)
Y = np.eye(3, dtype=np.float32)[[0, 2]]
CROSS = keras.losses.CategoricalCrossentropy(from_logits=True)


@pytest.fixture
def network():
    """A network of one layer, two numbers to three labels, that learns at the rate 0.1."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((2,), name="x")
    output = keras.layers.Dense(3, name="logits")(inputs)
    found = trainable(keras.Model({"x": inputs}, output), divisible=True)
    found.compile(keras.optimizers.SGD(0.1), loss=CROSS)
    found.optimizer.build(found.trainable_variables)
    return found


def _logits(network, x):
    kernel, bias = network.get_weights()
    return x @ kernel + bias


def _cross(logits, y):
    return -(y * log_softmax(logits, -1)).sum(-1).mean()


def test_new_labels_are_left_out_of_what_the_earlier_model_knows():
    said = np.log(softmax([[2.0, 0.5], [0.1, 1.0]], -1)).astype("float32")
    logits = np.array([[1.0, -1.0, 5.0], [0.0, 0.5, -2.0]], np.float32)
    found = agreement.towards(CROSS, {}, tf.constant(said), tf.constant(logits), 2.0)
    p, q = (log_softmax(one / 2, -1) for one in (said, logits[:, :2]))
    assert float(found) == pytest.approx(float((np.exp(p) * (p - q)).sum(-1).mean() * 4), rel=1e-5)


def test_each_label_for_itself_is_left_out_too():
    yes = np.array([[0.9, 0.2]])
    said = np.log(np.stack([yes, 1 - yes], -1)).astype("float32")
    logits = np.log(yes / (1 - yes)).astype("float32")
    both = np.concatenate([logits, [[4.0]]], 1).astype("float32")
    loss = keras.losses.BinaryCrossentropy(from_logits=True)

    def towards(said):
        return float(agreement.towards(loss, {}, tf.constant(said), tf.constant(both)))

    assert towards(said) == pytest.approx(0, abs=1e-6)
    # Known not to be chosen, it counts: KL(no || sigmoid(4)), a third of the mean.
    assert towards(_earlier.with_new(said, 2, 1)) == pytest.approx(
        np.log1p(np.exp(4)) / 3, rel=1e-5
    )


def test_tags_of_new_spans_are_two_each():
    said = np.log(softmax(np.ones((1, 4, 5)), -1))
    found = _earlier.with_new(said, 2, 3)
    assert found.shape == (1, 4, 11)
    assert np.exp(found).sum(-1) == pytest.approx(np.ones((1, 4)))


def test_the_loss_of_rehearsal(network):
    said = np.log(softmax([[2.0, 0.5], [0.1, 1.0]], -1)).astype("float32")
    old = Batch({"x": tf.constant(2 * X)}, tf.constant(Y[::-1]), None)
    texts = Batch({"x": tf.constant(-X)}, None, None, {_rehearsal.SAID: tf.constant(said)})
    beside = {"old": old, "texts": texts}
    step = _rehearsal.make(0.25, weight=0.5, temperature=2.0)
    network.step = step
    loss, _, gradients = step.gradients(
        network, Batch({"x": tf.constant(X)}, tf.constant(Y), None, beside=beside)
    )
    p, q = (log_softmax(one / 2, -1) for one in (said, _logits(network, -X)[:, :2]))
    wanted = 0.75 * _cross(_logits(network, X), Y) + 0.25 * _cross(_logits(network, 2 * X), Y[::-1])
    wanted += 0.5 * 4 * (np.exp(p) * (p - q)).sum(-1).mean()
    assert float(loss) == pytest.approx(float(wanted), rel=1e-5)
    assert all(gradient is not None for gradient in gradients)


def test_a_buffer_has_as_many_rows_of_each_label():
    labels = ["a"] * 9 + ["b"] * 2 + ["c"]
    rows = Rows("a.csv", {"label": labels}, list(range(1, 13)))
    column = Column("label", "label", "a label")
    found = selection.of_each_label(rows, [column], 3, 7)
    assert found.columns["label"] == ["a"] * 3 + ["b"] * 2 + ["c"]
    assert found == selection.of_each_label(rows, [column], 3, 7)
    assert found.numbers != selection.of_each_label(rows, [column], 3, 8).numbers
    several = Rows("a.csv", {"labels": [["a"], ["a", "b"], ["a"], []]}, [1, 2, 3, 4])
    kept = selection.of_each_label(several, [Column("labels", "labels", "labels")], 1, 0)
    assert {"b"} <= {label for row in kept.columns["labels"] for label in row}
    assert [] in kept.columns["labels"]


def test_old_rows_count_as_their_labels_do():
    task = SimpleNamespace(name="classification")
    experiment = SimpleNamespace(task=task.name, options=SimpleNamespace())

    def rows(labels):
        return Rows("a.csv", {"label": labels}, list(range(len(labels))))

    trainer = SimpleNamespace(
        experiment=experiment,
        options=SimpleNamespace(share=None),
        splits=SimpleNamespace(train=rows(["d", "d", "d"])),
    )
    assert _rehearsal.share(trainer, rows(["a", "b", "c"])) == 0.75
    assert _rehearsal.share(trainer, None) == 0
    trainer.options = SimpleNamespace(share=0.1)
    assert _rehearsal.share(trainer, rows(["a"])) == 0.1


def test_the_penalty_of_ewc(network):
    kernel, bias = network.trainable_weights
    starts = [np.ones((2, 3), np.float32), np.zeros(3, np.float32)]
    information = [np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros(3, np.float32)]
    step = ewc.make(list(zip((kernel, bias), starts, information, strict=True)), 10.0)
    step.build(network, 2)
    outputs = network({"x": tf.constant(X)})
    loss = step.loss(network, Batch({"x": tf.constant(X)}, tf.constant(Y), None), outputs)
    wanted = _cross(_logits(network, X), Y)
    wanted += 5.0 * (information[0] * (kernel.numpy() - 1) ** 2).sum()
    assert float(loss) == pytest.approx(float(wanted), rel=1e-5)


def test_new_parts_of_weights_are_free():
    weights = [SimpleNamespace(path="a", shape=(2, 3)), SimpleNamespace(path="b", shape=(2,))]
    whole = ewc.flat({"a": np.full((2, 2), 4.0, np.float32)}, weights)
    found = ewc.parts(whole, weights)
    assert found[0].tolist() == [[4, 4, 0], [4, 4, 0]]
    assert found[1].tolist() == [0, 0]


def test_the_pull_of_recadam(network):
    weights = network.trainable_weights
    starts = [weight.numpy() for weight in weights]
    own = recadam.Options(pull=4.0, middle=0.5, steepness=2.0)
    step = recadam.make(own, weights, batch_size=2)
    step.build(network, 20)  # ten batches
    network.step = step
    network.peft_step = SimpleNamespace(before_pass=lambda: None, loss=lambda *given: 0.0)
    batch = Batch({"x": tf.constant(X)}, tf.constant(Y), None)
    for done in (1, 2):
        before = [weight.numpy() for weight in weights]
        _, _, gradients = step.gradients(network, batch)
        network.optimizer.apply_gradients(zip(gradients, weights, strict=True))
        step.updated(network, batch)
        labels = 1 / (1 + np.exp(-2 * (done / 10 - 0.5)))
        back = 4.0 * 0.1 * (1 - labels)
        for weight, was, start, gradient in zip(weights, before, starts, gradients, strict=True):
            now = was - labels * 0.1 * gradient.numpy()
            assert weight.numpy() == pytest.approx(now + back * (start - now), abs=1e-6)


def test_the_pull_never_goes_beyond_the_start(network):
    weights = network.trainable_weights
    starts = [weight.numpy() for weight in weights]
    step = recadam.make(recadam.Options(pull=1e6, middle=1.0), weights, batch_size=2)
    step.build(network, 20)
    for weight in weights:
        weight.assign(weight + 1.0)
    for held in step.before:
        held.assign(held + 1.0)
    step.updated(network, Batch({"x": tf.constant(X)}, tf.constant(Y), None))
    for weight, start in zip(weights, starts, strict=True):
        assert weight.numpy() == pytest.approx(start)


def test_the_head_is_not_averaged():
    layer = SimpleNamespace(weights=[SimpleNamespace(path="dense/kernel")])
    trainer = SimpleNamespace(model=SimpleNamespace(blocks=((layer,),)))
    before = {"dense/kernel": np.array([0.0]), "logits/kernel": np.array([0.0])}
    after = {"dense/kernel": np.array([4.0]), "logits/kernel": np.array([4.0])}
    found = averaging.average(trainer, before, after, 0.25)
    assert {path: value.item() for path, value in found.items()} == {
        "dense/kernel": 1.0,
        "logits/kernel": 4.0,
    }


def test_a_greedy_soup_takes_what_makes_it_no_worse(network):
    names = [weight.path for weight in network.weights]

    def filled(value):
        return {
            n: np.full(w.shape, value, "float32")
            for n, w in zip(names, network.weights, strict=True)
        }

    def evaluate(rows):  # best where weights are 1
        return SimpleNamespace(
            metrics={"accuracy": -abs(float(network.get_weights()[0].mean()) - 1)}
        )

    trainer = SimpleNamespace(
        model=SimpleNamespace(network=network),
        evaluate=evaluate,
        splits=SimpleNamespace(validation=None),
    )
    taken = _weights.soup(
        trainer, {"this run": filled(0.0), "far": filled(9.0), "two": filled(2.0)}
    )
    assert taken == ["this run", "two"]
    assert network.get_weights()[0].mean() == 1.0


@pytest.mark.parametrize(("metric", "better"), [("accuracy", 0.8), ("mae", 0.2)])
def test_it_says_where_a_method_keeps_nothing(metric, better):
    key = f"old_{metric}"
    kept = {"without": {key: 0.5}, "lwf": {key: better}}
    assert not _earlier.report("lwf", kept).warnings
    lost = {"without": {key: better}, "lwf": {key: 0.5}}
    assert "kept no more" in _earlier.report("lwf", lost).warnings[0]
    assert "kept no more" in _earlier.report("lwf", {**lost, "lwf": {key: better}}).warnings[0]


def test_what_needs_an_earlier_run_says_so():
    experiment = SimpleNamespace(
        earlier=SimpleNamespace(start_from=None), strategy=SimpleNamespace(name="ewc")
    )
    with pytest.raises(UserError, match="--strategy ewc keeps what an earlier run has learned"):
        _earlier.fits(None, experiment, None)
