"""python -m tfnlp.train: fine-tune a pretrained backbone on a data set and export the result."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfnlp.cli import arguments
from tfnlp.config import Experiment
from tfnlp.options import Parser
from tfnlp.runtime import exit_status, signals

if TYPE_CHECKING:
    import tensorflow as tf

    from pipelines.splits import Splits
    from tfnlp.report import Report
    from tfnlp.runs.tensorboard import Log
    from tfnlp.task import Task
    from tfnlp.training.examples import Examples
    from tfnlp.training.model import TrainedModel

_LOOKED_AT = 100  # rows, for one that is short enough to be shown in a command


def main(argv: list[str]) -> int:
    """Train as the arguments say."""
    parser = Parser(
        prog="python -m tfnlp.train",
        description="Fine-tune a pretrained backbone, evaluate it, and export a SavedModel.\n"
        "Without arguments: --task classification --dataset trec --backbone minilm-l6-en.",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the last run of this name, from its newest checkpoint",
    )
    experiment, own = arguments.parse(argv, parser)
    from tfnlp.runtime.startup import quiet_start

    with signals.caught("; the same command with --resume goes on"):
        print("starting TensorFlow", file=sys.stderr)
        with quiet_start("keras_hub"):
            import tensorflow as tf

            from tfnlp.training import trainer  # noqa: F401

            tf.config.list_physical_devices()
        _run(experiment, own["resume"])
    return 0


def _run(experiment: Experiment, resume: bool) -> None:
    """Take an experiment from its rows to its SavedModel."""
    import tensorflow as tf

    from tfnlp.runtime import threads
    from tfnlp.training import distribution

    training = experiment.training
    if training.distribute == "none":
        threads.start()
    if training.deterministic:
        tf.config.experimental.enable_op_determinism()
    strategy = distribution.devices(training.distribute, training.batch_size)
    with distribution.others_needed(strategy):
        _train(experiment, resume, strategy)


def _train(experiment: Experiment, resume: bool, strategy: tf.distribute.Strategy) -> None:
    """Train in every worker; the chief alone logs, evaluates and exports."""
    from pipelines.files.writers import read_json, write_json
    from tfnlp import task as tasks
    from tfnlp.cli import terminal
    from tfnlp.runs import folders, storage, tensorboard
    from tfnlp.training import answering, distribution, examples, trainer
    from tfnlp.training.model import prepare

    chief = distribution.chief(strategy)
    terminal.out.quiet = terminal.err.quiet = not chief
    task = tasks.load(experiment.task)
    run = folders.last_run(experiment) if resume and chief else None
    if distribution.agree(strategy, run is not None and (run / "metrics.json").exists()):
        if run is not None:
            terminal.line(f"{run} has ended already; there is nothing to resume")
            example = _example(experiment, task, task.sample(experiment.options)[0])
            terminal.next_steps(run, read_json(run / "metrics.json"), experiment, example)
            shutil.rmtree(run / "checkpoints", ignore_errors=True)
        return
    if resume and run is None:
        terminal.line("there is no run of this name to resume; starting one")
    splits = examples.read_splits(experiment, task)
    with strategy.scope():
        model = prepare(experiment, splits.train)
    task.check(splits.validation, model.context.facts)
    train = examples.arrange(model, splits.train, shuffle=True)
    validation = examples.arrange(model, splits.validation, shuffle=False)
    if not chief:
        trainer.fit(model, train, validation, Path(), resume=resume, callbacks=[])
        return
    run = run or folders.new_run(experiment)
    terminal.plan(model, splits, train, run)
    before = read_json(run / "before.json")
    if before is None:
        terminal.line("judging the untrained model first, to compare with")
        before = answering.evaluate(model, splits.validation).metrics
        write_json(run / "before.json", before)
    bar = terminal.Progress(len(train.plan), experiment.training.epochs)
    shown = partial(answering.samples, model, splits.validation) if task.writing else None
    log = tensorboard.Log(model, train, run, before, shown)
    state = trainer.fit(model, train, validation, run, resume=resume, callbacks=[bar, log])
    write_json(run / "history.json", state.history)
    model = dataclasses.replace(model, network=distribution.single(model.network))
    model = answering.calibrated(model, validation)
    model, added = _go_on(model, train, splits, run, resume)
    storage.save(model, run)
    _finish(model, splits, run, before, log, added)
    shutil.rmtree(run / "checkpoints", ignore_errors=True)


def _go_on(
    model: TrainedModel, train: Examples, splits: Splits, run: Path, resume: bool
) -> tuple[TrainedModel, Report | None]:
    """Do what the strategy does after supervised training."""
    from tfnlp import extensions
    from tfnlp.runs import tensorboard

    experiment = model.experiment
    chosen = extensions.load(experiment.strategy)
    if chosen is None:
        return model, None
    with tensorboard.Scalars(run / experiment.strategy) as log:
        outcome = chosen.after(
            extensions.Stage(
                experiment=experiment,
                options=experiment.strategy_options,
                context=model.context,
                network=model.network,
                raw=train.raw,
                train=splits.train,
                validation=splits.validation,
                test=splits.test,
                folder=run / "checkpoints" / experiment.strategy,
                resume=resume,
                log=log,
            )
        )
    facts = {**model.context.facts, **outcome.facts}
    context = dataclasses.replace(model.context, facts=facts)
    return dataclasses.replace(model, context=context), outcome.report


def _finish(
    model: TrainedModel,
    splits: Splits,
    run: Path,
    before: dict[str, float],
    log: Log,
    added: Report | None,
) -> None:
    """Judge the trained model, export it and say what comes next."""
    from pipelines.files.writers import write_json
    from tfnlp.cli import terminal
    from tfnlp.exporting import card
    from tfnlp.exporting.writer import export
    from tfnlp.training import answering

    after = answering.evaluate(model, splits.validation)
    report = answering.evaluate(model, splits.test) if splits.test else after
    if added:  # the strategy's own findings, beside those of the model that is kept
        report.tables.extend(added.tables)
        report.figures.update(added.figures)
        report.warnings.extend(added.warnings)
    metrics: dict[str, Any] = {
        "validation_untrained": before,
        "validation": after.metrics,
        "test": report.metrics if splits.test else None,
    }
    metrics["strategy"] = added.metrics if added else None
    metrics["saved_model"] = None
    if model.experiment.export.export:
        text = card.write(model, metrics, report.tables)
        metrics["saved_model"] = str(export(model, metrics, text))
    terminal.report(metrics, report)
    reports = {"validation": after, "test": report if splits.test else None}
    log.finish(model, reports, splits.validation)
    write_json(run / "metrics.json", metrics)
    judged = splits.test or splits.validation
    examples = [
        _example(model.experiment, model.task, dict(zip(judged.columns, row, strict=True)))
        for row in islice(zip(*judged.columns.values(), strict=True), _LOOKED_AT)
    ]
    short = (e for e in examples if all(len(text) <= 100 and "\n" not in text for text in e))
    terminal.next_steps(run, metrics, model.experiment, next(short, examples[0]))


def _example(experiment: Experiment, task: Task, row: Mapping[str, Any]) -> list[str]:
    """Return a row's inputs as texts, in the order in which predict reads them."""
    from pipelines.columns import as_request
    from tfnlp.training.model import columns

    names = sorted(column.name for column in columns(experiment, task, targets=False))
    return [as_request(row[name]) for name in names]


if __name__ == "__main__":
    sys.exit(exit_status.run(main))
