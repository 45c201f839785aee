"""Words in the graph are those of Python, and weights of tokens go where characters do."""

import unicodedata

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import text_pieces
from pipelines.encoding import pieces

# Python and TensorFlow know different versions of Unicode: what both have known for long.
OLD = st.characters(codec="utf-8", exclude_categories=["Cs", "Cn", "Co"]).filter(
    lambda c: unicodedata.ucd_3_2_0.category(c) == unicodedata.category(c)
)
USUAL = st.sampled_from([*"ab.',-! 1²\n\t", "好", "ไ", "é", "\u0301", "\u200d", "👍", "🏽", "️"])
found = tf.function(
    lambda texts: pieces.words(texts)[0], [tf.TensorSpec([None], tf.string)], autograph=False
)
weighed = tf.function(
    pieces.weighed,
    [tf.TensorSpec([None], kind) for kind in (tf.string, *3 * [tf.int32], tf.float32)],
    autograph=False,
)


@settings(deadline=None)
@given(st.lists(st.text(OLD | USUAL, max_size=12), min_size=1, max_size=4))
def test_words_are_those_of_python(texts):
    words = found(tf.constant(texts))
    places = list(zip(words.start.numpy().tolist(), words.end.numpy().tolist(), strict=True))
    assert places == [place for text in texts for place in text_pieces.words(text)]
    assert words.counts.numpy().tolist() == [len(text_pieces.words(text)) for text in texts]


@settings(deadline=None)
@given(st.lists(st.text(USUAL, max_size=10), min_size=1, max_size=3), st.data())
def test_weights_are_those_of_python(texts, data):
    tokens, flat = [], []
    for row, text in enumerate(texts):
        spans = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).map(sorted)
        own = data.draw(st.lists(spans, max_size=4))
        tokens.append([(a, b, float(1 + i)) for i, (a, b) in enumerate(own)])
        flat += [(row, len(text[:a].encode()), len(text[:b].encode()), w) for a, b, w in tokens[-1]]
    columns = list(zip(*flat, strict=True)) or [[], [], [], []]
    kinds = (tf.int32, tf.int32, tf.int32, tf.float32)
    got = weighed(
        tf.constant(texts), *(tf.constant(c, k) for c, k in zip(columns, kinds, strict=True))
    )
    for row, text in enumerate(texts):
        wanted = text_pieces.weighed(text, tokens[row], "words")
        assert got["weight"][row].numpy().tolist() == pytest.approx(
            [w for _, w in wanted], abs=1e-5
        )
        shown = [text.decode() for text in got["text"][row].numpy()]
        assert shown == [text[start:end] for (start, end), _ in wanted]
