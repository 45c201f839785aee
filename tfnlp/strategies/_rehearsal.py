"""The step of strategies that learn old rows, or the earlier model's answers, beside new rows."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from pipelines import selection, splits
from tfnlp import task as tasks
from tfnlp.extensions import Batch, Source, Step, Trainer
from tfnlp.options import option
from tfnlp.strategies import _earlier

if TYPE_CHECKING:
    import tensorflow as tf

    from pipelines.rows import Rows

SAID = "earlier"  # what the earlier model's answers are called among extras


@dataclasses.dataclass(frozen=True)
class Buffered(_earlier.Options):
    """Which old rows are learned again, and how much they count."""

    old: tuple[str, ...] = option(
        (),
        "a file of rows that earlier runs were trained on; may be repeated",
        flag="--old",
        metavar="FILE",
    )
    rows: int = option(20, "of the old rows, how many of each label are kept [rows]", minimum=1)
    share: float | None = option(
        None,
        "share of the old rows in the loss; if not given that of the old labels among all labels",
        minimum=0.0,
        maximum=1.0,
    )


def buffer(trainer: Trainer) -> Rows:
    """Return the old rows that are learned again, the same ones for the same seed.

    Raises:
        UserError: the files cannot be used.

    Example::

        len(buffer(trainer))  # at most --replay-rows for each label
    """
    experiment, own = trainer.experiment, trainer.options
    targets = tasks.load(experiment.task).target_columns(experiment.options)
    rows = _earlier.old_rows(trainer, own.old)
    return selection.of_each_label(rows, targets, own.rows, experiment.seed)


def share(trainer: Trainer, old: Rows | None) -> float:
    """Return how much old rows count in the loss: as their labels do, if nothing else is said.

    Example::

        share(trainer, buffer(trainer))  # 0.75 of 57 old and 19 new labels
    """
    if old is None:
        return 0.0
    if trainer.options.share is not None:
        return float(trainer.options.share)
    experiment = trainer.experiment
    targets = tasks.load(experiment.task).target_columns(experiment.options)
    parts = (old, trainer.splits.train)
    counts = [len({m for row in splits.labels_of(p, targets) for m in row}) for p in parts]
    return counts[0] / sum(counts) if sum(counts) else 0.5


def answered(trainer: Trainer, name: str, rows: Rows, *, targets: bool, new: bool) -> Source:
    """Return a source whose rows bear what the earlier model answers.

    Args:
        trainer: keeps the answers, so that a resumed run has the same.
        name: of the answers' file.
        rows: the rows.
        targets: whether they have targets.
        new: as of `_earlier.answers`.

    Example::

        answered(trainer, "answers_train", trainer.splits.train, targets=True, new=False)
    """
    said = trainer.kept(name, lambda: _earlier.answers(trainer, rows, new=new))
    return Source(rows, targets=targets, extras={SAID: said})


def make(old: float, weight: float = 0.0, temperature: float = 1.0) -> Step:
    """Return the step; it needs TensorFlow, which options do not.

    The loss is (1 - old) of the new rows' and ``old`` of the old rows' that have targets, and
    ``weight`` times the mean distance from the earlier model's answers, of the sources that have
    them.

    Args:
        old: share of rows beside that have targets.
        weight: of the earlier model's answers.
        temperature: that softens both sides of them.

    Example::

        trainer.fit(make(0.5), beside={"old": Source(rows)})
    """
    import tensorflow as tf

    from tfnlp.heads import agreement

    class Rehearsed(Step):
        """The task's loss of new and old rows, and the distance from the earlier answers."""

        remedy = "lower --learning-rate"

        def gradients(self, network: Any, batch: Batch) -> tuple[tf.Tensor, Any, list[Any]]:
            """Return the loss of all sources, the outputs of new rows, and the gradients."""
            with tf.GradientTape() as tape:
                outputs = network(batch.x, training=True)
                loss = (1 - old) * self.loss(network, batch, outputs)
                away = self._away(network, batch, outputs)
                for other in batch.beside.values():
                    answers = network(other.x, training=True)
                    if other.y is not None:
                        loss += old * self.loss(network, other, answers)
                    away += self._away(network, other, answers)
                if away:
                    mean = tf.add_n(away) / len(away) / network.replicas
                    loss += weight * tf.cast(mean, loss.dtype)
            return loss, outputs, network.gradients_of(tape, loss)

        def _away(self, network: Any, batch: Batch, outputs: Any) -> list[tf.Tensor]:
            """Return how far outputs are from the earlier model's, if those are known."""
            if SAID not in batch.extras:
                return []
            said = batch.extras[SAID]
            return [agreement.towards(network.loss, batch.x, said, outputs, temperature)]

    return Rehearsed()
