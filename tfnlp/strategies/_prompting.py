"""What a language model says of labels after a text: their log-probabilities by a pattern.

Dimensions: N texts, C labels, P tokens of a prompt, L of a label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pipelines.errors import UserError
from tfnlp.extensions import Trainer

if TYPE_CHECKING:
    import numpy as np

TEXT, LABEL = "{text}", "{label}"
_AT_ONCE = 64  # labels that go through the model together
_LONGEST = 200  # of a prompt [tokens]
Against = Literal["empty", "length"]


def check(patterns: Sequence[str]) -> None:
    """Refuse patterns that lack a place for the text or the label.

    Raises:
        UserError: one does.

    Example::

        check(["{text} It is about {label}"])
    """
    for pattern in patterns:
        if pattern.count(TEXT) != 1 or pattern.count(LABEL) != 1:
            raise UserError(f"--prompt-pattern {pattern!r} must have {TEXT} and {LABEL} once each")


def scorer(
    trainer: Trainer, name: str
) -> Callable[[str, Sequence[str], Sequence[str]], np.ndarray]:
    """Return what scores labels: (pattern, N texts, C labels) -> log-probabilities and lengths.

    Args:
        trainer: loads a run.
        name: the folder of a run of masked_lm, or a causal backbone.

    Returns:
        A function to float64 (2, N, C): the log-probability of each label in each text's place
        [nats], and how many tokens it has.

    Raises:
        UserError: there is no such model, or it neither writes nor fills gaps.

    Example::

        score = scorer(trainer, "smollm2-135m")
        score("{text} It is about {label}", ["I lost my card."], ["lost card", "refund"])[0]
    """
    from pathlib import Path

    from tfnlp.backbones import loading

    if (Path(name) / "model").is_dir():
        model = trainer.load(name).model
        if model is None or model.experiment.task != "masked_lm":
            raise UserError(f"--prompt-model {name} is no run of --task masked_lm")
        return lambda pattern, texts, labels: _masked(model, pattern, texts, labels)
    backbone = loading.load(name)
    if backbone.kind != "causal":
        raise UserError(
            f"--prompt-model {name} is {backbone.kind}; it must be causal (such as smollm2-135m), "
            "or the folder of a run of --task masked_lm"
        )
    causal = _Causal(backbone)
    return causal.scores


def normalised(found: np.ndarray, empty: np.ndarray, against: Against) -> np.ndarray:
    """Return scores of labels that do not depend on how long or common they are, (N, C).

    Args:
        found: of texts, (2, N, C), as a scorer returns them.
        empty: of an empty text, (2, 1, C).
        against: what a label has by itself, or its length.

    Example::

        normalised(score(pattern, texts, labels), score(pattern, [""], labels), "empty")

    Source: Holtzman et al. 2021, "Surface form competition", section 3
        (https://arxiv.org/abs/2104.08315), with the pattern's own text left out; by length Brown et
        al. 2020, section 2.4 (https://arxiv.org/abs/2005.14165).
    """
    scores: np.ndarray = found[0] - empty[0] if against == "empty" else found[0] / found[1]
    return scores


class _Causal:
    """A causal model that reads the prompt of a text once for all labels."""

    def __init__(self, backbone: Any) -> None:
        from tfnlp.heads import causal_lm

        self.tokenizer = backbone.tokenizer
        self.room = min(_LONGEST, backbone.max_length)
        network = causal_lm.head(backbone.model)
        self.model = causal_lm.Cached(network).model

    def scores(self, pattern: str, texts: Sequence[str], labels: Sequence[str]) -> np.ndarray:
        """Return log-probabilities and lengths; see `scorer`."""
        import numpy as np

        if not pattern.endswith(LABEL):
            raise UserError(
                f"--prompt-pattern {pattern!r} must end with {LABEL} for a model that reads from "
                "left to right"
            )
        before, after = pattern[: -len(LABEL)].rstrip(" ").split(TEXT)
        tails = self._ids([f" {label}" for label in labels])
        longest = max(map(len, tails))
        ends = np.zeros((len(tails), longest), np.int32)
        for row, ids in zip(ends, tails, strict=True):
            row[: len(ids)] = ids
        lengths = np.array([len(ids) for ids in tails])
        head, tail = self._ids([before, after]) if before or after else ([], [])
        room = self.room - len(head) - len(tail) - longest
        found = []
        for text in texts:
            (middle,) = self._ids([text]) if text else ([],)
            prompt = np.array([[*head, *middle[:room], *tail]], np.int32)
            if not prompt.size:
                prompt = np.zeros((1, 1), np.int32)
            found.append(self._of(prompt, ends, lengths))
        return np.stack([np.stack(found), np.tile(lengths, (len(texts), 1))])

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of texts."""
        import tensorflow as tf

        return [ids.tolist() for ids in map(_array, self.tokenizer.tokenize(tf.constant(texts)))]

    def _of(self, prompt: np.ndarray, ends: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Return the log-probability of each label after one prompt, (C,)."""
        import numpy as np
        import tensorflow as tf

        from tfnlp.heads.causal_lm import longer

        _, cache = self.model._build_cache(tf.constant(prompt))
        cache = longer(cache, tf.constant(ends.shape[1]))
        size = prompt.shape[1]
        last = tf.constant(prompt[:, -1:])
        first, _, cache = self.model.call_with_cache(last, cache, tf.constant(size - 1))
        start = tf.nn.log_softmax(tf.cast(first[0, -1], tf.float32))
        found = []
        for begin in range(0, len(ends), _AT_ONCE):
            ids = tf.constant(ends[begin : begin + _AT_ONCE])
            own = tf.repeat(cache, len(ids), 0)
            logits, _, _ = self.model.call_with_cache(ids, own, tf.constant(size))
            after = tf.nn.log_softmax(tf.cast(logits[:, :-1], tf.float32))
            each = tf.gather(after, ids[:, 1:], batch_dims=2)
            there = tf.sequence_mask(lengths[begin : begin + _AT_ONCE] - 1, ends.shape[1] - 1)
            rest = tf.reduce_sum(tf.where(there, each, 0.0), 1)
            found.append((tf.gather(start, ids[:, 0]) + rest).numpy())
        return np.concatenate(found)


def _array(ids: Any) -> np.ndarray:
    """Return a row of a ragged tensor."""
    import numpy as np

    return np.asarray(ids)


def _masked(model: Any, pattern: str, texts: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """Return log-probabilities of labels in as many gaps as they have pieces; see `scorer`.

    Source: Schick and Schütze 2021, "It's not just size that matters", section 3.1
        (https://arxiv.org/abs/2009.07118), with all gaps of a label filled at once.
    """
    import numpy as np
    import tensorflow as tf

    tokenizer = model.context.tokenizer
    pieces = [_array(ids) for ids in tokenizer.tokenize(tf.constant(list(labels)))]
    lengths = np.array([len(ids) for ids in pieces])
    found = np.zeros((len(texts), len(labels)))
    for length in sorted(set(lengths.tolist())):
        gaps = pattern.replace(LABEL, " ".join(["[MASK]"] * length))
        own = np.flatnonzero(lengths == length)
        ids = np.stack([pieces[place] for place in own])
        for begin in range(0, len(texts), _AT_ONCE):
            part = texts[begin : begin + _AT_ONCE]
            asked = tf.constant([gaps.replace(TEXT, text.replace("[MASK]", "")) for text in part])
            features, _ = model.task.encode(model.context, {"text": asked})
            logits = tf.cast(model.network(features, training=False), tf.float32)
            if logits.shape[1] < length:
                raise UserError(
                    f"--prompt-pattern {pattern!r}: the label's place is cut off by --max-length "
                    f"(put {LABEL} before {TEXT})"
                )
            likely = tf.nn.log_softmax(logits).numpy()
            each = likely[:, np.arange(length)[None], ids]
            found[begin : begin + len(part), own] = each.sum(-1)
    return np.stack([found, np.tile(lengths, (len(texts), 1))])
