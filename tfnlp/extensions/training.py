"""How a network is trained, and on which further rows.

The protocols say what an entry may ask of its caller; ``tfnlp/training`` fulfils them.

Dimensions: N rows, B batch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from pipelines.rows import Rows
from tfnlp.config import Experiment
from tfnlp.report import Report
from tfnlp.task import Context, Task

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf

    from pipelines.splits import Splits
    from tfnlp.extensions.analysis import Subject

Defaults = Mapping[str, Mapping[str, Any]]  # section -> option -> its default with an entry

SUPERVISED = "supervised"  # the strategy if none is named


def accept(*_: Any) -> None:
    """Check nothing."""


# ---------------------------------------------------------------- how a network is trained


@dataclass(frozen=True)
class Source:
    """Rows that a fit draws batches from, by a plan of its own: a function of (seed, epoch).

    Attributes:
        rows: rows, or a function of the epoch that returns them; their number may differ by epoch.
        targets: False for unlabelled rows; ``Batch.y`` is None then.
        mixed: whether rows of all lengths share batches; otherwise those of about one length do,
            which saves padding, but lets a model tell two sources by their lengths.
        extras: name -> array with a line for each row, (N, ...), that travels with it into
            ``Batch.extras``, such as a teacher's outputs. Only of rows that are no function.
        model: whose task encodes the rows, in batches of its experiment's size; the one that is
            fitted if not given.
    """

    rows: Rows | Callable[[int], Rows]
    targets: bool = True
    mixed: bool = False
    extras: Mapping[str, np.ndarray] = field(default_factory=dict)
    model: TrainedModel | None = None


@dataclass(frozen=True)
class Batch:
    """What a step learns from.

    Attributes:
        x: the network's inputs by name, as the task's ``encode`` returns them.
        y: targets, None of unlabelled rows.
        weights: of the rows, float32 (B,), or None.
        extras: name -> (B, ...), as in `Source.extras`.
        beside: the batches of further sources of the same step, by their names.
    """

    x: Any
    y: Any
    weights: Any
    extras: Mapping[str, Any] = field(default_factory=dict)
    beside: Mapping[str, Batch] = field(default_factory=dict)


class Network(Protocol):
    """A functional Keras model that is trained by a step (`tfnlp.training.network`)."""

    trainable_weights: list[Any]
    replicas: int  # over which a batch is dealt out, and a loss is divided

    def __call__(self, inputs: Any, training: bool = False, added: Any = None) -> Any:
        """Return the outputs of a batch; ``added`` is to the token embeddings of an encoder."""

    def compute_loss(self, x: Any, y: Any, y_pred: Any, sample_weight: Any, training: bool) -> Any:
        """Return the task's loss of a batch, a scalar."""

    def gradients_of(
        self, tape: tf.GradientTape, loss: tf.Tensor, more: Sequence[tf.Tensor] = ()
    ) -> list[Any]:
        """Return the loss's gradients of the network's and the step's trainable weights.

        Those of further tensors that the tape watches follow; in float16 all are scaled.
        """


class Step:
    """How a batch becomes a loss and gradients; this one is supervised learning.

    A step is used in one fit. In float16 the gradients are those of the loss times the optimizer's
    scale, which the optimizer divides by; so gradients of several passes can be added up.

    Attributes:
        variables: of its own that decide how training continues (counters, averages, optimizers'
            variables); they are in the checkpoints.
        trainable: of its own that are trained with the network.
        metrics: Keras metrics that are logged with the loss; on several replicas each replica
            updates them.
        remedy: what a user may do if the loss becomes NaN or infinite.
        on_features: whether the network that it is given may be the part above all that is frozen,
            whose inputs hold what frozen layers return, computed once; false for steps that look
            at the tokens or embeddings. `Step` itself learns from either.

    Example::

        class Doubled(Step):
            def loss(self, network, batch, outputs):
                return 2 * super().loss(network, batch, outputs)
    """

    variables: Sequence[Any] = ()
    trainable: Sequence[Any] = ()
    metrics: Sequence[keras.metrics.Metric] = ()
    remedy = "look at these rows, or lower --learning-rate"
    on_features = False

    def build(self, network: keras.Model, total_rows: int) -> None:
        """Make variables and layers, in the scope of the devices; schedules know the end.

        Args:
            network: what is trained.
            total_rows: rows of the training source over all epochs of the fit, if it ends no
                earlier and each epoch has as many as the first.
        """

    def loss(self, network: Any, batch: Batch, outputs: Any) -> tf.Tensor:
        """Return the loss of a batch, a scalar; override it for another loss.

        ``network.compute_loss`` divides by the number of replicas, whose gradients are added up;
        what is added to it must be divided so too.
        """
        loss: tf.Tensor = network.compute_loss(
            batch.x, batch.y, outputs, batch.weights, training=True
        )
        return loss

    def gradients(self, network: Any, batch: Batch) -> tuple[tf.Tensor, Any, list[Any]]:
        """Return the loss, the outputs, and the gradients of all trainable weights.

        Override it for gradients of another kind. They stand in the order of
        ``[*network.trainable_weights, *self.trainable]``; None leaves a weight as it is.
        """
        import tensorflow as tf

        with tf.GradientTape() as tape:
            outputs = network(batch.x, training=True)
            loss = self.loss(network, batch, outputs)
        return loss, outputs, network.gradients_of(tape, loss)

    def updated(self, network: Any, batch: Batch) -> None:
        """Do what follows an update of the weights, in graph."""


class TrainedModel(Protocol):
    """A network with its task, tokenizer and facts, trained or not (`tfnlp.training.model`)."""

    @property
    def experiment(self) -> Experiment:
        """What decides the run."""

    @property
    def task(self) -> Task:
        """The record of functions."""

    @property
    def context(self) -> Context:
        """Options, tokenizer and facts."""

    @property
    def network(self) -> keras.Model:
        """The functional Keras model."""

    @property
    def blocks(self) -> tuple[tuple[keras.layers.Layer, ...], ...]:
        """The backbone's layers from the embeddings up."""

    def cut(self) -> tuple[keras.Model, keras.Model]:
        """Return the network in two parts, cut after its token embeddings.

        The first takes the network's inputs and returns the embeddings, (B, T, H). The second takes
        them as ``embeddings`` with the other inputs, and returns the network's outputs. Both
        share its layers.
        """


@dataclass(frozen=True)
class Origin:
    """The earlier run that training goes on from (``--start-from``).

    Attributes:
        name: its folder.
        model: what it trained, with the names that its labels have now; those that are new follow
            them in the labels of the model that is trained.
        renamed: label -> its name now, of all runs before.
        rows: returns the rows that it was trained on; raises UserError if they are gone or others.
        held_out: rows that the runs before were judged on, by the runs' folders, first to last, as
            far as they are still there; rows that a later one was judged on too are the first's.
    """

    name: str
    model: TrainedModel
    renamed: Mapping[str, str]
    rows: Callable[[], Rows]
    held_out: Mapping[str, Rows]


class Trainer(Protocol):
    """What a strategy trains with (`tfnlp.training.trainer`)."""

    @property
    def experiment(self) -> Experiment:
        """What decides the run."""

    @property
    def options(self) -> Any:
        """The strategy's own."""

    @property
    def splits(self) -> Splits:
        """The rows of train, validation and test."""

    @property
    def rows(self) -> Callable[[int], Rows] | None:
        """The training rows of an epoch, augmented; None if all epochs have those of the split."""

    @property
    def model(self) -> TrainedModel:
        """The model with the weights that it has now; fits change them in place."""

    @property
    def origin(self) -> Origin | None:
        """The earlier run that training goes on from, if there is one."""

    @property
    def trained(self) -> Mapping[str, int]:
        """How many batches each fit that has ended was trained on."""

    @property
    def paces(self) -> Mapping[str, float]:
        """How long a step took of each fit that has ended, its share of validation with it [s]."""

    def fit(
        self,
        step: Step | None = None,
        *,
        train: Source | Rows | None = None,
        beside: Mapping[str, Source] | None = None,
        validation: Rows | None = None,
        name: str = "fit",
        settings: Defaults | None = None,
        score: Callable[[], Mapping[str, float]] | None = None,
        last: bool = False,
    ) -> list[dict[str, float]]:
        """Fit with early stopping; killed at any moment, a fit resumes exactly.

        Args:
            step: how a batch becomes gradients; supervised learning if not given.
            train: in place of the training split.
            beside: further sources by name; each step is given a batch of each of them too.
            validation: in place of the validation split.
            name: of this fit among the strategy's, an identifier; its checkpoints and logs bear it.
            settings: section -> option -> value, of this fit alone, such as
                ``{"optimizer": {"learning_rate": 1e-3}}``.
            score: called after each epoch for figures to log; ``score`` among them decides which
                epoch is best, more being better, in place of the task's own metric.
            last: whether all epochs are trained and the last is taken, as where no rows are left to
                choose one by.

        Returns:
            The metrics of each epoch. The model has the weights of its best epoch then.
        """

    def read(self, file: str) -> Experiment:
        """Return the experiment that a YAML file describes.

        Raises:
            UserError: it cannot be read, or describes none.
        """

    def beside(
        self, experiment: Experiment, splits: Splits, facts: dict[str, Any] | None = None
    ) -> Trainer:
        """Return what fits another model on the same backbone, with a head of its own.

        Its fits are this run's too, so their names differ from this one's.

        Args:
            experiment: of the other task; its backbone and its peft method are this one's.
            splits: its rows.
            facts: in place of those that its task learns from the training rows.

        Raises:
            UserError: the rows cannot be learned from, or the backbone does not fit the task.
        """

    def batches(self, rows: Rows) -> Iterator[Batch]:
        """Yield rows in batches, in a fixed order."""

    def kept(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return an array that is made once in a run, and is the same when that is resumed.

        Args:
            name: of the file that it is kept in.
            make: makes it.
        """

    def tracked(self, parts: Collection[Any], what: str) -> Iterator[Any]:
        """Yield parts of long work while a bar shows how many of them are done."""

    def load(self, source: str) -> Subject:
        """Return another model: a run's folder, a SavedModel, or a server's address.

        Raises:
            UserError: there is no such model, or it cannot be loaded.
        """

    def evaluate(
        self,
        rows: Rows,
        perturb: Callable[[Network, Batch], tf.Tensor] | None = None,
        *,
        sure: bool = False,
    ) -> Report:
        """Return the report on the answers of the model as it is now.

        Args:
            rows: with their targets.
            perturb: (network, batch) -> what is added to the batch's token embeddings, in graph,
                float32 (B, T, H) or (B, W, T, H).
            sure: with the intervals of its metrics, of answers that are not perturbed.
        """


@dataclass(frozen=True)
class Outcome:
    """What a strategy did.

    Attributes:
        report: findings that are added to the run's report.
        facts: JSON values kept with the model's.
        model: what was trained, if not the trainer's own model.
        heads: other models that were trained on the same backbone, by name, each with its metrics
            by split; the run keeps them, and its SavedModel has a signature for each.
        validation: a report by cross-validation, in place of one on rows for validation, where all
            rows were trained on.
    """

    report: Report | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    model: TrainedModel | None = None
    heads: Mapping[str, tuple[TrainedModel, Mapping[str, Any]]] = field(default_factory=dict)
    validation: Report | None = None


@dataclass(frozen=True)
class Strategy:
    """How a network is trained.

    Attributes:
        summary: one line, shown by ``--help``.
        options: dataclass; each field is a flag that bears the strategy's name.
        train: Trainer -> Outcome.
        fits: (task, experiment, options) -> None; raises UserError in one sentence, before
            anything is read, for a task or setting that the strategy is not for.
        defaults: section -> option -> the default with this strategy, over those of the task.
        takes_all: whether it trains on every row that it is given, and leaves none out for
            validation where no rows for that are named.
        head_only: whether nothing of the backbone is trained.
        reads: further options of data that it reads, ``unlabelled`` or ``labels``.
        rows: experiment -> its training rows, None where they are those that the experiment names.
    """

    summary: str
    options: type
    train: Callable[[Trainer], Outcome]
    fits: Callable[[Task, Experiment, Any], None] = accept
    defaults: Defaults = field(default_factory=dict)
    takes_all: bool = False
    head_only: bool = False
    reads: Collection[str] = ()
    rows: Callable[[Experiment], Rows | None] = lambda experiment: None
