"""Vocabularies learned from texts: what comes back, how many pieces, the same each time."""

from __future__ import annotations

import functools
import random

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as some
from sentencepiece import SentencePieceProcessor
from sentencepiece import sentencepiece_model_pb2 as schema

from pipelines.errors import UserError
from pipelines.tokenizers import tokenizer, vocabularies

SPANISH = [
    "¿Qué tal, José?",
    "El niño come una manzana.",
    "¡Vámonos a la montaña!",
    "Mañana lloverá.",
]
CHINESE = ["今天天气很好。", "我们都是学生。", "你喜欢北京吗?", "他在学校学习汉语。"]
EMOJI = ["👍🏽 ok", "🇨🇳 👨‍👩‍👧", "bien 😀😀"]
MARKS = "今天 Méx\u3000\0ﬁ①，\u0301"


@functools.cache
def corpus() -> tuple[str, ...]:
    draw = random.Random(0)
    words = " ".join(SPANISH).split()
    return (*(" ".join(draw.choices(words, k=9)) for _ in range(200)), *SPANISH, *CHINESE, *EMOJI)


def back(made, texts):
    ids = made.tokenize(tf.constant(texts))
    return [text.decode() for text in made.detokenize(ids).numpy()]


@pytest.mark.parametrize("texts", [SPANISH, CHINESE, EMOJI])
def test_texts_come_back(texts):
    for made in (
        vocabularies.learn(texts, 1000, seed=0),
        vocabularies.learn(corpus(), 300, seed=0),
    ):
        ids = made.tokenize(tf.constant(texts))
        assert made.unknown_id not in ids.flat_values.numpy()
        assert back(made, texts) == texts


def test_ids_begin_with_the_special_pieces(tmp_path):
    made = vocabularies.learn(corpus(), 300, seed=0)
    assert (made.pad_id, made.start_id, made.end_id, made.unknown_id) == (0, 1, 2, 3)
    made.save(tmp_path)
    again = tokenizer.load(tmp_path)
    assert again.pieces() == made.pieces()
    assert (again.pad_id, again.start_id, again.end_id, again.unknown_id) == (0, 1, 2, 3)


def test_the_size_is_met_as_far_as_the_texts_go():
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefgh", k=5)) for _ in range(400)]
    texts = [" ".join(draw.choices(words, k=9)) for _ in range(400)]
    assert vocabularies.learn(texts, 150, seed=0).vocabulary_size == 150
    assert 150 < vocabularies.learn(texts, 32_000, seed=0).vocabulary_size < 1000
    assert vocabularies.learn(["a"], 32_000, seed=0).vocabulary_size == 6


def test_the_same_arguments_give_the_same_vocabulary(monkeypatch):
    monkeypatch.setattr(vocabularies, "SAMPLE", 50)
    first = vocabularies.learn(corpus(), 120, seed=1)
    assert vocabularies.learn(corpus(), 120, seed=1).proto == first.proto
    assert vocabularies.learn(corpus(), 120, seed=2).pieces() != first.pieces()


def test_rare_characters_of_large_alphabets_are_left_out():
    common = "".join(map(chr, range(0x4E00, 0x4E00 + 600)))
    texts = [*[common] * 20, "龘"]
    assert "龘" not in "".join(vocabularies.learn(texts, 2000, seed=0).pieces())
    assert "ñ" in "".join(vocabularies.learn([*["casa " * 999] * 20, "ñ"], 50, seed=0).pieces())


def test_long_texts_count(capfd):
    made = vocabularies.learn(["la casa blanca " * 2000], 60, seed=0)
    assert back(made, ["la casa blanca"]) == ["la casa blanca"]
    assert capfd.readouterr().err == ""  # the trainer's log


def test_nothing_is_said_of_a_vocabulary_that_normalizes_nothing(capfd):
    made = vocabularies.learn(CHINESE * 20, 60, seed=0)
    assert not schema.ModelProto.FromString(made.proto).normalizer_spec.precompiled_charsmap
    made.tokenize(tf.constant(CHINESE))
    made.tokenize_words(tf.constant(CHINESE), tf.constant(True))
    assert capfd.readouterr().err == ""


@functools.cache
def without_rules():
    made = vocabularies.learn([*CHINESE, *SPANISH] * 20, 90, seed=0)
    assert not schema.ModelProto.FromString(made.proto).normalizer_spec.precompiled_charsmap
    return made, SentencePieceProcessor(model_proto=made.proto)


@settings(max_examples=300, deadline=None)
@given(
    texts=some.lists(some.text() | some.text("今天 Méx\u3000\0ﬁ①，\u0301"), min_size=1, max_size=6)
)
def test_ids_without_normalization_are_those_of_the_library(texts):
    made, library = without_rules()
    assert made.tokenize(tf.constant(texts)).to_list() == library.encode(texts)


def test_what_cannot_be_learned_is_said():
    for nothing in ([], ["", "  \n"]):
        with pytest.raises(UserError, match="no text"):
            vocabularies.learn(nothing, 100, seed=0)
    with pytest.raises(UserError, match=r"of 5 pieces from 1 texts \(it takes 9 for"):
        vocabularies.learn(["hola"], 5, seed=0)


def test_llama_2_and_mistral_keep_their_ids(tmp_path):
    """Their files begin as XLM-R's do, but are of BPE, and their weights know these ids."""
    model = schema.ModelProto()
    model.trainer_spec.model_type = 2
    for name, kind in [("<unk>", 2), ("<s>", 3), ("</s>", 3), ("▁", 1), ("a", 1)]:
        model.pieces.add(piece=name, score=-1.0, type=kind)
    (tmp_path / "spiece.model").write_bytes(model.SerializeToString())
    assert tokenizer.load(tmp_path).pieces()[:3] == ["<unk>", "<s>", "</s>"]
