"""A model evaluated on rows with known answers: a run's, or a SavedModel."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

from pipelines import checksums
from pipelines.columns import as_request
from pipelines.errors import UserError
from pipelines.files.formats import format_of
from pipelines.files.writers import check_folder
from pipelines.rows import Column, Rows, noted
from tfnlp import facts, needs, task
from tfnlp.cli import console
from tfnlp.config import Experiment
from tfnlp.config_data import KEPT_OF_FILES, OF_LABELS, FileLayout
from tfnlp.inference.chunks import answered_rows, arrays
from tfnlp.inference.saved_model import AGAIN, ServedModel, find_model
from tfnlp.needs import Need
from tfnlp.options import option, unknown_key
from tfnlp.report import Report
from tfnlp.runs import evaluation_files
from tfnlp.runs import subject as subjects
from tfnlp.runs.experiment_yaml import data_name, read_trusted
from tfnlp.runtime.startup import quiet_start
from tfnlp.task import Task

if TYPE_CHECKING:
    from tfnlp.inference.saved_model import Answers
    from tfnlp.runs.subject import LoadedSubject

EVALUATIONS = Path("evaluations")


@dataclass(frozen=True)
class Options(FileLayout):
    """The rows to evaluate on, and where the report goes.

    Example::

        python -m tfnlp.evaluate trec-classification --test rows.csv --output report
    """

    test: str | None = option(
        None,
        "file of rows with the right answers, of any format that training takes; without --test "
        "and --dataset the data that the model was trained with",
    )
    dataset: str | None = option(None, "a built-in data set, or tfds:NAME, instead of a file")
    split: str = option(
        "test",
        "which split of the data set",
        needs=Need(lambda known: not known.options.test, "has no effect on a file of rows"),
    )
    columns: dict[str, str] = option(
        {},
        "header of a column, such as text=review; --text-column review says the same; as in "
        "training if not given",
        flag="--column",
    )
    label_separator: str | None = option(
        None,
        "what separates the labels of one row in a file, or tab; as in training if not given",
        needs=OF_LABELS,
    )
    on_bad_row: Literal["error", "skip", "quarantine"] = option(
        "error",
        "a row that cannot be used stops the run, is left out, or is kept aside in a file",
        needs=Need(
            lambda known: known.options.test or known.options.on_bad_row == "skip",
            KEPT_OF_FILES,
            "say --on-bad-row skip",
        ),
    )
    output: str | None = option(
        None, f"folder of the report; {EVALUATIONS}/<name>/<version>/<data> if not given"
    )
    batch_size: int = option(64, "rows the model is asked at a time [rows]", minimum=1)


@dataclass(frozen=True)
class Kept:
    """A model as it lies in a folder.

    Attributes:
        source: what it is called: the run's folder, or that of the SavedModel's version.
        experiment: what made it.
        task: its task.
        facts: what its facts.json holds.
        vocabularies: the folder of its tokenizers.

    Example::

        kept("trec-classification").experiment.task  # "classification"
    """

    source: Path
    experiment: Experiment
    task: Task
    facts: facts.Facts
    vocabularies: Path

    @property
    def columns(self) -> tuple[Column, ...]:
        """The raw columns of its task."""
        options = self.experiment.options
        return self.task.input_columns(options) + self.task.target_columns(options)


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        about: what was evaluated: ``model``, ``data`` and ``rows``.
        report: the metrics, tables and figures.
    """

    about: dict[str, Any]
    report: Report


def kept(source: str) -> Kept:
    """Return what a model's folder tells of it; the model itself is not loaded.

    Args:
        source: a run's folder; or a SavedModel's, a folder of its versions, or its name in
            ``saved_models``.

    Raises:
        UserError: there is no such model, or it cannot be evaluated.

    Example::

        kept("tensorboard_logs/trec-classification/20261125-170635").facts["labels"]
    """
    if subjects.is_run(Path(source)):
        place = Path(source)
        folder = vocabularies = place / "model"
        needed, again = ["experiment.yaml", "facts.json"], "restore it from a copy, or train again"
        lacking = "its training has not ended, or it is not complete (train with --resume)"
    else:
        place = folder = find_model(source)
        vocabularies, again = folder / "assets.extra", AGAIN
        needed = ["experiment.yaml", "facts.json", "assets.extra/tokenizer"]
        lacking = (
            "it was not exported by tfnlp, or is not complete (python -m tfnlp.export RUN writes "
            "it again)"
        )
    for name in needed:
        if not (folder / name).exists():
            raise UserError(f"{folder} holds no {name}: {lacking}")
    checksums.check(folder, again)
    experiment = read_trusted(folder / "experiment.yaml", again)
    chosen = task.load(experiment.task)
    known = facts.read(folder / "facts.json", experiment.task, again)
    if chosen.repacks(experiment.options):
        raise UserError(
            f"{place} learned from examples that {experiment.task} makes of its rows, and can be "
            "evaluated on those alone: see metrics.json there, or train again"
        )
    return Kept(place, experiment, chosen, known, vocabularies)


def evaluate(model: Kept, options: Options, subject: LoadedSubject | None = None) -> Evaluation:
    """Evaluate a model on the rows that the options name, or those it was tested on in training.

    Args:
        model: as `kept` found it.
        options: the rows, and how they are read.
        subject: the same model, where it is loaded already.

    Raises:
        UserError: options contradict one another, rows cannot be used, or the model is damaged.

    Example::

        evaluate(kept("trec-classification"), Options(dataset="trec")).report.metrics["accuracy"]
    """
    rows = read_rows(model, with_data(options, model))
    subject = subject or subjects.load(str(model.source), options.batch_size)
    report = report_on(model, subject.served, rows, options.batch_size)
    if rows.bad:
        left = f"{len(rows.bad)} of its rows cannot be used and are left out"
        report.warnings.append(f"{rows.source}: {left}, the first: {rows.bad[0]}")
    report.warnings.extend(filter(None, [noted(rows)]))
    about = {"model": str(model.source), "data": rows.source, "rows": len(rows)}
    return Evaluation(about, report)


def report_on(model: Kept, served: ServedModel, rows: Rows, batch_size: int) -> Report:
    """Return the report on a model's answers, with the intervals of its metrics.

    Args:
        model: says what the answers mean.
        served: what answers; it multiplies in float32, as training does for its report, so that
            the same rows give the same numbers on any processor.
        rows: N rows with the task's inputs and targets.
        batch_size: rows it is asked at a time [rows].

    Example::

        report_on(model, subject.served, rows, batch_size=64).metrics["accuracy"]
    """
    from tfnlp.evaluation import intervals

    columns = ([*map(as_request, rows.columns[name])] for name in served.inputs)
    asked = [dict(zip(served.inputs, texts, strict=True)) for texts in zip(*columns, strict=True)]

    def ask(batches: Sequence[Mapping[str, Sequence[Any]]]) -> Iterator[Answers]:
        return map(served.answer, console.tracked(batches, "answering"))

    answers = answered_rows(asked, served, batch_size, ask)
    if isinstance(scores := answers[0].get("scores"), dict):
        facts.check_labels(model.facts, list(scores))
    context = task.load_context(model.vocabularies, model.experiment.options, model.facts)
    return intervals.judged(model.task, context, rows, arrays(answers))


def with_data(options: Options, model: Kept) -> Options:
    """Return the options with what was not given, data and columns, as it was in training.

    Raises:
        UserError: they contradict one another, or the data.
    """
    data = model.experiment.data
    test, dataset = options.test, options.dataset
    if test and dataset:
        raise UserError("--test and --dataset are both given; give one of them")
    if not test and not dataset:
        test, dataset = data.test, data.dataset
    options.layout().check([format_of(Path(test))] if test else [])
    if not test and not dataset:
        raise UserError("the model was trained without test data; give --test FILE or --dataset")
    known = [column.name for column in model.columns]
    unknown_key(options.columns, known, f"the task {model.experiment.task}", "column")
    given = dataclasses.replace(options, test=test, dataset=dataset)
    needs.check(given, SimpleNamespace(options=given, columns=model.columns))
    return dataclasses.replace(
        given,
        columns={**data.columns, **options.columns},
        label_separator=options.label_separator or data.label_separator,
    )


def read_rows(model: Kept, options: Options) -> Rows:
    """Read the rows to evaluate on; options as `with_data` returns them."""
    from pipelines import splits

    layout = options.layout(model.experiment.data)
    how = (model.columns, options.columns, options.on_bad_row, str(options.label_separator))
    if options.test:
        return splits.from_files({"test": options.test}, *how, layout)["test"]
    with quiet_start():
        import tensorflow as tf

        tf.config.list_physical_devices()
    found = splits.from_dataset(str(options.dataset), *how, training=False)
    if options.split not in found:
        there = ", ".join(found)
        raise UserError(f"{options.dataset} has no split {options.split!r}; it has: {there}")
    return found[options.split]


def folder_of(model: Kept, options: Options) -> Path:
    """Return the folder of a report, by model, version and data; options as of `with_data`."""
    if options.output:
        return Path(options.output)
    if options.test:
        data = Path(options.test).name.split(".")[0]
    else:
        data = f"{data_name(options.dataset, None)}-{options.split}"
    folder = model.source.resolve()
    return EVALUATIONS / folder.parent.name / folder.name / data


def write(done: Evaluation, folder: Path) -> None:
    """Write an evaluation's report, in place of an earlier one.

    Raises:
        UserError: the folder cannot be written.
    """
    check_folder(folder, "report.md")
    evaluation_files.write(folder, done.about, done.report)
