"""What strategies share that learn of a target domain without labels: its rows, vectors, report.

Dimensions: B batch, W windows, T tokens, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from tfnlp.config import Experiment
from tfnlp.extensions import Batch, Outcome, Source, Step, Trainer
from tfnlp.options import option
from tfnlp.report import Report, Table
from tfnlp.strategies import _earlier, _unlabelled
from tfnlp.task import Task

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from pipelines.rows import Rows

PLAIN = "plain"  # the name of the fit on the source alone
_HEAD = "head_dropout"  # the layer that is given a text's vector, or each token's
_ROWS = 400  # of each domain, to see whether they can be told apart


@dataclass(frozen=True)
class Options:
    """Which texts are of the target domain, and how much being like them counts."""

    target: str | None = option(
        None,
        "a file of texts of the target domain, with the columns of the training file but for its "
        "targets",
        flag="--target",
        metavar="FILE",
    )
    compare: bool = option(True, "also train on the source alone, and show both (as long again)")


def fits(task: Task, experiment: Experiment, options: Options) -> None:
    """Refuse a training without a target domain, and tasks whose heads are given no vectors.

    Raises:
        UserError: no file is named, or the task is another.

    Example::

        fits(load("classification"), experiment, Options(target="shoes.txt"))
    """
    name = experiment.strategy.name
    if options.target is None:
        raise UserError(f"--strategy {name} needs --target (a file of texts of the target domain)")
    if task.writing is not None or task.pack is not None or experiment.task == "similarity":
        raise UserError(
            f"--strategy {name} is for tasks that put a head on the backbone, not for "
            f"{experiment.task} (take classification, ner or another one that does)"
        )


def train(trainer: Trainer, make: Callable[[], Step]) -> Outcome:
    """Fit by a step that is given target rows too; compare with the source alone.

    Both are judged on the validation rows, which are of the source, and on the test rows, which are
    of the target if the user says so. Which epoch is best is decided by source rows alone: target
    labels are not looked at.

    Args:
        trainer: what fits.
        make: makes the step; its batches have ``target`` beside.

    Example::

        train(trainer, lambda: make(trainer.options))
    """
    rows = _unlabelled.read(trainer, trainer.options.target)
    assert rows is not None  # `fits` refuses none
    name = trainer.experiment.strategy.name
    network, found = trainer.model.network, {}
    if trainer.options.compare:
        before = _earlier.values(network)
        trainer.fit(name=PLAIN)
        found["source alone"] = _judged(trainer, rows)
        for variable, value in zip(network.variables, before, strict=True):
            variable.assign(value)
    # Rows of all lengths share batches: domains are not to be told apart by their lengths.
    train = Source(trainer.splits.train, mixed=True)
    trainer.fit(make(), train=train, beside={"target": Source(rows, targets=False, mixed=True)})
    found[name] = _judged(trainer, rows)
    return Outcome(report(name, found))


def with_vector(network: keras.Model) -> keras.Model:
    """Return a network of the same layers that returns ``outputs`` and ``vector``, (B, H).

    Where the head is given each token's state, the vector is the mean over the tokens, and there is
    one for each window of a text.

    Raises:
        UserError: the head has no dropout, by which it is found.

    Example::

        with_vector(network)(x)["vector"]  # (B, 384)
    """
    import keras

    from tfnlp.heads import answer_span, pooled

    there = [layer for layer in network.layers if layer.name == _HEAD]
    if not there:
        raise UserError(
            f"the head of {network.name} is not given vectors that can be compared (take --task "
            "classification or ner)"
        )
    vector, inputs = there[0].input, {x.name: x for x in network.inputs}
    if len(vector.shape) > 2:  # states (B, T, H), or of the windows in use
        mask = inputs["padding_mask"]
        if len(mask.shape) > 2:
            mask = answer_span.TakeWindows()(mask, keras.ops.max(mask, axis=-1) > 0)
        vector = pooled.masked_mean(vector, mask)
    return keras.Model(network.input, {"outputs": network.output, "vector": vector})


def _judged(trainer: Trainer, target: Rows) -> dict[str, float]:
    """Return the first metric of validation and test rows, and how far domains are apart."""
    splits = trainer.splits
    parts = {"validation": splits.validation, **({"test": splits.test} if splits.test else {})}
    found = {}
    for part, rows in parts.items():
        name, value = next(iter(trainer.evaluate(rows).metrics.items()))
        found[f"{part}_{name}"] = value
    return {**found, "distance": distance(trainer, target)}


def distance(trainer: Trainer, target: Rows) -> float:
    """Return how well a linear model tells both domains apart by vectors: 0 not at all, 2 always.

    Args:
        trainer: has the network, and the source rows.
        target: rows of the target domain.

    Example::

        distance(trainer, rows)  # 1.6

    Source: Ben-David et al. 2010, "A theory of learning from different domains", as the proxy
        A-distance 2 (1 - 2 error) of Ganin et al. 2016, section 5.1.2
        (https://arxiv.org/abs/1505.07818).
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    from pipelines import splits

    found = []
    for rows in (trainer.splits.validation, target):
        some = rows.take(splits.evenly(len(rows), _ROWS))
        found.append(vectors(trainer, some))
    count = min(map(len, found))
    if count < 5:
        return float("nan")
    x = np.concatenate([one[splits.evenly(len(one), count)] for one in found])
    y = np.repeat([0, 1], count)
    x = (x - x.mean(0)) / (x.std(0) + 1e-6)
    right = cross_val_score(LogisticRegression(C=0.01, max_iter=500), x, y, cv=5).mean()
    return float(2 * max(0.0, 2 * right - 1))


def vectors(trainer: Trainer, rows: Rows) -> Any:
    """Return the vectors that the head is given for rows, without targets, float32 (N, H).

    Example::

        vectors(trainer, rows).shape  # (400, 384)
    """
    import numpy as np
    import tensorflow as tf

    from tfnlp.training import examples

    model: Any = trainer.model
    both = with_vector(model.network)
    raw = examples.unlabelled(model, rows)

    @tf.function(autograph=False)
    def of(batch: dict[str, tf.Tensor]) -> tf.Tensor:
        features, _ = model.encode(batch)
        return both(features, training=False)["vector"]

    size = examples.EVALUATION_BATCH
    parts = [
        of({name: column[start : start + size] for name, column in raw.items()}).numpy()
        for start in range(0, len(rows), size)
    ]
    return np.concatenate(parts)


def report(name: str, found: dict[str, dict[str, float]]) -> Report:
    """Return what was reached on either domain, with the method and on the source alone.

    Args:
        name: the strategy's.
        found: "source alone" and the name -> as judged.

    Example:
        >>> report("mmd", {"mmd": {"validation_accuracy": 0.9, "distance": 1.5}}).metrics
        {'mmd_validation_accuracy': 0.9, 'mmd_distance': 1.5}
    """
    own = found[name]
    said = {"validation": "of validation rows (source)", "test": "of test rows"}
    rows = []
    for key in own:
        part, _, metric = key.partition("_")
        what = f"{metric} {said[part]}" if metric else "distance of the domains, 0 to 2"
        rows.append((what, *(f"{one[key]:.4f}" for one in found.values())))
    table = Table("Source and target", ("measured", *found), rows)
    metrics = {
        f"{who.replace(' ', '_')}_{key}": value
        for who, one in found.items()
        for key, value in one.items()
        if value == value
    }
    return Report(metrics, [table], warnings=_warnings(name, found))


def _warnings(name: str, found: dict[str, dict[str, float]]) -> list[str]:
    """Say so where the method does not help on test rows."""
    from tfnlp.evaluation.runs import less_is_better

    own, plain = found[name], found.get("source alone")
    key = next((key for key in own if key.startswith("test_")), None)
    if plain is None or key is None:
        return []
    gain = own[key] - plain[key]
    if less_is_better(key.removeprefix("test_")):
        gain = -gain
    return [] if gain > 0 else [f"--strategy {name} did not help: without it test rows are as good"]


class Aligned(Step):
    """The task's loss of source rows, and ``away`` of both domains' vectors."""

    def build(self, network: Any, total_rows: int) -> None:
        """Make a network of the same layers that returns vectors too."""
        from tfnlp.training.network import trainable

        self.both = trainable(with_vector(network), divisible=network.divisible)

    def away(self, source: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        """Return what is added to the loss, a scalar, of vectors (B, H) of either domain."""
        raise NotImplementedError

    def gradients(self, network: Any, batch: Batch) -> tuple[tf.Tensor, Any, list[Any]]:
        """Return the loss with the term, the outputs, and the gradients."""
        import tensorflow as tf

        self.both.streams, self.both.peft_step = network.streams, network.peft_step
        with tf.GradientTape() as tape:
            found = self.both(batch.x, training=True)
            other = self.both(batch.beside["target"].x, training=True)
            loss = self.loss(network, batch, found["outputs"])
            term = self.away(
                tf.cast(found["vector"], tf.float32), tf.cast(other["vector"], tf.float32)
            )
            loss += tf.cast(term / network.replicas, loss.dtype)
        return loss, found["outputs"], network.gradients_of(tape, loss)
