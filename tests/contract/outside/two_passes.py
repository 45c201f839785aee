"""Gradients of two passes: the second with embeddings moved against the first's gradient."""

from dataclasses import dataclass

from tfnlp.extensions import Outcome, Step, Strategy
from tfnlp.options import option


@dataclass(frozen=True)
class Options:
    """How far embeddings are moved."""

    radius: float = option(1.0, "length of the move", minimum=0.0)


class Moved(Step):
    def __init__(self, model, radius):
        self.below, self.above = model.cut()
        self.radius = radius

    def gradients(self, network, batch):
        import tensorflow as tf

        with tf.GradientTape(persistent=True) as tape:
            states = self.below(batch.x, training=True)
            tape.watch(states)
            outputs = self.above({**batch.x, "embeddings": states}, training=True)
            loss = self.loss(network, batch, outputs)
        slope = tf.cast(tape.gradient(loss, states), tf.float32)
        move = self.radius * slope / (tf.norm(slope) + 1e-9)
        with tf.GradientTape() as second:
            states = self.below(batch.x, training=True)
            moved = states + tf.cast(move, states.dtype)
            worse = self.loss(
                network, batch, self.above({**batch.x, "embeddings": moved}, training=True)
            )
        both = zip(network.gradients_of(tape, loss), network.gradients_of(second, worse))  # noqa: B905
        return loss, outputs, [tf.add(a, b) for a, b in both]


def train(trainer):
    trainer.fit(Moved(trainer.model, trainer.options.radius))
    return Outcome()


STRATEGY = Strategy("learns beside the worst neighbours", Options, train)
