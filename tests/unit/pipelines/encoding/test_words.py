"""Words of free text: in order, apart, nothing left out; the same pieces as without words."""

import functools
import unicodedata

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.encoding import words
from pipelines.tokenizers import tokenizer
from tfnlp.backbones import entry

NAMES = ("minilm-l6-en", "e5-small-multilingual")
TEXT = "Café cafe\u0301s, U.S. 北京大学在 👍🏽Paris👨‍👩‍👧 5€\x00y"
BY_EYE = {
    "minilm-l6-en": "Café|cafe\u0301s|,|U|.|S|.|北|京|大|学|在|👍🏽Paris👨‍👩‍👧|5€\x00y",
    "e5-small-multilingual": ("Café|cafe\u0301s|,|U|.|S|.|北|京|大|学|在|👍🏽|Paris|👨‍👩‍👧|5|€|y"),
}
HARD = [
    "Paris", "Müller", "cafe\u0301", "don't", "U.S.A.", "北京", "、", "。", "ひらがな", "カー",
    "한국어", "ไทย", "👍🏽", "👨‍👩‍👧", "🇨🇳", "€", "™", "…", "´", "ﬁ", " ", "  ", "\u3000", "\u00a0",
    "\t", "\n", "\x00", "\u200b", "\u00ad", "\ufeff", "\ufffd", "\u2581", "\u0301", "</s>", "[SEP]",
    "1️⃣",
]  # fmt: skip
texts = st.lists(
    st.sampled_from(HARD) | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    max_size=8,
).map("".join)


@functools.cache
def tokenizer_of(name):
    return tokenizer.load(entry.prepared(name))


@functools.cache
def split(name):
    made = tokenizer_of(name)
    signature = [tf.TensorSpec([None], tf.string)]
    return tf.function(
        lambda strings: words.split(made, strings), input_signature=signature, autograph=False
    )


def surfaces(text, starts, ends):
    return [text.encode()[a:b].decode() for a, b in zip(starts, ends, strict=True)]


@pytest.mark.parametrize("name", NAMES)
def test_words_by_eye_whatever_stands_in_the_rows_before(name):
    # The second row's first word begins where the first row's last one ends.
    for before in ("", "ab", "       "):
        found = split(name)(tf.constant([before, f"  {TEXT}", ""]))
        starts, ends = found.starts.to_list(), found.ends.to_list()
        assert "|".join(surfaces(f"  {TEXT}", starts[1], ends[1])) == BY_EYE[name]
        pieces = [tokenizer_of(name).pieces()[i] for i in found.ids.to_list()[1]]
        assert pieces[0] == {"minilm-l6-en": "cafe", "e5-small-multilingual": "▁Café"}[name]
        assert found.heads.to_list()[2] == starts[2] == []


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=50, deadline=None)
@given(batch=st.lists(texts, min_size=1, max_size=5))
def test_words_are_in_order_apart_and_leave_nothing_out(name, batch):
    found = [part.to_list() for part in split(name)(tf.constant(batch))]
    for text, ids, heads, starts, ends in zip(batch, *found, strict=True):
        assert heads == sorted(set(heads))
        assert heads[:1] == ([0] if ids else [])
        assert all(head < len(ids) for head in heads)
        assert len(heads) == len(starts) == len(ends)
        borders = [border for pair in zip(starts, ends, strict=True) for border in pair]
        assert borders == sorted(borders)
        assert all(a < b for a, b in zip(starts, ends, strict=True))
        raw = text.encode()
        gaps = zip([0, *ends], [*starts, len(raw)], strict=True)
        for gap in (raw[a:b].decode() for a, b in gaps):  # decodes: on borders of characters
            # What no piece stands for: white space and what is not seen.
            seen = [c for c in gap if unicodedata.category(c)[0] in "LNPS"]
            assert not set(seen) - {"\ufffd", "\u2581"}


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20, deadline=None)
@given(batch=st.lists(texts, min_size=2, max_size=5))
def test_words_do_not_depend_on_the_batch(name, batch):
    together = [part.to_list() for part in split(name)(tf.constant(batch))]
    for place, text in enumerate(batch):
        alone = [part.to_list()[0] for part in split(name)(tf.constant([text]))]
        assert alone == [part[place] for part in together]


def test_wordpiece_pieces_are_those_of_the_text():
    texts = tf.constant([TEXT, "A small, plain sentence.", ""])
    want = tokenizer_of("minilm-l6-en").tokenize(texts).to_list()
    assert split("minilm-l6-en")(texts).ids.to_list() == want


def test_sentencepiece_pieces_of_plain_text_are_those_of_the_text():
    texts = tf.constant(["A small, plain sentence (of words) or no more.", "  Ein Satz mit Ä.", ""])
    want = tokenizer_of("e5-small-multilingual").tokenize(texts).to_list()
    assert split("e5-small-multilingual")(texts).ids.to_list() == want


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=20, deadline=None)
@given(batch=st.lists(st.binary(max_size=12), min_size=1, max_size=3))
def test_bytes_that_are_not_utf8_do_no_harm(name, batch):
    found = [part.to_list() for part in split(name)(tf.constant(batch))]
    for text, starts, ends in zip(batch, *found[2:], strict=True):
        borders = [0, *(b for pair in zip(starts, ends, strict=True) for b in pair), len(text)]
        assert borders == sorted(borders)
