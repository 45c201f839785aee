"""What commands do with runs: train one, resume it, export it."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, cast

import keras
import tensorflow as tf

from pipelines.files.writers import write_json
from pipelines.json_files import damaged, read_json
from pipelines.rows import Rows
from tfnlp import extensions
from tfnlp import task as tasks
from tfnlp.api.finishing import finish, request_of
from tfnlp.api.joining import HEADS_OF_RUN
from tfnlp.backbones import loading
from tfnlp.cli import arguments, console, terminal
from tfnlp.config import Experiment
from tfnlp.data_checks import effects
from tfnlp.extensions import Outcome, Strategy
from tfnlp.runs import (
    data_digest,
    experiment_yaml,
    folders,
    forgetting,
    origins,
    storage,
    subject,
    tensorboard,
    tracking,
)
from tfnlp.runs.tracking import Trackers
from tfnlp.runtime import precision, threads
from tfnlp.runtime.commands import command
from tfnlp.training import answering, augmenting, continuing, distribution, examples
from tfnlp.training.model import TrainedModel, on_one_device
from tfnlp.training.state import RESUME
from tfnlp.training.trainer import FIRST, Fit, Trainer


def train(experiment: Experiment, *, resume: bool = False, verbose: bool = True) -> Path | None:
    """Take an experiment from its rows to its SavedModel; returns the run's folder.

    Call it before any other TensorFlow operation: it sets threads, determinism and devices.

    Args:
        experiment: what decides the run.
        resume: continue the last run of this name, if there is one.
        verbose: print the plan, the progress and the result; warnings among them.

    Returns:
        The run's folder; None in a worker that is not the chief.

    Raises:
        UserError: rows, options or files cannot be used, in one sentence.
        Interrupted: SIGTERM or SIGINT came; ``resume`` continues.

    Example::

        experiment, _ = arguments.parse(["--train", "reviews.csv"], Parser())
        run = train(experiment)
    """
    training = experiment.training
    if training.distribute == "none":
        threads.start()
    if training.deterministic:
        tf.config.experimental.enable_op_determinism()
    devices = distribution.devices(training.distribute, training.batch_size)
    terminal.out.quiet = terminal.err.quiet = not (verbose and distribution.chief(devices))
    with distribution.others_needed(devices):
        return _train(experiment, resume, devices)


def _train(experiment: Experiment, resume: bool, devices: tf.distribute.Strategy) -> Path | None:
    """Train in every worker; the chief alone logs, evaluates and exports."""
    chief = distribution.chief(devices)
    run = folders.last_run(experiment) if resume and chief else None
    with ExitStack() as held:
        if run is not None:
            held.enter_context(folders.locked(run))
        if distribution.agree(devices, run is not None and (run / "metrics.json").exists()):
            return run and _ended(run, experiment)
        if resume and run is None:
            terminal.line("there is no run of this name to resume; starting one")
        if chief:
            folders.check_place(experiment)
            experiment = folders.as_begun(experiment, run) if run else experiment
        begins = chief and run is None
        if begins:
            effects.check(effects.Known(experiment))
            tracking.check(experiment)
        experiment = _agreed(experiment, devices)
        task = tasks.load(experiment.task)
        load = partial(_beside, experiment)
        origin = origins.of(experiment, load, terminal.warn)
        splits = examples.read_splits(experiment, task)
        earlier = cast(TrainedModel, origin.model) if origin else None
        with devices.scope():
            model = continuing.prepare(experiment, splits.train, earlier)
        if origin and earlier:
            forgetting.parts(origin, model, splits.test or splits.validation)
            splits.warnings.extend(continuing.remarks(model, earlier, splits.train))
        if begins:
            rows = {"train": splits.train, "validation": splits.validation}
            rows |= {"test": splits.test} if splits.test else {}
            effects.check(effects.Known(experiment, rows, model))
        task.check(splits.validation, model.context.facts)
        own = augmenting.epochs(experiment, splits, load)
        trainer = Trainer(
            model, splits, Path(), resume, rows=own, load=load, tracked=console.tracked
        )
        trainer.read = arguments.from_file
        trainer.origin = origin
        if not chief:
            _strategy(experiment).train(trainer)
            return None
        if run is None:
            run = folders.new_run(experiment)
            held.enter_context(folders.locked(run))
        with tracking.tracked(experiment, run, terminal.warn) as trackers:
            _trained(trainer, run, trackers)
        return run


def is_refused(run: Path) -> bool:
    """Return whether a run has no SavedModel because it forgot too much of an earlier run.

    Example::

        is_refused(train(experiment))
    """
    return bool(read_json(run / "metrics.json").get("refused"))


def _beside(experiment: Experiment, source: str) -> extensions.Subject:
    """Load another model beside the one that is trained, whose precision stays."""
    try:
        return subject.load(source)
    finally:
        precision.start(experiment.training.precision, training=True)


def _agreed(experiment: Experiment, devices: tf.distribute.Strategy) -> Experiment:
    """Return the experiment with the length that the chief's has, in every worker."""
    training = experiment.training
    epochs, patience = distribution.agree(devices, [training.epochs, training.patience])
    training = dataclasses.replace(training, epochs=epochs, patience=patience)
    return dataclasses.replace(experiment, training=training)


def _trained(trainer: Trainer, run: Path, trackers: Trackers) -> None:
    """Train in a run's folder, from its last checkpoint if there is one, and finish the run."""
    model, splits, experiment = trainer.model, trainer.splits, trainer.experiment
    backbone = loading.digest(experiment.backbone.name)
    steps = trainer.drawn.steps(0)
    facts, origin = model.context.facts, origins.digest(trainer.origin)
    run_id = data_digest.check(run, splits, facts, steps, backbone, origin)
    terminal.plan(model, splits, trainer.drawn.of(0), run)
    before = _untrained(model, splits.validation, run, trackers)
    trainer.folder = run / "checkpoints"
    trainer.callbacks = partial(_callbacks, run, splits.validation, trackers)
    outcome = _strategy(experiment).train(trainer) or Outcome()
    for name, history in trainer.histories.items():
        write_json(run / _place(name) / "history.json", history)
    model = on_one_device(cast(TrainedModel, outcome.model or model))
    facts = {**model.context.facts, **outcome.facts}
    model = dataclasses.replace(model, context=dataclasses.replace(model.context, facts=facts))
    if not examples.validates_on_train(splits.train, splits.validation):
        model = answering.calibrated(model, splits.validation)
    storage.save(model, run)
    for name, (head, found) in outcome.heads.items():
        _keep(on_one_device(cast(TrainedModel, head)), run / HEADS_OF_RUN / name, found)
    finish(model, splits, run, run_id, before, outcome, trainer, trackers)
    shutil.rmtree(run / "checkpoints", ignore_errors=True)


def _keep(head: TrainedModel, run: Path, metrics: Mapping[str, Any]) -> None:
    """Keep a model that was trained beside the run's own, as a run in its folder."""
    run.mkdir(parents=True, exist_ok=True)
    experiment_yaml.write_yaml(head.experiment, run / "experiment.yaml")
    storage.save(head, run)
    write_json(run / "metrics.json", dict(metrics))


def _strategy(experiment: Experiment) -> Strategy:
    """Return how an experiment is trained."""
    return extensions.load(Strategy, experiment.strategy.name)


def _ended(run: Path, experiment: Experiment) -> Path:
    """Print that a run needs no resuming."""
    terminal.line(f"{run} has ended already; there is nothing to resume")
    holds = {"saved_model": (str, type(None))}
    again = f"the model is kept: {command('tfnlp.export', run)}"
    metrics = read_json(run / "metrics.json", holds, remedy=again)
    task = tasks.load(experiment.task)
    example = metrics.get("example") or request_of(
        experiment, task, task.sample(experiment.options)[0]
    )
    terminal.next_steps(run, metrics, experiment, list(example.values()))
    shutil.rmtree(run / "checkpoints", ignore_errors=True)
    return run


def _untrained(
    model: TrainedModel, validation: Rows, run: Path, trackers: Trackers
) -> dict[str, Any]:
    """Return the metrics of the model as it starts, which the run keeps."""
    file = run / "before.json"
    if not file.exists():
        terminal.line("evaluating the untrained model first, for comparison")
        write_json(file, answering.evaluate(model, validation).metrics)
    before: dict[str, Any] = read_json(file, remedy=f"delete it, then {RESUME}")
    if not before or not all(isinstance(v, int | float | None) for v in before.values()):
        raise damaged(file, "it does not hold metrics", f"delete it, then {RESUME}")
    tensorboard.start(model, run, before, trackers)
    return before


def _place(fit: str) -> str:
    """Return the folder in the run's that a fit is logged in: none, or one for a further fit."""
    return "" if fit == FIRST else fit


def _callbacks(
    run: Path, validation: Rows, trackers: Trackers, fit: Fit
) -> list[keras.callbacks.Callback]:
    """Return what shows and logs a fit."""
    model = fit.model
    shown = partial(answering.samples, model, validation) if model.task.writing else None
    place = _place(fit.name)
    file = run / place / "history.json"
    return [
        keras.callbacks.LambdaCallback(on_epoch_end=partial(_note, file)),
        terminal.Progress(fit.drawn.steps, fit.epochs),
        tensorboard.Log(model, fit.drawn, run / place, shown, trackers, place),
    ]


def _note(file: Path, epoch: int, logs: Mapping[str, Any]) -> None:
    """Keep the metrics of the epochs so far, for whoever looks at a run meanwhile."""
    before = read_json(file, list, remedy=f"delete it, then {RESUME}") if file.exists() else []
    file.parent.mkdir(exist_ok=True)
    write_json(file, [*before[:epoch], {name: float(value) for name, value in logs.items()}])
