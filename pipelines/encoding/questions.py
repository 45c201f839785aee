"""Questions joined with windows of a text: tokens in, and parts of the text out.

A window is ``[CLS] question [SEP] part of the context [SEP]`` (Devlin et al. 2019, "BERT",
section 4.2, https://arxiv.org/abs/1810.04805), with the separators and segments of the tokenizer.

Written in ops that TF Serving has since 2.12.

Dimensions: B batch, W windows, T tokens of a window, L one more than the tokens of the longest
context, A right answers, N tokens of the longest answer, R windows with context in them, K tokens
of all contexts and one more.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from pipelines.encoding import windows
from pipelines.encoding.segments import special_tokens
from pipelines.tokenizers.tokenizer import Tokenizer

NEVER = -1e9  # as good as minus infinity, and the sum of two is still a float32


def encode(
    tokenizer: Tokenizer,
    question: tf.Tensor,
    context: tf.Tensor,
    *,
    max_length: int,
    max_question_length: int,
    overlap: int,
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Return each question joined with as many windows as its context needs.

    Args:
        tokenizer: the vocabulary.
        question: string (B,); cut to max_question_length and to half of a window.
        context: string (B,); all of it stands in some window.
        max_length: longest window, special tokens included [tokens].
        max_question_length: longest question [tokens].
        overlap: what neighbouring windows share of the context [tokens].

    Returns:
        Features, int32 (B, W, T): ``token_ids``, ``segment_ids``, ``padding_mask``, and
        ``candidates``, 1 at [CLS] and at tokens of the context that cover some text.
        Offsets: ``places``, int32 (B, W, T), which token of its context stands there, -1 where
        none does; ``starts`` and ``ends``, int32 (B, L), of the context's tokens [bytes of the
        context as given]; ``lost``, int64 (B,), tokens cut from the question.

    Example::

        features, offsets = encode(
            tokenizer, question, context, max_length=384, max_question_length=64, overlap=128
        )
    """
    asked = tokenizer.tokenize(question)
    ids, starts, ends = tokenizer.tokenize_with_offsets(context)
    room = max_length - special_tokens(tokenizer, 2)
    kept = tf.minimum(asked.row_lengths(), min(max_question_length, room // 2))
    span = tf.cast(room - kept, tf.int32)
    asked_end = 1 + tf.cast(kept, tf.int32)[:, None, None]
    begin = asked_end + tokenizer.pair_separators
    places, used = _places(windows.layout(ids.row_lengths(), span, overlap), begin)
    at = tf.range(tf.shape(places)[2])[None, None, :]
    start = tf.fill([tf.shape(kept)[0], 1], tokenizer.start_id)
    head = tf.concat([start, _dense(asked)], 1)
    of_head = tf.gather(head, tf.minimum(at[0, 0], tf.shape(head)[1] - 1), axis=1)
    token_ids = tf.where(at < asked_end, of_head[:, None, :], tokenizer.end_id)
    of_body = tf.maximum(places, 0)
    token_ids = tf.where(places >= 0, tf.gather(_dense(ids), of_body, batch_dims=1), token_ids)
    starts, ends = _dense(starts), _dense(ends)
    covers = (places >= 0) & tf.gather(ends > starts, of_body, batch_dims=1)
    features = {
        "token_ids": tf.where(used, token_ids, tokenizer.pad_id),
        "segment_ids": tf.cast(used & (at >= begin), tf.int32) * tokenizer.segment_of_second,
        "padding_mask": tf.cast(used, tf.int32),
        "candidates": tf.cast(used & ((at == 0) | covers), tf.int32),
    }
    lost = asked.row_lengths() - kept
    return features, {"places": places, "starts": starts, "ends": ends, "lost": lost}


def _dense(values: tf.RaggedTensor) -> tf.Tensor:
    """Return ragged (B, tokens) as int32 (B, L), zeros at the end: there is a column at least."""
    return tf.pad(tf.cast(values.to_tensor(), tf.int32), [[0, 0], [0, 1]])


def _places(inside: tf.Tensor, begin: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Make room for the question in a layout.

    Args:
        inside: int32 (B, W, S), the token at each position after the question, or -1.
        begin: int32 (B, 1, 1), where that part of the window begins.

    Returns:
        int32 (B, W, T), the token at each place of the window, or -1; bool (B, W, T), whether it
        is in use: the first window always, others if they have a token of the context.
    """
    body = tf.reduce_sum(tf.cast(inside >= 0, tf.int32), -1, keepdims=True)
    first = tf.range(tf.shape(inside)[1])[None, :, None] == 0
    size = tf.where(first | (body > 0), begin + body + 1, 0)
    at = tf.range(tf.reduce_max(size))[None, None, :]
    slot = tf.clip_by_value(at - begin, 0, tf.shape(inside)[2] - 1)
    slot = tf.broadcast_to(slot, tf.shape(at + size))
    there = (at >= begin) & (at < begin + body)
    return tf.where(there, tf.gather(inside, slot, batch_dims=2), -1), at < size


def positions(
    begins: tf.RaggedTensor,
    finishes: tf.RaggedTensor,
    features: Mapping[str, tf.Tensor],
    offsets: Mapping[str, tf.Tensor],
) -> tf.Tensor:
    """Return the first of a row's right answers that lies wholly in each window.

    Args:
        begins: int32 (B, A), where the answers begin [bytes of the context].
        finishes: int32 (B, A), where they end.
        features: from `encode`, padded or not.
        offsets: from `encode`.

    Returns:
        int32 (B, W, 2), its first and last token's places in the window; 0, the place of [CLS],
        where there is none, and -1 in windows that the row does not need.

    Example::

        positions(raw["answers/start"], raw["answers/end"], features, offsets)
    """
    starts, ends = offsets["starts"][:, None, :], offsets["ends"][:, None, :]
    begin, finish = (
        tf.pad(x.to_tensor(), [[0, 0], [0, 1]])[:, :, None] for x in (begins, finishes)
    )
    touched = (ends > begin) & (starts < finish) & (ends > starts)
    token = tf.range(tf.shape(starts)[2])
    first = tf.reduce_min(tf.where(touched, token, tf.int32.max), -1)[:, None, :]  # (B, 1, A)
    last = tf.reduce_max(tf.where(touched, token, -1), -1)[:, None, :]
    places = offsets["places"]
    low = tf.reduce_min(tf.where(places >= 0, places, tf.int32.max), -1, keepdims=True)
    high = tf.reduce_max(places, -1, keepdims=True)
    inside = (first <= last) & (first >= low) & (last <= high)  # (B, W, A)
    answer = tf.argmax(tf.cast(inside, tf.int32), -1)
    found = tf.gather(tf.stack([first, last], -1)[:, 0], answer, batch_dims=1)  # (B, W, 2)
    shift = tf.argmax(tf.cast(places >= 0, tf.int32), -1, tf.int32)[..., None] - low
    found = tf.where(tf.reduce_any(inside, -1, keepdims=True), found + shift, 0)
    used = tf.reduce_max(features["padding_mask"], -1, keepdims=True) > 0
    return tf.where(used, found, -1)


def answers(
    context: tf.Tensor,
    logits: tf.Tensor,
    offsets: Mapping[str, tf.Tensor],
    *,
    longest: int,
    threshold: float | None,
) -> dict[str, tf.Tensor]:
    """Return each context's best part, or none.

    Args:
        context: string (B,).
        logits: float32 (B, W, T, 2), of being the first and the last token; NEVER or less at
            what is no candidate (see `encode`).
        offsets: from `encode`.
        longest: most tokens of an answer.
        threshold: there is no answer if [CLS] scores higher than the best part by more than
            this; None always answers, if there is any text.

    Returns:
        ``answer`` string (B,), ``start``, ``end`` int32 (B,) [characters], ``score``,
        ``no_answer``, ``null_margin`` float32 (B,), as tfnlp.tasks.extractive_qa describes.

    Example::

        answers(context, logits, offsets, longest=30, threshold=0.0)["answer"]
    """
    places, starts, ends = offsets["places"], offsets["starts"], offsets["ends"]
    parts, base = _parts(logits, places, longest)
    best = _by_row(tf.reduce_max(parts, -1), base)
    mass = _by_row(tf.reduce_logsumexp(parts, -1), base)
    # [CLS] alone is a candidate before the context; in windows not in use it is none.
    cls = tf.reduce_sum(logits[:, :, 0, :], -1)
    null = tf.reduce_min(tf.where(cls > NEVER / 2, cls, tf.float32.max), -1)
    top = tf.reduce_max(best, -1)
    margin = null - top
    given = top > NEVER / 2
    if threshold is not None:
        given &= margin <= threshold
    first = tf.argmax(best, -1, tf.int32)
    more = tf.argmax(tf.gather(parts, base[:-1] + first), -1, tf.int32)
    first, last = tf.where(given, first, 0), tf.where(given, first + more, 0)
    begin = tf.where(given, tf.gather(starts, first, batch_dims=1), 0)
    size = tf.where(given, tf.gather(ends, last, batch_dims=1) - begin, 0)
    text = tf.strings.substr(context, begin, size)
    before = tf.strings.substr(context, tf.zeros_like(begin), begin)
    start = tf.strings.length(before, unit="UTF8_CHAR")
    end = start + tf.strings.length(text, unit="UTF8_CHAR")
    total = tf.reduce_logsumexp(tf.concat([mass, null[:, None]], 1), -1)
    no_answer = tf.exp(null - total)
    return {
        "answer": text,
        "start": tf.where(given, start, -1),
        "end": tf.where(given, end, -1),
        "score": tf.where(given, tf.exp(top - total), no_answer),
        "no_answer": no_answer,
        "null_margin": margin,
    }


def _parts(logits: tf.Tensor, places: tf.Tensor, longest: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Score all parts of the contexts of at most ``longest`` tokens.

    Only windows with context are looked at, and tokens of all rows stand one after the other:
    one long text among short ones costs no more than its own length.

    Returns:
        float32 (K, N): by the first token, and by how many more follow, the score in the best
        window, NEVER or less where no part can be; int32 (B + 1,): where each row's tokens
        begin in it, and where all end.
    """
    keep = tf.reduce_any(places >= 0, -1)
    rows = tf.cast(tf.where(keep)[:, 0], tf.int32)
    place = tf.boolean_mask(places, keep)  # (R, T)
    kept = tf.boolean_mask(logits[:, :, : tf.shape(places)[2]], keep)  # (R, T, 2)
    ends = tf.pad(kept[..., 1], [[0, 0], [0, longest - 1]], constant_values=2 * NEVER)
    following = tf.range(tf.shape(place)[1])[:, None] + tf.range(longest)[None, :]
    scores = kept[..., :1] + tf.gather(ends, following, axis=1)  # (R, T, N)
    base = tf.concat([[0], tf.cumsum(tf.reduce_max(places, [1, 2]) + 1)], 0)
    token = tf.where(place >= 0, tf.gather(base, rows)[:, None] + place, -1)
    parts = tf.math.unsorted_segment_max(scores, token, base[-1] + 1)  # -1 belongs to none
    return tf.maximum(parts, 2 * NEVER), base


def _by_row(values: tf.Tensor, base: tf.Tensor) -> tf.Tensor:
    """Return float32 (K,) by rows, (B, L), filled up with what is less than NEVER."""
    rows = tf.RaggedTensor.from_row_splits(values[:-1], base, validate=False)
    return tf.pad(rows.to_tensor(2 * NEVER), [[0, 0], [0, 1]], constant_values=2 * NEVER)
