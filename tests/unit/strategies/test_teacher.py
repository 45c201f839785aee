"""What a teacher says, in the student's order and form; what is no teacher for a student."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines.errors import UserError
from pipelines.rows import Rows
from tfnlp import task
from tfnlp.heads import agreement, masked_lm, sentence_vector
from tfnlp.strategies import _hidden, _teacher


def student(name="classification", labels=("a", "b", "c"), **facts):
    """Return a model as far as a teacher looks at it."""
    loaded = task.load(name)
    options = loaded.options()
    facts = {"labels": list(labels), **facts} if labels else facts
    context = SimpleNamespace(facts=facts, options=options, max_length=128)
    made = SimpleNamespace(task=name, options=options, backbone=SimpleNamespace(name="tiny"))
    return SimpleNamespace(task=loaded, context=context, experiment=made)


class Said:
    """A SavedModel that gives the same answers whatever it is asked."""

    name, model, experiment = "saved_models/big/1", None, None
    inputs = (SimpleNamespace(name="text"),)

    def __init__(self, *answers):
        self.answers = list(answers)

    def answer(self, texts):
        assert set(texts) == {"text"}
        return self.answers


ROWS = Rows("a.csv", {"text": ["one", "two"]}, [1, 2])


def of(subject, learner):
    return _teacher.Teacher(subject, learner, lambda parts, what: iter(parts))


def test_probabilities_stand_in_the_students_order():
    saved = Said({"scores": {"b": 0.7, "c": 0.1, "a": 0.2}}, {"scores": {"b": 0, "c": 1, "a": 0}})
    teacher = of(saved, student())
    teacher.check()
    found = np.exp(teacher.outputs(ROWS))
    np.testing.assert_allclose(found, [[0.2, 0.7, 0.1], [1e-6, 1e-6, 1 - 1e-6]], atol=1e-6)


def test_labels_that_exclude_none_are_choices_of_yes_and_no():
    saved = Said({"scores": {"b": 0.7, "a": 0.2, "c": 0.5}}, {"scores": {"b": 1, "a": 0, "c": 0}})
    found = np.exp(of(saved, student("multi_label")).outputs(ROWS))
    np.testing.assert_allclose(found[0], [[0.2, 0.8], [0.7, 0.3], [0.5, 0.5]], atol=1e-6)


def test_grades_are_reached_or_not():
    saved = Said(*[{"scores": {"1": 0.2, "2": 0.5, "3": 0.3}}] * 2)
    learner = student("ordinal", None, grades=[1.0, 2.0, 3.0], reached=[0.5, 0.2])
    found = np.exp(of(saved, learner).outputs(ROWS))
    np.testing.assert_allclose(found[0], [[0.8, 0.2], [0.3, 0.7]], atol=1e-6)


def test_numbers_are_in_the_students_unit():
    saved = Said({"value": 3.0}, {"value": -1.0})
    found = of(saved, student("regression", None, mean=1.0, deviation=2.0)).outputs(ROWS)
    np.testing.assert_allclose(found, [[1.0], [-1.0]])


def test_the_score_of_a_saved_model_is_told_as_that_of_a_run():
    saved = Said(
        {"label": "a", "scores": {"b": 0.3, "c": 0.1, "a": 0.6}},
        {"label": "c", "scores": {"b": 0, "c": 1, "a": 0}},
    )
    rows = Rows("a.csv", {"text": ["one", "two"], "label": ["a", "b"]}, [1, 2])
    teacher = of(saved, student(temperature=1.0, doubt=0.0))
    assert teacher.report(rows).metrics["accuracy"] == 0.5
    saved.answers[1] = {"label": "b", "scores": {"c": 0, "b": 1, "a": 0}}
    assert teacher.report(rows).metrics["accuracy"] == 1
    assert teacher.latency(rows) > 0


def test_tags_and_pairs_follow_their_labels():
    learner = student("ner", ["x", "y"])
    tags = np.arange(5.0)[None, None, None]  # outside, x, y
    found = _teacher._ordered(tags, {"labels": ["y", "x"]}, learner)
    np.testing.assert_array_equal(found[0, 0, 0], [0, 3, 4, 1, 2])
    pairs = np.arange(4.0).reshape(1, 2, 2)
    several = student("multi_label", ["x", "y"])
    found = _teacher._ordered(pairs, {"labels": ["y", "x"]}, several)
    np.testing.assert_array_equal(found[0], [[2, 3], [0, 1]])


def test_several_are_averaged_by_their_probabilities():
    learner = student()
    one, other = np.log([[0.5, 0.25, 0.25]]), np.log([[0.1, 0.8, 0.1]])
    found = np.exp(_teacher.mean([one, other], learner))
    np.testing.assert_allclose(found, [[0.3, 0.525, 0.175]], rtol=1e-6)


def test_of_several_the_longer_text_decides():
    short, long = np.log(np.full((1, 2, 2), 0.5)), np.log(np.full((1, 3, 2), 0.5))
    assert _teacher.mean([short, long], student()).shape == (1, 3, 2)


def _run(learner, inputs=("text",)):
    named = tuple(SimpleNamespace(name=name) for name in inputs)
    return SimpleNamespace(
        name="logs/big/1", inputs=named, experiment=learner.experiment, model=learner
    )


@pytest.mark.parametrize(
    ("subject", "learner", "said"),
    [
        (_run(student("ner")), student(), "is of the task ner, and the student of classification"),
        (_run(student(labels="ab")), student(), "has other labels .* it lacks 'c' "),
        (_run(student(labels="abcd")), student(), "it has 'd' besides "),
        (_run(student(labels="abde")), student(), "it lacks 'c', and 2 more differ "),
        (_run(student(), ("text_a", "text_b")), student(), "reads text_a and text_b, and the"),
        (Said(), student("ner"), "is a SavedModel, which does not tell what ner learns from"),
    ],
)
def test_what_is_no_teacher_is_refused(subject, learner, said):
    with pytest.raises(UserError, match=said) as refused:
        of(subject, learner).check()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"scores": {"a": 1.0}}, "has other labels"),
        ({"value": 1.0}, "have no 'scores', but value"),
    ],
)
def test_answers_of_something_else_are_refused(answer, said):
    with pytest.raises(UserError, match=said):
        of(Said(answer, answer), student()).outputs(ROWS)


def test_towards_is_the_divergence_from_what_was_said():
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    logits = tf.constant([[1.0, 2.0, 0.5], [0.0, 0.0, 3.0]])
    p = np.array([[0.2, 0.7, 0.1], [0.1, 0.1, 0.8]])
    q = tf.nn.softmax(logits / 2).numpy()
    soft = np.sqrt(p) / np.sqrt(p).sum(-1, keepdims=True)  # at a temperature of 2
    wanted = 4 * (soft * np.log(soft / q)).sum(-1).mean()
    found = agreement.towards(loss, {}, tf.constant(np.log(p), tf.float32), logits, 2.0)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    same = agreement.towards(loss, {}, tf.math.log(tf.nn.softmax(logits)), logits)
    np.testing.assert_allclose(same, 0, atol=1e-6)


def test_towards_leaves_out_what_is_beyond_the_batch():
    from tfnlp.heads import token_tags

    loss = token_tags.TagLoss(with_crf=False)
    outputs = tf.random.stateless_normal([2, 1, 3, 5], [1, 2])
    x = {"padding_mask": tf.constant([[[1, 1, 1]], [[1, 1, 0]]])}
    said = tf.nn.log_softmax(tf.random.stateless_normal([2, 2, 7, 5], [3, 4]))
    found = agreement.towards(loss, x, said, outputs)
    own = tf.nn.log_softmax(outputs)[:, 0].numpy()
    p = said[:, 0, :3].numpy()
    each = (np.exp(p) * (p - own)).sum(-1)
    wanted = each[[0, 0, 0, 1, 1], [0, 1, 2, 0, 1]].mean()
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_vectors_of_another_width_are_compared_by_their_cosines():
    loss = sentence_vector.CosineRegression()
    unit = tf.math.l2_normalize(tf.random.stateless_normal([3, 2, 8], [1, 2]), -1)
    turned = tf.linalg.qr(tf.random.stateless_normal([8, 8], [3, 4]))[0]
    wider = tf.concat([unit @ turned, tf.zeros([3, 2, 5])], -1)
    same = agreement.towards(loss, {}, wider, unit)
    np.testing.assert_allclose(same, 0, atol=1e-6)  # turned and embedded in more dimensions
    other = tf.math.l2_normalize(tf.random.stateless_normal([3, 2, 13], [5, 6]), -1)
    flat = [tf.reshape(each, [6, -1]).numpy() for each in (other, unit)]
    wanted = np.square(flat[0] @ flat[0].T - flat[1] @ flat[1].T).mean()
    np.testing.assert_allclose(agreement.towards(loss, {}, other, unit), wanted, rtol=1e-5)


def test_the_divergence_of_written_text_counts_the_pieces_to_be_predicted():
    said = tf.nn.log_softmax(tf.random.stateless_normal([2, 3, 5], [1, 2]))
    logits = tf.random.stateless_normal([2, 3, 5], [3, 4])
    labels = tf.constant([[1, 2, -1], [4, -1, -1]])
    p, q = said.numpy(), tf.nn.log_softmax(logits).numpy()
    each = (np.exp(p) * (p - q)).sum(-1)
    wanted = (each[0, 0] + each[0, 1] + each[1, 0]) / 3
    found = masked_lm.divergence(labels, said, logits, 1.0)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    nothing = masked_lm.divergence(tf.fill([2, 3], -1), said, logits, 1.0)
    assert float(nothing) == 0


def test_a_saved_model_has_no_hidden_vectors():
    with pytest.raises(UserError, match="is a SavedModel, and its network is needed"):
        of(Said(), student()).vectors(ROWS)


def test_a_head_of_tokens_is_given_no_vector_of_a_row():
    ids = keras.Input([None], dtype="int32", name="token_ids")
    states = keras.layers.Dropout(0.1, name="head_dropout")(keras.layers.Embedding(5, 4)(ids))
    network = keras.Model({"token_ids": ids}, keras.layers.Dense(3)(states), name="tags")
    with pytest.raises(UserError, match="the head of tags is not given one vector for each row"):
        _hidden.with_vector(network)


def test_a_damaged_file_of_the_cache_is_as_good_as_none(tmp_path):
    file = tmp_path / "said.npy"
    assert _teacher._kept(file) is None
    np.save(file, np.ones(3))
    np.testing.assert_array_equal(_teacher._kept(file), np.ones(3))
    whole = file.read_bytes()
    for damaged in (b"", whole[:20], whole[:-3], b"garbage"):
        file.write_bytes(damaged)
        assert _teacher._kept(file) is None, damaged
