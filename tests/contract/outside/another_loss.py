"""Another loss: outputs, by a projection that is trained too, are pulled to a teacher's."""

from dataclasses import dataclass

import numpy as np

from tfnlp.extensions import Outcome, Source, Step, Strategy


@dataclass(frozen=True)
class Options:
    """None."""


class Taught(Step):
    def build(self, network, total_rows):
        import keras
        import tensorflow as tf

        self.projection = keras.layers.Dense(3, dtype="float32")
        self.projection.build((None, 2))
        self.trainable = self.projection.trainable_weights
        self.seen = tf.Variable(0.0, trainable=False)
        self.variables = [self.seen]

    def loss(self, network, batch, outputs):
        import tensorflow as tf

        away = tf.reduce_mean((self.projection(outputs) - batch.extras["teacher"]) ** 2)
        return super().loss(network, batch, outputs) + away / network.replicas

    def updated(self, network, batch):
        self.seen.assign(0.9 * self.seen + 1.0)


def train(trainer):
    rows = trainer.splits.train
    teacher = np.random.default_rng(1).normal(size=(len(rows), 3)).astype("float32")
    trainer.fit(Taught(), train=Source(rows, extras={"teacher": teacher}))
    return Outcome(facts={"taught": True})


STRATEGY = Strategy("learns from a teacher too", Options, train)
