"""A step from two sources of different sizes, one of them without targets: be sure of both."""

from dataclasses import dataclass

from tfnlp.extensions import Outcome, Source, Step, Strategy


@dataclass(frozen=True)
class Options:
    """None."""


class Sure(Step):
    def build(self, network, total_rows):
        import keras

        self.entropy = keras.metrics.Mean("entropy")
        self.metrics = [self.entropy]

    def loss(self, network, batch, outputs):
        import tensorflow as tf

        beside = batch.beside["unlabelled"]
        assert beside.y is None
        scores = tf.nn.softmax(tf.cast(network(beside.x, training=True), tf.float32))
        entropy = -tf.reduce_mean(tf.reduce_sum(scores * tf.math.log(scores + 1e-9), -1))
        self.entropy.update_state(entropy)
        return super().loss(network, batch, outputs) + 0.1 * entropy / network.replicas


def train(trainer):
    rows = trainer.splits.train
    unlabelled = Source(rows.take(list(range(0, len(rows), 3))), targets=False)
    trainer.fit(Sure(), beside={"unlabelled": unlabelled})
    return Outcome()


STRATEGY = Strategy("learns from rows without labels too", Options, train)
