"""The contrastive loss against its formula, unit vectors, and what is told of them."""

import keras
import numpy as np
import pytest
from scipy.special import log_softmax

from pipelines.errors import UserError
from tfnlp import task as tasks
from tfnlp.evaluation import retrieval
from tfnlp.heads import sentence_vector
from tfnlp.task import Context


def _unit(random, *shape):
    vectors = random.normal(size=shape)
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype("float32")


def _toy(dropout=0.0):
    keras.utils.set_random_seed(1)
    names = ("token_ids", "segment_ids", "padding_mask")
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in names}
    tokens = keras.layers.Embedding(20, 8)(inputs["token_ids"])
    tokens = keras.layers.Dropout(dropout)(tokens)
    return keras.Model(inputs, {"tokens": tokens, "pooled": tokens[:, 0]})


def _features(ids):
    ids = np.array(ids, "int32")
    return {"token_ids": ids, "segment_ids": ids * 0, "padding_mask": (ids > 0).astype("int32")}


def test_the_loss_is_infonce_in_both_directions():
    vectors = _unit(np.random.default_rng(0), 5, 2, 8)
    numbers = np.arange(10).reshape(5, 2)
    scores = vectors[:, 0].astype(float) @ vectors[:, 1].T / 0.1
    want = -(np.diag(log_softmax(scores, 1)) + np.diag(log_softmax(scores, 0))).mean() / 2
    got = sentence_vector.Contrastive(0.1)(numbers, vectors)
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize(
    "numbers",
    [
        [[0, 1], [2, 3], [0, 4]],  # the same first text
        [[0, 1], [2, 3], [4, 1]],  # the same second text
        [[0, 1], [2, 3], [4, 0]],  # the first text is another row's second
    ],
)
def test_equal_texts_are_no_negatives_of_each_other(numbers):
    vectors = _unit(np.random.default_rng(0), 3, 2, 8)
    cosines = sentence_vector.candidates(np.array(numbers), vectors).numpy()
    left_out = {tuple(place) for place in np.argwhere(cosines < -1.01).tolist()}
    assert left_out == {(0, 2), (2, 0)}
    np.testing.assert_allclose(np.diag(cosines), (vectors[:, 0] * vectors[:, 1]).sum(-1), rtol=1e-5)


def test_accuracy_is_the_share_whose_partner_is_nearest():
    eye = np.eye(4, dtype="float32")
    vectors = np.stack([eye, eye[[0, 1, 3, 2]]], 1)
    metric = sentence_vector.Accuracy(name="accuracy")
    metric.update_state(np.arange(8).reshape(4, 2), vectors)
    assert float(metric.result()) == 0.5


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_text_has_the_same_unit_vector_alone_in_a_pair_and_padded(pooling):
    model = sentence_vector.head(_toy(), pooling=pooling)
    pair = model.predict_on_batch(_features([[[2, 5, 3], [2, 7, 3]], [[2, 9, 3], [2, 4, 3]]]))
    assert pair.shape == (2, 2, 8)
    np.testing.assert_allclose(np.linalg.norm(pair, axis=-1), 1.0, rtol=1e-5)
    alone = model.predict_on_batch(_features([[[2, 7, 3, 0, 0]]]))
    np.testing.assert_allclose(alone[0, 0], pair[0, 1], atol=1e-6)


def test_texts_alone_need_dropout():
    task = tasks.load("similarity")
    context = Context(task.options(), None, 128, {}, "encoder", 512)
    with pytest.raises(UserError, match=r"give --dropout 0\.1"):
        task.build(context, _toy(0.0))
    assert task.build(context, _toy(0.1))
    assert task.build(Context(task.options(pair=True), None, 128, {}, "encoder", 512), _toy(0.0))


def test_ranks_against_counting_by_hand():
    first = ["q1", "q2", "q1", "r3"]
    second = ["r1", "r2", "r3", "r3"]
    # Nearness of the first texts to r1, r2, r3. q1 is right with r1 and r3; r3 is no candidate
    # for itself but as its own partner.
    table = np.array([[0.1, 0.9, 0.5], [0.7, 0.7, 0.7], [0.1, 0.9, 0.5], [0.0, 0.3, 0.2]])
    nearer, equal = retrieval.ranks(first, second, lambda rows, unique: table[rows].copy())
    assert nearer.tolist() == [1, 0, 1, 1]
    assert equal.tolist() == [0, 2, 0, 0]


def test_a_text_is_no_candidate_for_itself():
    first, second = ["x", "y"], ["y", "z"]
    table = np.array([[0.9, 0.1], [1.0, 0.5]])  # y is nearest to y
    nearer, _ = retrieval.ranks(first, second, lambda rows, unique: table[rows].copy())
    assert nearer.tolist() == [0, 0]


def test_report_of_perfect_and_of_collapsed_vectors():
    texts = [f"word{i} same" for i in range(300)]
    partners = [f"word{i} other" for i in range(300)]
    eye = np.eye(300, dtype="float32")
    found = retrieval.pairs(texts, partners, eye, eye).metrics
    assert found["accuracy_at_1"] == found["mrr"] == found["tfidf_accuracy_at_1"] == 1.0
    assert found["alignment"] == 0.0
    collapsed = np.ones((300, 4), "float32") / 2
    found = retrieval.pairs(texts, partners, collapsed, collapsed).metrics
    assert found["accuracy_at_1"] == pytest.approx(1 / 300)
    assert found["mrr"] == pytest.approx(1 / 150.5)
    assert found["uniformity"] == pytest.approx(0.0)


def test_uniformity_of_points_on_a_circle():
    """Against the integral: the mean of exp(-2 |x - y|^2) is exp(-4) I0(4) on a circle."""
    angles = np.linspace(0, 2 * np.pi, 1500, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], 1)
    found = retrieval.texts([str(a) for a in angles], circle).metrics
    assert found["uniformity"] == pytest.approx(np.log(np.exp(-4) * np.i0(4)), abs=0.01)


def test_pairs_without_a_word_have_no_baseline():
    eye = np.eye(2, dtype="float32")
    found = retrieval.pairs(["?", "!"], [":)", ":("], eye, eye).metrics
    assert "tfidf_mrr" not in found
