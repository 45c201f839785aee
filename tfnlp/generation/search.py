"""Beam search and contrastive search: several hypotheses a row, in TensorFlow ops.

Dimensions: B batch, K hypotheses of a row, T tokens of prompt and answer, V vocabulary, H hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tfnlp.generation import sampling
from tfnlp.generation.answers import answers_in, any_length, is_one_of
from tfnlp.generation.keras_ops import portable
from tfnlp.generation.sampling import NEVER, Network, Stop, Tensors, Written


def _spread(values: Any, times: tf.Tensor) -> Any:
    """Repeat every row of tensors in nested structures: (B, ...) -> (B * K, ...).

    A row's hypotheses are adjacent, so that (B * K, ...) reshapes to (B, K, ...).
    """
    return tf.nest.map_structure(lambda value: tf.repeat(value, times, 0), values)


def _taken(values: Any, which: tf.Tensor) -> Any:
    """Take hypotheses: (B * K, ...) and their numbers in each row, (B, N) -> (B * N, ...)."""
    first = tf.range(tf.shape(which)[0])[:, None]

    def take(value: tf.Tensor) -> tf.Tensor:
        each = tf.shape(value)[0] // tf.shape(which)[0]
        return tf.gather(value, tf.reshape(first * each + which, [-1]))

    return tf.nest.map_structure(take, values)


@dataclass(frozen=True)
class BeamSearch:
    """Keeps the most likely unfinished hypotheses of a row, and apart the best finished ones.

    A row is done when it has as many finished hypotheses as beams, and none of the unfinished
    ones, at its present length, beats the worst of them.

    Attributes:
        network: the model.
        stop: what ends an answer.

    Example::

        written = BeamSearch(network, stop).write(features, settings)
        texts = stop.detokenize(written.ids)

    Source: Wu et al. 2016, "Google's neural machine translation system", section 7
        (https://arxiv.org/abs/1609.08144), with the length penalty of Hugging Face and fairseq:
        the sum of the log-probabilities divided by the number of tokens to a power.
    """

    network: Network
    stop: Stop

    def write(self, features: Tensors, settings: Tensors) -> Written:
        """Write the best hypothesis of each row.

        Args:
            features: as `sampling.Sampler.begin` takes them.
            settings: of each row, (B,): those of `sampling.adjusted`, with ``max_tokens`` and
                ``beams``, int32, and ``length_penalty``, float32.
        """
        ids, lengths = sampling.prompts(features)
        beams = tf.maximum(settings["beams"], 1)
        most = tf.reduce_max(beams)
        room = tf.maximum(tf.reduce_max(lengths + settings["max_tokens"]) - tf.shape(ids)[1], 0)
        with portable():
            _, cache, fixed = self.network.prefill(features, room)
        ids = tf.pad(ids, [[0, 0], [0, room]], constant_values=self.stop.pad_id)
        # Rows may ask for different numbers of beams: all get the most, and the slots beyond a
        # row's own stay at NEVER.
        slots = tf.range(most)[None]
        nothing = tf.fill([tf.shape(ids)[0], most], NEVER)
        state = {
            "index": tf.reduce_min(lengths),
            "done": settings["max_tokens"] <= 0,
            "ids": tf.repeat(ids, most, 0),
            # All beams start as copies of the prompt; only the first may win, or the first step
            # would choose the same token for each.
            "sums": tf.where(slots == 0, 0.0, nothing),
            "cache": _spread(cache, most),
            "finished": tf.repeat(ids, most, 0),
            "scores": nothing,
            "totals": tf.zeros_like(nothing),
            "counts": tf.zeros_like(nothing, tf.int32),
        }
        row = {**settings, "beams": beams, "lengths": lengths}
        each = {"fixed": fixed, "settings": dict(settings), "lengths": lengths}
        hypothesis = _spread(each, most)

        def more(state: dict[str, Any]) -> tf.Tensor:
            inside = state["index"] < tf.shape(state["ids"])[1]
            return inside & ~tf.reduce_all(state["done"])

        def body(state: dict[str, Any]) -> tuple[dict[str, Any]]:
            return (self._step(state, row, hypothesis),)

        (state,) = tf.while_loop(more, body, (state,), any_length(state))
        best = tf.argmax(state["scores"], 1, tf.int32)[:, None]
        ids, count, total = (
            _taken(tf.reshape(state[n], tf.concat([[-1], tf.shape(state[n])[dims:]], 0)), best)
            for n, dims in (("finished", 1), ("counts", 2), ("totals", 2))
        )
        answers = answers_in(ids, lengths, self.stop.ids, count)
        return Written(answers, total / tf.maximum(tf.cast(count, tf.float32), 1.0))

    def _step(self, state: dict[str, Any], row: dict, hypothesis: dict) -> dict[str, Any]:
        """Fill one position of every hypothesis."""
        index, ids, beams = state["index"], state["ids"], row["beams"]
        with portable():
            logits, _, cache = self.network.step(
                tf.gather(ids, [index - 1], axis=1), index - 1, state["cache"], hypothesis["fixed"]
            )
        likely = self._likely(logits, ids, index, hypothesis)
        batch, most = tf.shape(state["sums"])[0], tf.shape(state["sums"])[1]
        size = tf.shape(likely)[1]
        sums = state["sums"][..., None] + tf.reshape(likely, [batch, most, size])
        # Twice as many candidates as beams: each beam has at most one of them that ends (few more
        # with several end tokens), which leaves enough to continue with.
        sums, flat = tf.math.top_k(tf.reshape(sums, [batch, most * size]), 2 * most)
        beam, token = flat // size, flat % size
        rank = tf.range(2 * most)[None]
        in_prompt = (index < row["lengths"])[:, None]
        ended = is_one_of(token, self.stop.ids) & ~in_prompt
        longer = tf.reshape(_taken(ids, beam), [batch, 2 * most, -1])
        longer = tf.concat([longer[..., :index], token[..., None], longer[..., index + 1 :]], 2)
        count = index + 1 - row["lengths"]
        # Only the best `beams` candidates may finish, as in fairseq and Hugging Face: one ranked
        # below them could not be continued either. Half of NEVER separates real sums from those
        # that contain a forbidden step.
        ready = (ended | (count >= row["max_tokens"])[:, None]) & (rank < beams[:, None])
        ready &= ~in_prompt & ~state["done"][:, None] & (sums > NEVER / 2)
        pool = self._pool(state, ready, longer, sums, count, row)
        # Ended candidates rank below all others, so that none is continued.
        alive = tf.where(ended, 2 * NEVER, sums)
        alive, which = tf.math.top_k(alive, most)
        alive = tf.where(tf.range(most)[None] < beams[:, None], alive, NEVER)
        size_of_answer = tf.cast(tf.maximum(count, 1), tf.float32) ** row["length_penalty"]
        # Scores are sorted: the row's last own slot is its worst finished hypothesis, NEVER while
        # there are fewer than beams. `alive` is sorted too: its first is the best that could grow.
        worst = tf.gather(pool["scores"], beams - 1, batch_dims=1)
        settled = (worst > NEVER / 2) & (worst >= alive[:, 0] / size_of_answer)
        return {
            **pool,
            "index": index + 1,
            "done": state["done"] | (~in_prompt[:, 0] & (settled | (count >= row["max_tokens"]))),
            "ids": _taken(tf.reshape(longer, [batch * 2 * most, -1]), which),
            "sums": alive,
            # `which` numbers candidates, `beam` the hypotheses they extend: the cache is theirs.
            "cache": _taken(cache, tf.gather(beam, which, batch_dims=1)),
        }

    def _likely(
        self, logits: tf.Tensor, ids: tf.Tensor, index: tf.Tensor, hypothesis: dict
    ) -> tf.Tensor:
        """Return the log-probabilities of the next token; a prompt's own token is certain."""
        lengths = hypothesis["lengths"]
        changed = sampling.adjusted(logits, ids, index, lengths, hypothesis["settings"], self.stop)
        own = tf.one_hot(ids[:, index], tf.shape(logits)[1], 0.0, NEVER)
        return tf.where((index < lengths)[:, None], own, tf.nn.log_softmax(changed))

    def _pool(
        self,
        state: dict[str, Any],
        ready: tf.Tensor,
        longer: tf.Tensor,
        sums: tf.Tensor,
        count: tf.Tensor,
        row: dict,
    ) -> dict[str, tf.Tensor]:
        """Return the finished hypotheses with those that are ready added, the best of both kept."""
        batch, most = tf.shape(state["scores"])[0], tf.shape(state["scores"])[1]
        power = tf.cast(tf.maximum(count, 1), tf.float32) ** row["length_penalty"]
        scores = tf.where(ready, sums / power[:, None], NEVER)
        # The numbers in `kept` run through old ones, then candidates: all else is joined alike.
        scores, kept = tf.math.top_k(tf.concat([state["scores"], scores], 1), most)
        slots = tf.range(most)[None] < row["beams"][:, None]
        counts = tf.tile(count[:, None], [1, 2 * most])
        finished = tf.reshape(state["finished"], [batch, most, -1])
        return {
            "scores": tf.where(slots, scores, NEVER),
            "totals": tf.gather(tf.concat([state["totals"], sums], 1), kept, batch_dims=1),
            "counts": tf.gather(tf.concat([state["counts"], counts], 1), kept, batch_dims=1),
            "finished": tf.reshape(
                tf.gather(tf.concat([finished, longer], 1), kept, batch_dims=1),
                [batch * most, tf.shape(longer)[2]],
            ),
        }


@dataclass(frozen=True)
class ContrastiveSearch:
    """Takes, of the most likely tokens, one whose hidden state is unlike those before it.

    Attributes:
        network: the model.
        stop: what ends an answer.

    Example::

        written = ContrastiveSearch(network, stop).write(features, settings)
        texts = stop.detokenize(written.ids)

    Source: Su et al. 2022, "A contrastive framework for neural text generation", section 4.2
        (https://arxiv.org/abs/2202.06417).
    """

    network: Network
    stop: Stop

    def write(self, features: Tensors, settings: Tensors) -> Written:
        """Write an answer for each row.

        Args:
            features: as `sampling.Sampler.begin` takes them.
            settings: of each row, (B,): those of `sampling.adjusted`, with ``max_tokens`` and
                ``top_k``, int32, how many tokens are compared, and ``alpha``, float32, the weight
                of the degeneration penalty, 0 to 1.
        """
        ids, lengths = sampling.prompts(features)
        room = tf.maximum(tf.reduce_max(lengths + settings["max_tokens"]) - tf.shape(ids)[1], 0)
        index = tf.reduce_min(lengths)
        with portable():
            states, cache, fixed = self.network.prefill(features, room)
            logits, _, cache = self.network.step(
                tf.gather(ids, [index - 1], axis=1), index - 1, cache, fixed
            )
        state = {
            "ids": tf.pad(ids, [[0, 0], [0, room]], constant_values=self.stop.pad_id),
            "index": index,
            "done": settings["max_tokens"] <= 0,
            "written": tf.zeros_like(lengths),
            "total": tf.zeros_like(lengths, tf.float32),
            "cache": cache,
            "logits": logits,
            "states": tf.pad(states, [[0, 0], [0, room], [0, 0]]),
        }
        row = {**settings, "lengths": lengths, "fixed": fixed}

        def more(state: dict[str, Any]) -> tf.Tensor:
            inside = state["index"] < tf.shape(state["ids"])[1]
            return inside & ~tf.reduce_all(state["done"])

        def body(state: dict[str, Any]) -> tuple[dict[str, Any]]:
            return (self._step(state, row),)

        (state,) = tf.while_loop(more, body, (state,), any_length(state))
        answers = answers_in(state["ids"], lengths, self.stop.ids, state["written"])
        written = tf.maximum(tf.cast(state["written"], tf.float32), 1.0)
        return Written(answers, state["total"] / written)

    def _step(self, state: dict[str, Any], row: dict) -> dict[str, Any]:
        """Fill one position of every row."""
        ids, index, lengths = state["ids"], state["index"], row["lengths"]
        changed = sampling.adjusted(state["logits"], ids, index, lengths, row, self.stop)
        wanted = tf.maximum(row["top_k"], 1)
        most = tf.minimum(tf.reduce_max(wanted), tf.shape(changed)[1])
        shares, tokens = tf.math.top_k(tf.nn.softmax(changed), most)
        # Inside its prompt a row's candidates are all its own next token: any choice is that one.
        in_prompt = index < lengths
        tokens = tf.where(in_prompt[:, None], ids[:, index][:, None], tokens)
        # A candidate's hidden state is only known once it is read: all are, as rows of one batch,
        # and the step of the one that is chosen serves the next round.
        with portable():
            logits, hidden, cache = self.network.step(
                tf.reshape(tokens, [-1, 1]),
                index,
                _spread(state["cache"], most),
                _spread(row["fixed"], most),
            )
        candidates = tf.reshape(hidden, [tf.shape(ids)[0], most, tf.shape(hidden)[-1]])
        likeness = tf.matmul(
            tf.math.l2_normalize(candidates, -1),
            tf.math.l2_normalize(state["states"][:, :index], -1),
            transpose_b=True,
        )
        # The degeneration penalty is the largest cosine with any earlier state.
        alpha = row["alpha"][:, None]
        scores = (1 - alpha) * shares - alpha * tf.cast(tf.reduce_max(likeness, -1), tf.float32)
        scores = tf.where(tf.range(most)[None] < wanted[:, None], scores, NEVER)
        best = tf.argmax(scores, 1, tf.int32)[:, None]
        token = tf.gather(tokens, best, batch_dims=1)[:, 0]
        token = tf.where(state["done"] & ~in_prompt, self.stop.pad_id, token)
        new = ~in_prompt & ~state["done"]
        written = state["written"] + tf.cast(new, tf.int32)
        ended = is_one_of(token, self.stop.ids) | (written >= row["max_tokens"])
        likely = tf.gather(tf.nn.log_softmax(state["logits"]), token, batch_dims=1)
        logits, hidden, cache = _taken((logits, hidden, cache), best)
        states = state["states"]
        return {
            "ids": tf.concat([ids[:, :index], token[:, None], ids[:, index + 1 :]], 1),
            "index": index + 1,
            "done": state["done"] | (new & ended),
            "written": written,
            "total": state["total"] + tf.where(new, likely, 0.0),
            "cache": cache,
            "logits": logits,
            "states": tf.concat([states[:, :index], hidden[:, None], states[:, index + 1 :]], 1),
        }
