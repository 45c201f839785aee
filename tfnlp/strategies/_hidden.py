"""The vector of a row that its head is given, and how it is drawn to a teacher's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from tfnlp.extensions import Batch, Step

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_HEAD = "head_dropout"  # the layer that is given the vector


def with_vector(network: keras.Model) -> keras.Model:
    """Return a network of the same layers that returns ``outputs`` and ``vector``, (B, H).

    Raises:
        UserError: the head is given no vector of a row, but of each token, or it has no dropout.

    Example::

        with_vector(network)(x)["vector"]  # (B, 384)
    """
    import keras

    there = [layer for layer in network.layers if layer.name == _HEAD]
    if not there or len(there[0].input.shape) != 2:
        raise UserError(
            f"the head of {network.name} is not given one vector for each row, so there is none to "
            "compare (leave out what compares vectors, or take --task classification)"
        )
    return keras.Model(network.input, {"outputs": network.output, "vector": there[0].input})


def make(name: str, width: int) -> Step:
    """Return a step that draws rows' vectors, mapped to a teacher's width, to the teacher's.

    Args:
        name: of the teacher's vectors among a batch's extras.
        width: of those vectors, float32 (B, width).

    Example::

        trainer.fit(make("teacher_vectors", 768), train=source, name="hidden")
    """
    import keras
    import tensorflow as tf

    from tfnlp.training.network import trainable

    class Near(Step):
        """The mean squared distance; the map is learned with the rest, and left behind."""

        def build(self, network: Any, total_rows: int) -> None:
            """Make the map, and a network that returns vectors too."""
            self.both = trainable(with_vector(network), divisible=network.divisible)
            self.map = keras.layers.Dense(width, dtype="float32", name="to_teacher")
            self.map.build(self.both.output["vector"].shape)
            self.trainable = self.map.trainable_weights

        def gradients(self, network: Any, batch: Batch) -> tuple[tf.Tensor, Any, list[Any]]:
            """Return the distance of all rows, no outputs, and the gradients."""
            self.both.streams, self.both.peft_step = network.streams, network.peft_step
            with tf.GradientTape() as tape:
                parts = [self._away(one) for one in (batch, *batch.beside.values())]
                loss = tf.add_n(parts) / len(parts) / network.replicas
            return loss, None, network.gradients_of(tape, loss)

        def _away(self, batch: Batch) -> tf.Tensor:
            vectors = self.both(batch.x, training=True)["vector"]
            return tf.reduce_mean(tf.square(self.map(vectors) - batch.extras[name]))

    return Near()
