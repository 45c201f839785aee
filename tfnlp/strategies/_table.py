"""The token ids of some rows, all held at once, so that a step can read any of them by its place.

Dimensions: N rows, B batch, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from pipelines.rows import Rows
from tfnlp.config import Experiment
from tfnlp.extensions import Trainer
from tfnlp.task import Task

if TYPE_CHECKING:
    import tensorflow as tf

_PART = 1024  # rows encoded at once


def check(name: str, task: Task, experiment: Experiment) -> None:
    """Refuse texts that are read in several windows.

    Raises:
        UserError: they are.

    Example::

        check("setfit", task, experiment)
    """
    if task.windows(experiment.options) > 1:
        raise UserError(
            f"--strategy {name} reads a text in one window (leave out --windows, or raise "
            "--max-length)"
        )


class Table:
    """The inputs of a network for rows.

    Args:
        trainer: has the model that encodes them.
        rows: N rows; targets are not looked at.

    Example::

        table = Table(trainer, trainer.splits.train)
        table.of(tf.constant([3, 0]))["token_ids"]  # (2, T)
    """

    def __init__(self, trainer: Trainer, rows: Rows) -> None:
        import tensorflow as tf

        from pipelines import batching

        model = trainer.model
        columns = model.task.input_columns(model.context.options)
        raw = batching.tensors(rows, columns)
        encode = tf.function(
            lambda part: model.task.encode(model.context, part)[0], [batching.specs(raw)]
        )
        parts = [
            encode({name: column[start : start + _PART] for name, column in raw.items()})
            for start in range(0, len(rows), _PART)
        ]
        self.pad_id = model.context.tokenizer.pad_id
        longest = max(part["padding_mask"].shape[1] for part in parts)
        wide = [batching.pad(part, tf.constant(longest), self.pad_id) for part in parts]
        self.inputs = {n: tf.concat([part[n] for part in wide], 0) for n in parts[0]}

    def of(self, places: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the inputs of rows by their places, (B, T), as wide as the longest of them."""
        import tensorflow as tf

        found = {name: tf.gather(column, places) for name, column in self.inputs.items()}
        used = tf.reduce_max(tf.reduce_sum(found["padding_mask"], 1))
        width = tf.minimum(-(-used // 4) * 4, tf.shape(found["padding_mask"])[1])  # fewer shapes
        return {name: column[:, :width] for name, column in found.items()}

    def after(self, x: Mapping[str, Any], places: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return a batch, (B, T), and after it the rows of these places, as wide as the wider."""
        import tensorflow as tf

        from pipelines import batching

        own = self.of(places)
        width = tf.maximum(tf.shape(x["padding_mask"])[1], tf.shape(own["padding_mask"])[1])
        both = [batching.pad(one, width, self.pad_id) for one in (x, own)]
        return {name: tf.concat([one[name] for one in both], 0) for name in own}
