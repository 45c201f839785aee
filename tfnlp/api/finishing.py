"""The end of a run: its model is evaluated, compared, exported and reported."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from pipelines.columns import as_request
from pipelines.files.writers import write_json
from pipelines.rows import Rows
from pipelines.splits import Splits
from tfnlp.api import joining
from tfnlp.cli import terminal
from tfnlp.config import Experiment
from tfnlp.evaluation import runs
from tfnlp.exporting import card
from tfnlp.exporting.writer import export
from tfnlp.extensions import SUPERVISED, Outcome, PeftStep
from tfnlp.report import Report
from tfnlp.runs import folders, forgetting, judged_rows, tensorboard
from tfnlp.runs.tracking import Trackers
from tfnlp.runtime import signals
from tfnlp.task import Task
from tfnlp.training import answering, hints
from tfnlp.training.model import TrainedModel, columns
from tfnlp.training.state import RESUME
from tfnlp.training.trainer import Trainer

_LOOKED_AT = 100  # rows, for one that is short enough to be shown in a command


def finish(
    model: TrainedModel,
    splits: Splits,
    run: Path,
    run_id: str,
    before: dict[str, Any],
    outcome: Outcome,
    trainer: Trainer,
    trackers: Trackers,
) -> None:
    """Evaluate a trained model, export it and say what comes next.

    Args:
        model: trained, calibrated, on one device.
        splits: the rows.
        run: the run's folder.
        run_id: as `tfnlp.runs.data_digest.check` gave it.
        before: metrics of the untrained model on validation rows.
        outcome: of the strategy.
        trainer: what it was trained with.
        trackers: are given the reports.

    Raises:
        UserError: the SavedModel cannot be written. The run has ended all the same.
    """
    judged = splits.test or splits.validation
    after = outcome.validation or answering.evaluate(model, splits.validation, sure=not splits.test)
    report = answering.evaluate(model, splits.test, sure=True) if splits.test else after
    if model.experiment.training.baseline and model.task.baseline:
        terminal.line("fitting a linear model to the same rows, for comparison")
    linear = answering.baseline(model, splits.train, judged)
    added, of_peft = outcome.report, _of_peft(model, after, splits.validation, trainer)
    for own in filter(None, (added, of_peft)):  # findings beside those of the model that is kept
        report.tables.extend(own.tables)
        report.figures.update(own.figures)
        report.warnings.extend(own.warnings)
    kinds = {"baseline": linear, "strategy": added, "peft": of_peft}
    reports: dict[str, Report | None] = {
        "validation": after,
        "test": report if splits.test else None,
    }
    metrics = _metrics(model, splits, trainer, {**reports, **kinds}, before)
    judged_rows.write(run, model, judged, report)
    forgotten = _forgotten(model, splits, judged, trainer, run)
    if forgotten:
        report.tables.extend(forgotten.report.tables)
        report.warnings.extend(forgotten.report.warnings)
        reports["earlier"] = forgotten.report
        metrics["earlier"] = forgetting.write(run, forgotten)
        metrics["refused"] = forgotten.refused if model.experiment.export.export else None
    if linear:
        report.warnings.extend([*linear.warnings, *runs.losses(report.metrics, linear.metrics)])
    report.warnings.extend(trainer.hints)
    if model.experiment.strategy.name == SUPERVISED and hasattr(
        model.experiment.options, "unit_vectors"
    ):
        targets = model.task.target_columns(model.experiment.options)
        report.warnings.extend(hints.few_rows(splits.train, targets))
    refused = forgotten.refused if forgotten else None
    report.warnings.extend([refused] if refused else [])
    heads = {name: head for name, (head, _) in outcome.heads.items()}
    failure = None if refused else _export(model, metrics, report, run_id, run, heads)
    terminal.report(metrics, report)
    tensorboard.finish(model, run, reports, splits.validation, trainer.step, trackers)
    write_json(run / "metrics.json", metrics)
    if failure is not None:
        terminal.next_steps(run, metrics, model.experiment, ())
        raise failure
    terminal.next_steps(run, metrics, model.experiment, list(metrics["example"].values()))


def _export(
    model: TrainedModel,
    metrics: dict[str, Any],
    report: Report,
    run_id: str,
    run: Path,
    heads: Mapping[str, Any],
) -> Exception | None:
    """Export a model, if it is to be, and note where; returns why it could not be written."""
    if not model.experiment.export.export:
        return None
    try:
        with signals.caught(f"; {RESUME}"):  # a signal that comes out as an error is no failure
            metrics["saved_model"] = str(_exported(model, metrics, report, run_id, run, heads))
    except Exception as error:  # what was found is kept: `python -m tfnlp.export` writes it
        return error
    return None


def _metrics(
    model: TrainedModel,
    splits: Splits,
    trainer: Trainer,
    reports: Mapping[str, Report | None],
    before: dict[str, Any],
) -> dict[str, Any]:
    """Return what metrics.json holds, but for what is found out later."""
    judged = splits.test or splits.validation
    found = {name: report.metrics if report else None for name, report in reports.items()}
    best = reports["test"] or reports["validation"]
    return {
        "monitor": model.task.objective(model.context).monitor,
        "validation_untrained": before,
        "validation": found.pop("validation"),
        "test": found.pop("test"),
        "intervals": best.intervals if best else {},
        "costs": _costs(model, splits.validation, trainer),
        **found,
        "rows": _counts(splits),
        "set_aside": len(splits.test) if splits.test and model.experiment.data.test_share else 0,
        "example": _example(model, judged),
        "saved_model": None,
    }


def _forgotten(
    model: TrainedModel, splits: Splits, judged: Rows, trainer: Trainer, run: Path
) -> forgetting.Forgotten | None:
    """Return what was forgotten of an earlier run, if training went on from one."""
    origin = trainer.origin
    if origin is None:
        return None
    terminal.line("comparing with the earlier run, on rows that it was judged on too")
    rows = forgetting.parts(origin, model, judged)
    means: dict[str, float] = {}
    if model.experiment.training.baseline:
        means = forgetting.class_means(origin, model, splits.train, rows, terminal.warn)
    return forgetting.judge(origin, model, rows, means, run)


def _of_peft(
    model: TrainedModel, found: Report, validation: Rows, trainer: Trainer
) -> Report | None:
    """Return what the peft method found out about the trained model, if anything."""
    again = dataclasses.replace(model)  # whose functions are traced anew
    step: PeftStep = trainer.model.network.peft_step
    return step.report(
        model.network, found.metrics, lambda: answering.evaluate(again, validation).metrics
    )


def _costs(model: TrainedModel, validation: Rows, trainer: Trainer) -> dict[str, float]:
    """Return what the model costs: ms a row, trained parameters, seconds of training."""
    return {
        "latency": answering.latency(model, validation),
        "parameters": sum(math.prod(w.shape) for w in model.network.trainable_weights),
        "seconds": trainer.seconds,
    }


def _counts(splits: Splits) -> dict[str, int]:
    """Return how many rows there are in each split."""
    named = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    return {name: len(rows) if rows else 0 for name, rows in named.items()}


def _exported(
    model: TrainedModel,
    metrics: Mapping[str, Any],
    report: Report,
    run_id: str,
    run: Path,
    heads: Mapping[str, Any],
) -> Path:
    """Return the SavedModel of a run; one that was killed after its export has it already."""
    there = folders.exported(model.experiment, run_id)
    if there is None and heads:
        runs = joining.named([str(run)])[0]
        folder = Path(model.experiment.export.saved_models) / model.experiment.name
        return joining.join(runs, folder, {**metrics, "run": run_id})
    text = card.write(model, metrics, report.tables)
    return there or export(model, {**metrics, "run": run_id}, text)


def _example(model: TrainedModel, rows: Rows) -> dict[str, str]:
    """Return a request with a row of the data, a short one if there is one near their beginning."""
    first = islice(zip(*rows.columns.values(), strict=True), _LOOKED_AT)
    requests = [
        request_of(model.experiment, model.task, dict(zip(rows.columns, row, strict=True)))
        for row in first
    ]
    short = (r for r in requests if all(len(t) <= 100 and "\n" not in t for t in r.values()))
    return next(short, requests[0])


def request_of(experiment: Experiment, task: Task, row: Mapping[str, Any]) -> dict[str, str]:
    """Return a row's inputs as texts, by name, in the order in which predict reads them.

    Of a conversation it is the last turn: a system prompt begins with a character that no shell
    shows.
    """
    names = sorted(column.name for column in columns(experiment, task, targets=False))
    values = [row[name] for name in names]
    requests = (as_request(v[-1:] if isinstance(v, list) else v) for v in values)
    return dict(zip(names, requests, strict=True))
