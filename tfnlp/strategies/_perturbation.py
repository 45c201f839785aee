"""What is added to the token embeddings of a batch so that a network answers worse.

It is added to what the embedding layer returns, not to its table: a word's vector then differs
from place to place, and the table's gradient stays one of few rows. Sizes are shares of the norm
of a row's embeddings, which differs from backbone to backbone by orders of magnitude.

Dimensions: B batch, W windows, T tokens, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from tfnlp.extensions import Batch, Step

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfnlp.config import Experiment
    from tfnlp.task import Task

_LEAST = 1e-35


def fits(task: Task, experiment: Experiment, options: Any) -> None:
    """Refuse a task whose network has no embeddings of its own that can be added to.

    Raises:
        UserError: the task writes text, or masks it.

    Example::

        fits(load("translation"), experiment, options)  # raises
    """
    if task.writing is not None or not task.rowwise:
        raise UserError(
            f"--strategy {experiment.strategy.name} is for tasks that read text, not for "
            f"{experiment.task} (take classification, ner or another one that does not write)"
        )


def scaled(direction: tf.Tensor, x: Any, sizes: tf.Tensor) -> tf.Tensor:
    """Return a direction of which every row has a norm, 0 at padding.

    Args:
        direction: (B, T, H) or (B, W, T, H).
        x: the network's inputs by name.
        sizes: (B,), the norms.

    Returns:
        float32; of a row that is 0 everywhere, 0.

    Example::

        scaled(gradient, batch.x, 0.1 * norms(network, batch.x))
    """
    import tensorflow as tf

    real = tf.cast(x["padding_mask"], tf.float32)[..., None]
    real *= tf.cast(direction, tf.float32)
    # The largest first: squares of the gradients of a scaled loss may be infinite.
    axes = list(range(1, real.shape.rank))
    real /= tf.maximum(tf.reduce_max(tf.abs(real), axes, keepdims=True), _LEAST)
    norm = tf.sqrt(tf.reduce_sum(tf.square(real), axes, keepdims=True))
    return real / tf.maximum(norm, _LEAST) * _beside(sizes, real)


def within(added: tf.Tensor, sizes: tf.Tensor) -> tf.Tensor:
    """Return what is added with every row's norm at most its size.

    Example::

        within(added + step, 0.1 * norms(network, batch.x))
    """
    import tensorflow as tf

    axes = list(range(1, added.shape.rank))
    norm = tf.sqrt(tf.reduce_sum(tf.square(added), axes, keepdims=True))
    return added * tf.minimum(1.0, _beside(sizes, added) / tf.maximum(norm, _LEAST))


def norms(network: keras.Model, x: Any) -> tf.Tensor:
    """Return the norm of each row's token embeddings, padding left out, float32 (B,).

    Example::

        norms(network, batch.x)  # [4.2, 5.1, ...] of MiniLM
    """
    import tensorflow as tf

    from tfnlp.backbones import embeddings

    ids = x["token_ids"]
    found = embeddings.embedding(network)(tf.reshape(ids, [-1, tf.shape(ids)[-1]]))
    squares = tf.reduce_sum(tf.square(tf.cast(found, tf.float32)), -1)
    real = tf.reshape(squares, tf.shape(ids)) * tf.cast(x["padding_mask"], tf.float32)
    return tf.stop_gradient(tf.sqrt(tf.reduce_sum(real, list(range(1, real.shape.rank)))))


def _beside(sizes: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Return a number for each row, (B,), as (B, 1, ...), to multiply rows with."""
    import tensorflow as tf

    return tf.reshape(sizes, [-1, *[1] * (rows.shape.rank - 1)])


def attack(steps: int, size: float) -> Callable[[Any, Batch], tf.Tensor]:
    """Return what finds an addition that raises the task's loss, for `Trainer.evaluate`.

    Args:
        steps: of projected gradient ascent, each 2.5 sizes over the number of steps.
        size: the largest norm, as a share of that of a row's embeddings.

    Example::

        trainer.evaluate(splits.test, attack(20, 0.1)).metrics["accuracy"]

    Source: Madry et al. 2018, "Towards deep learning models resistant to adversarial attacks",
        section 2.1 (https://arxiv.org/abs/1706.06083), which takes that step on CIFAR.
    """
    import tensorflow as tf

    from tfnlp.backbones import embeddings

    def found(network: Any, batch: Batch) -> tf.Tensor:
        sizes = size * norms(network, batch.x)

        def farther(added: tf.Tensor) -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                tape.watch(added)
                outputs = network(batch.x, training=False, added=added)
                loss = network.compute_loss(
                    batch.x, batch.y, outputs, batch.weights, training=False
                )
            gradient = tf.convert_to_tensor(tape.gradient(loss, added))
            return [within(added + scaled(gradient, batch.x, 2.5 / steps * sizes), sizes)]

        # A loop in the graph, which would be twenty networks long without one.
        return tf.while_loop(
            lambda _: True,
            farther,
            [embeddings.zeros(network, batch.x)],
            maximum_iterations=steps,
            shape_invariants=[tf.TensorSpec([None] * (batch.x["token_ids"].shape.rank + 1))],
        )[0]

    return found


class Perturbed(Step):
    """A step that learns from a batch and from what is added to its embeddings.

    What was added is raised pass by pass along the loss's gradient of it, with the same dropout
    masks in all of them: otherwise the gradient would be that of another network.

    Args:
        learned: of each pass, whether the weights learn from it; the mean of those counts.
        step: how far a pass goes, as a share of the norm of a row's embeddings.
        size: the largest norm of what is added, as such a share.
        noise: whether the first pass has random noise of any size up to the largest added.

    Example::

        trainer.fit(Perturbed([True, True], step=0.1, size=0.1))  # FGM
    """

    remedy = "lower the size of what is added, or --learning-rate"

    def __init__(
        self, learned: Sequence[bool], step: float, size: float, noise: bool = False
    ) -> None:
        self.learned, self.step, self.size, self.noise = learned, step, size, noise

    def gradients(self, network: Any, batch: Batch) -> tuple[tf.Tensor, Any, list[Any]]:
        """Return the mean loss of the passes that are learned from, and their mean gradients."""
        import tensorflow as tf

        own = norms(network, batch.x)
        added = self._first(network, batch, own)
        seeds = Seeds(network)
        losses, gradients, first = [], [], None
        for number, learned in enumerate(self.learned):
            seeds.put_back()
            with tf.GradientTape() as tape:
                tape.watch(added)
                outputs = network(batch.x, training=True, added=added)
                loss = self.loss(network, batch, outputs)
            first = outputs if first is None else first
            if learned:
                *found, upwards = network.gradients_of(tape, loss, [added])
                losses.append(loss)
                gradients.append(found)
            else:
                scale = network.optimizer.scale_loss(tf.ones_like(loss))
                upwards = tape.gradient(loss, added, output_gradients=scale)
            if number < len(self.learned) - 1:
                up = scaled(tf.convert_to_tensor(upwards), batch.x, self.step * own)
                added = within(added + up, self.size * own)
        return tf.add_n(losses) / len(losses), first, [*map(mean, zip(*gradients, strict=True))]

    def _first(self, network: Any, batch: Batch, own: tf.Tensor) -> tf.Tensor:
        """Return what is added in the first pass."""
        import tensorflow as tf

        from tfnlp.backbones import embeddings

        nothing = embeddings.zeros(network, batch.x)
        if not self.noise:
            return nothing
        directions = self.random.normal(tf.shape(nothing))
        return scaled(directions, batch.x, self.random.uniform(tf.shape(own)) * self.size * own)

    def build(self, network: keras.Model, total_rows: int) -> None:
        """Make what noise is drawn from."""
        if self.noise:
            self.random = Noise()
            self.variables = self.random.variables


class Noise:
    """Random numbers whose place is in the checkpoints of a fit.

    Example::

        noise = Noise()  # in Step.build, which sets `random` to the run's seed
        noise.normal([2, 3])
    """

    def __init__(self) -> None:
        import keras

        self.generator = keras.random.SeedGenerator()
        self.variables = [self.generator.state]

    def normal(self, shape: Any) -> Any:
        """Draw from the normal distribution, float32."""
        import keras

        return keras.random.normal(shape, seed=self.generator, dtype="float32")

    def uniform(self, shape: Any) -> Any:
        """Draw from 0 to 1, float32."""
        import keras

        return keras.random.uniform(shape, seed=self.generator, dtype="float32")


class Seeds:
    """Where the random generators of a network stand, so that passes draw the same masks.

    Example::

        seeds = Seeds(network)
        one = network(x, training=True)
        seeds.put_back()
        other = network(x, training=True)  # the same
    """

    def __init__(self, network: keras.Model) -> None:
        import tensorflow as tf

        self.states = [
            v for v in network.variables if v.path.rpartition("/")[2] == "seed_generator_state"
        ]
        self.held = [tf.identity(state.value) for state in self.states]

    def put_back(self) -> None:
        """Set the generators to where they stood."""
        for state, held in zip(self.states, self.held, strict=True):
            state.assign(held)


def mean(gradients: Sequence[Any]) -> Any:
    """Return the mean of a variable's gradients from several passes; None where there are none.

    Those of a table are rows with their places, which stand beside one another then.

    Example::

        mean([one, other])
    """
    import tensorflow as tf

    there = [gradient for gradient in gradients if gradient is not None]
    if not there:
        return None
    if isinstance(there[0], tf.IndexedSlices):
        return tf.IndexedSlices(
            tf.concat([g.values for g in there], 0) / len(gradients),
            tf.concat([g.indices for g in there], 0),
            there[0].dense_shape,
        )
    return tf.add_n(there) / len(gradients)
