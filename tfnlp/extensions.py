"""What can be plugged in: records with a summary, options and one verb, one file an entry.

A folder is a registry: ``tfnlp/strategies/gan.py`` defines ``STRATEGY``, and an outsider's module
is named by its dotted path. Names that begin with ``_`` are shared parts, not entries. Entries keep
TensorFlow and Keras inside their functions, because ``--help`` imports them for their options.

Nothing here imports upward: the protocols say what an entry may ask of its caller, and
``tfnlp/training`` fulfils them.

Dimensions: N rows, B batch.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from pipelines import discover
from pipelines.augmentation import Edit as Edit
from pipelines.augmentation import Span as Span
from pipelines.errors import UserError
from pipelines.rows import Column, Record, Rows
from tfnlp.config import Experiment
from tfnlp.report import Report
from tfnlp.task import Context, Task

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf

    from pipelines.splits import Splits

Defaults = Mapping[str, Mapping[str, Any]]  # section -> option -> its default with an entry
Entry = TypeVar("Entry")

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
    """

    rows: Rows | Callable[[int], Rows]
    targets: bool = True
    mixed: bool = False
    extras: Mapping[str, np.ndarray] = field(default_factory=dict)


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

    def __call__(self, inputs: Any, training: bool = False) -> Any:
        """Return the outputs of a batch."""

    def compute_loss(self, x: Any, y: Any, y_pred: Any, sample_weight: Any, training: bool) -> Any:
        """Return the task's loss of a batch, a scalar."""

    def gradients_of(self, tape: tf.GradientTape, loss: tf.Tensor) -> list[Any]:
        """Return the loss's gradients of the network's and the step's trainable weights."""


class Step:
    """How a batch becomes a loss and gradients; this one is supervised learning.

    A step is used in one fit. In float16 the gradients are those of the loss times the optimizer's
    scale, which the optimizer divides by; so gradients of several passes can be added up.

    Attributes:
        variables: of its own that decide how training goes on (counters, averages, optimizers'
            variables); they are in the checkpoints.
        trainable: of its own that are trained with the network.
        metrics: Keras metrics that are logged beside the loss; on several replicas each replica
            updates them.
        remedy: what a user may do if the loss becomes NaN or infinite.

    Example::

        class Doubled(Step):
            def loss(self, network, batch, outputs):
                return 2 * super().loss(network, batch, outputs)
    """

    variables: Sequence[Any] = ()
    trainable: Sequence[Any] = ()
    metrics: Sequence[keras.metrics.Metric] = ()
    remedy = "look at these rows, or lower --learning-rate"

    def build(self, network: keras.Model, total_rows: int) -> None:
        """Make variables and layers, in the scope of the devices; schedules know the end.

        Args:
            network: what is trained.
            total_rows: rows of the training source over all epochs of the fit, at most.
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

    def cut(self) -> tuple[keras.Model, keras.Model]:
        """Return the network in two parts, cut behind its token embeddings.

        The first takes the network's inputs and returns the embeddings, (B, T, H). The second takes
        them as ``embeddings`` beside the other inputs, and returns the network's outputs. Both
        share its layers.
        """


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
    def model(self) -> TrainedModel:
        """The model with the weights that it has now; fits change them in place."""

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
    ) -> list[dict[str, float]]:
        """Fit with early stopping; killed at any moment, a fit resumes as if it had not been.

        Args:
            step: how a batch becomes gradients; supervised learning if not given.
            train: in place of the training split.
            beside: further sources by name; each step is given a batch of each of them too.
            validation: in place of the validation split.
            name: of this fit among the strategy's; its checkpoints and logs bear it.
            settings: section -> option -> value, of this fit alone, such as
                ``{"optimizer": {"learning_rate": 1e-3}}``.
            score: called after each epoch for figures to log; ``score`` among them decides which
                epoch is best, more being better, in place of the task's own metric.

        Returns:
            The metrics of each epoch. The model has the weights of its best epoch then.
        """

    def batches(self, rows: Rows) -> Iterator[Batch]:
        """Yield rows in batches, in a fixed order."""


@dataclass(frozen=True)
class Outcome:
    """What a strategy did.

    Attributes:
        report: findings that are added to the run's report.
        facts: JSON values kept with the model's.
    """

    report: Report | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


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
    """

    summary: str
    options: type
    train: Callable[[Trainer], Outcome]
    fits: Callable[[Task, Experiment, Any], None] = accept
    defaults: Defaults = field(default_factory=dict)


# ---------------------------------------------------------------- what of it is trained


class Adaptable(Protocol):
    """A backbone as peft methods see it (`tfnlp.backbones.loading.Backbone`).

    Attributes:
        name: as it was asked for.
        model: the functional Keras model.
        blocks: its layers, the embeddings' first, then each transformer layer's.
    """

    @property
    def name(self) -> str:
        """As it was asked for."""

    @property
    def model(self) -> keras.Model:
        """The functional Keras model."""

    @property
    def blocks(self) -> tuple[tuple[keras.layers.Layer, ...], ...]:
        """Its layers, the embeddings' first, then each transformer layer's."""


@dataclass(frozen=True)
class Peft:
    """Which few weights of a backbone are trained, or are added to it and trained in its place.

    Attributes:
        summary: one line, shown by ``--help``.
        options: dataclass; each field is a flag that bears the method's name.
        adapt: (backbone, options) -> None; adds weights and sets which are trainable, after the
            backbone was loaded and before a head is put on it. It is called when a model is loaded
            again, too: the file of a run holds only what was trained, and weights that are not
            must come out the same each time.
        defaults: section -> option -> the default with this method, such as its learning rate.
    """

    summary: str
    options: type
    adapt: Callable[[Adaptable, Any], None]
    defaults: Defaults = field(default_factory=dict)


# ---------------------------------------------------------------- more rows


@dataclass(frozen=True)
class Augmenter:
    """How texts are changed so that their labels stay right.

    Attributes:
        summary: one line, shown by ``--help``.
        options: dataclass; each field is a flag that bears the augmenter's name.
        edit: (text, its spans, random, options) -> edits outside of the spans, none where the text
            cannot be changed; `pipelines.augmentation` applies them and moves the targets.
    """

    summary: str
    options: type
    edit: Callable[[str, Sequence[Span], random.Random, Any], Sequence[Edit]]


# ---------------------------------------------------------------- questions to a trained model


class UnsuitableError(UserError):
    """An entry cannot work on this model; of several that were not named it is left out."""


class Subject(Protocol):
    """A model under analysis: a run with its network, or a SavedModel in a folder or on a server.

    Where it lies decides what is known of it: a server tells what it reads, and no more.
    """

    @property
    def name(self) -> str:
        """What it is called in reports."""

    @property
    def inputs(self) -> tuple[Column, ...]:
        """The columns it reads, by name in alphabetical order."""

    @property
    def experiment(self) -> Experiment | None:
        """What made it; None of a server, and of a SavedModel that tfnlp did not write."""

    @property
    def model(self) -> TrainedModel | None:
        """The network with its task; None of a SavedModel: what needs a network needs a run."""

    def answer(self, texts: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
        """Return an answer for each of N rows, as ``python -m tfnlp.predict`` writes them.

        Args:
            texts: N values of each input, strings or lists of turns.
        """


@dataclass(frozen=True)
class Piece:
    """Characters [start, end) of one input, and what they did for the answer."""

    input: str
    start: int
    end: int
    weight: float


@dataclass(frozen=True)
class Attribution:
    """Why one answer was given.

    Attributes:
        row: number of the row, the first being 1.
        inputs: its texts by name.
        label: the answer that is explained.
        score: its score.
        pieces: what each part of the inputs did for the score.
        flags: what a reader must know.
    """

    row: int
    inputs: Mapping[str, str]
    label: str
    score: float
    pieces: Sequence[Piece]
    flags: Sequence[str] = ()


@dataclass(frozen=True)
class Explanation:
    """Why a model gave its answers.

    Attributes:
        summary: one line, shown by ``--help``.
        options: dataclass; each field is a flag that bears the method's name.
        explain: (subject, records, options) -> attributions in the records' order, one or several
            of each; it holds few records at a time. Raises UnsuitableError before the first if the
            model's answers are of a kind that it cannot explain.
    """

    summary: str
    options: type
    explain: Callable[[Subject, Iterable[Record], Any], Iterator[Attribution]]


@dataclass(frozen=True)
class Finding:
    """One figure of an audit.

    Attributes:
        name: what was measured, in one word that ``--bound`` can take.
        value: the figure.
        n: rows it rests on.
        interval: 95% confidence.
        bound: what it must not cross; None is information.
        worse: the side of the bound that fails.
    """

    name: str
    value: float
    n: int
    interval: tuple[float, float]
    bound: float | None = None
    worse: Literal["above", "below"] = "above"

    @property
    def passed(self) -> bool:
        """Whether the value is on the right side of its bound; True if it has none."""
        if self.bound is None:
            return True
        return self.value <= self.bound if self.worse == "above" else self.value >= self.bound


@dataclass(frozen=True)
class Audit:
    """What is wrong with a model.

    Attributes:
        summary: one line, shown by ``--help``.
        options: dataclass; each field is a flag that bears the audit's name.
        examine: (subject, rows, options, bounds) -> findings, and a report of tables and figures;
            the rows have the inputs and the targets. Raises UnsuitableError if the model's answers
            are of a kind that it cannot judge.
        bounds: defaults, by the finding's name; ``--bound NAME=VALUE`` changes them.
    """

    summary: str
    options: type
    examine: Callable[[Subject, Rows, Any, Mapping[str, float]], tuple[Sequence[Finding], Report]]
    bounds: Mapping[str, float] = field(default_factory=dict)


# ---------------------------------------------------------------- many runs


@dataclass(frozen=True)
class Trial:
    """One run of a study.

    Attributes:
        experiment: what decides it.
        state: ``failed`` is not repeated; ``running`` is resumed when the study is.
        metrics: split -> name -> value, as in the run's metrics.json; None before its end.
        run: its folder; None before its start.
        error: why it failed, in a line.
    """

    experiment: Experiment
    state: Literal["running", "complete", "failed"] = "running"
    metrics: Mapping[str, Any] | None = None
    run: Path | None = None
    error: str = ""


@dataclass(frozen=True)
class Study:
    """Several runs compared.

    Attributes:
        summary: one line, shown by ``--help``.
        options: dataclass; each field is a flag that bears the study's name.
        propose: (base experiment, trials so far, options) -> the next experiment, None at the end;
            the same for the same arguments. The caller names it and decides on its export.
        report: (trials, options) -> Report.
    """

    summary: str
    options: type
    propose: Callable[[Experiment, Sequence[Trial], Any], Experiment | None]
    report: Callable[[Sequence[Trial], Any], Report]


PACKAGES: Mapping[type, str] = {
    Strategy: "tfnlp.strategies",
    Peft: "tfnlp.peft",
    Augmenter: "tfnlp.augmenters",
    Explanation: "tfnlp.explanations",
    Audit: "tfnlp.audits",
    Study: "tfnlp.studies",
}


def names(record: type) -> list[str]:
    """List the entries of a kind, such as `Strategy`, by name."""
    return discover.names(PACKAGES[record])


def load(record: type[Entry], name: str) -> Entry:
    """Return an entry of a kind by its name, or an outsider's by its module's dotted path.

    Raises:
        UserError: there is no such entry, or the module defines none.

    Example::

        load(Strategy, "supervised").summary
    """
    return discover.entry(PACKAGES[record], name, record)
