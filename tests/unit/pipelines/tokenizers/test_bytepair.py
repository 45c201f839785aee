"""Byte-level BPE against Hugging Face's `tokenizers`, on free text and free merges."""

from __future__ import annotations

import functools
import json
import random
import string
import sys
import unicodedata

import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from pipelines.errors import UserError
from pipelines.tokenizers import bytepair, tokenizer
from pipelines.tokenizers.bytepair import ALPHABET, BytePair

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
TRICKY = [
    "don't DON'T we'll 's 're", "  a  \n\n b\t\tc ", " ", "\n", "\r\n", " \u00a0x", "\u3000今天",
    "\u2028a", "\x0b\x0cb", "\x85", "\x00", "a\x00b", "12 345", "  7", "٣४", "½²Ⅷ",
    "👨‍👩‍👧", "👍🏽", "🇨🇳",
    "cafe\u0301", "naïve…", "今天天气很好，", "한국어", "ÿþ", "\ufffd", "\U0010ffff", "</s>",
    "<mask>", "_id(x)[0]=='a'", "'", "''", " 's", "  's", "६", "Ġ", "Ċ", "\u200d", "\ue0001",
]  # fmt: skip


@functools.cache
def corpus() -> list[str]:
    """English, Spanish and Chinese in few lines; enough for a few hundred merges."""
    words = ["the", "of", "and", "to", "in", "is", "that", "it", "for", "was", "on", "are", "with"]
    spanish = ["de", "la", "que", "el", "los", "del", "un", "por", "con", "no", "una", "para"]
    chinese = ["今天天气很好", "我们都是学生", "你好世界", "天气不好", "学生们好"]
    draw = random.Random(0)
    lines = [" ".join(draw.choices(words + spanish, k=12)) for _ in range(300)]
    return [*lines, *("".join(draw.choices(chinese, k=5)) for _ in range(100)), "aaaaaaaa " * 9]


@functools.cache
def learned() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A vocabulary that Hugging Face's trainer made, special tokens included."""
    from tokenizers import trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.train_from_iterator(
        corpus(),
        trainers.BpeTrainer(
            vocab_size=600, special_tokens=list(SPECIAL), initial_alphabet=list(ALPHABET)
        ),
    )
    model = json.loads(made.to_str())["model"]
    return model["vocab"], [tuple(pair) for pair in model["merges"]]


def hugging_face(vocabulary, merges, single_digits) -> Tokenizer:
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    made.pre_tokenizer = pre_tokenizers.Sequence([digits, bytes_]) if single_digits else bytes_
    made.decoder = decoders.ByteLevel()
    return made


@functools.cache
def theirs(single_digits: bool) -> Tokenizer:
    return hugging_face(*learned(), single_digits)


@functools.cache
def ours(single_digits: bool) -> BytePair:
    vocabulary, merges = learned()
    return BytePair(tuple(vocabulary), tuple(merges), {}, single_digits)


@functools.cache
def graph(single_digits: bool, method: str):
    signature = [tf.TensorSpec([None], tf.string)]
    return tf.function(getattr(ours(single_digits), method), input_signature=signature)


@functools.cache
def same_class(character: str) -> bool:
    """Whether both libraries' tables of Unicode have this character in the same class."""
    text = f"a{character}1{character}.{character} b"
    got = ours(False).tokenize(tf.constant([text])).to_list()[0]
    return got == theirs(False).encode(text).ids


CHARACTERS = st.characters(exclude_categories=["Cs", "Cn"]).filter(same_class)
TEXTS = st.lists(
    st.sampled_from(TRICKY) | st.text(CHARACTERS, max_size=8) | st.text("aé中1 .'\n", max_size=8),
    max_size=6,
).map("".join)


def test_classes_of_characters_differ_for_few_only():
    every = [chr(c) for c in range(sys.maxunicode + 1)]
    every = [c for c in every if unicodedata.category(c) not in ("Cs", "Cn", "Co")]
    texts = [f"a{c}1{c}.{c} b" for c in every]
    want = theirs(False).encode_batch(texts)
    got = graph(False, "tokenize")(tf.constant(texts)).to_list()
    differ = [c for c, w, g in zip(every, want, got, strict=True) if w.ids != g]
    assert len(differ) < 20_000
    assert min(map(ord, differ), default=0xFFFF) > 0x2FF  # nothing Latin
    assert not set(differ) & set(map(chr, [*range(0x3000, 0xA000), *range(0xAC00, 0xD7A4)]))


@pytest.mark.parametrize("single_digits", [True, False])
@settings(max_examples=50, deadline=None)
@given(batch=st.lists(TEXTS, min_size=1, max_size=8))
def test_ids_are_those_of_hugging_face(single_digits, batch):
    got = graph(single_digits, "tokenize")(tf.constant(batch)).to_list()
    assert got == [encoding.ids for encoding in theirs(single_digits).encode_batch(batch)]


@settings(max_examples=50, deadline=None)
@given(
    merges=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=3, max_size=14),
    texts=st.lists(st.text("abc", min_size=1, max_size=14), min_size=8, max_size=8),
)
def test_any_merges_are_done_as_hugging_face_does(merges, texts):
    """Also those that no training gives: pieces out of reach, reached in two ways, or twice."""
    pieces, pairs = list("abc"), []
    for left, right in merges:
        pair = (pieces[left % len(pieces)], pieces[right % len(pieces)])
        if pair not in pairs:
            pairs.append(pair)
            pieces.append("".join(pair))
    vocabulary = {p: i for i, p in enumerate(dict.fromkeys([*ALPHABET, *pieces]))}
    assume(len(pairs) > 1)
    made = BytePair(tuple(vocabulary), tuple(pairs), {})
    want = hugging_face(vocabulary, pairs, False).encode_batch(texts)
    assert made.tokenize(tf.constant(texts)).to_list() == [encoding.ids for encoding in want]


def test_merging_neighbours_without_their_merge_would_differ():
    """The example that the module's first lines are about: abc is made of ab + c only."""
    pairs = [("b", "c"), ("a", "b"), ("ab", "c"), ("abc", "d")]
    vocabulary = {p: i for i, p in enumerate([*ALPHABET, "bc", "ab", "abc", "abcd"])}
    made = BytePair(tuple(vocabulary), tuple(pairs), {})
    ids = made.tokenize(tf.constant(["abcd"])).to_list()[0]
    assert [made.vocabulary[i] for i in ids] == ["a", "bc", "d"]


@pytest.mark.parametrize("single_digits", [True, False])
@settings(max_examples=50, deadline=None)
@given(batch=st.lists(TEXTS, min_size=1, max_size=6))
def test_texts_come_back(single_digits, batch):
    ids = graph(single_digits, "tokenize")(tf.constant(batch))
    got = ours(single_digits).detokenize(ids).numpy().tolist()
    assert got == [text.encode() for text in batch]


@settings(max_examples=50, deadline=None)
@given(raw=st.lists(st.binary(max_size=20) | TEXTS.map(str.encode), min_size=1, max_size=5))
def test_offsets_cover_the_text_as_it_was_given(raw):
    """Of invalid bytes too; each piece of a valid text is the bytes that it stands for."""
    made = ours(False)
    ids, starts, ends = (
        x.to_list() for x in graph(False, "tokenize_with_offsets")(tf.constant(raw))
    )
    assert ids == theirs_of_bytes(raw)
    for text, row, begins, stops in zip(raw, ids, starts, ends, strict=True):
        assert all(0 <= a <= b <= len(text) for a, b in zip(begins, stops, strict=True))
        assert begins == sorted(begins)
        if text:
            assert (begins[0], stops[-1]) == (0, len(text))
        if text.decode("utf-8", "replace").encode() == text:
            cut = [text[a:b] for a, b in zip(begins, stops, strict=True)]
            assert cut == [bytes(ALPHABET[c] for c in made.vocabulary[i]) for i in row]


def theirs_of_bytes(raw):
    texts = [text.decode("utf-8", "replace") for text in raw]
    return [encoding.ids for encoding in theirs(False).encode_batch(texts)]


@pytest.mark.parametrize("unit", ["a", "今天", "ab ", " ", "1", "\n", "👍🏽"])
def test_long_lines(unit):
    text = unit * (100_000 // len(unit))
    for single_digits in (True, False):
        got = graph(single_digits, "tokenize")(tf.constant([text, "a"])).to_list()
        assert got[0] == theirs(single_digits).encode(text).ids


def test_special_tokens_in_a_text_are_text():
    made = ours(False)
    ids = made.tokenize(tf.constant(["".join(SPECIAL) + " ".join(SPECIAL)])).to_list()[0]
    assert not set(ids) & {made.vocabulary.index(name) for name in SPECIAL}


def test_special_tokens_are_no_part_of_what_is_written():
    made = ours(False)
    ids = made.tokenize(tf.constant(["今天 ok"])).to_list()[0]
    framed = [made.start_id, *ids, made.end_id, made.pad_id, made.vocabulary_size, 10**6]
    rows = tf.ragged.constant([framed, [], ids[:1]], dtype=tf.int32)
    assert [t.decode() for t in made.detokenize(rows).numpy()] == ["今天 ok", "", made_up(ids[0])]


def test_a_text_that_is_cut_ends_in_a_whole_character():
    text = "aé今🙂\u200d한x"
    made = BytePair(tuple(ALPHABET), (), {})  # a piece for each byte
    ids = made.tokenize(tf.constant([text])).to_list()[0]
    cut = tf.ragged.constant([ids[:n] for n in range(len(ids) + 1)], dtype=tf.int32)
    whole = [text.encode()[:n].decode(errors="ignore") for n in range(len(ids) + 1)]
    assert [found.decode() for found in made.detokenize(cut).numpy()] == whole


def test_bytes_that_no_cut_explains_are_shown():
    made = BytePair(tuple(ALPHABET), (), {})
    place = {byte: made.vocabulary.index(character) for character, byte in ALPHABET.items()}
    texts = [b"a\x80", b"\xe4a", b"\xe4\xb8\x80\x80", b"\xff", b"\xc0", b"\xe4"]
    rows = tf.ragged.constant([[place[byte] for byte in text] for text in texts], dtype=tf.int32)
    found = [text.decode() for text in made.detokenize(rows).numpy()]
    assert found == ["a\ufffd", "\ufffda", "一\ufffd", "\ufffd", "\ufffd", ""]


def test_special_ids_are_those_of_no_text():
    made = ours(False)
    assert {made.vocabulary[i] for i in made.special_ids} == set(SPECIAL)


def made_up(index):
    piece = ours(False).vocabulary[index]
    return bytes(ALPHABET[c] for c in piece).decode("utf-8", "replace")


def test_bytes_without_a_piece_are_left_out():
    """As in SmolLM2, whose vocabulary lacks 21 of them."""
    kept = tuple(c for c in ALPHABET if ALPHABET[c] not in (0x04, 0x06, 0xF1))
    made = BytePair(kept, (), {})
    want = hugging_face({p: i for i, p in enumerate(kept)}, [], False)
    texts = ["a\x04\x06b", "\x04", "\U00040000é", ""]
    ids, starts, ends = made.tokenize_with_offsets(tf.constant(texts))
    assert ids.to_list() == made.tokenize(tf.constant(texts)).to_list()
    assert ids.to_list() == [encoding.ids for encoding in want.encode_batch(texts)]
    assert (starts.to_list()[0], ends.to_list()[0]) == ([0, 3], [1, 4])


def test_roles():
    made = ours(False)
    ids = made.start_id, made.pad_id, made.end_id, made.unknown_id, made.mask_id
    assert ids == (0, 1, 2, 3, 4)
    assert (made.pair_separators, made.segment_of_second, made.kind) == (2, 0, "bytepair")
    gpt2 = BytePair((*ALPHABET, "<|endoftext|>"), (), {})
    assert gpt2.start_id == gpt2.end_id == gpt2.pad_id == gpt2.unknown_id == 256
    with pytest.raises(UserError, match="no token for 'mask'"):
        gpt2.mask_id  # noqa: B018
    with pytest.raises(UserError, match="no token for 'pad'"):
        BytePair(tuple(ALPHABET), (), {}).pad_id  # noqa: B018
    chosen = BytePair((*ALPHABET, "<a>", "<b>"), (), {"start": "<a>", "end": "<b>"})
    assert (chosen.start_id, chosen.end_id, chosen.pad_id) == (256, 257, 257)
    with pytest.raises(UserError, match="lacks its special tokens <c>"):
        BytePair(tuple(ALPHABET), (), {"end": "<c>"})
    with pytest.raises(UserError, match="the merge 'a b'"):
        BytePair(tuple(ALPHABET), (("a", "b"),), {})


def same(first: BytePair, second) -> bool:
    assert isinstance(second, BytePair)
    roles = ("start_id", "end_id", "pad_id", "unknown_id", "mask_id", "single_digits")
    return (
        first.pieces() == second.pieces()
        and first.merges == second.merges
        and all(getattr(first, role) == getattr(second, role) for role in roles)
    )


@pytest.mark.parametrize("single_digits", [True, False])
def test_save_and_load(single_digits, tmp_path):
    ours(single_digits).save(tmp_path)
    assert same(ours(single_digits), tokenizer.load(tmp_path))


def test_special_tokens_are_saved(tmp_path):
    made = BytePair((*ALPHABET, "<a>", "<b>"), (), {"start": "<a>", "end": "<b>"})
    made.save(tmp_path)
    again = tokenizer.load(tmp_path)
    assert (again.start_id, again.end_id) == (256, 257)


def test_other_layouts_are_read(tmp_path):
    vocabulary, merges = learned()
    for folder, name in (("slow", "vocab.json"), ("keras/assets/tokenizer", "vocabulary.json")):
        where = tmp_path / folder
        where.mkdir(parents=True)
        (where / name).write_text(json.dumps(vocabulary))
        lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
        (where / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert same(ours(False), tokenizer.load(tmp_path / "slow"))
    assert same(ours(False), tokenizer.load(tmp_path / "keras"))
    for single_digits in (True, False):
        fast = tmp_path / str(single_digits)
        fast.mkdir()
        made = theirs(single_digits)
        config = json.loads(made.to_str())
        config["added_tokens"] = [{"content": "<|im_end|>", "id": len(vocabulary)}]
        (fast / "tokenizer.json").write_text(json.dumps(config))
        roles = {"eos_token": {"content": "<|im_end|>"}, "bos_token": "<s>"}
        (fast / "tokenizer_config.json").write_text(json.dumps(roles))
        loaded = tokenizer.load(fast)
        assert loaded.pieces() == [*vocabulary, "<|im_end|>"]
        assert loaded.single_digits == single_digits
        assert (loaded.start_id, loaded.end_id, loaded.pad_id) == (0, len(vocabulary), 1)


def test_other_byte_pair_vocabularies_are_refused(tmp_path):
    def refused(message, **changes):
        config = json.loads(theirs(False).to_str())
        for key, value in changes.items():
            config[key] = {**config["model"], **value} if key == "model" else value
        (tmp_path / "tokenizer.json").write_text(json.dumps(config))
        with pytest.raises(UserError, match=message):
            tokenizer.load(tmp_path)

    metaspace = {"type": "Metaspace", "replacement": "▁"}
    refused("pieces are not bytes", pre_tokenizer=metaspace)  # Llama 2
    refused("pieces are not bytes", pre_tokenizer=None)
    refused("pieces are not bytes", model={"byte_fallback": True})
    level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}"}, "behavior": "Isolated"}
    llama3 = {"type": "Sequence", "pretokenizers": [split, level]}
    refused("a rule of its own", pre_tokenizer=llama3)
    refused("a rule of its own", pre_tokenizer={**level, "use_regex": True, "add_prefix_space": 1})
    refused("a rule of its own", normalizer={"type": "NFC"})
    refused("a rule of its own", model={"ignore_merges": True})


def test_the_alphabet_is_gpt2s():
    assert set(ALPHABET) == set(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(ALPHABET.values()) == list(range(256))
    assert all(ALPHABET[c] == ord(c) for c in string.ascii_letters)
    assert bytepair._bytes_of("Ġaé") == b" a\xe9"
