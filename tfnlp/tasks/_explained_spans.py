"""What explanations by gradients ask of tasks whose answers are parts of a text.

Dimensions: B batch, W windows, T tokens of a window, N words, K tags, L one more than the tokens of
the longest context.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from tfnlp.task import Claim, Context, Explaining, Tensors
from tfnlp.tasks import _explained

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf


def entities() -> Explaining:
    """Return how each entity is explained: by the mean logit of its words' tags.

    Another label is another type for the same words.

    Example::

        explaining = entities()
    """

    def claims(
        context: Context, answer: Mapping[str, Any], row: Mapping[str, Any], wanted: str | None
    ) -> list[Claim]:
        labels = context.facts["labels"]
        if wanted is not None:
            _explained.known_label(wanted, labels)
        found = []
        for entity in answer["entities"]:
            kind = wanted or entity["type"]
            shares = _tagged(row, entity, labels.index(kind))
            found.append(Claim(f"{kind}: {entity['text']}", float(entity["score"]), shares))
        return found

    return Explaining(lambda context, raw, outputs: outputs, claims)


def _tagged(row: Mapping[str, Any], entity: Mapping[str, Any], kind: int) -> np.ndarray:
    """Return the shares of the tags that make words of an entity, (W, T, K)."""
    import numpy as np

    text = row["text"].decode("utf-8", "replace")
    begin = len(text[: entity["start"]].encode())
    end = begin + len(text[entity["start"] : entity["end"]].encode())
    starts, ends = row["starts"], row["ends"]
    inside = (np.arange(len(starts)) < row["count"]) & (starts >= begin) & (ends <= end)
    words = np.flatnonzero(inside)
    shares = np.zeros(row["logits"].shape, np.float32)
    for number, word in enumerate(words):
        tag = 1 + 2 * kind + (number > 0)
        shares[row["window"][word], row["place"][word], tag] += 1 / len(words)
    return shares


def answer_span() -> Explaining:
    """Return how the answer to a question is explained: by the logits of its two ends.

    Another label is another part of the context, where it stands first.

    Example::

        explaining = answer_span()
    """

    def claims(
        context: Context, answer: Mapping[str, Any], row: Mapping[str, Any], wanted: str | None
    ) -> list[Claim]:
        import tensorflow as tf

        start, end = answer["start"], answer["end"]
        label, score = answer["answer"] or "(no answer)", answer["score"]
        if wanted is not None:
            start = row["context"].decode("utf-8", "replace").find(wanted)
            if start < 0:
                raise UserError(
                    f"{wanted!r} does not stand in the context, so it is no answer that could be "
                    "explained (name a part of the context)"
                )
            end, label, score = start + len(wanted), wanted, 0.0
        one = {name: tf.constant(value)[None] for name, value in row.items()}
        span = {"start": tf.constant([start]), "end": tf.constant([end])}
        shares = _ends(one["context"], one["logits"], one, span)
        return [Claim(label, float(score), shares.numpy()[0])]

    return Explaining(
        lambda context, raw, outputs: outputs,
        claims,
        lambda context, raw, logits, offsets, answers: _ends(
            raw["context"], logits, offsets, answers
        ),
    )


def _ends(text: tf.Tensor, logits: tf.Tensor, offsets: Tensors, answers: Tensors) -> tf.Tensor:
    """Return the shares of an answer's two ends, or of [CLS] twice, float32 (B, W, T, 2).

    They are taken in the window where both have the largest sum, [CLS] where it has the least, as
    answers are.
    """
    import tensorflow as tf

    from pipelines.encoding.questions import NEVER

    places, starts, ends = offsets["places"], offsets["starts"], offsets["ends"]
    given = answers["start"] >= 0

    def before(characters: tf.Tensor) -> tf.Tensor:
        size = tf.maximum(characters, 0)
        part = tf.strings.substr(text, tf.zeros_like(size), size, unit="UTF8_CHAR")
        return tf.strings.length(part)[:, None]

    real = ends > starts
    after = tf.cast(real & (ends > before(answers["start"])), tf.int32)
    until = tf.cast(real & (starts < before(answers["end"])), tf.int32)
    first = tf.argmax(after, 1, tf.int32)[:, None, None]
    from_end = tf.argmax(until[:, ::-1], 1, tf.int32)
    last = (tf.shape(starts)[1] - 1 - from_end)[:, None, None]
    marks = tf.stack([places == first, places == last], -1)  # (B, W, T, 2)
    marks = tf.pad(marks, [[0, 0], [0, 0], [0, tf.shape(logits)[2] - tf.shape(marks)[2]], [0, 0]])
    both = tf.reduce_all(tf.reduce_any(marks, 2), -1)
    sums = tf.reduce_sum(tf.where(marks, logits, 0.0), [2, 3])
    best = tf.argmax(tf.where(both, sums, 2 * NEVER), 1)
    cls = tf.reduce_sum(logits[:, :, 0, :], -1)
    none = tf.argmin(tf.where(cls > NEVER / 2, cls, tf.float32.max), 1)
    window = tf.one_hot(tf.where(given, best, none), tf.shape(logits)[1])
    head = (tf.range(tf.shape(logits)[2]) == 0)[None, None, :, None]
    marks = tf.where(given[:, None, None, None], marks, head)
    return tf.cast(marks, tf.float32) * window[:, :, None, None]
