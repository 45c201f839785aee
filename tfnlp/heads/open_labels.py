"""Labels that are given with a request: a text's vector beside those of the labels' names.

Dimensions: B batch, L labels of a row, U different labels of the batch, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

SIGNATURE = "labels"
_HEAD = "head_dropout"


def vectors(network: keras.Model) -> keras.Model:
    """Return the part of a network that gives a text's vector, (B, H), to its head.

    Example::

        vectors(network)(features).shape  # (B, 384)
    """
    return keras.Model(network.input, network.get_layer(_HEAD).input, name="vectors")


def signature(
    encode: Callable[[Mapping[str, tf.Tensor]], Any],
    network: keras.Model,
    patterns: Sequence[str],
    temperature: float,
    own: Sequence[str],
) -> tuple[Callable[..., dict[str, tf.Tensor]], list[tf.TensorSpec]]:
    """Return the way in from texts and the labels that each may have.

    Args:
        encode: raw column ``text`` -> features, offsets.
        network: the classifier whose backbone reads texts and labels.
        patterns: texts with ``{}`` where a label stands; a label's vector is the mean of theirs.
        temperature: what cosines are divided by.
        own: the labels where a request has none.

    Returns:
        A function of ``text``, string (B,), and ``labels``, string (B,), a label a line, or with |
        between them where it is one line; and what it takes. Answers are those of classification,
        filled up with "" and 0 to the most labels of a row.

    Example::

        call, specs = signature(encode, network, ["{}"], 0.05, ["no", "yes"])
    """
    below = vectors(network)

    def read(texts: tf.Tensor) -> tf.Tensor:
        found = below(encode({"text": texts})[0], training=False)
        return tf.math.l2_normalize(tf.cast(found, tf.float32), -1)

    def call(text: tf.Tensor, labels: tf.Tensor) -> dict[str, tf.Tensor]:
        given = listed(tf.where(labels == "", "\n".join(own), labels))
        names, place = tf.unique(given.values)
        words = tf.strings.regex_replace(names, "[_\\s]+", " ")
        asked = [tf.strings.join(_around(pattern, words)) for pattern in patterns]
        read_labels = tf.add_n([read(one) for one in asked])
        cosines = tf.matmul(read(text), tf.math.l2_normalize(read_labels, -1), transpose_b=True)
        ids = given.with_values(place).to_tensor(-1)
        there = ids >= 0
        logits = tf.gather(cosines, tf.maximum(ids, 0), batch_dims=1) / temperature
        scores = tf.nn.softmax(tf.where(there, logits, -1e9))
        scores = tf.where(there, scores, 0.0)
        shown = given.to_tensor("")
        best = tf.argmax(scores, -1)
        return {
            "label": tf.gather(shown, best, batch_dims=1),
            "score": tf.reduce_max(scores, -1),
            "scores": scores,
            "labels": shown,
        }

    specs = [tf.TensorSpec([None], tf.string, name) for name in ("text", SIGNATURE)]
    return call, specs


def listed(labels: tf.Tensor) -> tf.RaggedTensor:
    r"""Return the labels of each row, each once, string (B, L).

    Args:
        labels: string (B,), a label a line, or with | between them where it is one line.

    Example::

        listed(tf.constant(["a|b|a", "c|d\ne"]))  # [["a", "b"], ["c|d", "e"]]
    """
    one_line = tf.logical_not(tf.strings.regex_full_match(labels, "(?s).*\n.*"))
    lines = tf.where(one_line, tf.strings.regex_replace(labels, "\\|", "\n"), labels)
    parts = tf.strings.split(lines, "\n")
    parts = parts.with_values(tf.strings.strip(parts.values))
    parts = tf.ragged.boolean_mask(parts, parts != "")
    _, ids = tf.unique(parts.values)
    rows = parts.value_rowids()
    key = rows * (tf.size(parts.values, tf.int64) + 1) + tf.cast(ids, tf.int64)
    _, group = tf.unique(key)
    first = tf.math.unsorted_segment_min(
        tf.range(tf.size(group)), group, tf.reduce_max(tf.concat([[-1], group], 0)) + 1
    )
    keep = tf.sort(first)
    return tf.RaggedTensor.from_value_rowids(
        tf.gather(parts.values, keep), tf.gather(rows, keep), parts.nrows()
    )


def _around(pattern: str, words: tf.Tensor) -> list[Any]:
    """Return the parts that a pattern with labels in it is joined of."""
    before, _, after = pattern.partition("{}")
    return [before, words, after]
