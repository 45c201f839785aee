"""Questions and windows of a context: what the model reads, learns and answers."""

import functools
import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.encoding import questions
from pipelines.errors import UserError
from pipelines.registry.packages import member
from pipelines.rows import Rows
from pipelines.tokenizers import sentencepiece, tokenizer
from pipelines.tokenizers.wordpiece import WordPiece
from tfnlp.backbones import entry
from tfnlp.backbones.catalog import e5_small_multilingual as e5
from tfnlp.heads import answer_span
from tfnlp.tasks import extractive_qa

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LETTERS = "abcdefghij"
BERT = WordPiece((*SPECIAL, *LETTERS), lowercase=True, strip_accents=True)
PAD, CLS, SEP = 0, 2, 3


def _ids(text):
    return [len(SPECIAL) + LETTERS.index(letter) for letter in text.split()]


@functools.cache
def wordpiece():
    return tokenizer.load(entry.prepared("minilm-l6-en"))


@functools.cache
def multilingual():
    file = member(e5._VOCABULARY, f"{e5._FOLDER}/tokenizer.json")
    return sentencepiece.from_unigram(json.loads(file.read_text("utf-8")), file)


@functools.cache
def _encoder(made, max_length, overlap):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)] * 2)
    def encode(question, context):
        return questions.encode(
            made(),
            question,
            context,
            max_length=max_length,
            max_question_length=64,
            overlap=overlap,
        )

    return encode


def _encode(asked, contexts, max_length=10, overlap=2, made=lambda: BERT):
    texts = [tf.constant(column, tf.string, [len(column)]) for column in (asked, contexts)]
    return _encoder(made, max_length, overlap)(*texts)


words = st.lists(st.sampled_from(LETTERS), max_size=40).map(" ".join)


def test_windows_by_eye():
    features, offsets = _encode(["a b", "c"], ["d e f g h i j a b", ""])
    first = [CLS, *_ids("a b"), SEP]
    assert features["token_ids"].numpy().tolist() == [
        [[*first, *_ids("d e f g h"), SEP], [*first, *_ids("g h i j a"), SEP],
         [*first, *_ids("j a b"), SEP, PAD, PAD]],
        [[CLS, *_ids("c"), SEP, SEP, *[PAD] * 6], [PAD] * 10, [PAD] * 10],
    ]  # fmt: skip
    assert features["segment_ids"].numpy()[0, 2].tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 0, 0]
    assert features["candidates"].numpy()[0, 2].tolist() == [1, 0, 0, 0, 1, 1, 1, 0, 0, 0]
    assert features["candidates"].numpy()[1, 0].tolist() == [1, *[0] * 9]
    assert features["padding_mask"].numpy()[1].sum(-1).tolist() == [4, 0, 0]
    assert offsets["lost"].numpy().tolist() == [0, 0]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(words, words), min_size=1, max_size=4), st.sampled_from([10, 13]))
def test_all_of_the_context_and_no_more_than_half_a_window_of_the_question(rows, max_length):
    features, offsets = _encode(*zip(*rows, strict=True), max_length)
    ids, mask = features["token_ids"].numpy(), features["padding_mask"].numpy()
    assert ids.shape[2] <= max_length
    for row, (question, context) in enumerate(rows):
        kept = min(len(question.split()), (max_length - 3) // 2)
        assert offsets["lost"].numpy()[row] == len(question.split()) - kept
        read = {}
        for window, used, places in zip(ids[row], mask[row], offsets["places"][row], strict=True):
            body = places.numpy() >= 0
            read |= dict(zip(places.numpy()[body].tolist(), window[body].tolist(), strict=True))
            if used.any():
                size = int(body.sum())
                assert used.tolist() == [1] * (kept + size + 3) + [0] * (
                    len(used) - kept - size - 3
                )
                head = [CLS, *_ids(question)[:kept], SEP]
                assert window[: kept + 2].tolist() == head
                assert window[kept + 2 + size] == SEP
            assert (window[used == 0] == PAD).all()
        assert [read[i] for i in range(len(read))] == _ids(context)


def test_separators_as_in_roberta():
    features, _ = _encode(["中国"], ["今天"], 12, made=multilingual)
    ids = features["token_ids"].numpy()[0, 0].tolist()
    assert ids[0] == multilingual().start_id
    assert ids.count(multilingual().end_id) == 3
    assert not features["segment_ids"].numpy().any()


def _positions(answers, features, offsets):
    """Targets of answers given as (start, end) [bytes], a list for each row."""
    starts, ends = (
        tf.ragged.constant([[one[i] for one in row] for row in answers], tf.int32, ragged_rank=1)
        for i in (0, 1)
    )
    return questions.positions(starts, ends, features, offsets).numpy()


def test_targets_by_eye():
    features, offsets = _encode(["a b"] * 4, ["d e f g h i j a b"] * 3 + [""])
    # Windows: d e f g h | g h i j a | j a b, from place 4 on; letter i stands at byte 2 * i.
    found = _positions([[(6, 9)], [(0, 1), (14, 17)], [], []], features, offsets)
    assert found.tolist() == [
        [[7, 8], [4, 5], [0, 0]],  # "g h" in two windows
        [[4, 4], [0, 0], [5, 6]],  # the first answer where it is, else the second
        [[0, 0], [0, 0], [0, 0]],  # none
        [[0, 0], [-1, -1], [-1, -1]],
    ]
    assert _positions([[(0, 1), (4, 5)]] * 4, features, offsets)[0, 0].tolist() == [4, 4]
    half = _positions([[(8, 13)]] * 4, features, offsets)
    assert half[0].tolist() == [[0, 0], [5, 7], [0, 0]]  # cut by the first window's end


def test_a_part_of_a_token_is_found_by_the_whole_token():
    features, offsets = _encode(["what?"], ["Its 3,776 metres"], 12, made=wordpiece)
    start, end = _positions([[(4, 9)]], features, offsets)[0, 0]
    places = offsets["places"].numpy()[0, 0]
    assert offsets["starts"].numpy()[0, places[start]] == 4
    assert offsets["ends"].numpy()[0, places[end]] == 9
    # An answer that begins with a space, before which SentencePiece has a piece without text.
    features, offsets = _encode(["?"], ["中 国"], 12, made=multilingual)
    start, end = _positions([[(3, 7)]], features, offsets)[0, 0]
    assert features["candidates"].numpy()[0, 0, [start, end]].tolist() == [1, 1]


tricky = st.one_of(
    st.text(max_size=30),
    st.lists(
        st.sampled_from(
            ["é", "e\u0301", "🍵", "👩‍👩‍👧", "杜甫", " ", "\0", "ﬁ", "㎏", "½", "한국", "a", "b "]
        ),
        max_size=20,
    ).map("".join),
)


def _random_logits(features, seed):
    shape = (*features["token_ids"].shape, 2)
    values = np.random.default_rng(seed).normal(0, 3, shape).astype(np.float32)
    return np.where(
        features["candidates"].numpy()[..., None] > 0, values, np.float32(answer_span.NEVER)
    )


@tf.function(reduce_retracing=True)
def _answers(contexts, logits, offsets):
    return questions.answers(contexts, logits, offsets, longest=4, threshold=None)


@pytest.mark.parametrize("made", [wordpiece, multilingual])
def test_answers_are_what_stands_at_their_characters(made):
    # A row alone gets the answer that it gets in a batch.
    @settings(max_examples=40, deadline=None)
    @given(st.lists(tricky, min_size=1, max_size=3), st.integers(0, 1000))
    def check(contexts, seed):
        features, offsets = _encode(["a é"] * len(contexts), contexts, 12, 2, made)
        logits = _random_logits(features, seed)
        found = _answers(tf.constant(contexts), logits, offsets)
        found = {name: value.numpy() for name, value in found.items()}
        candidates = features["candidates"].numpy()[:, :, 1:].any((1, 2))
        for row, context in enumerate(contexts):
            answer = found["answer"][row].decode()
            start, end = found["start"][row], found["end"][row]
            assert (answer != "") == candidates[row] == (start >= 0)
            assert answer == (context[start:end] if answer else "")
            assert start < end or (start, end) == (-1, -1)
        one, others = _encode(["a é"], contexts[:1], 12, 2, made)
        windows, width = one["token_ids"].shape[1:]
        alone = _answers(tf.constant(contexts[:1]), logits[:1, :windows, :width], others)
        assert alone["answer"].numpy()[0] == found["answer"][0]
        assert alone["score"].numpy()[0] == pytest.approx(found["score"][0], rel=1e-4)

    check()


@settings(max_examples=60, deadline=None)
@given(st.lists(words, min_size=1, max_size=3), st.integers(0, 1000))
def test_answers_are_the_best_of_all_parts(contexts, seed):
    features, offsets = _encode(["a b"] * len(contexts), contexts)
    logits = _random_logits(features, seed)
    found = _answers(tf.constant(contexts), logits, offsets)
    for row, context in enumerate(contexts):
        parts = {}
        for window in range(logits.shape[1]):
            places = offsets["places"].numpy()[row, window]
            body = np.flatnonzero(places >= 0)
            for s in body:
                for e in body[(body >= s) & (body < s + 4)]:
                    score = logits[row, window, s, 0] + logits[row, window, e, 1]
                    key = (places[s], places[e])
                    parts[key] = max(parts.get(key, -np.inf), score)
        used = features["padding_mask"].numpy()[row].any(-1)
        null = logits[row, used, 0].sum(-1).min()
        if not parts:
            assert found["answer"].numpy()[row] == b""
            assert found["score"].numpy()[row] == found["no_answer"].numpy()[row] == 1
            continue
        first, last = max(parts, key=parts.__getitem__)
        total = np.logaddexp.reduce([*parts.values(), null])
        best = parts[first, last]
        assert found["answer"].numpy()[row].decode() == context[2 * first : 2 * last + 1]
        assert found["score"].numpy()[row] == pytest.approx(np.exp(best - total), rel=1e-3)
        assert found["no_answer"].numpy()[row] == pytest.approx(np.exp(null - total), rel=1e-3)
        assert found["null_margin"].numpy()[row] == pytest.approx(null - best, abs=1e-4)


def test_no_answer_above_the_threshold():
    _, offsets = _encode(["a", "a"], ["b c", "b c"])
    logits = np.full((2, 1, 6, 2), answer_span.NEVER, np.float32)
    logits[:, 0, [0, 3, 4]] = [[1, 1], [3, 0], [0, 2]]  # [CLS] 2, "b c" 5
    logits[1, 0, 0] = 4  # [CLS] 8
    contexts = tf.constant(["b c", "b c"])

    def answers(threshold):
        found = questions.answers(contexts, logits, offsets, longest=2, threshold=threshold)
        return {name: value.numpy().tolist() for name, value in found.items()}

    assert answers(None)["answer"] == [b"b c", b"b c"]
    assert answers(None)["null_margin"] == [-3, 3]
    assert answers(2.9)["answer"] == [b"b c", b""]
    assert answers(2.9)["start"] == [0, -1]
    assert answers(2.9)["end"] == [3, -1]
    assert answers(2.9)["score"][1] == answers(2.9)["no_answer"][1] > 0.5
    assert answers(3.1)["answer"] == [b"b c", b"b c"]
    assert answers(-3.1)["answer"] == [b"", b""]


def test_loss_and_metric_weigh_windows_that_are_there():
    logits = np.random.default_rng(0).normal(size=(2, 2, 5, 2)).astype(np.float32)
    targets = np.array([[[1, 2], [0, 0]], [[3, 3], [-1, -1]]], np.int32)
    chances = logits - np.log(np.exp(logits).sum(2, keepdims=True))
    wanted = [
        chances[row, window, targets[row, window, which], which]
        for row, window in ((0, 0), (0, 1), (1, 0))
        for which in (0, 1)
    ]
    assert float(answer_span.SpanCrossEntropy()(targets, logits)) == pytest.approx(
        -np.mean(wanted), 1e-5
    )
    right = np.zeros((2, 2, 5, 2), np.float32)
    right[0, 0, 1, 0] = right[0, 0, 2, 1] = right[0, 1, 0] = right[1, 0, 3, 0] = 1
    metric = keras.metrics.MeanMetricWrapper(answer_span.exact)
    metric.update_state(targets, right)
    assert float(metric.result()) == pytest.approx(2 / 3)


seen = []  # windows in each call of the backbone


@keras.saving.register_keras_serializable("test")
class Spy(keras.layers.Layer):
    def call(self, inputs):
        tf.py_function(lambda count: seen.append(int(count)), [tf.shape(inputs)[0]], [])
        return inputs


def _model():
    names = ("token_ids", "segment_ids", "padding_mask")
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in names}
    states = Spy()(keras.layers.Embedding(20, 4)(inputs["token_ids"]))
    return answer_span.head(keras.Model(inputs, {"tokens": states}), dropout=0.0)


def test_windows_not_in_use_cost_nothing_and_change_nothing():
    model = _model()
    features, _ = _encode(["a b", "c"], ["d e f g h i j a b", "d e"])
    seen.clear()
    logits = model(features).numpy()
    assert seen == [4]
    assert logits.shape == (2, 3, 10, 2)
    assert ((logits == answer_span.NEVER) == (features["candidates"].numpy() == 0)[..., None]).all()
    short, _ = _encode(["c"], ["d e"])
    np.testing.assert_allclose(model(short).numpy()[0, 0], logits[1, 0, :6], atol=1e-6)


def test_many_windows_are_seen_a_few_at_a_time(tmp_path):
    model = _model()
    features, _ = _encode(["a", "b"], [" ".join(LETTERS * 20), "c"])
    in_use = int(features["padding_mask"].numpy().any(-1).sum())
    seen.clear()
    chunked = model(features, training=False).numpy()
    assert seen == [32, in_use - 32]
    seen.clear()
    np.testing.assert_allclose(model(features, training=True).numpy(), chunked, atol=1e-6)
    assert seen == [in_use]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(features).numpy(), chunked, atol=1e-6)
    traced = tf.function(lambda x: model(x, training=False), autograph=False)
    np.testing.assert_allclose(traced(features).numpy(), chunked, atol=1e-6)


def _rows(answers):
    columns = {
        "question": ["?"] * len(answers),
        "context": ["a b c"] * len(answers),
        "answers": answers,
    }
    return Rows("sample", columns, list(range(1, len(answers) + 1)))


def test_only_questions_without_answers_are_refused():
    options = extractive_qa.Options()
    with pytest.raises(UserError, match="no question has an answer"):
        extractive_qa.learn(_rows([[], []]), options)
    assert extractive_qa.learn(_rows([[(0, "a")]]), options)["unanswerable"] is False
    assert extractive_qa.learn(_rows([[(0, "a")], []]), options)["unanswerable"] is True


def test_threshold_is_tuned_only_where_training_has_unanswerable_questions():
    rows = _rows([[(0, "a")], [], [(2, "b")]])
    answers = {
        "answer": np.array(["a", "a", "b"], object),
        "null_margin": np.array([-3.0, 1.0, 0.0], np.float32),
    }
    never = SimpleNamespace(facts={"unanswerable": False})
    assert extractive_qa.calibrate(never, rows, answers) == {}
    some = SimpleNamespace(facts={"unanswerable": True})
    assert extractive_qa.calibrate(some, rows, answers) == {"null_threshold": 0.5}
