"""How tokens are chosen: every setting, every way, rows apart from their neighbours."""

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as some

from tfnlp.generation import sampling, search
from tfnlp.generation.answers import before_stop
from tfnlp.heads import causal_lm
from tfnlp.inference.settings import stop_setting, stop_strings

_SPEC = importlib.util.spec_from_file_location(
    "tiny_llama", Path(__file__).parent / "tiny_llama.py"
)
tiny = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(tiny)

PROMPTS = ([7, 8, 9, 30, 31, 8, 12], [40, 41, 42, 43], [11, 12])
LOOPS = {
    "sample": sampling.Sampler,
    "beam": search.BeamSearch,
    "contrastive": search.ContrastiveSearch,
}


@pytest.fixture(scope="module")
def write():
    network = tiny.network()

    def made(loop):
        def call(features, settings):
            found = loop(causal_lm.Cached(network), tiny.STOP).write(features, settings)
            return found.ids, found.score

        return tf.function(call, autograph=False, reduce_retracing=True)

    calls = {name: made(loop) for name, loop in LOOPS.items()}

    def write(way, rows, **given):
        ids, score = calls[way](tiny.prompts(*rows), tiny.settings(len(rows), **given))
        return ids.to_list(), score.numpy()

    write.network, write.calls = network, calls
    return write


WAYS = [
    ("sample", {}),
    ("sample", {"temperature": 1.0, "top_k": 9, "top_p": 0.8}),
    ("sample", {"no_repeat_ngram": 2, "repetition_penalty": 1.4, "min_tokens": 5}),
    ("beam", {}),
    ("beam", {"length_penalty": 1.0, "no_repeat_ngram": 2}),
    ("contrastive", {"top_k": 4}),
]


@pytest.mark.parametrize(("way", "given"), WAYS)
def test_an_answer_does_not_depend_on_its_neighbours(write, way, given):
    together, scores = write(way, PROMPTS, **given)
    for place, prompt in enumerate(PROMPTS):
        alone, score = write(way, [prompt], **given)
        assert alone[0] == together[place]
        np.testing.assert_allclose(score[0], scores[place], rtol=1e-4)


def test_settings_are_each_rows_own(write):
    rows = [PROMPTS[0]] * 3
    features = tiny.prompts(*rows)
    mixed = tiny.settings(3)
    mixed |= {"temperature": tf.constant([0.0, 1.0, 1.0]), "seed": tf.constant([1, 1, 2])}
    mixed["max_tokens"] = tf.constant([12, 12, 3])
    loop = sampling.Sampler(causal_lm.Cached(write.network), tiny.STOP)
    ids = loop.write(features, mixed).ids.to_list()
    assert ids[0] == write("sample", rows[:1])[0][0]
    assert ids[1] == write("sample", rows[:1], temperature=1.0)[0][0]
    assert ids[2] == write("sample", rows[:1], temperature=1.0, seed=2, max_tokens=3)[0][0]
    beams = tiny.settings(3) | {"beams": tf.constant([1, 3, 4])}
    ids = search.BeamSearch(causal_lm.Cached(write.network), tiny.STOP).write(features, beams).ids
    assert ids.to_list() == [write("beam", rows[:1], beams=n)[0][0] for n in (1, 3, 4)]


def test_one_beam_is_greedy(write):
    assert write("beam", PROMPTS, beams=1)[0] == write("sample", PROMPTS)[0]


def test_scores_are_mean_log_probabilities(write):
    ids, scores = write("sample", [PROMPTS[0]], max_tokens=4)
    whole = tf.constant([list(PROMPTS[0]) + ids[0]])
    logits = write.network({"token_ids": whole, "padding_mask": tf.ones_like(whole)})
    likely = tf.nn.log_softmax(logits, -1).numpy()[0]
    start = len(PROMPTS[0])
    want = np.mean([likely[start - 1 + i, token] for i, token in enumerate(ids[0])])
    np.testing.assert_allclose(scores[0], want, rtol=1e-4)


def test_more_beams_find_likelier_answers(write):
    _, few = write("beam", PROMPTS, beams=1, min_tokens=12)
    _, many = write("beam", PROMPTS, beams=16, min_tokens=12)
    assert (many >= few - 1e-5).all()
    assert (many > few + 1e-3).any()


def test_a_length_penalty_prefers_longer_answers(write):
    short = [len(ids) for ids in write("beam", PROMPTS, beams=8)[0]]
    long = [len(ids) for ids in write("beam", PROMPTS, beams=8, length_penalty=3.0)[0]]
    assert sum(long) > sum(short)


@pytest.mark.parametrize("way", LOOPS)
def test_lengths(write, way):
    given = {"top_k": 4} if way == "contrastive" else {}
    assert write(way, PROMPTS, max_tokens=0, **given)[0] == [[], [], []]
    assert all(len(ids) <= 3 for ids in write(way, PROMPTS, max_tokens=3, **given)[0])
    ids = write(way, PROMPTS, min_tokens=12, **given)[0]
    assert [len(row) for row in ids] == [12, 12, 12]


def test_an_end_token_ends_and_is_not_told(write):
    found = write("sample", [[i, i + 1] for i in range(6, 56)], temperature=1.5)[0]
    assert all(tiny.END not in row for row in found)
    assert any(len(row) < 12 for row in found)


def test_no_ngram_comes_twice(write):
    for size in (1, 2, 3):
        for prompt, ids in zip(
            PROMPTS, write("sample", PROMPTS, no_repeat_ngram=size)[0], strict=True
        ):
            whole = [*prompt, *ids]
            grams = [tuple(whole[i : i + size]) for i in range(len(whole) - size + 1)]
            new = grams[len(prompt) - size + 1 :] if size <= len(prompt) else grams
            assert all(grams.count(gram) == 1 for gram in new)


def test_a_repetition_penalty_lowers_what_was_there():
    logits = tf.constant([[2.0, -2.0, 1.0, 0.5, 0.0, 0.0]])
    ids = tf.constant([[0, 1, 0, 0]])
    given = tiny.settings(1, repetition_penalty=2.0)
    stop = sampling.Stop((5,), 0, tiny.words)
    found = sampling.adjusted(logits, ids, tf.constant(2), tf.constant([2]), given, stop)
    np.testing.assert_allclose(found.numpy(), [[1.0, -4.0, 1.0, 0.5, 0.0, 0.0]])


def test_what_is_no_text_is_never_written():
    logits = tf.constant([[9.0, 8.0, 7.0, 1.0, 2.0]] * 2)
    stop = sampling.Stop((2,), 0, tiny.words, never=(0, 1))
    given = tiny.settings(2) | {"min_tokens": tf.constant([0, 1])}
    lengths = tf.constant([1, 1])
    found = sampling.adjusted(logits, tf.zeros([2, 3], tf.int32), lengths[0], lengths, given, stop)
    assert tf.argmax(found, 1).numpy().tolist() == [2, 4]  # the end, and where it is too early
    assert (found.numpy()[:, :2] == sampling.NEVER).all()


def test_stop_strings_end_an_answer_and_are_cut_off(write):
    ids = write("sample", [PROMPTS[0]])[0][0]
    mark = f" {ids[3]} {ids[4]}"
    text = " ".join(map(str, ids))
    cut = text[: text.index(mark)]
    for stop in (mark, f"no such||{mark}", f"{mark}||.*"):
        shorter = write("sample", [PROMPTS[0]], stop=stop)[0][0]
        assert shorter == ids[: len(shorter)]
        assert len(shorter) < len(ids)
        told = before_stop(tf.constant([text]), tf.constant([stop]))
        assert told.numpy()[0].decode() == cut
    assert write("sample", [PROMPTS[0]], stop=".*")[0][0] == ids  # no pattern


STOPS = ("\\End", "\\E.*\\Q", "\\", "||", "a||b", "|", ".", "(", "[", "。", "🙂", "é", "\n", "\0")


@pytest.mark.parametrize("word", STOPS)
def test_a_stop_string_is_literal(word):
    stop = stop_setting([word])
    texts = [f"before {word} after {word}", "none of it", word, ""]
    found = before_stop(tf.constant(texts), tf.constant([stop] * 4)).numpy().tolist()
    assert [text.decode() for text in found] == ["before ", "none of it", "", ""]


def test_stop_strings_are_each_rows_own_whatever_their_neighbours_have():
    texts = tf.constant(["xab", "a.b", "a.b", "abc", b"a\xef\xbf\xbdc"])
    stops = tf.constant(["b||ab", "", "\\Q||(", "||", b"\xff"])
    found = before_stop(texts, stops).numpy().tolist()
    assert found == [b"x", b"a.b", b"a.b", b"abc", b"a"]


BARS = some.text("ab|\\", max_size=9)
ONCE = tf.function(before_stop, [tf.TensorSpec([None], tf.string)] * 2, autograph=False)


@given(words=some.lists(BARS.filter(bool), max_size=3), text=BARS)
@settings(max_examples=50, deadline=None)
def test_stop_strings_are_read_as_they_were_joined(words, text):
    stop = stop_setting(words)
    assert stop_strings(stop) == tuple(words)
    cut = min((text.index(word) for word in words if word in text), default=len(text))
    assert ONCE(tf.constant([text]), tf.constant([stop])).numpy()[0].decode() == text[:cut]


def test_a_seed_decides(write):
    rows = [PROMPTS[0]] * 2
    first = write("sample", rows, temperature=1.0)[0]
    assert first[0] == first[1] == write("sample", rows[:1], temperature=1.0)[0][0]
    others = {tuple(write("sample", rows[:1], temperature=1.0, seed=s)[0][0]) for s in range(8)}
    assert len(others) > 4


def test_samples_follow_the_shares():
    logits = tf.math.log(tf.constant([[0.5, 0.3, 0.15, 0.05]]))
    rows = tf.repeat(logits, 2000, 0)

    graph = tf.function(sampling.chosen, autograph=False)

    def draw(**given):
        seeds = {"seed": tf.range(2000)}
        return graph(rows, tf.constant(7), tiny.settings(2000, **given) | seeds)

    def shares(**given):
        token = draw(temperature=1.0, **given)
        return np.bincount(token.numpy(), minlength=4) / 2000

    np.testing.assert_allclose(shares(), [0.5, 0.3, 0.15, 0.05], atol=0.035)
    np.testing.assert_allclose(shares(top_k=2), [0.625, 0.375, 0, 0], atol=0.035)
    np.testing.assert_allclose(shares(top_p=0.79), [0.625, 0.375, 0, 0], atol=0.035)
    np.testing.assert_allclose(
        shares(top_p=0.81), [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0], atol=0.035
    )
    np.testing.assert_allclose(shares(top_k=3, top_p=0.5), [1, 0, 0, 0], atol=0.035)
    cold = draw(temperature=0.5).numpy()
    want = np.array([0.25, 0.09, 0.0225, 0.0025])
    np.testing.assert_allclose(np.bincount(cold, minlength=4) / 2000, want / want.sum(), atol=0.035)


def test_written_step_by_step_is_the_same(write):
    loop = sampling.Sampler(causal_lm.Cached(write.network), tiny.STOP)
    given = tiny.settings(3, temperature=1.0)
    state = loop.begin(tiny.prompts(*PROMPTS), given)
    seen = []
    while not tf.reduce_all(state["done"]):
        state = loop.advance(state, 2)
        seen.append(loop.end(state).ids.to_list())
    assert seen[-1] == write("sample", PROMPTS, temperature=1.0)[0]
    for earlier, later in itertools.pairwise(seen):
        for a, b in zip(earlier, later, strict=True):
            assert b[: len(a)] == a


def test_the_graph_asks_for_no_xla(write):
    for way, call in write.calls.items():
        graph = call.get_concrete_function(tiny.prompts(*PROMPTS), tiny.settings(3)).graph
        nodes = graph.as_graph_def()
        inner = [n for function in nodes.library.function for n in function.node_def]
        assert not {n.op for n in [*nodes.node, *inner] if n.op.startswith("Xla")}, way


@settings(max_examples=30, deadline=None)
@given(
    rows=some.lists(
        some.lists(some.integers(0, tiny.SIZE - 1), min_size=1, max_size=6), min_size=1, max_size=3
    ),
    ngram=some.integers(0, 3),
)
def test_any_prompts_any_ngram(write, rows, ngram):
    ids, score = write("sample", rows, no_repeat_ngram=ngram, max_tokens=5)
    assert len(ids) == len(rows)
    assert np.isfinite(score).all()
    assert all(0 <= token < tiny.SIZE for row in ids for token in row)
