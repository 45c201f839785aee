"""SetFit: texts of one label are drawn together pair by pair, then a linear head is fitted."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from pipelines.rows import Rows
from tfnlp.config import Experiment
from tfnlp.extensions import Batch, Outcome, Source, Step, Strategy, Trainer
from tfnlp.options import option
from tfnlp.report import Report
from tfnlp.strategies import _hidden, _probe, _table
from tfnlp.task import Task

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

_TRIES = 20  # partners looked at before a row is passed over
_FIRST, _SECOND = "first", "second"


@dataclass(frozen=True)
class Options:
    """How many pairs, and how they are compared.

    Example::

        python -m tfnlp.train --train rows.csv --strategy setfit --setfit-pairs 4000
    """

    pairs: int = option(
        4000, "pairs of texts with a label in common that are learned from [pairs]", minimum=1
    )
    temperature: float = option(0.1, "what cosines are divided by", minimum=0.01, maximum=10.0)
    folds: int = option(
        2,
        "parts of which each is answered by a model that learned from the others, to calibrate and "
        "to judge where no rows for validation are given; each takes as long as the training, and "
        "1 leaves them out",
        minimum=1,
        maximum=20,
    )


def fits(task: Task, experiment: Experiment, options: Options) -> None:
    """Refuse a task without labels, texts in several windows, and options without effect.

    Raises:
        UserError: the strategy is not for the task or the option.

    Example::

        fits(load("ner"), experiment, Options())  # raises
    """
    _probe.check_labels("setfit", task, experiment)
    _table.check("setfit", task, experiment)
    if experiment.augment:
        raise UserError("--augment has no effect on --strategy setfit (leave it out)")
    for flag in ("epochs", "patience"):
        if getattr(experiment.training, flag) is not None:
            raise UserError(
                f"--{flag} has no effect on --strategy setfit, which learns from --setfit-pairs "
                "pairs (leave it out)"
            )


def train(trainer: Trainer) -> Outcome:
    """Draw texts of one label together, then fit the head to their vectors.

    Example::

        train(trainer).report.metrics["linear_probe_accuracy"]  # of the head without the first

    Source: Tunstall et al. 2022, "Efficient few-shot learning without prompts", section 3
        (https://arxiv.org/abs/2209.11055), with the loss of Khosla et al. 2020, "Supervised
        contrastive learning", equation 2 (https://arxiv.org/abs/2004.11362), for which every two
        texts of a batch are a pair.
    """
    metrics, table = _probe.beside(trainer)
    rows = trainer.splits.train
    held = _held_out(trainer, rows)
    probe = _learned(trainer, rows, "contrast")
    _probe.put(trainer.model, probe)
    found = _probe.judged(trainer, rows, replace(probe, places=held[0], logits=held[1]))
    report = found.report or Report({})
    return replace(
        found, report=Report({**metrics, **report.metrics}, [table], warnings=report.warnings)
    )


def _held_out(trainer: Trainer, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and their logits by models that learned from the other folds."""
    import numpy as np

    from tfnlp.training import examples

    own, labels = trainer.options, trainer.model.context.facts["labels"]
    (column,) = trainer.model.task.target_columns(trainer.experiment.options)
    wanted = own.folds if trainer.experiment.training.calibrate else 1
    wanted = wanted if examples.takes_all(trainer.experiment, trainer.splits) else 1
    folds = _probe.folds(rows, column, wanted) if wanted > 1 else []
    restore = _probe.restorer(trainer)
    found = []
    for number, (train, held) in enumerate(folds, 1):
        probe = _learned(trainer, rows.take(train.tolist()), f"fold_{number}")
        some = rows.take(held.tolist())
        make = partial(_logits, trainer, some, probe)
        found.append(trainer.kept(f"fold_{number}_logits", make))
        restore()
    if not found:
        return np.zeros(0, int), np.zeros((0, len(labels)), np.float32)
    return np.concatenate([held for _, held in folds]), np.concatenate(found)


def _logits(trainer: Trainer, rows: Rows, probe: _probe.Probe) -> np.ndarray:
    """Return the logits of rows by the backbone as it is now."""
    import numpy as np

    return np.asarray(_probe.vectors(trainer, rows) @ probe.kernel + probe.bias)


def _learned(trainer: Trainer, rows: Rows, name: str) -> _probe.Probe:
    """Fit the backbone to pairs of rows; returns the head for the vectors that they have then."""
    labels = _labels_of(trainer, rows)
    drawn = list(pairs(labels, trainer.options.pairs, random.Random(trainer.experiment.seed)))
    epochs = -(-trainer.options.pairs // len(drawn))
    source = Source(
        rows.take([first for first, _ in drawn]),
        targets=False,
        extras={_FIRST: _places(drawn, 0), _SECOND: _places(drawn, 1)},
    )
    trainer.fit(
        make(trainer.options, _table.Table(trainer, rows), _many_hot(labels)),
        train=source,
        validation=rows.take([0]),  # nothing is chosen by it
        name=name,
        settings={"training": {"epochs": epochs, "patience": epochs}},
        last=True,
    )
    return _probe.kept(
        trainer, f"{name}_head", lambda: _probe.of(trainer, rows, _probe.vectors(trainer, rows))
    )


def _labels_of(trainer: Trainer, rows: Rows) -> list[frozenset[str]]:
    """Return the labels of each row."""
    (column,) = trainer.model.task.target_columns(trainer.experiment.options)
    values = rows.columns[column.name]
    return [frozenset([value] if isinstance(value, str) else value) for value in values]


def pairs(
    labels: Sequence[frozenset[str]], most: int, chance: random.Random
) -> Iterator[tuple[int, int]]:
    """Yield pairs of rows with a label in common, each once, the rows in turn.

    A row that is alone with its labels is paired with itself: dropout makes the two differ.

    Args:
        labels: of each row.
        most: pairs at most.
        chance: draws them; no more of them than are yielded are ever held.

    Example:
        >>> labels = [frozenset("a"), frozenset("a"), frozenset("b")]
        >>> found = list(pairs(labels, 9, random.Random(0)))
        >>> sorted(tuple(sorted(pair)) for pair in found)
        [(0, 1), (2, 2)]
    """
    groups: dict[str, list[int]] = {}
    for row, several in enumerate(labels):
        for label in sorted(several):
            groups.setdefault(label, []).append(row)
    seen: set[tuple[int, int]] = set()
    left = list(range(len(labels)))
    while left and len(seen) < most:
        chance.shuffle(left)
        kept = []
        for row in left:
            partner = _partner(row, labels[row], groups, seen, chance)
            if partner is None or len(seen) == most:
                continue
            kept.append(row)
            seen.add((min(row, partner), max(row, partner)))
            yield row, partner
        left = kept


def _partner(
    row: int,
    labels: frozenset[str],
    groups: dict[str, list[int]],
    seen: set[tuple[int, int]],
    chance: random.Random,
) -> int | None:
    """Return a row with a label of this one with which it was not paired, None if none is found."""
    several = [group for label in sorted(labels) if len(group := groups[label]) > 1]
    if not several:
        return None if (row, row) in seen else row
    for _ in range(_TRIES):
        partner = chance.choice(chance.choice(several))
        if partner != row and (min(row, partner), max(row, partner)) not in seen:
            return partner
    return None


def _places(drawn: Sequence[tuple[int, int]], side: int) -> Any:
    """Return the rows on one side of pairs, int64 (N,)."""
    import numpy as np

    return np.array([pair[side] for pair in drawn], np.int64)


def _many_hot(labels: Sequence[frozenset[str]]) -> Any:
    """Return the labels of rows, float32 (N, C)."""
    import numpy as np

    names = sorted(frozenset().union(*labels))
    return np.array([[name in several for name in names] for several in labels], np.float32)


def contrast(vectors: tf.Tensor, marks: tf.Tensor, temperature: float) -> tf.Tensor:
    """Return the supervised contrastive loss of a batch, a scalar [nats].

    Args:
        vectors: (B, H), of any norm.
        marks: the rows' labels, (B, C); two rows belong together by the share of their labels
            that they have in common.
        temperature: what cosines are divided by.

    Example::

        contrast(tf.eye(2), tf.constant([[1.0], [1.0]]), 0.1)
    """
    import tensorflow as tf

    unit = tf.math.l2_normalize(tf.cast(vectors, tf.float32), -1)
    own = tf.eye(tf.shape(unit)[0])
    logits = tf.matmul(unit, unit, transpose_b=True) / temperature - 1e9 * own
    common = tf.matmul(marks, marks, transpose_b=True)
    counts = tf.reduce_sum(marks, 1)
    alike = common / tf.maximum(counts[:, None] + counts[None] - common, 1.0) * (1.0 - own)
    total = tf.reduce_sum(alike, 1)
    each = -tf.reduce_sum(alike * tf.nn.log_softmax(logits), 1) / tf.maximum(total, 1e-6)
    there = tf.cast(total > 0, tf.float32)
    return tf.reduce_sum(there * each) / tf.maximum(tf.reduce_sum(there), 1.0)


def make(own: Options, table: _table.Table, marks: Any) -> Step:
    """Return the step; it needs TensorFlow, which the options do not.

    Args:
        own: the temperature.
        table: the inputs of the rows.
        marks: their labels, float32 (N, C).

    Example::

        trainer.fit(make(Options(), table, marks), train=source)
    """
    import tensorflow as tf

    from tfnlp.training.network import trainable

    held = tf.constant(marks)

    class Paired(Step):
        """The loss of all texts of a batch of pairs; the head is left as it is."""

        remedy = "lower --learning-rate"

        def build(self, network: Any, total_rows: int) -> None:
            """Make a network of the same layers that returns rows' vectors."""
            self.both = trainable(_hidden.with_vector(network), divisible=network.divisible)

        def gradients(self, network: Any, batch: Batch) -> tuple[tf.Tensor, Any, list[Any]]:
            """Return the loss, no outputs, and the gradients."""
            self.both.streams, self.both.peft_step = network.streams, network.peft_step
            first, second = batch.extras[_FIRST], batch.extras[_SECOND]
            x = table.after(batch.x, second)
            with tf.GradientTape() as tape:
                vectors = self.both(x, training=True)["vector"]
                rows = tf.gather(held, tf.concat([first, second], 0))
                loss = contrast(vectors, rows, own.temperature) / network.replicas
            return loss, None, network.gradients_of(tape, loss)

    return Paired()


STRATEGY = Strategy(
    summary="draw texts of one label together, then fit a linear head (SetFit)",
    options=Options,
    train=train,
    fits=fits,
    defaults={"task": {"unit_vectors": True}, "optimizer": {"learning_rate": 5e-5}},
    takes_all=True,
)
