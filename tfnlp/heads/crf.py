"""A linear-chain conditional random field over the words of a text, in TensorFlow ops.

All functions take sequences of N >= 1 places, padded; a row's places from its length on do not
count. Values are shifted at every place, so that a text of 50,000 words loses no precision.

Source: Lafferty, McCallum, Pereira 2001, section 3 (https://dl.acm.org/doi/10.5555/645530.655813);
Lample et al. 2016, section 2.2 (https://arxiv.org/abs/1603.01360).

Dimensions: B batch, N words, C tags, K types of spans.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

ILLEGAL = -1e4  # added to a score, it leaves no probability in float32


def legal_moves(tags: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return which tag may stand first and which may follow which.

    Tag 0 is O; 2k + 1 is B and 2k + 2 is I of type k. I follows only B or I of its own type.

    Args:
        tags: C = 2K + 1.

    Returns:
        float32 (C,) and (C, C) [before, after]: 0 where legal, else ``ILLEGAL``.

    Example::

        start, moves = legal_moves(3)  # O, B-X, I-X: start is 0, 0, ILLEGAL
    """
    tag = tf.range(tags)
    inside = (tag > 0) & (tag % 2 == 0)
    kind = (tag - 1) // 2  # of O: -1 or 0, but O is neither before nor after I
    follows = (kind[:, None] == kind[None, :]) & (tag > 0)[:, None]
    start = tf.where(inside, ILLEGAL, 0.0)
    return start, tf.where(inside[None, :] & ~follows, ILLEGAL, 0.0)


def log_likelihood(
    emissions: tf.Tensor,
    tags: tf.Tensor,
    lengths: tf.Tensor,
    start: tf.Tensor,
    transitions: tf.Tensor,
) -> tf.Tensor:
    """Return the log-probability of the given tags.

    Args:
        emissions: float32 (B, N, C).
        tags: int32 (B, N); anything from a row's length on.
        lengths: int32 (B,), words of each row.
        start: float32 (C,), added to the first word's emissions.
        transitions: float32 (B, C, C) [row, before, after].

    Returns:
        float32 (B,); 0 for a row without words.

    Example::

        loss = -log_likelihood(emissions, tags, lengths, *legal)
    """
    count = tf.shape(emissions)[2]
    chosen = tf.one_hot(tags, count, dtype=emissions.dtype)  # zeros for a tag of -1
    inside = tf.sequence_mask(lengths, tf.shape(emissions)[1], emissions.dtype)
    unary = tf.reduce_sum(emissions * chosen, -1) * inside
    # A one-hot product is quicker to differentiate than a gather.
    moved = tf.einsum("bnc,bcd->bnd", chosen[:, :-1], transitions)
    binary = tf.reduce_sum(moved * chosen[:, 1:], -1) * inside[:, 1:]
    first = tf.reduce_sum(chosen[:, 0] * start, -1) * inside[:, 0]
    score = tf.reduce_sum(unary, 1) + tf.reduce_sum(binary, 1) + first
    return score - _log_normalizer(emissions, transitions, lengths, start)


@tf.custom_gradient
def _log_normalizer(
    emissions: tf.Tensor, transitions: tf.Tensor, lengths: tf.Tensor, start: tf.Tensor
) -> tuple[tf.Tensor, Callable]:
    """Sum over all paths, (B,); its gradient is by forward-backward, in time linear in N.

    TensorFlow's own gradient of a scan takes time that grows with the square of N.
    """
    alphas, norms = _forward(emissions, lengths, start, transitions)
    times, inside, _ = _time_major(emissions, lengths)

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, None, None]:
        betas = _backward(emissions, lengths, transitions)
        weight = tf.cast(inside, emissions.dtype)
        shares = tf.nn.softmax(alphas + betas) * weight[:, :, None]
        paths = alphas[:-1, :, :, None] + transitions + (times + betas)[1:, :, None, :]
        shape = tf.shape(paths)
        flat = tf.reshape(paths, [shape[0], shape[1], shape[2] * shape[3]])
        pairs = tf.einsum("nbp,nb->bp", tf.nn.softmax(flat), weight[1:] * upstream)
        return (
            tf.transpose(shares, [1, 0, 2]) * upstream[:, None, None],
            tf.reshape(pairs, tf.shape(transitions)),
            None,
            None,
        )

    return tf.reduce_sum(tf.where(inside, norms, 0.0), 0), gradient


def marginals(
    emissions: tf.Tensor, lengths: tf.Tensor, start: tf.Tensor, transitions: tf.Tensor
) -> tf.Tensor:
    """Return each tag's probability at each word given the whole text, by forward-backward.

    Args: as in `log_likelihood`.

    Returns:
        float32 (B, N, C).

    Example::

        confidence = tf.reduce_max(marginals(emissions, lengths, start, transitions), -1)
    """
    alphas, _ = _forward(emissions, lengths, start, transitions)
    betas = _backward(emissions, lengths, transitions)
    return tf.transpose(tf.nn.softmax(alphas + betas), [1, 0, 2])


def _backward(emissions: tf.Tensor, lengths: tf.Tensor, transitions: tf.Tensor) -> tf.Tensor:
    """Return the log-sum over all paths after each word, up to a constant a word, (N, B, C)."""

    def step(beta: tf.Tensor, after: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        emission, inside = after
        new = tf.reduce_logsumexp(transitions + (emission + beta)[:, None, :], 2)
        new -= tf.reduce_max(new, 1, keepdims=True)
        return tf.where(inside[:, None], new, 0.0)

    times, _, following = _time_major(emissions, lengths)
    return tf.scan(step, following, tf.zeros_like(times[0]), reverse=True)


def viterbi(
    emissions: tf.Tensor, lengths: tf.Tensor, start: tf.Tensor, transitions: tf.Tensor
) -> tf.Tensor:
    """Return the most likely tags of each text.

    Args: as in `log_likelihood`.

    Returns:
        int32 (B, N); 0 from a row's length on.

    Example::

        tags = viterbi(emissions, lengths, start, transitions)
    """
    times, inside, following = _time_major(emissions, lengths)

    def forward(
        state: tuple[tf.Tensor, tf.Tensor], word: tuple[tf.Tensor, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        scores, _ = state
        emission, counts = word
        paths = scores[:, :, None] + transitions
        new = tf.reduce_max(paths, 1) + emission
        new -= tf.reduce_max(new, 1, keepdims=True)
        stay = tf.broadcast_to(tf.range(tf.shape(new)[1])[None, :], tf.shape(new))
        came = tf.argmax(paths, 1, tf.int32)
        counts = counts[:, None]
        return tf.where(counts, new, scores), tf.where(counts, came, stay)

    first = times[0] + start
    scores, came = tf.scan(forward, following, (first, tf.zeros_like(first, tf.int32)))

    def backward(tag: tf.Tensor, pointers: tf.Tensor) -> tf.Tensor:
        return tf.gather(pointers, tag, batch_dims=1)

    tags = tf.scan(backward, came, tf.argmax(scores[-1], 1, tf.int32), reverse=True)
    return tf.transpose(tf.where(inside, tags, 0))


def _time_major(
    emissions: tf.Tensor, lengths: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tuple[tf.Tensor, tf.Tensor]]:
    """Turn (B, N, C) to (N, B, C), say which places count, bool (N, B), and move both on by one.

    What follows the last place does not count; it is there because a scan in a graph cannot be
    over nothing, as it would be of one word.
    """
    times = tf.transpose(emissions, [1, 0, 2])
    inside = tf.transpose(tf.sequence_mask(lengths, tf.shape(emissions)[1]))
    after = tf.concat([inside[1:], tf.zeros_like(inside[:1])], 0)
    return times, inside, (tf.concat([times[1:], times[:1]], 0), after)


def _forward(
    emissions: tf.Tensor, lengths: tf.Tensor, start: tf.Tensor, transitions: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Sum over all paths up to each word.

    Returns:
        The log-probabilities of the tags given the words so far, (N, B, C), and what each word
        adds to the logarithm of the normalizer, (N, B).
    """

    def normalized(alpha: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        norm = tf.reduce_logsumexp(alpha, 1)
        return alpha - norm[:, None], norm

    def step(
        state: tuple[tf.Tensor, tf.Tensor], word: tuple[tf.Tensor, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        emission, counts = word
        new, norm = normalized(
            tf.reduce_logsumexp(state[0][:, :, None] + transitions, 1) + emission
        )
        return tf.where(counts[:, None], new, state[0]), tf.where(counts, norm, 0.0)

    times, _, following = _time_major(emissions, lengths)
    first = normalized(times[0] + start)
    alphas, norms = tf.scan(step, following, first)
    # What comes after the last place is dropped.
    return tf.concat([first[0][None], alphas[:-1]], 0), tf.concat([first[1][None], norms[:-1]], 0)
