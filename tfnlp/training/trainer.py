"""What a strategy trains with: fits that resume exactly, on one device or on replicas.

Dimensions: N rows, B batch.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines import atomic
from pipelines.errors import UserError, reason
from pipelines.files.writers import write_json
from pipelines.json_files import damaged, read_json
from pipelines.rows import Rows
from pipelines.splits import Splits
from tfnlp import extensions
from tfnlp.config import Experiment
from tfnlp.extensions import Batch, Defaults, Origin, Peft, PeftStep, Source, Step, Subject
from tfnlp.report import Report
from tfnlp.training import (
    answering,
    distribution,
    duration,
    examples,
    fit_rows,
    further,
    hints,
    loop,
    optimizers,
)
from tfnlp.training.examples import Examples
from tfnlp.training.model import TrainedModel
from tfnlp.training.network import batch_of, on_all_cores
from tfnlp.training.sources import Drawn, digests, joined
from tfnlp.training.state import RESUME, Feed, Watch

FIRST = "fit"  # the default name of a fit
_RESERVED = ("checkpoints", "model", "report", "test", "train", "validation")  # in a run's folder


def _nothing_to_load(source: str) -> Any:
    raise UserError(f"{source} cannot be loaded here (train by the command, or tfnlp.train)")


@dataclass(frozen=True)
class Fit:
    """One fit of a strategy, as its callbacks see it.

    Attributes:
        name: among the strategy's.
        model: with the settings of this fit.
        drawn: the training rows.
        epochs: at most.

    Example::

        def callbacks(fit: Fit) -> list[keras.callbacks.Callback]:
            return [terminal.Progress(fit.drawn.steps, fit.epochs)]
    """

    name: str
    model: TrainedModel
    drawn: Drawn
    epochs: int


@dataclass
class Trainer:
    """Implements `tfnlp.extensions.Trainer`.

    Attributes:
        model: with the weights that it has now.
        splits: the rows.
        folder: where checkpoints are kept while training lasts; of several workers only the chief
            uses it.
        resume: fits that have ended are not repeated, and one that was cut short resumes.
        callbacks: Fit -> Keras callbacks that show and log it.
        rows: the training rows of an epoch, if not the split's own; those of the default source.
        load: returns another model by the name of its run, SavedModel or server.
        read: returns the experiment that a YAML file describes.
        origin: the earlier run that training goes on from.
        tracked: (parts, what is done) -> the parts, while progress is shown.
        histories: the metrics of each epoch, by the names of the fits that have ended.
        hints: sentences on what might make the model better.
        trained: how many batches each of them was trained on.
        spent: how long each of them took [s].
        paces: how long a step of each of them took, its share of validation with it [s].

    Example::

        trainer = Trainer(model, splits, run / "checkpoints", resume=True)
        history = trainer.fit()
        history[-1]["val_accuracy"]
    """

    model: TrainedModel
    splits: Splits
    folder: Path
    resume: bool = False
    callbacks: Callable[[Fit], Sequence[keras.callbacks.Callback]] = lambda fit: ()
    rows: Callable[[int], Rows] | None = None
    load: Callable[[str], Subject] = _nothing_to_load
    read: Callable[[str], Experiment] = _nothing_to_load
    tracked: Callable[[Collection[Any], str], Iterator[Any]] = lambda parts, what: iter(parts)
    origin: Origin | None = None
    histories: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    hints: list[str] = field(default_factory=list)
    trained: dict[str, int] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=dict)
    paces: dict[str, float] = field(default_factory=dict)
    _drawn: Drawn | None = None

    @property
    def experiment(self) -> Experiment:
        """What decides the run."""
        return self.model.experiment

    @property
    def seconds(self) -> float:
        """How long the fits that have ended took [s]."""
        return sum(self.spent.values())

    @property
    def options(self) -> Any:
        """The strategy's own options."""
        return self.experiment.strategy.options

    @property
    def drawn(self) -> Drawn:
        """The rows that a fit is given if none are named."""
        if self._drawn is None:
            source = Source(self.rows or self.splits.train)
            self._drawn = Drawn(self.model, source, self.experiment.seed)
            self.model.lengths[:] = self._drawn.of(0).plan.widths.tolist()
        return self._drawn

    @property
    def step(self) -> int:
        """How many batches the first fit was trained on, for the logs."""
        return self.drawn.before(len(self.histories.get(FIRST, ())))

    def fit(
        self,
        step: Step | None = None,
        *,
        train: Source | Rows | None = None,
        beside: Mapping[str, Source] | None = None,
        validation: Rows | None = None,
        name: str = FIRST,
        settings: Defaults | None = None,
        score: Callable[[], Mapping[str, float]] | None = None,
        last: bool = False,
    ) -> list[dict[str, float]]:
        """Fit; see `tfnlp.extensions.Trainer.fit`.

        Raises:
            Interrupted: SIGTERM or SIGINT came; the state was saved first.
            UserError: there are no rows, the loss became NaN or infinite, or a checkpoint cannot be
                written.
            ValueError: two fits have the same name, or it is that of one of a run's own files.
        """
        if name in self.histories:
            raise ValueError(f"two fits are named {name!r}; give each a name of its own")
        if not name.isidentifier() or name in _RESERVED:
            raise ValueError(f"a fit cannot be named {name!r}, which is a file of the run's")
        folder = self.folder if name == FIRST else self.folder / name
        model, step = self._with(settings), step or Step()
        source = train if isinstance(train, Source) or train is None else Source(train)
        sources = {"train": source or self.drawn.source, **(beside or {})}
        # The split's own rows are checked before the strategy begins.
        own = {} if train is None else {"train": sources["train"]}
        self._check_sources(folder, {**own, **(beside or {})})
        held_out = self.splits.validation if validation is None else validation
        found = fit_rows.arranged(model, step, sources, held_out, folder, self.resume, self._drawn)
        model, held = found.model, found.held
        self.hints += found.hints
        drawn, *_ = found.sources.values()
        others = {other: one for other, one in found.sources.items() if other != "train"}
        epochs = patience = duration.epochs(model.experiment, drawn.steps(0))
        if last or examples.takes_all(self.experiment, self.splits):
            score = partial(_updates, model)  # nothing tells which epoch is best
        else:
            patience = duration.patience(model.experiment, drawn.steps(0))
        watch = _prepare(model, step, drawn, held, score, name, epochs)
        feed = _feed(model, drawn, others, held)
        before = hints.sampled(model.network)
        with on_all_cores(model.network):
            state = loop.fit(
                model.network,
                watch,
                feed,
                epochs=epochs,
                patience=patience,
                folder=folder,
                minutes=model.experiment.training.checkpoint_minutes,
                resume=self.resume,
                callbacks=self.callbacks(Fit(name, model, drawn, epochs)),
                logs=model.network.peft_step.logs,
                extra=[*step.variables, *step.trainable, *model.network.peft_step.variables],
                remedy=step.remedy,
            )
        model.network.peft_step.finish()
        self.model.network.step, self.model.network.peft_step = step, model.network.peft_step
        self.histories[name] = state.history
        self.spent[name] = state.seconds
        self.trained[name] = drawn.before(len(state.history))
        self.paces[name] = state.seconds / self.trained[name]
        moved = hints.moved(before, hints.sampled(model.network)) if name == FIRST else 1.0
        self.hints += hints.of(state, watch.monitor, epochs, moved)
        return state.history

    def _check_sources(self, folder: Path, sources: Mapping[str, Source]) -> None:
        """Refuse to resume a fit whose rows are not those it began with."""
        if not sources or not distribution.chief(self.model.network.distribute_strategy):
            return
        file, found = folder / "sources.json", digests(sources)
        before = read_json(file, dict, remedy=f"delete it, then {RESUME}") if file.exists() else {}
        for name, digest in found.items():
            if self.resume and before.get(name, digest) != digest:
                raise UserError(
                    f"the rows of {name!r}, or what they were answered, are not those that the run "
                    "began with (put those back, or start again without --resume)"
                )
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, found)

    def kept(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return an array that a run makes once; see `tfnlp.extensions.Trainer.kept`."""
        if not distribution.chief(self.model.network.distribute_strategy):
            return make()  # other workers have no folder
        file = self.folder / f"{name}.npy"
        if not (self.resume and file.exists()):
            found = make()
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                with atomic.replacing_path(file) as aside, aside.open("wb") as opened:
                    np.save(opened, found)
            except OSError as error:
                raise UserError(
                    f"cannot write {file}: {reason(error)} (free space there, then {RESUME})"
                ) from error
        try:
            return np.asarray(np.load(file))
        except (OSError, ValueError, EOFError) as error:
            raise damaged(file, reason(error), f"delete it, then {RESUME}") from error

    def _with(self, settings: Defaults | None) -> TrainedModel:
        """Return the model with some options changed; the network is the same."""
        if not settings:
            return self.model
        changed = {
            section: dataclasses.replace(getattr(self.experiment, section), **values)
            for section, values in settings.items()
        }
        return dataclasses.replace(
            self.model, experiment=dataclasses.replace(self.experiment, **changed)
        )

    def beside(
        self, experiment: Experiment, splits: Splits, facts: dict[str, Any] | None = None
    ) -> Trainer:
        """Return what fits another model; see `tfnlp.extensions.Trainer.beside`."""
        model = further.beside(self.model, experiment, splits.train, facts)
        model.task.check(splits.validation, model.context.facts)
        found = dataclasses.replace(self, model=model, splits=splits, rows=None, origin=None)
        found._drawn = None
        return found

    def batches(self, rows: Rows) -> Iterator[Batch]:
        """Yield rows in batches, in a fixed order."""
        data = examples.arrange(self.model, rows, shuffle=False)
        for found in examples.batches(self.model, data, range(1)):
            yield batch_of(found)

    def evaluate(
        self, rows: Rows, perturb: answering.Perturb | None = None, *, sure: bool = False
    ) -> Report:
        """Return the report on the model's answers; see `tfnlp.extensions.Trainer.evaluate`."""
        model = dataclasses.replace(self.model)  # whose functions are traced anew
        if perturb is None:
            return answering.evaluate(model, rows, sure=sure)
        answers = answering.answer(model, rows, perturb=perturb)
        return model.task.report(model.context, rows, answers)


def _prepare(
    model: TrainedModel,
    step: Step,
    drawn: Drawn,
    held: Examples,
    score: Callable[[], Mapping[str, float]] | None,
    name: str,
    epochs: int,
) -> Watch:
    """Compile the network for a fit; returns what its best epoch is chosen by."""
    network = model.network
    objective = model.task.objective(model.context)
    scope = network.distribute_strategy.scope
    network.step, network.peft_step = step, _peft_step(model)
    before = random.getstate()
    random.seed(f"{model.experiment.seed} {name}")  # where Keras takes the seeds of new layers from
    with scope():
        step.build(network, epochs * len(drawn.of(0).rows))
        settings = model.experiment.optimizer
        missing = -drawn.steps(0) % settings.accumulate  # of an epoch's last update
        steps = (drawn.steps(0) + missing) * epochs
        network.peft_step.build(network, steps // settings.accumulate)
        # One update an epoch, of fewer batches than it waits for, has a learning rate of its own,
        # not that of a batch early among those.
        every = settings.accumulate if settings.accumulate > drawn.steps(0) else 1
        optimizer = optimizers.adamw(settings, steps, model.blocks, every)
    random.setstate(before)
    network.compile(
        optimizer=optimizer,
        loss=objective.loss,
        metrics=objective.metrics,
        jit_compile=False,  # XLA would recompile for each padded length
    )
    network.step_metrics.clear()  # Keras would log those of an earlier fit for ever
    network.step_metrics.extend(step.metrics)
    with scope():
        network.optimizer.build([*network.trainable_variables, *step.trainable])
    _make_metrics(model, held)
    least = model.experiment.training.least() if name == FIRST else {}
    if score is None:
        return Watch(objective.monitor, objective.mode, least=least)
    return Watch("score", "max", score, least)


def _updates(model: TrainedModel) -> dict[str, float]:
    """Return how many updates there were, as a score by which the last epoch is the best."""
    return {"score": float(model.network.optimizer.iterations)}


def _peft_step(model: TrainedModel) -> PeftStep:
    """Return what the model's peft method does at each step."""
    peft = model.experiment.peft
    make = extensions.load(Peft, peft.name).step if peft else None
    return make(peft.options) if peft and make else PeftStep()


def _make_metrics(model: TrainedModel, data: Examples) -> None:
    """Make the metrics' variables, as Keras does at the first batch: a checkpoint has them too."""
    row = {name: column[:1] for name, column in data.raw.items()}
    x, y, *weights = examples.element(model, row, tf.constant(data.plan.widths[-1]))
    model.network.compute_metrics(x, y, model.network(x, training=False), *weights)
    model.network.reset_metrics()


def _feed(model: TrainedModel, drawn: Drawn, others: Mapping[str, Drawn], held: Examples) -> Feed:
    """Return the input pipelines of a fit."""
    strategy = model.network.distribute_strategy

    def training(epochs: range, start: int) -> Any:
        place = drawn.before(epochs.start) + start
        count = sum(drawn.steps(epoch) for epoch in epochs) - start

        def make(parts: range, of: int) -> tf.data.Dataset:
            main = drawn.dataset(place, count, parts, of)
            if not others:
                return main
            beside = {n: other.dataset(place, count, parts, of) for n, other in others.items()}
            return tf.data.Dataset.zip((main, beside)).map(joined)

        return distribution.dataset(strategy, make)

    def validation(parts: range, of: int) -> tf.data.Dataset:
        return examples.batches(model, held, range(1), 0, parts, of)

    def rows(epoch: int, batch: int) -> list[int]:
        data = drawn.of(epoch)
        return [data.rows.numbers[i] for i in data.plan.epoch(epoch)[0][batch]]

    return Feed(
        training,
        drawn.steps,
        drawn.before,
        rows,
        distribution.dataset(strategy, validation),
        len(held.plan),
        changing=drawn.changing or any(other.changing for other in others.values()),
    )
