"""Text written a token at a time, in TensorFlow ops: the same loop in Python and in a SavedModel.

KerasHub's samplers are what this is measured against (tests/reference/test_samplers.py), but do
not serve here: they keep one random state for all calls; their beams go on adding up behind an
end token, and take the tokens of a longer prompt for choices of their own, so that an answer
depends on its neighbours in the batch; they cannot be stopped and taken up again, as streaming
must; and they write by an XLA op, which the stock TF Serving does not run
(https://github.com/tensorflow/serving/issues/2217). Here an answer is a function of its own row:
its prompt, its settings and its seed.

Prompts of different lengths stand side by side, filled up on the right. The loop starts behind the
shortest; a longer one's own tokens are taken in place of chosen ones until it ends.

Dimensions: B batch, K beams, P tokens of the longest prompt, T of prompt and answer, V vocabulary,
H hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import tensorflow as tf

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
        """Read the tokens at place ``index``, int32 (B, 1).

        Returns:
            Logits of what follows, float32 (B, V), hidden states (B, H), and the new cache.
        """
        ...


@dataclass(frozen=True)
class Stop:
    """What ends an answer.

    Attributes:
        ids: tokens that end it and are no part of it.
        pad_id: the token behind the end.
        detokenize: ids, ragged (B, None) -> strings (B,), in which stop strings are looked for.
    """

    ids: tuple[int, ...]
    pad_id: int
    detokenize: Callable[[tf.RaggedTensor], tf.Tensor]


@dataclass(frozen=True)
class Written:
    """Answers.

    Attributes:
        ids: int32 ragged (B, None), without prompts and end tokens; a stop string and what stands
            behind it is still there.
        score: float32 (B,), the mean log-probability of its tokens, the end token's among them,
            by the model alone, or of a beam as it was searched for [nats].
    """

    ids: tf.RaggedTensor
    score: tf.Tensor


def prompts(features: Tensors) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the prompts, int32 (B, P), and their lengths, int32 (B,)."""
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
    """Change the logits of the next token as the settings ask.

    Args:
        logits: float32 (B, V).
        ids: int32 (B, T), the tokens so far at places below ``index``.
        index: int32 scalar, the place to be filled.
        lengths: int32 (B,), tokens of each prompt.
        set_: settings of each row, (B,): ``repetition_penalty``, ``no_repeat_ngram``,
            ``min_tokens``.
        stop: the end tokens.

    Source: repetition penalty: Keskar et al. 2019, "CTRL", section 4.1
        (https://arxiv.org/abs/1909.05858); n-grams: Paulus et al. 2017, section 2.5
        (https://arxiv.org/abs/1705.04304).
    """
    penalty, ngram = set_["repetition_penalty"], set_["no_repeat_ngram"]
    there = tf.range(tf.shape(ids)[1])[None] < index
    size = tf.shape(logits)[1]

    def penalised() -> tf.Tensor:
        lower = tf.where(logits > 0, logits / penalty[:, None], logits * penalty[:, None])
        return tf.where(_marked(ids, tf.broadcast_to(there, tf.shape(ids)), size), lower, logits)

    logits = tf.cond(tf.reduce_any(penalty != 1.0), penalised, lambda: logits)

    def unrepeated() -> tf.Tensor:
        return tf.where(_marked(ids, _would_repeat(ids, index, ngram) & there, size), NEVER, logits)

    logits = tf.cond(tf.reduce_any(ngram > 0), unrepeated, lambda: logits)
    early = (index - lengths < set_["min_tokens"])[:, None]
    ends = tf.reduce_any(tf.one_hot(stop.ids, size, True, False, dtype=tf.bool), 0)[None]
    return tf.where(early & ends, NEVER, logits)


def _marked(ids: tf.Tensor, flags: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Mark the tokens that stand at flagged places, bool (B, V)."""
    places = tf.where(flags)
    at = tf.stack([places[:, 0], tf.cast(tf.gather_nd(ids, places), tf.int64)], 1)
    shape = tf.stack([tf.shape(ids, tf.int64)[0], tf.cast(size, tf.int64)])
    return tf.scatter_nd(at, tf.ones_like(at[:, 0], tf.int32), shape) > 0


def _would_repeat(ids: tf.Tensor, index: tf.Tensor, ngram: tf.Tensor) -> tf.Tensor:
    """Flag the places whose token would complete an n-gram for the second time, bool (B, T)."""
    total = tf.shape(ids)[1]

    def look(back: tf.Tensor, same: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        earlier = tf.pad(ids, [[0, 0], [back, 0]], constant_values=-1)[:, :total]
        last = tf.pad(ids, [[0, 0], [back, 0]], constant_values=-2)[:, index]
        return back + 1, same & ((earlier == last[:, None]) | (back >= ngram)[:, None])

    same = tf.broadcast_to(ngram[:, None] > 0, tf.shape(ids))
    longest = tf.reduce_max(ngram)
    return tf.while_loop(lambda back, same: back < longest, look, (tf.constant(1), same))[1]


def chosen(logits: tf.Tensor, uniform: tf.Tensor, set_: Tensors) -> tf.Tensor:
    """Choose a token a row: the likeliest, or one by chance.

    Args:
        logits: float32 (B, V).
        uniform: float32 (B,), a random number from 0 to 1.
        set_: settings of each row, (B,): ``temperature`` (0 takes the likeliest), ``top_k`` (0
            takes all) and ``top_p``.

    Source: top-k: Fan et al. 2018, section 5.4 (https://arxiv.org/abs/1805.04833); top-p: Holtzman
        et al. 2020, section 3.1 (https://arxiv.org/abs/1904.09751).
    """
    best = tf.argmax(logits, 1, tf.int32)
    temperature, top_k, top_p = set_["temperature"], set_["top_k"], set_["top_p"]
    size = tf.shape(logits)[1]

    def by_chance() -> tf.Tensor:
        scaled = logits / tf.where(temperature > 0, temperature, 1.0)[:, None]
        wanted = tf.where(top_k > 0, tf.minimum(top_k, size), size)

        def of_k(count: tf.Tensor) -> tf.Tensor:
            lowest = tf.gather(tf.math.top_k(scaled, count)[0], wanted - 1, batch_dims=1)
            return tf.where(scaled < lowest[:, None], -float("inf"), scaled)

        most = tf.reduce_max(wanted)
        kept = tf.cond(tf.reduce_any(wanted < size), lambda: of_k(most), lambda: scaled)
        shares = tf.nn.softmax(kept)

        def of_p() -> tf.Tensor:
            ranked = tf.math.top_k(shares, most)[0]
            needed = tf.cumsum(ranked, 1, exclusive=True) < top_p[:, None]
            lowest = tf.reduce_min(tf.where(needed, ranked, 1.0), 1)
            return tf.where(shares < lowest[:, None], 0.0, shares)

        shares = tf.cond(tf.reduce_any(top_p < 1.0), of_p, lambda: shares)
        reached = tf.cumsum(shares, 1)
        mark = uniform[:, None] * reached[:, -1:]
        drawn = tf.reduce_sum(tf.cast(reached <= mark, tf.int32), 1)
        return tf.where(temperature > 0, tf.minimum(drawn, size - 1), best)

    return tf.cond(tf.reduce_any(temperature > 0), by_chance, lambda: best)


# ------------------------------------------------------------------- one hypothesis a row


@dataclass(frozen=True)
class Sampler:
    """Writes one hypothesis a row: greedily, or by chance.

    Attributes:
        network: the model.
        stop: what ends an answer.
    """

    network: Network
    stop: Stop

    def begin(self, features: Tensors, settings: Tensors) -> dict[str, Any]:
        """Read the prompts; returns the state of the loop, tensors in nested structures.

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
        random = tf.map_fn(
            lambda seed: tf.random.stateless_uniform([tf.shape(ids)[1] + room], [seed, 0]),
            settings["seed"],
            fn_output_signature=tf.TensorSpec([None], tf.float32),
        )
        return {
            "ids": tf.pad(ids, [[0, 0], [0, room]], constant_values=self.stop.pad_id),
            "index": tf.reduce_min(lengths),
            "lengths": lengths,
            "done": settings["max_tokens"] <= 0,
            "written": tf.zeros_like(lengths),
            "total": tf.zeros_like(lengths, tf.float32),
            "random": random,
            "cache": cache,
            "fixed": fixed,
            "settings": dict(settings),
        }

    def advance(self, state: dict[str, Any], steps: Any = None) -> dict[str, Any]:
        """Go on for some steps, or to the end; returns the new state."""
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
        """Fill one place of every row."""
        ids, index, done, set_ = (state[n] for n in ("ids", "index", "done", "settings"))
        with portable():
            logits, _, cache = self.network.step(
                tf.gather(ids, [index - 1], axis=1), index - 1, state["cache"], state["fixed"]
            )
        changed = adjusted(logits, ids, index, state["lengths"], set_, self.stop)
        token = chosen(changed, tf.gather(state["random"], index, axis=1), set_)
        given = index < state["lengths"]
        token = tf.where(given, ids[:, index], tf.where(done, self.stop.pad_id, token))
        ids = tf.concat([ids[:, :index], token[:, None], ids[:, index + 1 :]], 1)
        likely = tf.gather(tf.nn.log_softmax(logits), token, batch_dims=1)
        new = ~given & ~done
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
        """Say in which answers there is a stop string, bool (B,)."""

        def look() -> tf.Tensor:
            texts = self.stop.detokenize(answers_in(ids[:, : index + 1], lengths, self.stop.ids))
            return texts != before_stop(texts, stop)

        nowhere = tf.zeros_like(lengths, tf.bool)
        return tf.cond(tf.reduce_any(stop != ""), look, lambda: nowhere)

    def end(self, state: dict[str, Any]) -> Written:
        """Return what the state holds, finished or not."""
        ids = state["ids"][:, : state["index"]]
        found = answers_in(ids, state["lengths"], self.stop.ids, state["written"])
        return Written(found, state["total"] / tf.maximum(tf.cast(state["written"], tf.float32), 1))

    def write(self, features: Tensors, settings: Tensors) -> Written:
        """Write whole answers; the arguments are those of :meth:`begin`."""
        return self.end(self.advance(self.begin(features, settings)))


def any_length(loop: Any) -> Any:
    """Let every tensor of a loop have any shape of its rank: Keras forgets some sizes."""
    return (tf.nest.map_structure(lambda t: tf.TensorShape([None] * t.shape.rank), loop),)


def is_one_of(tokens: tf.Tensor, ids: tuple[int, ...]) -> tf.Tensor:
    """Say which tokens are among these, bool of their shape."""
    return tf.reduce_any(tokens[..., None] == tf.constant(ids, tf.int32), -1)


def answers_in(
    ids: tf.Tensor, lengths: tf.Tensor, ends: tuple[int, ...], written: tf.Tensor | None = None
) -> tf.RaggedTensor:
    """Cut answers out of rows of prompt and answer: up to the first end token.

    Args:
        ids: int32 (B, T).
        lengths: int32 (B,), tokens of the prompts.
        ends: end tokens.
        written: int32 (B,), tokens written, if not all that stand behind the prompts.
    """
    place = tf.range(tf.shape(ids)[1])[None]
    behind = place >= lengths[:, None]
    ended = tf.cumsum(tf.cast(behind & is_one_of(ids, ends), tf.int32), 1) > 0
    kept = behind & ~ended
    if written is not None:
        kept &= place < (lengths + written)[:, None]
    return tf.ragged.boolean_mask(ids, kept)


def before_stop(texts: tf.Tensor, stop: tf.Tensor) -> tf.Tensor:
    """Cut each text, string (B,), before the first of its stop strings, "||" between several."""

    def cut(pair: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        text, words = pair
        words = tf.strings.regex_replace(words, r"^(?:\|\|)+|(?:\|\|)+$", "")
        words = tf.strings.regex_replace(words, r"(?:\|\|)+", r"\\E|\\Q")
        pattern = tf.strings.join([r"(?s)(?:\Q", words, r"\E).*"])
        return tf.raw_ops.RegexReplace(
            input=text, pattern=pattern, rewrite="", replace_global=False
        )

    def each() -> tf.Tensor:
        found = tf.map_fn(cut, (texts, stop), fn_output_signature=tf.string)
        return tf.where(stop == "", texts, found)

    return tf.cond(tf.reduce_any(stop != ""), each, lambda: texts)
