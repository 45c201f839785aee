"""What explanations by gradients ask of tasks with labels or numbers: `tfnlp.task.Explaining`.

Dimensions: B batch, C labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tfnlp.options import unknown_key
from tfnlp.task import Claim, Context, Explaining, Tensors

if TYPE_CHECKING:
    import tensorflow as tf


def label(
    names: Callable[[Context], Sequence[str]],
    logits: Callable[[Context, Tensors, Any], Any] = lambda context, raw, outputs: outputs,
) -> Explaining:
    """Return how one label, or each of several that are given, is explained.

    Args:
        names: context -> the C labels as answers name them.
        logits: as of `Explaining`, float32 (B, C).

    Example::

        explaining = label(lambda context: context.facts["labels"])
    """

    def claims(
        context: Context, answer: Mapping[str, Any], row: Mapping[str, Any], wanted: str | None
    ) -> list[Claim]:
        known = list(names(context))
        given = known_label(wanted, known) if wanted is not None else labels_given(answer)
        return [Claim(name, float(answer["scores"][name]), _one(known, name)) for name in given]

    def chosen(
        context: Context, raw: Tensors, values: tf.Tensor, offsets: Tensors, answers: Tensors
    ) -> tf.Tensor:
        import tensorflow as tf

        given = answers["grade"] if "grade" in answers else answers["label"]
        known = list(names(context))
        if "grade" in answers:
            places = tf.argmin(tf.abs(given[:, None] - tf.constant(list(map(float, known)))), -1)
            return tf.one_hot(places, len(known))
        return tf.cast(given[:, None] == tf.constant(known), tf.float32)

    return Explaining(logits, claims, chosen)


def labels_given(answer: Mapping[str, Any]) -> list[str]:
    """Return the labels that an answer gives, or the grade's name.

    Example:
        >>> labels_given({"scores": {"a": 0.9, "b": 0.8}, "given": [True, False]})
        ['a']
    """
    scores = answer["scores"]
    if "given" in answer:
        return [name for name, given in zip(scores, answer["given"], strict=True) if given]
    if "grade" in answer:
        return [f"{answer['grade']:g}"]
    return [answer["label"]] if answer["label"] in scores else []


def known_label(wanted: str, known: Sequence[str]) -> list[str]:
    """Return a label, alone, or raise UserError if it is none.

    Example:
        >>> known_label("a", ["a", "b"])
        ['a']
    """
    unknown_key({wanted: None}, list(known), "the model", "label")
    return [wanted]


def _one(known: Sequence[str], name: str) -> Any:
    import numpy as np

    return np.array([one == name for one in known], np.float32)


def number(name: str, value: Callable[[Context, Tensors, Any], Any]) -> Explaining:
    """Return how a number that is the whole answer is explained.

    Args:
        name: of the number in the answer.
        value: context, raw and outputs -> the number itself, float32 (B, 1).

    Example::

        explaining = number("value", lambda context, raw, outputs: outputs)
    """

    def claims(
        context: Context, answer: Mapping[str, Any], row: Mapping[str, Any], wanted: str | None
    ) -> list[Claim]:
        import numpy as np

        if wanted is not None:
            known_label(wanted, [name])
        return [Claim(name, float(answer[name]), np.ones(1, np.float32))]

    def chosen(
        context: Context, raw: Tensors, values: tf.Tensor, offsets: Tensors, answers: Tensors
    ) -> tf.Tensor:
        import tensorflow as tf

        return tf.ones_like(values)

    return Explaining(value, claims, chosen)
