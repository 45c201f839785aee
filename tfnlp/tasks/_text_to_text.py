"""What the tasks that turn a text into another share: translation, summarization, dialogue.

On an encoder the network is that encoder with a decoder of our own, on BART or T5 KerasHub's, and
on a causal language model (Llama, GPT-2) the source is the prompt, in the model's chat template,
and the target its answer; then only the answer's tokens are learned.

Dimensions: N rows, B batch, T tokens of the source (and of prompt and answer), U tokens of the
target, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pipelines.conversations import joined
from pipelines.rows import BadRow, Column, Rows
from tfnlp.generation import signatures
from tfnlp.generation.options import WritingOptions, requested, settings
from tfnlp.report import Report
from tfnlp.task import Arrays, Context, Objective, Task, Tensors, Writing

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf
    from matplotlib.figure import Figure

    from pipelines.tokenizers.tokenizer import Tokenizer

_DRAWN = 2  # rows whose attention is drawn
_SHORTEST_DRAWN, _LONGEST_DRAWN = 6, 40  # tokens


@dataclass(frozen=True)
class TextToText:
    """A task from one column to another.

    Attributes:
        source: what is read: a ``text``, or the ``turns`` of a conversation.
        target: what is written.
        headline: the metric that a report begins with.
        keep: which tokens of a source that is too long are read.
        baselines: rows -> by name what needs no model, a text for each row.

    Example::

        TASK = TextToText(SOURCE, TARGET, headline="bleu").task(
            "a text in another language", "tatoeba-en-es", Options, sample
        )
    """

    source: Column
    target: Column
    headline: Literal["bleu", "chrf", "rougeL"]
    keep: Literal["first", "last"] = "first"
    baselines: Callable[[Rows], Mapping[str, Sequence[str]]] = lambda rows: {}

    def task(self, summary: str, dataset: str, options: type, sample: Any, **more: Any) -> Task:
        """Return the task's record."""
        fields: dict[str, Any] = {
            "summary": summary,
            "dataset": dataset,
            "options": options,
            "sample": sample,
            "backbones": ("encoder", "encoder-decoder", "causal"),
            "defaults": {"optimizer": {"learning_rate": 3e-4}},
            "input_columns": lambda options: (self.source,),
            "target_columns": lambda options: (self.target,),
            "learn": lambda rows, options: {},
            "unusable_rows": all_usable,
            "encode": self.encode,
            "encode_targets": self.encode_targets,
            "build": build,
            "objective": objective,
            "decode": decode,
            "report": self.report,
            "decodes_from_ids": False,
            "writing": Writing(
                vocabulary=self.vocabulary,
                generate=self.generate,
                settings=settings,
                setting_signatures=self.setting_signatures,
                max_tokens=lambda options: options.max_tokens,
                figures=self.figures,
            ),
        }
        return Task(**{**fields, **more})

    def vocabulary(
        self, rows: Rows, options: WritingOptions, tokenizer: Tokenizer | None
    ) -> Tokenizer | None:
        """Learn the vocabulary of the targets, if the backbone's will not do.

        Args:
            rows: to train on.
            options: the task's.
            tokenizer: the backbone's; None if it has none yet, then both sides are learned from.

        Returns:
            What is learned, or None to write with the backbone's.
        """
        from pipelines.tokenizers import vocabularies

        texts = list(rows.columns[self.target.name])
        if tokenizer is None:
            said = rows.columns[self.source.name]
            texts += [joined(turns) if isinstance(turns, list) else turns for turns in said]
        elif options.target_vocabulary == "backbone" or (
            options.target_vocabulary == "auto" and spells(tokenizer, texts)
        ):
            return None
        return vocabularies.learn(texts, options.vocabulary_size, seed=0)

    def encode(self, context: Context, raw: Tensors) -> tuple[dict, dict]:
        """Turn sources, and in training targets, into what the network reads.

        Returns:
            Features: of an encoder ``token_ids``, ``segment_ids`` and ``padding_mask``, int32
            (B, T), of a causal model the first and last; in training of an encoder also
            ``decoder_ids``, int32 (B, U); in a request ``prompt`` and ``prompt_lengths`` instead.
            Offsets: ``lost``, int64 (B,), source tokens not read; in training also ``labels``,
            int32 (B, U) or (B, T), and ``length``, int64 (B,), tokens of both sides.
        """
        if context.kind == "causal":
            return self._encode_causal(context, raw)
        import tensorflow as tf

        from pipelines.encoding import sequences

        source, writes = raw[self.source.name], context.writes
        read = sequences.history if self.source.kind == "turns" else sequences.source
        features, lost = read(context.tokenizer, source, context.max_length)
        features = sequences.rounded(features, context.tokenizer.pad_id)
        if self.target.name not in raw:
            start = tf.fill([tf.shape(source)[0], 1], sequences.start_id(writes))
            features |= {"prompt": start, "prompt_lengths": tf.ones_like(start[:, 0])}
            return features, {"lost": lost}
        ids, labels, _ = sequences.target(writes, raw[self.target.name], context.options.max_tokens)
        both = sequences.rounded({"decoder_ids": ids, "labels": labels}, writes.pad_id)
        tokens = tf.reduce_sum(tf.cast(features["padding_mask"], tf.int64), 1)
        length = tokens + tf.reduce_sum(tf.cast(labels >= 0, tf.int64), 1)
        features["decoder_ids"] = both["decoder_ids"]
        return features, {"lost": lost, "labels": both["labels"], "length": length}

    def _encode_causal(self, context: Context, raw: Tensors) -> tuple[dict, dict]:
        """Put the source into the chat template, and in training the target after it."""
        import tensorflow as tf

        from pipelines.encoding import prompts, turns

        tokenizer = context.tokenizer
        form = prompts.template(tokenizer, context.chat)
        system, said = None, one_turn(raw[self.source.name])
        if self.source.kind == "turns":
            system, said = turns.split(raw[self.source.name])
        asked, lost = prompts.ask(tokenizer, form, said, context.max_length, self.keep, system)
        if self.target.name not in raw:
            return prompted(tokenizer, asked), {"lost": lost}
        whole = tf.cast(tokenizer.tokenize(raw[self.target.name]), tf.int32)
        answer = whole[:, : context.options.max_tokens]
        # An answer that is cut has no end, for the model must not learn to stop there.
        uncut = (answer.row_lengths() == whole.row_lengths())[:, None]
        end = tf.fill(tf.shape(uncut), tf.constant(tokenizer.end_id, tf.int32))
        end = tf.ragged.boolean_mask(end, uncut)
        features, labels = continued(tokenizer, asked, tf.concat([answer, end], 1))
        return features, {"lost": lost, "labels": labels}

    def encode_targets(
        self, context: Context, raw: Tensors, features: Tensors, offsets: Tensors
    ) -> tuple[tf.Tensor, None]:
        """Return the tokens to predict, int32 (B, U), -1 where there is none."""
        return labels_as_wide(features, offsets), None

    def generate(
        self, context: Context, network: keras.Model, raw: Tensors
    ) -> dict[str, tf.Tensor]:
        """Answer a request; see `generation.generate`."""
        features, offsets = self.encode(context, {self.source.name: raw[self.source.name]})
        given = requested(raw, context.options)
        return signatures.generate(context, network, features, offsets["lost"], given)

    def setting_signatures(self, context: Context, network: keras.Model) -> dict[str, Any]:
        """Return the signatures that take settings."""
        return signatures.with_settings(context, network, (self.source.name,), self.encode)

    def report(self, context: Context, rows: Rows, answers: Arrays) -> Report:
        """Compare what was written with the references and with what needs no model."""
        from tfnlp.evaluation import generated_text

        judged = rows.take(answers["judged"].tolist()) if "judged" in answers else rows
        sources = judged.columns[self.source.name]
        return generated_text.report(
            [str(text) for text in answers["generated"]],
            [[text] for text in judged.columns[self.target.name]],
            [str(source) for source in sources],
            scores=answers["score"],
            tokens=answers["tokens"],
            headline=self.headline,
            baselines=self.baselines(judged),
            likelihood=likelihood(answers, rows.columns[self.target.name]),
        )

    def figures(
        self, context: Context, network: keras.Model, rows: Rows, texts: Sequence[str]
    ) -> dict[str, Callable[[], Figure]]:
        """Draw where the decoder looked in the source while it wrote.

        Args:
            context: of the trained model.
            network: the trained model.
            rows: N rows.
            texts: what was written for each of them.
        """
        if context.kind != "encoder":
            return {}
        import tensorflow as tf

        from pipelines import batching
        from tfnlp.evaluation import plots
        from tfnlp.heads import decoder

        drawn: dict[str, Callable[[], Figure]] = {}
        for place, text in enumerate(texts):
            raw = batching.tensors(rows.take([place]), (self.source,))
            raw[self.target.name] = tf.constant([text])
            features, offsets = self.encode(context, raw)
            labels = [int(i) for i in offsets["labels"][0] if i >= 0]
            count = int(tf.reduce_sum(features["padding_mask"]))
            if max(count, len(labels)) > _LONGEST_DRAWN or len(labels) < _SHORTEST_DRAWN:
                continue
            weights = decoder.attention(network, features)[0, : len(labels), :count].numpy()
            read, wrote = context.tokenizer.pieces(), context.writes.pieces()
            across = [read[i] for i in features["token_ids"][0, :count].numpy()]
            down = [wrote[i] for i in labels]
            draw = _drawer(plots.attention, down, across, weights)
            drawn[f"attention_{len(drawn) + 1}"] = draw
            if len(drawn) == _DRAWN:
                break
        return drawn


def _drawer(
    draw: Callable[..., Figure], down: list[str], across: list[str], weights: np.ndarray
) -> Callable[[], Figure]:
    """Return what draws a picture of these."""
    return lambda: draw(
        "attention while writing (down) to the source (across)", down, across, weights
    )


def all_usable(rows: Rows, facts: dict[str, Any]) -> Iterator[BadRow]:
    """Accept any text."""
    return iter(())


def one_turn(texts: tf.Tensor) -> tf.RaggedTensor:
    """Take each text, string (B,), for one turn of a conversation, ragged (B, 1)."""
    import tensorflow as tf

    return tf.RaggedTensor.from_tensor(texts[:, None])


def prompted(tokenizer: Tokenizer, ids: tf.RaggedTensor) -> dict[str, tf.Tensor]:
    """Return prompts, ragged (B, None), as a request's features."""
    import tensorflow as tf

    lengths = tf.cast(ids.row_lengths(), tf.int32)
    return {"prompt": ids.to_tensor(tokenizer.pad_id), "prompt_lengths": lengths}


def continued(
    tokenizer: Tokenizer, prompt: tf.RaggedTensor, answer: tf.RaggedTensor
) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Return prompts with their answers as features, and the answers' tokens as labels.

    Args:
        tokenizer: the vocabulary.
        prompt: int32, ragged (B, None).
        answer: int32, ragged (B, None).

    Returns:
        ``token_ids`` and ``padding_mask``, int32 (B, T), and labels, int32 (B, T), each place's
        being the token after it, -1 where that is none of the answer's.
    """
    import tensorflow as tf

    from pipelines.encoding.masking import NOTHING

    whole = tf.concat([prompt, answer], 1)
    nothing = tf.ragged.map_flat_values(lambda ids: tf.fill(tf.shape(ids), NOTHING), prompt)
    labels = tf.concat([nothing, answer], 1)[:, 1:].to_tensor(NOTHING)
    ids = whole[:, :-1]
    mask = tf.sequence_mask(ids.row_lengths(), dtype=tf.int32)
    return {"token_ids": ids.to_tensor(tokenizer.pad_id), "padding_mask": mask}, labels


def labels_as_wide(features: Tensors, offsets: Tensors) -> tf.Tensor:
    """Return the labels, as wide as the ids that they follow were made."""
    import tensorflow as tf

    from pipelines.encoding.masking import NOTHING

    labels = offsets["labels"]
    ids = features["decoder_ids" if "decoder_ids" in features else "token_ids"]
    missing = tf.shape(ids)[1] - tf.shape(labels)[1]
    return tf.pad(labels, [[0, 0], [0, missing]], constant_values=NOTHING)


def spells(tokenizer: Tokenizer, texts: Sequence[str]) -> bool:
    """Return whether a vocabulary can write texts like these.

    It can if, upper and lower case and white space apart, 95 of 100 come back from their tokens,
    and it needs no more than two tokens for a word.

    Example::

        spells(tokenizer, ["¿Dónde está la estación?"])  # False for an English vocabulary
    """
    import tensorflow as tf

    some = list(texts[:: max(1, len(texts) // 500)])
    ids = tokenizer.tokenize(tf.constant(some))
    back = [text.decode("utf-8", "replace") for text in tokenizer.detokenize(ids).numpy()]

    def bare(text: str) -> str:
        return "".join(text.split()).casefold()

    same = sum(bare(a) == bare(b) for a, b in zip(some, back, strict=True))
    words = sum(len(text.split()) for text in some)
    return same >= 0.95 * len(some) and ids.flat_values.shape[0] <= 2 * max(words, 1)


def build(context: Context, backbone: keras.Model) -> keras.Model:
    """Build the network: outputs are logits, (B, U, V) or (B, T, V)."""
    from tfnlp.heads import causal_lm, decoder

    if context.kind == "causal":
        return causal_lm.head(backbone)
    return decoder.head(
        backbone,
        vocabulary_size=context.writes.vocabulary_size,
        shared=context.target is None,
        layers=context.options.decoder_layers,
        positions=context.positions,
    )


def objective(context: Context) -> Objective:
    """Cross-entropy of the target's tokens."""
    from tfnlp.heads.masked_lm import Accuracy, Crossentropy, Perplexity

    loss = Crossentropy(context.options.label_smoothing)
    metrics = [Perplexity(name="perplexity"), Accuracy(name="accuracy")]
    return Objective(loss, metrics, monitor="val_perplexity", mode="min")


def decode(
    context: Context, raw: Tensors, outputs: tf.Tensor, offsets: Tensors
) -> dict[str, tf.Tensor]:
    """Evaluate the predictions of known targets.

    Returns:
        ``target_tokens`` int32 (B,), how many tokens were predicted, ``right`` int32 (B,), ``loss``
        float32 (B,), the sum of their negative log-likelihoods [nats], and ``whole`` int32 (B,), 1
        where the target was predicted to its end, not cut.
    """
    import tensorflow as tf

    from pipelines.encoding import masking

    labels = offsets["labels"]
    there = labels != masking.NOTHING
    outputs = tf.cast(outputs, tf.float32)
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(labels, 0), outputs)
    right = there & (tf.argmax(outputs, -1, tf.int32) == labels)
    return {
        "target_tokens": tf.reduce_sum(tf.cast(there, tf.int32), 1),
        "right": tf.reduce_sum(tf.cast(right, tf.int32), 1),
        "loss": tf.reduce_sum(tf.where(there, loss, 0.0), 1),
        "whole": tf.cast(tf.reduce_any(labels == context.writes.end_id, 1), tf.int32),
    }


def likelihood(answers: Arrays, texts: Sequence[str]) -> tuple[float, int, int] | None:
    """Return the sum of the negative log-likelihoods [nats], and how many tokens and words.

    The end of each text counts as a word, as the models predict it too. Of texts that were cut the
    words that were predicted are not known: they count as many as the others have for their nats.
    """
    if "loss" not in answers:
        return None
    loss, whole = answers["loss"].astype("float64"), answers["whole"] > 0
    words = sum(len(t.split()) + 1 for t, known in zip(texts, whole, strict=True) if known)
    if whole.any():
        words = round(words * loss.sum() / max(loss[whole].sum(), 1e-9))
    return float(loss.sum()), int(answers["target_tokens"].sum()), words
