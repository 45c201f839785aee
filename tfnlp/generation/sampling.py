"""Text written a token at a time, in TensorFlow ops: the same loop in Python and in a SavedModel.

KerasHub's samplers are what this is measured against (tests/reference/test_samplers.py), but do
not serve here: they keep one random state for all calls; their beams keep adding up after an end
token, and count the tokens of a longer prompt as choices of their own, so that an answer depends
on its neighbours in the batch; they cannot be stopped and resumed, as streaming must; and they
write by an XLA op, which the stock TF Serving does not run
(https://github.com/tensorflow/serving/issues/2217). Here an answer is a function of its own row:
its prompt, its settings and its seed.

Prompts of different lengths share a batch, padded on the right. The loop starts after the shortest;
a longer one's own tokens are taken in place of chosen ones until it ends.

Dimensions: B batch, K beams, P tokens of the longest prompt, T of prompt and answer, V vocabulary,
H hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import tensorflow as tf

from tfnlp.generation.answers import answers_in, any_length, before_stop, is_one_of
from tfnlp.generation.keras_ops import portable

NEVER = -1e9  # a log-probability that no sum of others reaches
Tensors: TypeAlias = Mapping[str, tf.Tensor]


class Network(Protocol):
    """What the loops ask of a model."""

    def prefill(self, features: Tensors, room: tf.Tensor) -> tuple[tf.Tensor, Any, Any]:
        """Read the prompts.

        Args:
            features: ``prompt``, int32 (B, P), and what else the model reads (the source).
            room: int32 scalar, how many more tokens will be written.

        Returns:
            Hidden states (B, P, H); the cache, tensors with B rows, to be handed on from step to
            step; and what stays the same for a row in all steps, tensors with B rows.
        """
        ...

    def step(
        self, ids: tf.Tensor, index: tf.Tensor, cache: Any, fixed: Any
    ) -> tuple[tf.Tensor, tf.Tensor, Any]:
        """Read the tokens at position ``index``, int32 (B, 1).

        Returns:
            Logits of the next token, float32 (B, V), hidden states (B, H), and the new cache.
        """
        ...


@dataclass(frozen=True)
class Stop:
    """What ends an answer.

    Attributes:
        ids: tokens that end it and are no part of it.
        pad_id: the token after the end.
        detokenize: ids, ragged (B, None) -> strings (B,), in which stop strings are looked for.
        never: tokens that are no text, such as that for padding, and are never written.
    """

    ids: tuple[int, ...]
    pad_id: int
    detokenize: Callable[[tf.RaggedTensor], tf.Tensor]
    never: tuple[int, ...] = ()


@dataclass(frozen=True)
class Written:
    """Answers.

    Attributes:
        ids: int32 ragged (B, None), without prompts and end tokens; a stop string and what
            follows it are still in them.
        score: float32 (B,), the mean log-probability of its tokens, the end token's among them,
            by the model alone, or of a beam as it was searched for [nats].
    """

    ids: tf.RaggedTensor
    score: tf.Tensor


def prompts(features: Tensors) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the prompts, int32 (B, P), and their lengths, int32 (B,).

    Example::

        ids, lengths = prompts({"prompt": ids, "prompt_lengths": lengths, **source})
    """
    return features["prompt"], features["prompt_lengths"]


# ------------------------------------------------------------------- what logits become


def adjusted(
    logits: tf.Tensor,
    ids: tf.Tensor,
    index: tf.Tensor,
    lengths: tf.Tensor,
    set_: Tensors,
    stop: Stop,
) -> tf.Tensor:
    """Return the logits of the next token, changed as the settings ask.

    Args:
        logits: float32 (B, V).
        ids: int32 (B, T), the tokens so far at positions below ``index``.
        index: int32 scalar, the position to be filled.
        lengths: int32 (B,), tokens of each prompt.
        set_: settings of each row, (B,): ``repetition_penalty``, ``no_repeat_ngram``,
            ``min_tokens``.
        stop: the end tokens, and those that are never written.

    Returns:
        float32 (B, V); `NEVER` for tokens that are forbidden.

    Example::

        token = tf.argmax(adjusted(logits, ids, index, lengths, settings, stop), 1)

    Source: repetition penalty: Keskar et al. 2019, "CTRL", section 4.1
        (https://arxiv.org/abs/1909.05858); n-grams: Paulus et al. 2017, section 2.5
        (https://arxiv.org/abs/1705.04304).
    """
    penalty, ngram = set_["repetition_penalty"], set_["no_repeat_ngram"]
    past = tf.range(tf.shape(ids)[1])[None] < index
    size = tf.shape(logits)[1]

    def penalised() -> tf.Tensor:
        # CTRL divides whatever the sign, which would make a token of negative logit more likely.
        lower = tf.where(logits > 0, logits / penalty[:, None], logits * penalty[:, None])
        return tf.where(_marked(ids, tf.broadcast_to(past, tf.shape(ids)), size), lower, logits)

    # Most requests set none of these: the conditionals save them (B, V) work at every step.
    logits = tf.cond(tf.reduce_any(penalty != 1.0), penalised, lambda: logits)

    def unrepeated() -> tf.Tensor:
        return tf.where(_marked(ids, _would_repeat(ids, index, ngram) & past, size), NEVER, logits)

    logits = tf.cond(tf.reduce_any(ngram > 0), unrepeated, lambda: logits)
    early = (index - lengths < set_["min_tokens"])[:, None]
    forbidden = (early & _among(stop.ids, size)) | _among(stop.never, size)
    return tf.where(forbidden, NEVER, logits)


def _among(ids: tuple[int, ...], size: tf.Tensor) -> tf.Tensor:
    """Return which tokens of the vocabulary are these, bool (1, V)."""
    at = tf.reshape(tf.constant(ids, tf.int32), [-1, 1])
    at = tf.boolean_mask(at, at[:, 0] < size)  # an end may lie beyond it, to be never written
    return (tf.scatter_nd(at, tf.ones_like(at[:, 0]), size[None]) > 0)[None]


def _marked(ids: tf.Tensor, flags: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Return which tokens of the vocabulary stand at flagged positions, bool (B, V)."""
    flagged = tf.where(flags)
    at = tf.stack([flagged[:, 0], tf.cast(tf.gather_nd(ids, flagged), tf.int64)], 1)
    shape = tf.stack([tf.shape(ids, tf.int64)[0], tf.cast(size, tf.int64)])
    return tf.scatter_nd(at, tf.ones_like(at[:, 0], tf.int32), shape) > 0


def _would_repeat(ids: tf.Tensor, index: tf.Tensor, ngram: tf.Tensor) -> tf.Tensor:
    """Return at which positions the token would complete an n-gram again, bool (B, T).

    Position t is one if the n - 1 tokens before it equal the n - 1 tokens before ``index``: to
    write its token once more would repeat the n-gram that ends there.
    """
    total = tf.shape(ids)[1]

    def look(back: tf.Tensor, same: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # The tokens `back` before each position, and before ``index``. What lies before the
        # text is -1 in one and -2 in the other, so that it never matches.
        earlier = tf.pad(ids, [[0, 0], [back, 0]], constant_values=-1)[:, :total]
        last = tf.pad(ids, [[0, 0], [back, 0]], constant_values=-2)[:, index]
        # Rows whose own n-gram is shorter than the batch's longest are compared no further.
        return back + 1, same & ((earlier == last[:, None]) | (back >= ngram)[:, None])

    same = tf.broadcast_to(ngram[:, None] > 0, tf.shape(ids))
    longest = tf.reduce_max(ngram)
    return tf.while_loop(lambda back, same: back < longest, look, (tf.constant(1), same))[1]


def chosen(logits: tf.Tensor, index: tf.Tensor, set_: Tensors) -> tf.Tensor:
    """Return a token for each row, int32 (B,): the most likely one, or a sampled one.

    Sampled is the token of the largest logit with noise of Gumbel's distribution added. The inverse
    of the cumulative distribution takes one random number in place of V, but the rounding of all
    logits, which beside other rows is another one, adds up in it, so that every few hundred tokens
    it would give another one. Here that takes two that are as good to the last digit.

    Args:
        logits: float32 (B, V).
        index: int32 scalar, the position to be filled.
        set_: settings of each row, (B,): ``temperature`` (0 takes the most likely token),
            ``top_k`` (0 keeps all tokens), ``top_p`` and ``seed``, int32, which with the position
            decides the noise.

    Example::

        set_ = {"temperature": [0.8], "top_k": [0], "top_p": [0.9], "seed": [1]}  # tensors
        token = chosen(logits, tf.constant(7), set_)

    Source: top-k: Fan et al. 2018, section 5.4 (https://arxiv.org/abs/1805.04833); top-p: Holtzman
        et al. 2020, section 3.1 (https://arxiv.org/abs/1904.09751); noise: Maddison et al. 2014,
        section 2 (https://arxiv.org/abs/1411.0030).
    """
    best = tf.argmax(logits, 1, tf.int32)
    temperature, top_k, top_p = set_["temperature"], set_["top_k"], set_["top_p"]
    size = tf.shape(logits)[1]

    def sampled() -> tf.Tensor:
        scaled = logits / tf.where(temperature > 0, temperature, 1.0)[:, None]
        wanted = tf.where(top_k > 0, tf.minimum(top_k, size), size)

        def of_k(count: tf.Tensor) -> tf.Tensor:
            # Each row has its own k: sort once for the largest, and cut at each row's k-th logit.
            lowest = tf.gather(tf.math.top_k(scaled, count)[0], wanted - 1, batch_dims=1)
            return tf.where(scaled < lowest[:, None], -float("inf"), scaled)

        most = tf.reduce_max(wanted)
        kept = tf.cond(tf.reduce_any(wanted < size), lambda: of_k(most), lambda: scaled)

        def of_p() -> tf.Tensor:
            shares = tf.nn.softmax(kept)
            ranked = tf.math.top_k(shares, most)[0]
            # A token is needed while those before it sum to less than p: the first always is.
            needed = tf.cumsum(ranked, 1, exclusive=True) < top_p[:, None]
            lowest = tf.reduce_min(tf.where(needed, ranked, 1.0), 1)
            return tf.where(shares < lowest[:, None], -float("inf"), kept)

        kept = tf.cond(tf.reduce_any(top_p < 1.0), of_p, lambda: kept)
        drawn = tf.argmax(kept + _noise(set_["seed"], index, size), 1, tf.int32)
        return tf.where(temperature > 0, drawn, best)

    return tf.cond(tf.reduce_any(temperature > 0), sampled, lambda: best)


def _noise(seeds: tf.Tensor, index: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Return noise of Gumbel's distribution, float32 (B, V), each row's from its seed and place.

    An answer then depends neither on its neighbours nor on where streaming stopped.
    """

    def of_row(seed: tf.Tensor) -> tf.Tensor:
        bits = tf.random.stateless_uniform([size], [seed, index], None, None, tf.uint32)
        # All 32 bits: of the 23 that a float32 between 0 and 1 is made of, the largest of a
        # vocabulary's numbers would be one of a few hundred values.
        uniform = (tf.cast(bits, tf.float32) + 0.5) * 2.0**-32
        return -tf.math.log(-tf.math.log1p(-uniform))

    return tf.map_fn(of_row, seeds, fn_output_signature=tf.TensorSpec([None], tf.float32))


# ------------------------------------------------------------------- one hypothesis a row


@dataclass(frozen=True)
class Sampler:
    """Writes one hypothesis a row, greedy or sampled.

    Attributes:
        network: the model.
        stop: what ends an answer.

    Example::

        written = Sampler(network, stop).write(features, settings)
        texts = stop.detokenize(written.ids)
    """

    network: Network
    stop: Stop

    def begin(self, features: Tensors, settings: Tensors) -> dict[str, Any]:
        """Read the prompts and return the state of the loop, tensors in nested structures.

        Args:
            features: as :meth:`Network.prefill` takes them, and ``prompt_lengths``, int32 (B,).
            settings: of each row, (B,): those of :func:`adjusted` and :func:`chosen`, with
                ``max_tokens`` and ``seed``, int32, and ``stop``, string: stop strings, "||"
                between several.
        """
        ids, lengths = prompts(features)
        room = tf.maximum(tf.reduce_max(lengths + settings["max_tokens"]) - tf.shape(ids)[1], 0)
        with portable():
            _, cache, fixed = self.network.prefill(features, room)
        return {
            "ids": tf.pad(ids, [[0, 0], [0, room]], constant_values=self.stop.pad_id),
            "index": tf.reduce_min(lengths),
            "lengths": lengths,
            "done": settings["max_tokens"] <= 0,
            "written": tf.zeros_like(lengths),
            "total": tf.zeros_like(lengths, tf.float32),
            "cache": cache,
            "fixed": fixed,
            "settings": dict(settings),
        }

    def advance(self, state: dict[str, Any], steps: Any = None) -> dict[str, Any]:
        """Return the state after some more steps, or at the end if ``steps`` is None."""
        moving = ("ids", "index", "done", "written", "total", "cache")
        rest = {name: value for name, value in state.items() if name not in moving}
        loop = {name: state[name] for name in moving}
        last = tf.shape(state["ids"])[1]
        if steps is not None:
            last = tf.minimum(last, state["index"] + steps)

        def more(loop: dict[str, Any]) -> tf.Tensor:
            return (loop["index"] < last) & ~tf.reduce_all(loop["done"])

        def body(loop: dict[str, Any]) -> tuple[dict[str, Any]]:
            return (self._step({**rest, **loop}),)

        (loop,) = tf.while_loop(more, body, (loop,), any_length(loop))
        return {**rest, **loop}

    def _step(self, state: dict[str, Any]) -> dict[str, Any]:
        """Fill one position of every row."""
        ids, index, done, set_ = (state[n] for n in ("ids", "index", "done", "settings"))
        with portable():
            logits, _, cache = self.network.step(
                tf.gather(ids, [index - 1], axis=1), index - 1, state["cache"], state["fixed"]
            )
        changed = adjusted(logits, ids, index, state["lengths"], set_, self.stop)
        token = chosen(changed, index, set_)
        # Rows still inside their prompt take its own token; done rows are padded, so that the
        # batch runs until its slowest row is done.
        in_prompt = index < state["lengths"]
        token = tf.where(in_prompt, ids[:, index], tf.where(done, self.stop.pad_id, token))
        ids = tf.concat([ids[:, :index], token[:, None], ids[:, index + 1 :]], 1)
        # The score is the model's own: of the logits before penalties and temperature.
        likely = tf.gather(tf.nn.log_softmax(logits), token, batch_dims=1)
        new = ~in_prompt & ~done
        written = state["written"] + tf.cast(new, tf.int32)
        ended = is_one_of(token, self.stop.ids) | (written >= set_["max_tokens"])
        done = done | (new & ended)
        done = done | (new & self._stopped(ids, index, state["lengths"], set_["stop"]))
        total = state["total"] + tf.where(new, likely, 0.0)
        return {
            "ids": ids,
            "index": index + 1,
            "done": done,
            "written": written,
            "total": total,
            "cache": cache,
        }

    def _stopped(
        self, ids: tf.Tensor, index: tf.Tensor, lengths: tf.Tensor, stop: tf.Tensor
    ) -> tf.Tensor:
        """Return which answers have a stop string, bool (B,)."""

        def look() -> tf.Tensor:
            # Whole texts, as a stop string may begin inside a token and end in another.
            texts = self.stop.detokenize(answers_in(ids[:, : index + 1], lengths, self.stop.ids))
            return texts != before_stop(texts, stop)

        nowhere = tf.zeros_like(lengths, tf.bool)
        return tf.cond(tf.reduce_any(stop != ""), look, lambda: nowhere)

    def end(self, state: dict[str, Any]) -> Written:
        """Return what the state holds, finished or not."""
        ids = state["ids"][:, : state["index"]]
        answers = answers_in(ids, state["lengths"], self.stop.ids, state["written"])
        return Written(
            answers, state["total"] / tf.maximum(tf.cast(state["written"], tf.float32), 1)
        )

    def write(self, features: Tensors, settings: Tensors) -> Written:
        """Write whole answers; the arguments are those of :meth:`begin`."""
        return self.end(self.advance(self.begin(features, settings)))
