"""AdaLoRA: products of thin matrices are added, and the ranks go where they matter most.

Dimensions: M matrices that are added to, K triplets of each at first, I inputs, O outputs.
"""

from __future__ import annotations

import logging
import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.errors import UserError
from tfnlp.extensions import Adaptable, Peft, PeftStep
from tfnlp.options import option
from tfnlp.peft import _low_rank
from tfnlp.peft._low_rank import Matrix

log = logging.getLogger(__name__)

_FEWEST = 2  # updates in which ranks are reallocated


@dataclass(frozen=True)
class Options:
    """How large what is added is, where it is, and when its ranks change.

    Example::

        python -m tfnlp.train --train rows.csv --peft adalora --adalora-rank 4
    """

    rank: int = option(8, "the rank that is left to a matrix on average", minimum=1)
    initial_rank: int = option(
        0, "the rank of each matrix at first; 0 is half as many again as --adalora-rank", minimum=0
    )
    alpha: float = option(
        16.0, "the product is multiplied by this over the rank at first", minimum=0.0
    )
    targets: tuple[Matrix, ...] = option(
        typing.get_args(Matrix), "the matrices of each layer that are added to", metavar="NAME,NAME"
    )
    orthogonality: float = option(
        0.1, "weight of the loss that keeps the parts of a product orthogonal", minimum=0.0
    )
    warmup: float = option(
        0.1, "share of the updates before ranks change", minimum=0.0, maximum=1.0
    )
    final: float = option(
        0.6, "share of the updates after ranks have changed", minimum=0.0, maximum=1.0
    )
    beta1: float = option(
        0.85, "how slowly the average of the sensitivity moves", minimum=0.0, maximum=0.999
    )
    beta2: float = option(
        0.85, "how slowly the average of its uncertainty moves", minimum=0.0, maximum=0.999
    )

    def first(self) -> int:
        """Return the rank of each matrix at first."""
        return self.initial_rank or math.ceil(1.5 * self.rank)


def adapt(backbone: Adaptable, options: Options) -> None:
    """Freeze a backbone, and add trainable products ``P diag(lambda) Q`` to its matrices.

    Raises:
        UserError: ranks could not change, alpha is 0, the backbone has none of the matrices, or the
            rank exceeds one.

    Example::

        backbone = loading.load("minilm-l6-en")
        adapt(backbone, Options(rank=8))  # trains 498,096 weights of 22.6 million

    Source: Zhang et al. 2023, "Adaptive budget allocation for parameter-efficient fine-tuning",
        section 3.1 (https://arxiv.org/abs/2303.10512).
    """
    from tfnlp.backbones import insertions
    from tfnlp.backbones.triplets import Triplets

    first = options.first()
    if first <= options.rank:
        raise UserError(
            f"--adalora-initial-rank {first} is not above --adalora-rank {options.rank}, to which "
            "the ranks are to fall (raise the one, lower the other, or take --peft lora)"
        )
    if options.warmup + options.final >= 1:
        raise UserError(
            f"--adalora-warmup {options.warmup:g} and --adalora-final {options.final:g} leave no "
            "updates in which ranks change (give less than 1 together)"
        )
    said = (
        f"--adalora-initial-rank {first}"
        if options.initial_rank
        else f"the {first} at first of --adalora-rank {options.rank}"
    )
    places = _low_rank.places(
        backbone, "adalora", options.targets, alpha=options.alpha, rank=first, said=said
    )
    for name, layer in places:
        inputs, outputs = insertions.shape_of(layer)
        added = Triplets(inputs, outputs, rank=first, scale=options.alpha / first, name=name)
        insertions.insert(layer, added)


def budget(done: Any, initial: int, target: int, begin: int, end: int) -> Any:
    """Return how many triplets may stay after an update.

    Args:
        done: updates so far, an integer or int32 scalar.
        initial: triplets at first.
        target: triplets at last.
        begin: the last update with the initial budget.
        end: the first update with the last budget.

    Returns:
        int32 scalar.

    Example::

        budget(60, initial=432, target=288, begin=40, end=160)  # 371

    Source: Zhang et al. 2023, equation 12.
    """
    import tensorflow as tf

    passed = tf.cast(done - begin, tf.float32) / (end - begin)
    left = (1 - tf.clip_by_value(passed, 0.0, 1.0)) ** 3
    return tf.cast(target + (initial - target) * left, tf.int32)


def kept(scores: Any, count: Any) -> Any:
    """Return which are the highest of some scores.

    Args:
        scores: float (N,).
        count: how many, int32 scalar.

    Returns:
        bool (N,); of equal scores the first ones.
    """
    import tensorflow as tf

    order = tf.argsort(scores, direction="DESCENDING", stable=True)
    return tf.math.invert_permutation(order) < count


class Allocator(PeftStep):
    """Gives the budget of ranks to the triplets that matter most, anew after each update.

    A triplet's score is that of its singular value and the means of those of its two vectors; that
    of a weight is the average of its sensitivity, |weight * gradient|, times that of how far the
    sensitivity is from its average. The singular values of other triplets are set to 0; gradients
    move them again, so that a triplet may come back as long as the budget falls.

    Source: Zhang et al. 2023, sections 3.2 and 3.3 and algorithm 1; the averages rest in the final
        phase, as in loralib (https://github.com/QingruZhang/AdaLoRA).
    """

    def __init__(self, options: Options) -> None:
        self.options = options

    def build(self, network: Any, updates: int) -> None:
        """Find the triplets, and make the averages: for each matrix two of (K, I + 1 + O).

        Raises:
            UserError: there are too few updates.
        """
        import keras

        from tfnlp.backbones import insertions
        from tfnlp.backbones.triplets import Triplets

        self.begin = int(self.options.warmup * updates)
        self.end = updates - int(self.options.final * updates)
        if self.end - self.begin < _FEWEST:
            raise UserError(
                f"of the {updates} updates of this fit {self.end - self.begin} are left to change "
                "ranks in (give more --epochs, a smaller --batch-size, less --adalora-warmup or "
                "--adalora-final, or take --peft lora)"
            )
        self.updates = updates
        self.layers: list[Any] = []
        self.kinds: dict[str, list[Any]] = {}
        for layer in insertions.inserted(network):
            if isinstance(layer.insertion, Triplets):
                self.layers.append(layer.insertion)
                self.kinds.setdefault(_kind(layer.name), []).append(layer.insertion)
        self.initial = sum(layer.singular.shape[0] for layer in self.layers)
        self.target = self.options.rank * len(self.layers)
        self.done = keras.Variable(0, dtype="int32", trainable=False, name="adalora_updates")
        self.sensitivity, self.uncertainty = (
            [
                keras.Variable(
                    initializer="zeros",
                    shape=(layer.p.shape[1], layer.p.shape[0] + 1 + layer.q.shape[1]),
                    dtype="float32",
                    trainable=False,
                    name=f"{layer.name}_{name}",
                )
                for layer in self.layers
            ]
            for name in ("sensitivity", "uncertainty")
        )
        self.variables = [self.done, *self.sensitivity, *self.uncertainty]

    def loss(self, network: Any, x: Any, outputs: Any) -> Any:
        """Return what orthogonality costs (equation 4), a scalar."""
        return self.options.orthogonality * sum(layer.deviation() for layer in self.layers)

    def updated(self, network: Any, gradients: Sequence[tuple[Any, Any]], scale: Any) -> None:
        """Move the averages, and set to 0 what is beyond the budget.

        Where a gradient overflowed nothing was updated, and nothing is done here.
        """
        import tensorflow as tf

        finite = [
            tf.reduce_all(tf.math.is_finite(g.values if isinstance(g, tf.IndexedSlices) else g))
            for g, _ in gradients
        ]
        slopes = {id(weight): gradient for gradient, weight in gradients}

        def slope(weight: Any) -> Any:
            found = slopes.get(id(weight))
            return tf.zeros(weight.shape) if found is None else found / tf.cast(scale, found.dtype)

        def allocate() -> None:
            self.done.assign(self.done + 1)
            self._move(slope)
            self._prune()

        tf.cond(tf.reduce_all(finite), allocate, lambda: None)

    def _move(self, slope: Any) -> None:
        """Move the averages by the gradients of each weight (equations 8 to 10)."""
        import tensorflow as tf

        moving = tf.convert_to_tensor(self.done) <= self.end
        beta1, beta2 = (
            tf.where(moving, beta, 1.0) for beta in (self.options.beta1, self.options.beta2)
        )
        for place, layer in enumerate(self.layers):
            weights = _lines(*(tf.convert_to_tensor(w) for w in _parts(layer)))
            now = tf.abs(weights * _lines(*(slope(w) for w in _parts(layer))))
            average = beta1 * self.sensitivity[place] + (1 - beta1) * now
            away = tf.abs(now - average)
            self.sensitivity[place].assign(average)
            self.uncertainty[place].assign(beta2 * self.uncertainty[place] + (1 - beta2) * away)

    def _prune(self) -> None:
        """Set to 0 the singular values beyond the budget (equations 6, 7, 11 and 12)."""
        import tensorflow as tf

        scores = tf.concat(self.scores(), 0)
        count = budget(
            tf.convert_to_tensor(self.done), self.initial, self.target, self.begin, self.end
        )
        sizes = [layer.singular.shape[0] for layer in self.layers]
        for layer, stays in zip(self.layers, tf.split(kept(scores, count), sizes), strict=True):
            values = tf.convert_to_tensor(layer.singular)
            layer.singular.assign(tf.where(stays, values, tf.zeros_like(values)))

    def scores(self) -> list[Any]:
        """Return how much each triplet matters, for each matrix float32 (K,)."""
        import tensorflow as tf

        found = []
        for place, layer in enumerate(self.layers):
            inputs = layer.p.shape[0]
            score = self.sensitivity[place] * self.uncertainty[place]
            means = (tf.reduce_mean(s, 1) for s in (score[:, :inputs], score[:, inputs + 1 :]))
            found.append(score[:, inputs] + sum(means))
        return found

    def logs(self) -> Mapping[str, float]:
        """Return the mean rank, of all matrices and of those of each name."""
        ranks = {kind: _mean_rank(layers) for kind, layers in self.kinds.items()}
        return {
            "adalora_rank": _mean_rank(self.layers),
            **{f"adalora_rank_{kind}": rank for kind, rank in ranks.items()},
        }

    def finish(self) -> None:
        """Look at the ranks of the weights that are kept, those of the best epoch.

        Raises:
            UserError: no rank has changed.
        """
        rank, done = _mean_rank(self.layers), int(self.done.numpy())
        at = f"the best epoch came after {done} of {self.updates} updates"
        if rank >= self.initial / len(self.layers):
            raise UserError(
                f"--peft adalora changed no rank: {at}, and ranks begin to change after "
                f"{self.begin} (lower --adalora-warmup, raise --patience, or take --peft lora)"
            )
        if rank > self.options.rank:
            log.warning(
                "the mean rank is %.1f and not yet --adalora-rank %d: %s (a higher "
                "--adalora-final lets ranks change earlier)",
                rank,
                self.options.rank,
                at,
            )


def _parts(layer: Any) -> tuple[Any, Any, Any]:
    """Return the weights of a product."""
    return layer.p, layer.singular, layer.q


def _lines(p: Any, singular: Any, q: Any) -> Any:
    """Return a line for each triplet: (I, K), (K,), (K, O) -> (K, I + 1 + O)."""
    import tensorflow as tf

    return tf.concat([tf.transpose(p), singular[:, None], q], 1)


def _mean_rank(layers: Sequence[Any]) -> float:
    """Return the mean rank of some products."""
    return float(sum(layer.rank() for layer in layers) / len(layers))


def _kind(name: str) -> str:
    """Return which matrix of `MATRICES` a projection has."""
    from tfnlp.backbones import insertions

    return next(kind for kind, names in insertions.MATRICES.items() if name in names)


PEFT = Peft(
    summary="train products added to the matrices, whose ranks go where they matter, and the head",
    options=Options,
    adapt=adapt,
    step=Allocator,
    # Test accuracy of one seed on 770 rows of Banking77 (3 layers of minilm-l6-en, 8 epochs): 0.68
    # with 3e-3, 0.74 with 6e-3, 0.77 with 1.2e-2; on 1,000 of TREC 0.916 with 3e-3, 0.922 with
    # 1.2e-2.
    defaults={"optimizer": {"learning_rate": 6e-3}},
)
