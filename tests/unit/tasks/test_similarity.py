"""The contrastive loss against its formula, unit vectors, and what is told of them."""

import keras
import numpy as np
import pytest
from scipy.special import log_softmax

from pipelines.errors import UserError
from pipelines.rows import Rows, read
from tfnlp import task as tasks
from tfnlp.evaluation import retrieval
from tfnlp.heads import sentence_vector
from tfnlp.task import Context

TASK = tasks.load("similarity")
PAIR = TASK.options(pair=True)


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


def _file(path, *lines):
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return read(path, (*TASK.input_columns(PAIR), *TASK.target_columns(PAIR)))


def test_cosines_are_to_be_the_scores():
    vectors = _unit(np.random.default_rng(0), 6, 2, 8)
    scores = np.array([0.0, 1.0, 0.4, 0.4, 1.0, 0.2], "float32")
    want = (((vectors[:, 0] * vectors[:, 1]).sum(-1) - scores) ** 2).mean()
    got = sentence_vector.CosineRegression()(scores[:, None], vectors)
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_correlation_over_batches_is_pearsons():
    random = np.random.default_rng(0)
    vectors, scores = _unit(random, 50, 2, 4), random.random((50, 1)).astype("float32")
    metric = sentence_vector.Correlation("correlation")
    assert float(metric.result()) == 0.0
    for part in (slice(20), slice(20, 50)):
        metric.update_state(scores[part], vectors[part])
    want = np.corrcoef(scores[:, 0], (vectors[:, 0] * vectors[:, 1]).sum(-1))[0, 1]
    np.testing.assert_allclose(float(metric.result()), want, atol=1e-4)


def test_third_texts_are_further_negatives_of_first_ones():
    vectors = _unit(np.random.default_rng(0), 4, 3, 8)
    numbers = np.arange(12).reshape(4, 3)
    first, second, third = (vectors[:, i].astype(float) for i in range(3))
    there = np.concatenate([first @ second.T, first @ third.T], 1) / 0.1
    back = second @ first.T / 0.1
    want = -(np.diag(log_softmax(there, 1)[:, :4]) + np.diag(log_softmax(back, 1))).mean() / 2
    got = sentence_vector.Contrastive(0.1)(numbers, vectors)
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_third_texts_that_mean_the_same_are_no_negatives():
    vectors = _unit(np.random.default_rng(0), 3, 3, 8)
    # Row 1's third text is row 0's second, and row 2 has row 0's first text; row 2's is that text.
    numbers = np.array([[0, 1, 9], [2, 3, 1], [0, 4, 0]])
    cosines = sentence_vector.candidates(numbers, vectors).numpy()[:, 3:]
    left_out = {tuple(place) for place in np.argwhere(cosines < -1.01).tolist()}
    assert left_out == {(0, 1), (2, 1), (0, 2), (2, 2)}


@pytest.mark.parametrize(
    ("lines", "facts", "said"),
    [
        (
            ["sentence1,sentence2,label", "a,b,1", "c,d,0"],
            {"reading": "scores", "scores": [0, 1]},
            "'label' is read as how much the texts of a pair mean the same (0: 1 row, 1: 1 row)",
        ),
        (
            ["question1,question2,is_duplicate", "a,b,True", "c,d,false"],
            {"reading": "scores", "scores": [0, 1]},
            "'is_duplicate' is read as how much",
        ),
        (
            ["句子1,text_b,text_a,Score", "x,b,a,-3.5", "x,d,c,2", "x,f,e,0"],
            {"reading": "scores", "scores": [-3.5, 2]},
            "(-3.5: 1 row, 0: 1 row, 2: 1 row)",
        ),
        (
            ["text_a,text_b,score", *(f"a{i},b{i},{i / 4}" for i in range(20))],
            {"reading": "scores", "scores": [0, 4.75]},
            "(from 0 to 4.75, 20 different ones)",
        ),
        (
            ["anchor,positive,negative", "a,b,c", "d,e,f"],
            {"reading": "triplets"},
            "'negative' is read as a text that means something else",
        ),
        (["text_a,text_b,label", "a,b,1", "c,d,1"], {}, "'label' is 1 in every row"),
        (["question,answer", "a,b", "c,d"], {}, "it has no score or label"),
    ],
)
def test_pairs_are_read_by_the_columns_that_there_are(lines, facts, said, tmp_path):
    rows = _file(tmp_path / "pairs.csv", *lines)
    assert TASK.learn(rows, PAIR) == facts
    (remark,) = TASK.remarks(rows, facts)
    assert said in remark
    task_texts = tasks.load("similarity").sample(TASK.options())
    alone = Rows("a", {"text": [row["text"] for row in task_texts]}, [1, 2, 3, 4])
    assert not list(TASK.remarks(alone, {}))


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["text_a,text_b,label", "a,b,0", "c,d,0"], "every row has 0 in 'label'"),
        (["text_a,text_b,label", "a,b,5", "c,d,5"], "every row has 5 in 'label'"),
        (["text_a,text_b,label", "a,b,entailment"], "'label' is neither a number nor true or"),
        (["text_a,text_b,label", "a,b,"], "'label' is neither a number"),
        (["query,pos,neg,score", "a,b,c,1", "d,e,f,0"], "scores in 'score' and negatives in 'neg'"),
        (["text_a,text_b,negative", "a,b, "], "'negative' is empty"),
    ],
)
def test_pairs_that_cannot_be_learned_are_refused(lines, reason, tmp_path):
    with pytest.raises(UserError, match=reason):
        TASK.learn(_file(tmp_path / "pairs.csv", *lines), PAIR)


def test_validation_needs_what_train_is_learned_by(tmp_path):
    plain = _file(tmp_path / "plain.csv", "text_a,text_b", "a,b", "c,d")
    scored = _file(tmp_path / "scored.csv", "text_a,text_b,score", "a,b,1", "c,d,0")
    bad = list(TASK.unusable_rows(plain, {"reading": "scores", "scores": [0, 1]}))
    assert [row.number for row in bad] == [1, 2]
    assert "has no 'score'" in bad[0].reason
    assert not list(TASK.unusable_rows(scored, {"reading": "scores", "scores": [0, 1]}))
    assert not list(TASK.unusable_rows(scored, {}))
    assert len(list(TASK.unusable_rows(plain, {"reading": "triplets"}))) == 2


def test_targets_are_scores_from_0_to_1_or_numbers_of_the_texts():
    raw = {"text_a": ["a", "b"], "text_b": ["c", "a"], "negative": ["d", "d"], "score": [1.0, 4.0]}
    raw = {name: keras.ops.convert_to_tensor(values) for name, values in raw.items()}

    def targets(**facts):
        context = Context(PAIR, None, 128, facts, "encoder", 512)
        return TASK.encode_targets(context, raw, {}, {})[0].numpy()

    scores = targets(reading="scores", scores=[0.0, 5.0])
    np.testing.assert_allclose(scores, [[0.2], [0.8]], rtol=1e-6)
    numbers = targets(reading="triplets")
    assert numbers.shape == (2, 3)
    assert numbers[0, 0] == numbers[1, 1]
    assert numbers[0, 2] == numbers[1, 2]
    assert targets().shape == (2, 2)


def test_scores_are_compared_with_cosines_and_high_ones_are_searched_for():
    angles = np.array([0.1, 1.0, 0.5, 0.2])
    vectors_a = np.tile([1.0, 0.0], (4, 1))
    vectors_b = np.stack([np.cos(angles), np.sin(angles)], 1)
    first, second = ["a", "b", "c", "d"], ["same a", "x", "y", "z"]
    found = retrieval.pairs(first, second, vectors_a, vectors_b, [1.0, 0.0, 0.5, 0.4]).metrics
    assert found["spearman"] == pytest.approx(0.8)
    want = np.corrcoef([1.0, 0.0, 0.5, 0.4], np.cos(angles))[0, 1]
    assert found["pearson"] == pytest.approx(want)
    assert found["tfidf_spearman"] > 0
    assert found["accuracy_at_1"] == 1.0  # of the first row alone
    assert found["positive_cosine"] == pytest.approx(np.cos(0.1))
    none = retrieval.pairs(first, second, vectors_a, vectors_b, [0.1, 0.0, 0.5, 0.4])
    assert "accuracy_at_1" not in none.metrics
    assert next(iter(none.metrics)) == "spearman"
    none.figures["cosines"]()
    none.figures["cosine_against_score"]()
