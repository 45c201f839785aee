"""Ways in to several models at once: every one of them for a text, or another one for each row.

Dimensions: B batch, C labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

from tfnlp.exporting.shared_pass import Pass
from tfnlp.inference.saved_model import FIELDS, HEAD

if TYPE_CHECKING:
    import tensorflow as tf

Answers = dict[str, "tf.Tensor"]


def every(passes: Sequence[Pass]) -> Callable[[Mapping[str, tf.Tensor]], Answers]:
    """Return the function that answers a text by all models, in TensorFlow ops.

    It takes strings (B,) by name, and returns what each model does under the model's name and a
    full stop: ``topics.label``, ``topics.score``.

    Example::

        every(passes(heads))({"text": tf.constant(["Nice shoes."])})["topics.label"]
    """

    def answer(raw: Mapping[str, tf.Tensor]) -> Answers:
        return {
            f"{name}.{field}": tensor
            for one in passes
            for name, answers in one.answers(raw).items()
            for field, tensor in answers.items()
        }

    return answer


def by_row(passes: Sequence[Pass]) -> Callable[[Mapping[str, tf.Tensor]], Answers]:
    """Return the function that answers each row by the model that it names, in TensorFlow ops.

    It takes strings (B,) by name, ``head`` among them, and returns the answers of all models, with
    0 and "" where a row's model gives none, or a shorter list: ``labels`` and ``scores`` are as
    long as the longest. ``head`` and ``fields``, string (B,), say which model answered a row, and
    which outputs it gives, with commas between them.

    A head that there is not fails the request.

    Example::

        ask = by_row(passes(heads))
        ask({"text": tf.constant(["Nice shoes."]), "head": tf.constant(["topics"])})["label"]
    """
    import tensorflow as tf

    names = [head.name for one in passes for head in one.heads]

    def answer(raw: Mapping[str, tf.Tensor]) -> Answers:
        asked = raw[HEAD]
        texts = {name: column for name, column in raw.items() if name != HEAD}
        known = tf.reduce_any(asked[:, None] == tf.constant(names), 1)
        problem = f"there is no such head; there are: {', '.join(names)}"
        there = tf.debugging.Assert(
            tf.reduce_all(known), [problem, tf.boolean_mask(asked, ~known)], summarize=5
        )
        with tf.control_dependencies([there]):
            asked = tf.identity(asked)
        places: list[tf.Tensor] = []
        found: list[Answers] = []
        for one in passes:
            rows = {head.name: tf.where(asked == head.name)[:, 0] for head in one.heads}
            own = tf.sort(tf.concat(list(rows.values()), 0))
            places.extend(rows.values())
            found.extend(_answered(one, texts, own, asked))
        answers = _together(places, found)
        fields = [",".join(sorted(one)) for one in found]
        answers[FIELDS] = _stitched(
            places, [tf.fill([tf.size(p)], f) for p, f in zip(places, fields, strict=True)]
        )
        return {**answers, HEAD: asked}

    return answer


def _answered(
    one: Pass, texts: Mapping[str, tf.Tensor], rows: tf.Tensor, asked: tf.Tensor
) -> list[Answers]:
    """Return the answers of a pass's models to their rows; nothing is computed if there are none.

    Args:
        one: the models.
        texts: of all rows, (B,) each.
        rows: those of these models.
        asked: the models' names by rows, (B,).
    """
    import tensorflow as tf

    def ask(which: tf.Tensor) -> list[Answers]:
        raw = {name: tf.gather(column, which) for name, column in texts.items()}
        names = tf.gather(asked, which)
        own = {head.name: tf.where(names == head.name)[:, 0] for head in one.heads}
        told = one.answers(raw, own)
        return [told[head.name] for head in one.heads]

    # A row that no model is asked for is answered all the same: what it is like is known then.
    like = tf.function(ask, autograph=False).get_concrete_function(tf.TensorSpec([None], tf.int64))

    def nothing() -> Any:
        kinds = like.structured_outputs
        return tf.nest.map_structure(lambda t: tf.zeros([0] * t.shape.rank, t.dtype), kinds)

    found: list[Answers] = tf.cond(tf.size(rows) > 0, lambda: like(rows), nothing)
    return found


def _together(places: Sequence[tf.Tensor], found: Sequence[Answers]) -> Answers:
    """Return the answers of several models in the order of the rows that they were given.

    Args:
        places: of each model the rows that it answered.
        found: of each model its answers to them.
    """
    import tensorflow as tf

    whole = {}
    for name in sorted(set().union(*found)):
        like = next(one[name] for one in found if name in one)
        rank = like.shape.rank
        sizes = [tf.shape(one[name])[1:] for one in found if name in one]
        longest = reduce(tf.maximum, sizes)
        parts = []
        for rows, one in zip(places, found, strict=True):
            count = tf.size(rows)
            part = one.get(name)
            if part is None:
                shape = tf.concat([[count], longest], 0)
                parts.append(tf.fill(shape, tf.constant(_nothing(like.dtype), like.dtype)))
                continue
            missing = tf.concat([[0], longest - tf.shape(part)[1:]], 0)
            widths = tf.stack([tf.zeros_like(missing), missing], 1)
            part = tf.pad(part, widths, constant_values=_nothing(like.dtype))
            parts.append(tf.ensure_shape(part, [None] * rank))
        whole[name] = _stitched(places, parts)
    return whole


def _nothing(dtype: tf.DType) -> str | bool | int:
    """Return what stands where a model gives no answer."""
    if dtype.name == "string":
        return ""
    return False if dtype.name == "bool" else 0


def _stitched(places: Sequence[tf.Tensor], parts: Sequence[tf.Tensor]) -> tf.Tensor:
    """Return the parts' rows in the places that they are of."""
    import tensorflow as tf

    return tf.dynamic_stitch([tf.cast(rows, tf.int32) for rows in places], list(parts))
