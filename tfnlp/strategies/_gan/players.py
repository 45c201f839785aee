"""A generator trained against a discriminator, from the weights that likelihood gave it.

The generator writes texts; the discriminator learns to tell them, after each token, from real
ones; and tokens after which a text passes for real become more likely, by the policy gradient. Its
baseline is the mean over the batch at each place, so that none has to be learned.

Source: de Masson d'Autume et al. 2019, "Training language GANs from scratch", sections 3.1 and 3.2
    (https://arxiv.org/abs/1905.09922): rewards 2 D - 1 after each token, discounted; Yu et al.
    2017, "SeqGAN" (https://arxiv.org/abs/1609.05473): likelihood first, then the discriminator
    alone, then both; Kool et al. 2019, "Buy 4 REINFORCE samples, get a baseline for free"
    (https://openreview.net/forum?id=r1lgTGL5DE).

Dimensions: N rows, B batch, T tokens, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.encoding import prompts
from pipelines.encoding.masking import NOTHING
from tfnlp.extensions import Batch, Step
from tfnlp.generation import sampling, signatures
from tfnlp.generation.answers import answers_in, is_one_of
from tfnlp.strategies._gan import discriminator
from tfnlp.task import Context

if TYPE_CHECKING:
    from tfnlp.strategies.gan import Options

_JUDGED = ("discriminator_loss", "discriminator_accuracy")
_IMPROVED = ("generator_loss", "reward", "entropy")


class Writer:
    """Generates texts without a prompt, by the cached loop.

    Args:
        context: the task's.
        network: token_ids, padding_mask (B, T) -> logits (B, T, V).

    Example::

        writer = Writer(model.context, model.network)
        writer.texts(writer.rows(8, temperature=1.0, seed=42))
    """

    def __init__(self, context: Context, network: keras.Model) -> None:
        self.length = context.max_length
        self.stop = signatures.ends(context, network)
        self.start = prompts.document_id(context.tokenizer)
        sampler = sampling.Sampler(signatures.cached(context, network), self.stop)
        neutral = {
            "max_tokens": self.length,
            "min_tokens": 0,
            "repetition_penalty": 1.0,
            "no_repeat_ngram": 0,
            "top_k": 0,
            "top_p": 1.0,
            "stop": "",
        }

        @tf.function(
            input_signature=[tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.float32)],
            autograph=False,
        )
        def write(seeds: tf.Tensor, temperature: tf.Tensor) -> tf.Tensor:
            settings = {name: tf.fill(tf.shape(seeds), value) for name, value in neutral.items()}
            settings |= {"seed": seeds, "temperature": tf.fill(tf.shape(seeds), temperature)}
            lengths = tf.ones_like(seeds)
            begun = {"prompt": tf.fill([tf.size(seeds), 1], self.start), "prompt_lengths": lengths}
            ids = sampler.advance(sampler.begin(begun, settings))["ids"]
            return tf.ensure_shape(ids, [None, self.length + 1])

        self.write = write

    def rows(self, count: int, temperature: float, seed: int, batch: int = 256) -> np.ndarray:
        """Write texts, int32 (count, T + 1): start, tokens, end, padding."""
        seeds = np.random.default_rng((seed, count)).integers(2**31, size=count).astype(np.int32)
        parts = [seeds[i : i + batch] for i in range(0, count, batch)]
        return np.concatenate([self.write(p, tf.constant(temperature)).numpy() for p in parts])

    def texts(self, ids: np.ndarray) -> list[str]:
        """Turn rows, int32 (N, T + 1), into N strings."""
        answers = answers_in(ids, tf.ones(len(ids), tf.int32), self.stop.ids)
        return [text.decode("utf-8", "replace") for text in self.stop.detokenize(answers).numpy()]

    def inside(self, ids: tf.Tensor) -> tf.Tensor:
        """Return which tokens after the start are the text's or its end: bool (B, T)."""
        ended = tf.cast(is_one_of(ids[:, 1:], self.stop.ids), tf.int32)
        return tf.cumsum(ended, 1, exclusive=True) == 0


class Adversarial(Step):
    """A step of generator and discriminator, which have optimizers of their own.

    The generator is evaluated by a discriminator that has not learned from these very texts.

    Args:
        context: the task's.
        options: of the strategy.
        seed: where every random choice starts from.

    Example::

        trainer.fit(Adversarial(model.context, Options(), seed=42), train=source, name="gan")
    """

    remedy = "lower --gan-generator-rate or --gan-discriminator-rate"

    def __init__(self, context: Context, options: Options, seed: int) -> None:
        self.context = context
        self.options = options
        self.seed = seed

    @property
    def taken(self) -> int:
        """How many steps have been taken."""
        return int(self.count.numpy())

    def build(self, network: keras.Model, total_rows: int) -> None:
        """Make the discriminator and the optimizers."""
        options, size = self.options, self.context.tokenizer.vocabulary_size
        self.writer = Writer(self.context, network)
        self.generator = network
        self.discriminator = discriminator.head(size, self.context.max_length)
        rates = {
            "generator": options.generator_rate,
            "discriminator": options.discriminator_rate,
        }
        self.optimizers = [
            keras.optimizers.Adam(rate, beta_1=0.5, global_clipnorm=1.0, name=name)
            for name, rate in rates.items()
        ]
        for model, optimizer in zip((network, self.discriminator), self.optimizers, strict=True):
            optimizer.build(model.trainable_variables)
        self.count = tf.Variable(0, trainable=False, dtype=tf.int64)
        own = [v for holder in (self.discriminator, *self.optimizers) for v in holder.variables]
        self.variables = [self.count, *own]
        self.means = {name: keras.metrics.Mean(name) for name in (*_JUDGED, *_IMPROVED)}
        self.metrics = list(self.means.values())

    def gradients(self, network: Any, batch: Batch) -> tuple[tf.Tensor, Any, list[Any]]:
        """Train both on one batch, by their own optimizers."""
        real = self.real(batch)
        seeds = tf.random.stateless_uniform(
            tf.shape(real)[:1], [self.seed, self.count], 0, 2**31 - 1, tf.int32
        )
        written = self.writer.write(seeds, tf.constant(1.0))
        # A loop's states come without the gradients that nobody asks for.
        loss = tf.cond(
            self.count >= self.options.warmup,
            lambda: self._counted(self.improve(written))["generator_loss"],
            lambda: tf.constant(0.0),
        )
        loss += self._counted(self.judge(real, written))["discriminator_loss"]
        return loss, None, [None] * len(network.trainable_weights)

    def updated(self, network: Any, batch: Batch) -> None:
        """Count the step."""
        self.count.assign_add(1)

    def real(self, batch: Batch) -> tf.Tensor:
        """Return a batch's texts, int32 (B, T + 1), padded with the pad id."""
        first, after = batch.x["token_ids"][:, :1], batch.y
        pad = self.context.tokenizer.pad_id
        ids = tf.concat([first, tf.where(after == NOTHING, pad, after)], 1)
        missing = self.writer.length + 1 - tf.shape(ids)[1]
        padded = tf.pad(ids, [[0, 0], [0, missing]], constant_values=pad)
        return tf.ensure_shape(padded, [None, self.writer.length + 1])

    def _counted(self, found: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Add a batch's figures to the metrics."""
        for name, value in found.items():
            self.means[name].update_state(value)
        return found

    def verdicts(self, ids: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Classify texts, int32 (B, T + 1): logits and which places count, float32 (B, T) each."""
        inside = tf.cast(self.writer.inside(ids), tf.int32)
        features = {"token_ids": ids[:, 1:], "padding_mask": inside}
        return self.discriminator(features, training=training), tf.cast(inside, tf.float32)

    def judge(self, real: tf.Tensor, written: tf.Tensor) -> dict[str, tf.Tensor]:
        """Teach the discriminator to tell real from written texts, int32 (B, T + 1) each."""
        truth = tf.repeat(tf.constant([1.0, 0.0]), [tf.shape(real)[0], tf.shape(written)[0]])[
            :, None
        ]
        variables = self.discriminator.trainable_variables
        with tf.GradientTape() as tape:
            logits, there = self.verdicts(tf.concat([real, written], 0), training=True)
            labels = tf.broadcast_to(truth, tf.shape(logits))
            losses = tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)
            loss = _mean(losses, there)
        self.optimizers[1].apply(tape.gradient(loss, variables), variables)
        right = tf.cast((logits > 0) == (labels > 0.5), tf.float32)
        return {"discriminator_loss": loss, "discriminator_accuracy": _mean(right, there)}

    def improve(self, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """Make tokens more likely that the discriminator takes for real, int32 (B, T + 1)."""
        logits, there = self.verdicts(ids)
        rewards = (2 * tf.sigmoid(logits) - 1) * there
        place = np.arange(self.writer.length)
        later = place[:, None] - place[None]  # [s, t]: a reward at s, looked at from t
        counts = np.where(later >= 0, self.options.discount ** np.maximum(later, 0), 0.0)
        returns = rewards @ tf.constant(counts, tf.float32)
        rows = tf.maximum(tf.reduce_sum(there, 0, keepdims=True), 1.0)
        advantage = (returns - tf.reduce_sum(returns * there, 0, keepdims=True) / rows) * there
        loss, likelihood = self.push(ids, there, advantage)
        return {
            "generator_loss": loss,
            "reward": _mean(rewards, there),
            "entropy": -_mean(likelihood, there),
        }

    def push(
        self, ids: tf.Tensor, there: tf.Tensor, advantage: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Take one step of the policy gradient.

        Args:
            ids: texts written at temperature 1, int32 (B, T + 1).
            there: which tokens count, float32 (B, T).
            advantage: how much better than others each was, float32 (B, T).

        Returns:
            The loss, a scalar, and the tokens' log-probabilities, float32 (B, T).

        Source: Williams 1992, "Simple statistical gradient-following algorithms for connectionist
            reinforcement learning", section 4.
        """
        read = tf.concat([tf.ones_like(there[:, :1]), there[:, :-1]], 1)
        features = {"token_ids": ids[:, :-1], "padding_mask": tf.cast(read, tf.int32)}
        variables = self.generator.trainable_variables
        with tf.GradientTape() as tape:
            # Without dropout: these are the probabilities by which the tokens were chosen.
            logits = tf.cast(self.generator(features, training=False), tf.float32)
            likelihood = -tf.nn.sparse_softmax_cross_entropy_with_logits(ids[:, 1:], logits)
            loss = -_mean(advantage * likelihood, there)
        self.optimizers[0].apply(tape.gradient(loss, variables), variables)
        return loss, likelihood


def _mean(values: tf.Tensor, there: tf.Tensor) -> tf.Tensor:
    """Average over the places that count, float32 (B, T) each."""
    return tf.reduce_sum(values * there) / tf.maximum(tf.reduce_sum(there), 1.0)
