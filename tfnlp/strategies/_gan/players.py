"""A generator trained against a discriminator, from the weights that likelihood gave it.

The generator writes texts; the discriminator learns to tell them, after each token, from real
ones; and tokens behind which a text is taken for real become likelier, by the policy gradient. Its
baseline is the mean over the batch at each place, so that none has to be learned.

What decides the rest of a run is the weights of both, their optimizers and dropout's generators,
and the number of steps done: which rows and which random numbers a step takes is a function of
(seed, step). All that is in a checkpoint.

Source: de Masson d'Autume et al. 2019, "Training language GANs from scratch", sections 3.1 and 3.2
    (https://arxiv.org/abs/1905.09922): rewards 2 D - 1 after each token, discounted; Yu et al.
    2017, "SeqGAN" (https://arxiv.org/abs/1609.05473): likelihood first, then the discriminator
    alone, then both; Kool et al. 2019, "Buy 4 REINFORCE samples, get a baseline for free"
    (https://openreview.net/forum?id=r1lgTGL5DE).

Dimensions: N rows, B batch, T tokens, V vocabulary.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.encoding import prompts
from pipelines.errors import UserError
from tfnlp.generation import sampling, signatures
from tfnlp.runtime.signals import Interrupted, caught
from tfnlp.strategies._gan import discriminator
from tfnlp.task import Context
from tfnlp.training import checkpoints

log = logging.getLogger(__name__)

GO_ON = "the same command with --resume goes on"
MEASURE = "reverse_perplexity"  # what decides which weights of the generator are kept; less is more


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes:
        steps: in all, the discriminator's first ones among them.
        warmup: steps in which the discriminator alone learns.
        evaluate_every: steps between evaluations.
        batch_size: B, texts written in a step, and real ones.
        generator_rate: its learning rate.
        discriminator_rate: its learning rate.
        discount: what a reward one token later counts, relative to one now.
        seed: where every random choice starts from.
        minutes: time between checkpoints; each evaluation also ends with one [min].
    """

    steps: int
    warmup: int
    evaluate_every: int
    batch_size: int
    generator_rate: float
    discriminator_rate: float
    discount: float
    seed: int
    minutes: float


@dataclass
class State:
    """Where the training stands.

    Attributes:
        step: steps done.
        history: of each evaluation the step, what was measured and the means since the last one.
        best: the least of `MEASURE` since the generator has been trained.
        best_step: after which step; its weights are in ``best-<step>``.
    """

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: float | None = None
    best_step: int = 0


class Writer:
    """Writes texts from nothing, by the cached loop.

    Args:
        context: the task's.
        network: token_ids, padding_mask (B, T) -> logits (B, T, V).
    """

    def __init__(self, context: Context, network: keras.Model) -> None:
        self.length = context.max_length
        self.stop = signatures.ends(context)
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
        answers = sampling.answers_in(ids, tf.ones(len(ids), tf.int32), self.stop.ids)
        return [text.decode("utf-8", "replace") for text in self.stop.detokenize(answers).numpy()]

    def inside(self, ids: tf.Tensor) -> tf.Tensor:
        """Say which tokens behind the start are the text's or its end: bool (B, T)."""
        ended = tf.cast(sampling.is_one_of(ids[:, 1:], self.stop.ids), tf.int32)
        return tf.cumsum(ended, 1, exclusive=True) == 0


class Players:
    """A generator and its discriminator, with their optimizers.

    Args:
        context: the task's.
        network: the generator, token_ids, padding_mask (B, T) -> logits (B, T, V).
        settings: how they are trained.
    """

    def __init__(self, context: Context, network: keras.Model, settings: Settings) -> None:
        # Keras draws the seeds of weights and dropout from here. Its own set_random_seed empties
        # TensorFlow's cache of kernels, and with it goes a SentencePiece tokenizer's resource.
        random.seed(settings.seed)
        self.settings = settings
        self.writer = Writer(context, network)
        self.generator = network
        size, length = context.tokenizer.vocabulary_size, context.max_length
        self.discriminator = discriminator.head(size, length)
        self.optimizers = [
            keras.optimizers.Adam(rate, beta_1=0.5, global_clipnorm=1.0, name=name)
            for name, rate in {
                "generator": settings.generator_rate,
                "discriminator": settings.discriminator_rate,
            }.items()
        ]
        for model, optimizer in zip(self.models, self.optimizers, strict=True):
            optimizer.build(model.trainable_variables)
        ids = tf.TensorSpec([None, length + 1], tf.int32)
        self.judge = tf.function(self._judge, [ids, ids], autograph=False)
        self.improve = tf.function(self._improve, [ids], autograph=False)

    @property
    def models(self) -> tuple[keras.Model, keras.Model]:
        """The generator and the discriminator."""
        return self.generator, self.discriminator

    @property
    def variables(self) -> list[tf.Variable]:
        """Everything that decides how training goes on."""
        return _values(*self.models, *self.optimizers)

    def step(self, rows: np.ndarray, step: int) -> dict[str, float]:
        """Train both on one batch; returns what it showed.

        The generator is judged by a discriminator that has not learned from these very texts.

        Args:
            rows: real ones, int32 (N, T + 1), padded with the pad id.
            step: steps done.
        """
        size = self.settings.batch_size
        chance = np.random.default_rng((self.settings.seed, step))
        real = rows[chance.integers(len(rows), size=size)]
        seeds = chance.integers(2**31, size=size).astype(np.int32)
        written = self.writer.write(seeds, tf.constant(1.0))
        found = self.improve(written) if step >= self.settings.warmup else {}
        found |= self.judge(real, written)
        return {name: float(value) for name, value in found.items()}

    def verdicts(self, ids: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Judge texts, int32 (B, T + 1): logits and which places count, float32 (B, T) each."""
        inside = tf.cast(self.writer.inside(ids), tf.int32)
        features = {"token_ids": ids[:, 1:], "padding_mask": inside}
        return self.discriminator(features, training=training), tf.cast(inside, tf.float32)

    def _judge(self, real: tf.Tensor, written: tf.Tensor) -> dict[str, tf.Tensor]:
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

    def _improve(self, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """Make likelier what the discriminator takes for real in texts written, (B, T + 1)."""
        logits, there = self.verdicts(ids)
        rewards = (2 * tf.sigmoid(logits) - 1) * there
        place = np.arange(self.writer.length)
        later = place[:, None] - place[None]  # [s, t]: a reward at s, looked at from t
        counts = np.where(later >= 0, self.settings.discount ** np.maximum(later, 0), 0.0)
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


def train(
    players: Players,
    rows: np.ndarray,
    measure: Callable[[], dict[str, float]],
    folder: Path,
    *,
    resume: bool,
    log_scalars: Callable[[int, Mapping[str, float]], None],
) -> State:
    """Train; the generator ends with the weights that `MEASURE` was least for.

    Args:
        players: the generator trained by likelihood, the discriminator not at all.
        rows: real texts, int32 (N, T + 1), padded with the pad id.
        measure: measures what the generator writes; the same for the same weights.
        folder: where checkpoints are kept.
        resume: go on from the newest whole one, if there is one.
        log_scalars: (steps done, scalars by name) -> writes them.

    Raises:
        Interrupted: SIGTERM or SIGINT came; the state was saved first.
        UserError: a loss became NaN or infinite, or a checkpoint cannot be written.
    """
    settings, state = players.settings, State()
    with caught(f" after the last adversarial step; {GO_ON}") as signals, signals.held():
        if resume:
            _load(players, state, folder)
        if not state.history:  # what likelihood alone gave
            _evaluate(players, state, measure(), folder, log_scalars)
        saved_at = time.monotonic()
        while state.step < settings.steps:
            found = players.step(rows, state.step)
            state.step += 1
            _check(found, state.step, folder)
            log_scalars(state.step, found)
            due = state.step % settings.evaluate_every == 0 or state.step == settings.steps
            if due:
                _evaluate(players, state, {**found, **measure()}, folder, log_scalars)
            if due or signals.noted or time.monotonic() - saved_at >= 60 * settings.minutes:
                _save(players, state, folder)
                saved_at = time.monotonic()
            if signals.noted:
                raise Interrupted(signals.noted, f" at adversarial step {state.step}; {GO_ON}")
        if state.best_step:
            best = folder / f"best-{state.best_step}"
            checkpoints.restore(best, _values(players.generator))
    return state


def _evaluate(
    players: Players,
    state: State,
    measured: dict[str, float],
    folder: Path,
    log_scalars: Callable[[int, Mapping[str, float]], None],
) -> None:
    """Note what was measured; keep the weights if the generator has never been better."""
    state.history.append({"step": state.step, **measured})
    log_scalars(state.step, measured)
    value = measured[MEASURE]
    if state.step > players.settings.warmup and (state.best is None or value < state.best):
        state.best, state.best_step = value, state.step
        best = folder / f"best-{state.step}"
        checkpoints.write(best, _values(players.generator), {"step": state.step})


def _check(found: Mapping[str, float], step: int, folder: Path) -> None:
    """Raise UserError rather than go on with what is no number."""
    for name, value in found.items():
        if not math.isfinite(value):
            newest = checkpoints.newest(folder, "step-")
            raise UserError(
                f"the {name.replace('_', ' ')} became {value} at adversarial step {step}; the last "
                f"good checkpoint is {newest} (lower --gan-generator-rate or "
                "--gan-discriminator-rate)"
            )


def _save(players: Players, state: State, folder: Path) -> None:
    """Write a checkpoint, then drop those before the last two, and best weights not named."""
    checkpoints.write(folder / f"step-{state.step}", players.variables, asdict(state))
    kept = checkpoints.listed(folder, "step-")[-2:]
    best = {f"best-{checkpoints.read_state(f)['best_step']}" for f in kept}
    checkpoints.drop(folder, {f.name for f in kept} | best)


def _load(players: Players, state: State, folder: Path) -> None:
    """Set all from the newest checkpoint that is whole, its best weights too."""
    for found in reversed(checkpoints.listed(folder, "step-")):
        if checkpoints.whole(found):
            saved: dict[str, Any] = checkpoints.read_state(found)
            if not saved["best_step"] or checkpoints.whole(folder / f"best-{saved['best_step']}"):
                checkpoints.restore(found, players.variables)
                for name, value in saved.items():
                    setattr(state, name, value)
                return
        log.warning("the checkpoint %s is damaged; the one before it is taken", found)


def _mean(values: tf.Tensor, there: tf.Tensor) -> tf.Tensor:
    """Average over the places that count, float32 (B, T) each."""
    return tf.reduce_sum(values * there) / tf.maximum(tf.reduce_sum(there), 1.0)


def _values(*holders: Any) -> list[tf.Variable]:
    """The TensorFlow variables of models and optimizers, each once, in order."""
    every = [v.value for holder in holders for v in holder.variables]
    return list({id(v): v for v in every}.values())
