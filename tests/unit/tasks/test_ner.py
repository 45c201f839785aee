"""Named entities: windows, tags, spans with their characters, the loss, and what is reported."""

import functools
import itertools
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import classification_report
from seqeval.metrics.sequence_labeling import get_entities

from pipelines import batching
from pipelines.encoding import tagging, words
from pipelines.errors import UserError
from pipelines.rows import Rows
from pipelines.tokenizers import tokenizer
from tfnlp.backbones import entry
from tfnlp.evaluation import spans
from tfnlp.heads import crf, token_tags
from tfnlp.tasks import ner

NAMES = ("minilm-l6-en", "e5-small-multilingual")
LABELS = ["LOC", "ORG", "PER"]
TAGS = 1 + 2 * len(LABELS)
HARD = [
    "Zoë",
    "cafe\u0301",
    "👍🏽",
    "北京",
    "。",
    "Paris",
    "don't",
    "\u200b",
    " ",
    "\x00",
    "x" * 40,
    "1️⃣",
]


@functools.cache
def tokenizer_of(name):
    return tokenizer.load(entry.prepared(name))


@functools.cache
def encode(name, max_length, overlap):
    made = tokenizer_of(name)
    signature = [tf.TensorSpec([None], tf.string)]
    return tf.function(
        lambda strings: tagging.encode(made, strings, max_length, overlap),
        input_signature=signature,
        autograph=False,
    )


def raw_of(texts, entities):
    rows = Rows("the test", {"text": texts, "entities": entities}, list(range(len(texts))))
    raw = batching.tensors(rows, (*ner.TASK.input_columns(None), *ner.TASK.target_columns(None)))
    return {name: raw[f"entities/{name}"] for name in ("start", "end", "label")}


@pytest.mark.parametrize(
    ("name", "overlap"), [(NAMES[0], 0), (NAMES[0], 3), (NAMES[0], 5), (NAMES[1], 3)]
)
def test_each_word_is_read_once_where_it_has_most_context(name, overlap):
    text = " ".join(f"word{i}, Köln 北" for i in range(9))
    texts = tf.constant([text, "", "Paris"])
    features, offsets = (
        {k: v.numpy() for k, v in part.items()} for part in encode(name, 12, overlap)(texts)
    )
    made, found = tokenizer_of(name), words.split(tokenizer_of(name), texts)
    ids, heads = found.ids.to_list(), found.heads.to_list()
    assert not offsets["lost"].any()
    assert offsets["count"].tolist() == [len(row) for row in heads]
    span, step = 10, max(10 - overlap, 5)
    for row, (own, own_heads) in enumerate(zip(ids, heads, strict=True)):
        windows = max(1, 1 + -(-max(len(own) - span, 0) // step))
        for w in range(features["token_ids"].shape[1]):
            mask = features["padding_mask"][row, w]
            part = own[w * step : w * step + span]
            want = [made.start_id, *part, made.end_id] if w < windows else []
            assert features["token_ids"][row, w, mask == 1].tolist() == want
            assert (features["token_ids"][row, w, mask == 0] == made.pad_id).all()
        for head, w, place in zip(
            own_heads, offsets["window"][row], offsets["place"][row], strict=False
        ):
            assert features["token_ids"][row, w, place] == own[head]

            def context(v, head=head, own=own):  # tokens to the nearer edge that is no text's edge
                left = head - v * step if v else len(own)
                right = v * step + span - 1 - head
                return min(left, right if v * step + span < len(own) else len(own))

            there = [v for v in range(windows) if v * step <= head < v * step + span]
            assert context(w) == max(map(context, there))


@pytest.mark.parametrize("name", NAMES)
def test_tags_by_eye(name):
    text = "Zoë X. van 北京大学 in São Paulo, Paulo"
    part = {label: text.index(label) for label in ("Zoë X.", "北京大学", "São Paulo")}
    ends = {label: start + len(label) for label, start in part.items()}
    entities = [
        (part["Zoë X."], ends["Zoë X."], "PER"),
        (part["北京大学"], ends["北京大学"], "ORG"),
        (part["São Paulo"], part["São Paulo"] + 3, "LOC"),
        (part["São Paulo"] + 4, ends["São Paulo"], "LOC"),
        (len(text) - 4, len(text), "LOC"),  # within a word: begins no word
    ]
    _, offsets = encode(name, 16, 4)(tf.constant(["", text]))
    tags = tagging.tags(raw_of(["", text], [[], entities]), offsets, LABELS).numpy()
    assert tags[0].tolist() == [-1] * tags.shape[1]
    assert tags[1].tolist() == [5, 6, 6, 0, 3, 4, 4, 4, 0, 1, 1, 0, 0]
    unknown = tagging.tags(
        raw_of([text], [entities]), {k: v[1:] for k, v in offsets.items()}, ["PER"]
    )
    assert unknown.numpy()[0].tolist() == [1, 2, 2, *[0] * 10]


def legal(draws, count):
    """Legal BIO tags from any numbers."""
    _, moves = (x.numpy() for x in crf.legal_moves(TAGS))
    tags, before = [], 0
    for draw in itertools.islice(itertools.cycle(draws), count):
        choices = np.flatnonzero(moves[before] == 0)
        before = int(choices[draw % len(choices)])
        tags.append(before)
    return tags


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None)
@given(
    batch=st.lists(
        st.lists(st.sampled_from(HARD), max_size=12).map("".join), min_size=1, max_size=4
    ),
    draws=st.lists(st.integers(0, 60), min_size=1, max_size=20),
)
def test_spans_are_substrings_and_give_their_tags_again(name, batch, draws):
    strings = tf.constant(batch)
    _, offsets = encode(name, 16, 4)(strings)
    width = offsets["starts"].shape[1]
    tags = np.zeros((len(batch), width), np.int32)
    for row, count in enumerate(offsets["count"].numpy()):
        tags[row, :count] = legal(draws[row:] + draws[:row], count)
    found = tagging.entities(strings, offsets, tf.constant(tags), tf.ones(tags.shape), LABELS)
    found = {key: value.numpy() for key, value in found.items()}
    entities = []
    for row, text in enumerate(batch):
        parts = (found[f"entities/{key}"][row] for key in ("start", "end", "type", "text"))
        rows = list(zip(*parts, strict=True))[: found["entities"][row]]
        assert all(text[start:end] == cut.decode() for start, end, _, cut in rows)
        entities.append([(int(start), int(end), kind.decode()) for start, end, kind, _ in rows])
        assert entities[-1] == sorted(entities[-1])
    again = tagging.tags(raw_of(batch, entities), offsets, LABELS).numpy()
    inside = np.arange(width) < offsets["count"].numpy()[:, None]
    assert (again[inside] == tags[inside]).all()


def test_the_score_is_the_mean_over_the_words():
    _, offsets = encode(NAMES[0], 16, 4)(tf.constant(["Marie Curie , Paris"]))
    tags, shares = tf.constant([[5, 6, 0, 1]]), tf.constant([[0.5, 0.7, 0.9, 0.4]])
    found = tagging.entities(tf.constant(["Marie Curie , Paris"]), offsets, tags, shares, LABELS)
    np.testing.assert_allclose(found["entities/score"], [[0.6, 0.4]], atol=1e-6)


def places(text):
    """The words of a text of words and single spaces."""
    ends = list(itertools.accumulate(len(word) + 1 for word in text.split(" ")))
    return [(end - len(word) - 1, end - 1) for end, word in zip(ends, text.split(" "), strict=True)]


def of_tags(text, tags):
    """Spans of a text of words and single spaces, by seqeval's own reading of the tags."""
    where = places(text)
    return [(where[a][0], where[b][1], label) for label, a, b in get_entities(tags)]


bio = st.lists(st.integers(0, 60), min_size=1, max_size=12).map(
    lambda draws: [
        "O" if tag == 0 else f"{'BI'[tag % 2 == 0]}-{LABELS[(tag - 1) // 2]}"
        for tag in legal(draws, len(draws))
    ]
)


@settings(max_examples=30, deadline=None)
@given(pairs=st.lists(st.tuples(bio, bio), min_size=1, max_size=6))
def test_values_are_those_of_seqeval(pairs):
    pairs = [(a[: min(len(a), len(b))], b[: min(len(a), len(b))]) for a, b in pairs]
    texts = [" ".join("w" * len(a)) for a, _ in pairs]
    gold, found = ([of_tags(t, p[i]) for t, p in zip(texts, pairs, strict=True)] for i in (0, 1))
    report = spans.report(texts, gold, found, [places(t) for t in texts], LABELS)
    right = sum(x == y for a, b in pairs for x, y in zip(a, b, strict=True))
    assert report.metrics["word_accuracy"] == pytest.approx(right / sum(len(a) for a, _ in pairs))
    if any(gold) or any(found):  # seqeval has nothing to say of no spans at all
        want = classification_report(*zip(*pairs, strict=True), output_dict=True, zero_division=0)
        micro, macro = want.pop("micro avg"), want.pop("macro avg")
        want.pop("weighted avg")
        assert report.metrics["f1"] == pytest.approx(micro["f1-score"])
        assert report.metrics["precision"] == pytest.approx(micro["precision"])
        assert report.metrics["recall"] == pytest.approx(micro["recall"])
        assert report.metrics["macro_f1"] == pytest.approx(macro["f1-score"])
        rows = {name: row for name, *row in report.tables[0].rows}
        keys = ("precision", "recall", "f1-score")
        assert rows == {
            name: [*(f"{values[key]:.3f}" for key in keys), values["support"]]
            for name, values in want.items()
        }


@settings(max_examples=30, deadline=None)
@given(pairs=st.lists(st.tuples(bio, bio), min_size=1, max_size=6))
def test_counts_in_the_graph_are_those_of_the_report(pairs):
    number = {
        "O": 0,
        **{f"{p}-{x}": 1 + 2 * k + (p == "I") for k, x in enumerate(LABELS) for p in "BI"},
    }
    width = max(len(tags) for pair in pairs for tags in pair)
    padded = np.array([[[*map(number.get, t), *[0] * (width - len(t))] for t in p] for p in pairs])
    text = " ".join("w" * width)
    gold, found = ([of_tags(text, p[i]) for p in pairs] for i in (0, 1))
    right = sum(len(set(a) & set(b)) for a, b in zip(gold, found, strict=True))
    counts = token_tags.span_counts(tf.constant(padded[:, 0]), tf.constant(padded[:, 1]))
    assert [int(n) for n in counts] == [right, sum(map(len, found)), sum(map(len, gold))]


def outputs_and_targets(with_crf):
    random = np.random.default_rng(0)
    rows = 5 + TAGS * with_crf
    outputs = tf.constant(random.normal(size=(2, 3, rows, TAGS)), tf.float32)
    if with_crf:  # transitions stand in every window
        moves = tf.tile(outputs[:1, :1, -TAGS:], [2, 3, 1, 1])
        outputs = tf.concat([outputs[:, :, :5], moves], 2)
    targets = np.array([[[5, 0, 1], [6, 2, 3], [0, 1, 4]], [[1, 1, 1], [-1, 0, 0], [-1, 0, 0]]])
    return outputs, tf.constant(targets)


def test_the_loss_without_crf_is_each_words_cross_entropy():
    outputs, targets = outputs_and_targets(False)
    log = tf.nn.log_softmax(outputs).numpy()
    want = -(log[0, 0, 1, 5] + log[0, 2, 3, 6] + log[0, 1, 4, 0] + log[1, 1, 1, 1]) / 4
    assert float(token_tags.TagLoss(False)(targets, outputs)) == pytest.approx(want, abs=1e-5)


def test_the_loss_with_crf_is_the_likelihood_of_the_path_among_the_legal_ones():
    outputs, targets = outputs_and_targets(True)
    start, moves = (x.numpy() for x in crf.legal_moves(TAGS))
    moves = moves + outputs.numpy()[0, 0, 5:]
    total = 0.0
    for row, count in ((0, 3), (1, 1)):
        tag, window, place = targets.numpy()[row, :count].T
        emissions = outputs.numpy()[row, window, place]

        def score(path, emissions=emissions):
            pairs = sum(moves[a, b] for a, b in itertools.pairwise(path))
            return start[path[0]] + sum(emissions[range(len(path)), path]) + pairs

        every = [score(path) for path in itertools.product(range(TAGS), repeat=count)]
        total += np.logaddexp.reduce(every) - score(tag)
    assert float(token_tags.TagLoss(True)(targets, outputs)) == pytest.approx(total / 4, abs=1e-4)


@pytest.mark.parametrize("with_crf", [True, False])
def test_the_metric_counts_the_spans_of_the_most_likely_legal_tags(with_crf):
    outputs = np.zeros((1, 1, 4 + TAGS * with_crf, TAGS), np.float32)
    # I-PER first is the most likely, but not legal; then B-LOC as expected.
    outputs[0, 0, 1] = [0, 0, 0, 0, 0, 3, 9]
    outputs[0, 0, 2] = [1, 5, 0, 0, 0, 0, 0]
    if with_crf:
        outputs[0, 0, 4:][5, 1] = -100.0  # B-PER is never followed by B-LOC
    targets = tf.constant([[[5, 0, 1], [1, 0, 2], [-1, 0, 0]]])
    metric = token_tags.SpanF1(with_crf)
    metric.update_state(targets, tf.constant(outputs))
    assert float(metric.result()) == pytest.approx(2 / 3 if with_crf else 1.0)


def test_transitions_reach_the_output_and_learn():
    layer = token_tags.Transitions(width=16)
    outputs, targets = outputs_and_targets(False)
    made = layer(outputs)
    assert made.shape == (2, 3, 5 + TAGS, TAGS)
    assert keras.ops.shape(made) == layer.compute_output_shape((2, 3, 5, TAGS))
    with tf.GradientTape() as tape:
        loss = token_tags.TagLoss(True)(targets, layer(outputs))
    gradient = tape.gradient(loss, layer.moves.value).numpy()
    assert gradient[5, 6] < 0 < np.abs(gradient[1:5]).max()  # B-PER to I-PER is to rise
    layer.moves.assign(np.eye(TAGS))
    np.testing.assert_allclose(layer(outputs)[1, 2, 5:], 4 * np.eye(TAGS))


def test_the_report_shows_errors_and_warns_of_what_cannot_be_found():
    texts = ["Anna wohnt in Neustadt", "x " * 100 + "Bob"]
    gold = [[(0, 4, "PER"), (17, 22, "LOC")], [(200, 203, "ORG")]]
    found = [[(0, 4, "LOC")], []]
    where = words.places(tokenizer_of(NAMES[0]), texts)
    report = spans.report(texts, gold, found, where, ["LOC", "PER"])
    assert report.tables[1].rows[0] == (texts[0], "Anna (PER); stadt (LOC)", "Anna (LOC)")
    assert report.tables[1].rows[1][0].endswith("Bob")
    assert report.tables[1].rows[1][0].startswith("…")
    assert any("'ORG' (1)" in warning for warning in report.warnings)
    assert any(warning.startswith("1 of 3 expected spans") for warning in report.warnings)
    counts = spans._confusion(gold, found, ["LOC", "ORG", "PER"])
    assert counts.tolist() == [[0, 0, 0, 1], [0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("name", NAMES)
def test_spans_within_words_are_known_before_training(name):
    rows = {
        "Meine iPhone13 Hülle": [(12, 14, "NUM")],
        "Anna wohnt in Neustadt": [(0, 4, "PER"), (17, 22, "LOC")],
        "Anna\u200b singt": [(0, 4, "PER")],
        "в Москве,": [(2, 8, "LOC")],
        "Niemand": [],
        "iPhone 13": [(7, 9, "NUM")],
    }
    columns = {"text": list(rows), "entities": list(rows.values())}
    context = SimpleNamespace(
        tokenizer=tokenizer_of(name), facts={"labels": ["LOC"], "baseline": {}}
    )
    held = Rows("a.jsonl", columns, list(range(1, 7)))
    bad = list(ner.unlearnable(context, held))
    assert [one.number for one in bad] == [1, 2]
    assert bad[0].reason == "span 12-14 'NUM' is '13' within 'iPhone13'"
    # A tokenizer's word may end in what cannot be seen.
    found = [[{"start": 0, "end": 5, "type": "PER"}]]
    report = ner.report(context, held.take([2]), {"entities": found})
    assert report.metrics["f1"] == 1.0
    assert not any("within a word" in warning for warning in report.warnings)


def test_learn_and_faults():
    rows = Rows("train.jsonl", {"text": ["a", "b"], "entities": [[], [(0, 1, "X")]]}, [1, 2])
    facts = ner.learn(rows, ner.Options())
    assert facts["labels"] == ["X"]
    assert not list(ner.unusable_rows(rows, facts))
    other = Rows(
        "v.jsonl", {"text": ["a", "b"], "entities": [[(0, 1, "X")], [(0, 1, "Y")]]}, [1, 2]
    )
    assert [bad.number for bad in ner.unusable_rows(other, facts)] == [2]
    with pytest.raises(UserError, match="no row has a labelled span"):
        ner.learn(rows.take([0]), ner.Options())
