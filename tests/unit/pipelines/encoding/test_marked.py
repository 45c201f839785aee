"""Texts with two marked arguments become tokens that keep the marks."""

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.encoding import marked
from pipelines.tokenizers.wordpiece import WordPiece

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "$", "#", ".", "a", "b", "c", "d", "e"]
PIECES += ["rome", "is", "on", "the", "ti", "##ber"]
TOKENIZER = WordPiece(tuple(PIECES), lowercase=True, strip_accents=True)


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def _short(texts):
    return marked.encode(TOKENIZER, texts, 16)


def _encoded(text: str, max_length: int = 32) -> tuple[dict[str, list[str]], int]:
    features, lost = marked.encode(TOKENIZER, tf.constant([text]), max_length)
    ids = features["token_ids"][0]
    shown = {"token_ids": [PIECES[i] for i in ids.numpy()]}
    for name in ("head", "tail"):
        shown[name] = [PIECES[i] for i in tf.boolean_mask(ids, features[name][0] == 1).numpy()]
    return shown, int(lost[0])


def test_arguments_stand_between_their_marks():
    shown, lost = _encoded("<e1>Rome</e1> is on the <e2>Tiber</e2>.")
    wanted = "[CLS] $ rome $ is on the # ti ##ber # . [SEP]"
    assert (" ".join(shown["token_ids"]), lost) == (wanted, 0)
    assert (shown["head"], shown["tail"]) == (["rome"], ["ti", "##ber"])


def test_the_second_argument_may_come_first():
    shown, _ = _encoded("a <e2>Rome</e2> <e1>b</e1>")
    assert " ".join(shown["token_ids"]) == "[CLS] a # rome # $ b $ [SEP]"
    assert (shown["head"], shown["tail"]) == (["b"], ["rome"])


def test_signs_of_the_text_itself_are_no_arguments():
    shown, _ = _encoded("$ a # <e1>b $</e1> c <e2># d</e2>")
    assert (shown["head"], shown["tail"]) == (["b", "$"], ["#", "d"])


def test_a_long_text_keeps_its_arguments_and_what_stands_near():
    shown, lost = _encoded(
        "a " * 30 + "b <e1>rome</e1> c" + " d" * 30 + " e <e2>tiber</e2>" + " a" * 9, 20
    )
    assert " ".join(shown["token_ids"]).startswith("[CLS] $ rome $ c d d")
    assert len(shown["token_ids"]) == 20
    assert (shown["head"], shown["tail"]) == (["rome"], ["ti", "##ber"])
    assert lost == 31 + 1 + 32 + 2 + 9 - 14


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("<e1>a</e1><e2>b</e2>", True),
        ("x\n<e2>a</e2>\n<e1>b</e1>\n", True),
        ("<e1></e1><e2>b</e2>", False),
        ("<e1>a<e2>b</e2></e1>", False),
        ("<e1>a</e1>", False),
        ("", False),
    ],
)
def test_both_marks_are_asked_for(text, right):
    assert bool(marked.is_marked(tf.constant([text]))[0]) is right


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=20), min_size=5, max_size=5))
def test_any_text_gives_rows_no_longer_than_asked(parts):
    left, one, between, two, right = parts
    text = f"{left}<e1>{one}</e1>{between}<e2>{two}</e2>{right}"
    features, lost = _short(tf.constant([text, "a"]))
    shapes = {tuple(tensor.shape) for tensor in features.values()}
    assert len(shapes) == 1
    assert shapes.pop()[1] <= 16
    assert (lost.numpy() >= 0).all()
    assert not bool(tf.reduce_any((features["head"] == 1) & (features["tail"] == 1)))
    inside = (features["head"] == 1) | (features["tail"] == 1)
    assert bool(tf.reduce_all(features["padding_mask"][inside] == 1))
