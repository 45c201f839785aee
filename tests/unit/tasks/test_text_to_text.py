"""What encoders, decoders and causal models are given of a source and a target."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as some

from pipelines import batching
from pipelines.encoding import prompts
from pipelines.errors import UserError
from pipelines.rows import Rows, read
from pipelines.tokenizers import tokenizer, vocabularies
from tfnlp import task as tasks
from tfnlp.backbones import entry
from tfnlp.data_checks import findings, lengths
from tfnlp.generation import options as writing
from tfnlp.generation import signatures
from tfnlp.options import make
from tfnlp.runs import projector
from tfnlp.runs.experiment_yaml import from_values
from tfnlp.tasks import _text_to_text
from tfnlp.training import answering, examples
from tfnlp.training.model import prepare

CHAT = {"begin": "<s>", "user": ["A:", "</s>"], "assistant": ["B:", "</s>"]}


@pytest.fixture(scope="module")
def english():
    return tokenizer.load(entry.prepared("minilm-l6-en"))


@pytest.fixture(scope="module")
def spanish():
    texts = ["El tren sale a las nueve.", "No sé dónde vive.", "¿Dónde está la niña?"] * 20
    return vocabularies.learn(texts, 120, seed=0)


def context(name, kind, vocabulary, target=None, chat=None, **options):
    task = tasks.load(name)
    made = dataclasses.replace(task.options(), **options)
    return task, tasks.Context(made, vocabulary, made.max_length, {}, kind, 64, target, chat)


def test_an_encoder_is_given_the_source_and_its_decoder_the_target_shifted(english, spanish):
    task, about = context("translation", "encoder", english, spanish)
    raw = {
        "source": tf.constant(["The train leaves.", "I don't know where she lives, do you?"]),
        "target": tf.constant(["El tren sale.", "No sé dónde vive."]),
    }
    features, offsets = task.encode(about, raw)
    assert features["token_ids"].shape[1] % 8 == 0
    assert features["decoder_ids"].shape[1] % 8 == 0
    ids, labels = features["decoder_ids"].numpy(), offsets["labels"].numpy()
    assert (ids[:, 0] == spanish.start_id).all()
    for row in range(2):
        count = int((labels[row] >= 0).sum())
        assert ids[row, 1:count].tolist() == labels[row, : count - 1].tolist()
        assert labels[row, count - 1] == spanish.end_id
        back = spanish.detokenize(tf.ragged.constant([labels[row, : count - 1].tolist()]))
        assert back.numpy()[0].decode() == raw["target"].numpy()[row].decode()
    read = features["padding_mask"].numpy().sum(1) + (labels >= 0).sum(1)
    assert offsets["length"].numpy().tolist() == read.tolist()
    asked, _ = task.encode(about, {"source": raw["source"]})
    assert asked["prompt"].numpy().tolist() == [[spanish.start_id]] * 2
    assert "decoder_ids" not in asked


def test_a_cut_target_has_no_end(english, spanish):
    task, about = context("translation", "encoder", english, spanish, max_tokens=4)
    raw = {"source": tf.constant(["x"]), "target": tf.constant(["El tren sale a las nueve."])}
    labels = task.encode(about, raw)[1]["labels"].numpy()[0]
    assert spanish.end_id not in labels[:4].tolist()


def test_a_causal_model_learns_the_answer_alone(spanish):
    task, about = context("dialogue", "causal", spanish, chat=CHAT)
    raw = {
        "history": tf.constant(["Dónde\nvive\nsale", "tren"]),
        "response": tf.constant(["nueve", "las nueve"]),
    }
    features, offsets = task.encode(about, raw)
    ids, labels = features["token_ids"].numpy(), offsets["labels"].numpy()
    pieces = spanish.pieces()
    whole = [
        "".join(pieces[i] for i in row[m == 1])
        for row, m in zip(ids, features["padding_mask"].numpy(), strict=True)
    ]
    for text, turns in zip(whole, (["Dónde", "vive", "sale"], ["tren"]), strict=True):
        assert text.startswith("<s>")
        assert [text.index(turn) for turn in turns] == sorted(text.index(turn) for turn in turns)
    for row, answer in enumerate(("nueve", "las nueve")):
        learned = labels[row][labels[row] >= 0].tolist()
        assert learned[-1] == spanish.end_id
        assert spanish.detokenize(tf.ragged.constant([learned[:-1]])).numpy()[0].decode() == answer
        last = int(features["padding_mask"].numpy()[row].sum())
        assert labels[row, : last - len(learned)].max() == -1
    asked, _ = task.encode(about, {"history": raw["history"]})
    for row in range(2):
        count = int(asked["prompt_lengths"][row])
        assert asked["prompt"].numpy()[row, :count].tolist() == ids[row, :count].tolist()


def test_a_file_of_chats_holds_turns_and_their_answers(tmp_path):
    said = ["Hi!", "Hello.", "How are you?", "Fine."]
    messages = [
        {"role": r, "content": t} for r, t in zip(["user", "assistant"] * 2, said, strict=True)
    ]
    file = tmp_path / "chats.jsonl"
    file.write_text(json.dumps({"messages": messages}) + "\n")
    task = tasks.load("dialogue")
    columns = task.input_columns(task.options()) + task.target_columns(task.options())
    assert read(file, columns).columns == {"history": [said[:3]], "response": [said[3]]}


def test_long_conversations_lose_their_first_turns_and_long_documents_their_end(english):
    task, about = context("dialogue", "encoder", english, max_length=16)
    features, offsets = task.encode(
        about, {"history": tf.constant(["one two " * 20 + "\nlast words"])}
    )
    kept = [english.pieces()[i] for i in features["token_ids"].numpy()[0]]
    assert kept[-4:] == ["[SEP]", "last", "words", "[SEP]"]
    assert int(offsets["lost"][0]) > 0
    task, about = context("summarization", "encoder", english, max_length=16)
    features, _ = task.encode(about, {"document": tf.constant(["first words " + "more " * 50])})
    assert english.pieces()[int(features["token_ids"][0, 1])] == "first"
    form = prompts.template(english, None)
    ids, lost = prompts.ask(english, form, tf.ragged.constant([["a " * 30]]), 10, "last")
    assert ids.row_lengths().numpy().tolist() == [10]
    assert lost.numpy().tolist() == [21]


def test_which_vocabulary_writes(english):
    assert _text_to_text.spells(english, ["A Central Bank raises its rates.", "Rain closes roads"])
    assert not _text_to_text.spells(english, ["¿Dónde está el niño?", "Él compró tres libros"])
    assert not _text_to_text.spells(english, ["中央银行提高利率", "大雨封路"])
    task = tasks.load("translation")
    rows = Rows("r", {"source": ["a"], "target": ["Dónde está la niña pequeña"]}, [1])
    options = task.options()
    found = task.writing.vocabulary(rows, options, english)
    assert found is not None
    assert "ñ" in "".join(found.pieces())
    kept = dataclasses.replace(options, target_vocabulary="backbone")
    assert task.writing.vocabulary(rows, kept, english) is None


def test_settings_follow_the_options():
    options = dataclasses.replace(tasks.load("summarization").options(), beams=7, top_k=0)
    found = writing.settings(options)
    assert found["beam"]["beams"] == 7
    assert found["beam"]["no_repeat_ngram"] == 3
    assert found["sample"]["top_k"] == 0
    assert found["contrastive"]["top_k"] == 5
    assert {way["stop"] for way in found.values()} == {""}


@pytest.mark.parametrize(
    ("written", "joined"),
    [
        (["User:", "END"], "User:||END"),
        ("END", "END"),
        ("a||b", "a||b"),  # as version 0.1.0 wrote several
        (["a||b"], "a||b\x1f"),
        (["a|", "b"], "a|\x1fb\x1f"),
        (["||"], "||"),
        (None, ""),
        ([], ""),
    ],
)
def test_texts_that_end_an_answer_are_one_string_in_a_request(written, joined):
    values = {"task": {"name": "summarization", "stop": written}}
    options = from_values(values, tasks.load("summarization").options, "a.yaml").options
    assert {way["stop"] for way in writing.settings(options).values()} == {joined}


def test_an_empty_text_ends_no_answer():
    with pytest.raises(UserError, match=r"task in a\.yaml: stop: it must not be empty"):
        make(tasks.load("summarization").options, {"stop": [""]}, "task in a.yaml")


def made(name, backbone, **options):
    task = tasks.load(name)
    values = {
        "task": {"name": name, **options},
        "data": {"train": "rows.jsonl"},
        "backbone": {"name": backbone},
    }
    return from_values(values, task.options, "the test")


def rows(name, options):
    sample = tasks.load(name).sample(options) * 3
    return Rows("rows", {n: [row[n] for row in sample] for n in sample[0]}, list(range(1, 13)))


def test_backbones_that_do_not_fit_are_refused():
    wrong = made("language_model", "minilm-l6-en")
    with pytest.raises(UserError, match="is encoder; language_model needs one that is causal"):
        prepare(wrong, rows("language_model", wrong.options))
    wrong = made("classification", "scratch:1x64")
    with pytest.raises(UserError, match="needs a pretrained one"):
        prepare(wrong, rows("classification", wrong.options))
    wrong = made("language_model", "scratch:1x65")
    with pytest.raises(UserError, match="scratch:LAYERSxHIDDEN"):
        prepare(wrong, rows("language_model", wrong.options))
    for much in ("scratch:1000x64", "scratch:4x1000000"):
        wrong = made("language_model", much)
        with pytest.raises(
            UserError, match=r"would have [\d,]+ layers and [\d,]+ weights; at most"
        ):
            prepare(wrong, rows("language_model", wrong.options))
    wrong = made("dialogue", "scratch:1x64", max_length=1000, max_tokens=100)
    with pytest.raises(UserError, match="--max-length 1000 with --max-tokens 100 is more than"):
        prepare(wrong, rows("dialogue", wrong.options))


@pytest.fixture(scope="module")
def model():
    about = made("dialogue", "scratch:1x64", max_tokens=8, vocabulary_size=120)
    return prepare(about, rows("dialogue", about.options))


def ask(model, texts, **settings):
    raw = {"history": tf.constant(texts)}
    raw |= {n: tf.fill([len(texts)], v) for n, v in settings.items()}
    return {
        n: t.numpy()
        for n, t in model.task.writing.generate(model.context, model.network, raw).items()
    }


def test_no_answer_goes_beyond_the_positions(model):
    about = dataclasses.replace(model.context, positions=20)
    short = dataclasses.replace(model, context=about)
    found = ask(short, ["Hi"], max_tokens=500, min_tokens=500)
    length = int(model.task.encode(about, {"history": tf.constant(["Hi"])})[0]["prompt_lengths"][0])
    assert found["tokens"].tolist() == [20 - length]


@pytest.mark.parametrize("way", ["sample", "beam", "contrastive"])
def test_no_setting_makes_the_loop_fail(model, way):
    features = {"prompt_lengths": tf.constant([1, 2, 1])}
    usual = signatures._settings(model.context, features, {}, way)
    for name, value in writing.settings(model.context.options)[way].items():
        if isinstance(value, str):
            continue
        kind = tf.float32 if isinstance(value, float) else tf.int32
        odd = (
            [float("nan"), float("inf"), -float("inf")]
            if kind == tf.float32
            else [2**31 - 1, 0, -(2**31)]
        )
        found = signatures._settings(model.context, features, {name: tf.constant(odd, kind)}, way)
        named = "seed" if name == "sampling_seed" else name
        if kind == tf.float32:
            assert found[named][0] == usual[named][0]
        if name != "sampling_seed":
            assert -(2**10) <= float(min(found[named])) <= float(max(found[named])) <= 2**20
        if (way, name) in (("contrastive", "top_k"), ("beam", "beams")):
            assert found[named].numpy().tolist() == [64, 1, 1]


def test_only_what_ends_a_text_is_written_of_the_special_tokens(model):
    stop = signatures.ends(model.context, model.network)
    pieces = model.context.writes.pieces()
    assert [pieces[i] for i in stop.ids] == ["</s>"]
    assert {pieces[i] for i in stop.never} == {"<pad>", "<s>", "<unk>"}
    more = keras.Model(
        model.network.inputs, keras.ops.pad(model.network.output, [(0, 0), (0, 0), (0, 2)])
    )
    never = signatures.ends(model.context, more).never
    assert set(never) == {*stop.never, len(pieces), len(pieces) + 1}


def test_nothing_asked_and_nothing_wanted(model):
    found = ask(model, ["", " \n ", "Hi"])
    assert len(found["generated"]) == 3
    assert ask(model, ["", "Hi"], max_tokens=0)["generated"].tolist() == [b"", b""]


@settings(max_examples=15, deadline=None)
@given(some.text(max_size=60))
def test_any_text_is_answered(model, text):
    found = ask(model, [text], max_tokens=3)
    assert np.isfinite(found["score"]).all()
    assert isinstance(found["generated"][0].decode(), str)


def test_likelihoods_are_those_of_the_targets(model):
    some_rows = rows("dialogue", model.experiment.options).take([0, 1])
    answers = answering.answer(model, some_rows)
    raw = examples.examples(model, some_rows)
    features, offsets = model.task.encode(model.context, raw)
    logits = model.network(features).numpy()
    scores = logits - np.logaddexp.reduce(logits, -1, keepdims=True)
    for row, labels in enumerate(offsets["labels"].numpy()):
        want = -sum(scores[row, i, label] for i, label in enumerate(labels) if label >= 0)
        np.testing.assert_allclose(answers["loss"][row], want, rtol=1e-4)
        assert answers["target_tokens"][row] == (labels >= 0).sum()


def test_prompts_are_grouped_by_their_lengths(model):
    several = rows("dialogue", model.experiment.options)
    columns = model.task.input_columns(model.experiment.options)
    raw = batching.tensors(several, columns)
    lengths = model.task.encode(model.context, raw)[0]["prompt_lengths"].numpy()
    assert examples.measure(model, raw).lengths.tolist() == lengths.tolist()
    asked = examples.arrange(
        model, several, shuffle=False, raw={**raw, "seed": tf.range(12, dtype=tf.int64)}
    )
    assert len(asked.plan) == 1


def test_validate_counts_tokens(model):
    found = findings.Findings()
    several = {"train": rows("dialogue", model.experiment.options)}
    lengths.check(several, model.task, model.experiment, {}, found)
    assert not found.errors
    assert found.facts["tokens"]["train"]["longest"] > 8


def test_no_vector_stands_for_a_text_that_is_written(model):
    assert not projector.projected(model)
