"""Pretraining continued on a user's own plain text, for a backbone that knows its domain.

Gururangan et al. 2020, "Don't stop pretraining" (https://arxiv.org/abs/2004.10964); the objective
is the masked language model of Devlin et al. 2019, "BERT", section 3.1
(https://arxiv.org/abs/1810.04805). The SavedModel fills the gaps of a text: ``Paris is the
[MASK] of France.``
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from pipelines.rows import BadRow, Rows
from tfnlp.options import option
from tfnlp.report import Report
from tfnlp.task import Arrays, Context, Objective, Task, Tensors
from tfnlp.tasks import _pooled_text

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfnlp import config

CANDIDATES = 5  # returned for each gap


@dataclass(frozen=True)
class Options:
    """Options of masked language modelling.

    Example::

        python -m tfnlp.train --task masked_lm --train notes.txt --whole-words
    """

    max_length: int = option(
        128, "length of the blocks that texts are packed into [tokens]", minimum=8
    )
    mask_rate: float = option(0.15, "share of the tokens to predict", minimum=0.01, maximum=0.9)
    whole_words: bool = option(False, "hide all pieces of a word, or none")


def sample(options: Options) -> list[dict[str, Any]]:
    """Return four rows."""
    sentences = [
        "The bank raised its interest [MASK] on Monday.",
        "Shares of the company fell by three percent.",
        "Le patient a reçu une dose de dix milligrammes.",
        "The court rejected the appeal of both parties.",
    ]
    return [{"text": sentence} for sentence in sentences]


def learn(rows: Rows, options: Options) -> dict[str, Any]:
    """Learn nothing: the vocabulary is the backbone's."""
    return {}


def unusable_rows(rows: Rows, facts: dict[str, Any]) -> Iterator[BadRow]:
    """Accept any text."""
    return iter(())


def pack(context: Context, rows: Rows) -> dict[str, tf.Tensor]:
    """Pack the texts into ``token_ids``, int32 (N, T), blocks without padding.

    Example::

        pack(context, rows)["token_ids"].shape  # (N, max_length)
    """
    import tensorflow as tf

    from pipelines.encoding import packing

    blocks = packing.pack(context.tokenizer, rows.columns["text"], context.max_length)
    if not len(blocks):
        raise UserError(f"{rows.source} has no text to learn from; every row is empty")
    return {"token_ids": tf.constant(blocks)}


def encode(context: Context, raw: Tensors) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Hide tokens of the blocks, or tokenize a request's texts with the gaps that they have.

    Returns:
        ``token_ids``, ``segment_ids``, ``padding_mask`` and ``hidden``, int32 (B, T) each, the
        last 1 where a piece is to be predicted. And ``lost``, int64 (B,), with ``labels``, int32
        (B, P), what was hidden, or ``masks``, int32 (B,), how many gaps there are.

    Example::

        features, offsets = encode(context, {"text": tf.constant(["Paris is in [MASK]."])})
        offsets["masks"]  # [1]
    """
    import tensorflow as tf

    from pipelines.encoding import masking, packing

    tokenizer, options = context.tokenizer, context.options
    if "token_ids" in raw:
        ids = raw["token_ids"]
        padding_mask = tf.cast(ids != tokenizer.pad_id, tf.int32)
        longest = tf.reduce_max(tf.reduce_sum(padding_mask, 1))  # blocks come padded
        ids, padding_mask = ids[:, :longest], padding_mask[:, :longest]
        ids, labels = masking.mask(
            tokenizer, ids, raw["seed"], rate=options.mask_rate, whole_words=options.whole_words
        )
        hidden = tf.cast(labels != masking.NOTHING, tf.int32)
        offsets = {
            "labels": masking.compact(labels, hidden),
            "lost": tf.zeros_like(raw["seed"]),
        }
    else:
        pieces = masking.tokenize_marked(tokenizer, raw["text"])
        ids, padding_mask, lost = packing.single(tokenizer, pieces, context.max_length)
        hidden = tf.cast(ids == tokenizer.mask_id, tf.int32)
        offsets = {"masks": tf.reduce_sum(hidden, 1), "lost": lost}
    features = {
        "token_ids": ids,
        "segment_ids": tf.zeros_like(ids),
        "padding_mask": padding_mask,
        "hidden": hidden,
    }
    return features, offsets


def encode_targets(
    context: Context, raw: Tensors, features: Tensors, offsets: Tensors
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Return the hidden pieces, int32 (B, P)."""
    return offsets["labels"], None


def build(context: Context, backbone: keras.Model) -> keras.Model:
    """Build the model: outputs are logits of the hidden places, float32 (B, P, V)."""
    from tfnlp.heads import masked_lm

    return masked_lm.head(backbone)


def objective(context: Context) -> Objective:
    """Cross-entropy of the hidden pieces."""
    from tfnlp.heads import masked_lm

    metrics = [masked_lm.Perplexity(name="perplexity"), masked_lm.Accuracy(name="accuracy")]
    return Objective(masked_lm.Crossentropy(), metrics, monitor="val_perplexity", mode="min")


def decode(
    context: Context, raw: Tensors, outputs: tf.Tensor, offsets: Tensors
) -> dict[str, tf.Tensor]:
    """Turn logits into answers.

    Returns:
        For blocks: ``hidden`` int32 (B,), how many pieces were, ``right`` int32 (B,), and
        ``loss`` float32 (B,), the sum of their negative log-likelihoods [nats]. For texts: the
        list ``masks`` with ``token`` and ``score`` of the most likely piece and the five best,
        ``tokens`` and ``scores`` (B, N, 5).

    Example::

        answers = decode(context, raw, network(features), offsets)
        answers["masks/token"]  # [[b"france"]]
    """
    import tensorflow as tf

    from pipelines.encoding import masking

    if "labels" in offsets:
        labels = offsets["labels"]
        there = labels != masking.NOTHING
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(labels, 0), outputs)
        right = there & (tf.argmax(outputs, -1, tf.int32) == labels)
        return {
            "hidden": tf.reduce_sum(tf.cast(there, tf.int32), 1),
            "right": tf.reduce_sum(tf.cast(right, tf.int32), 1),
            "loss": tf.reduce_sum(tf.where(there, loss, 0.0), 1),
        }
    scores, best = tf.math.top_k(tf.nn.softmax(outputs), CANDIDATES)
    tokens = tf.gather(tf.constant(context.tokenizer.pieces()), best)
    there = tf.sequence_mask(offsets["masks"], tf.shape(outputs)[1])
    tokens = tf.where(there[..., None], tokens, "")
    scores = tf.where(there[..., None], scores, 0.0)
    return {
        "masks": offsets["masks"],
        "masks/token": tokens[..., 0],
        "masks/score": scores[..., 0],
        "masks/tokens": tokens,
        "masks/scores": scores,
    }


def report(context: Context, rows: Rows, answers: Arrays) -> Report:
    """Perplexity, loss and accuracy over all hidden pieces."""
    from tfnlp.evaluation.language_modeling import masked_lm

    return masked_lm(answers["loss"], answers["hidden"], answers["right"])


def save_extra(
    context: Context, settings: config.Backbone, network: keras.Model, folder: Path
) -> None:
    """Write the trained backbone, to be fine-tuned by ``--backbone RUN/model/backbone``.

    Example::

        python -m tfnlp.train --backbone tensorboard_logs/NAME/RUN/model/backbone --train rows.csv
    """
    from tfnlp.backbones import saving

    saving.write(network, settings.name, context.tokenizer, folder / "backbone")


TASK = Task(
    summary="pretraining continued on plain text (masked language model); fills [MASK]",
    dataset="wikitext2",
    options=Options,
    input_columns=lambda options: (_pooled_text.TEXT,),
    target_columns=lambda options: (),
    sample=sample,
    learn=learn,
    unusable_rows=unusable_rows,
    pack=pack,
    encode=encode,
    encode_targets=encode_targets,
    build=build,
    objective=objective,
    decode=decode,
    report=report,
    rowwise=False,  # as many hidden pieces are answered as the batch's richest block has
    decodes_from_ids=False,
    save_extra=save_extra,
)
