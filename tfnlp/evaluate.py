"""python -m tfnlp.evaluate: evaluate a SavedModel on rows with known answers."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.progress import track

from pipelines import checksums
from pipelines.columns import as_request
from pipelines.errors import UserError
from pipelines.files.formats import format_of
from pipelines.files.writers import check_folder
from pipelines.json_files import read_json
from pipelines.rows import Column, Rows, noted
from tfnlp import needs, task
from tfnlp.cli import arguments, console
from tfnlp.config import KEPT_OF_FILES, OF_LABELS, Experiment, FileLayout
from tfnlp.inference.chunks import answered_rows
from tfnlp.inference.saved_model import AGAIN, SAVED_MODELS, find_model, opened
from tfnlp.needs import Need
from tfnlp.options import Parser, add_flags, make, option, unknown_key, values_of
from tfnlp.report import Report
from tfnlp.runs import evaluation_files
from tfnlp.runs.experiment_yaml import data_name, read_kept
from tfnlp.runtime import exit_status
from tfnlp.runtime.startup import quiet_start
from tfnlp.task import Arrays, Task

if TYPE_CHECKING:
    import numpy as np

    from tfnlp.inference.saved_model import Answers

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
class Exported:
    """A SavedModel and the files next to it.

    Attributes:
        folder: the version's folder.
        experiment: what made the model.
        task: its task.
        facts: what its facts.json holds.

    Example::

        exported.experiment.task  # "classification"
    """

    folder: Path
    experiment: Experiment
    task: Task
    facts: dict[str, Any]


def main(argv: list[str]) -> int:
    """Evaluate the model that the arguments name."""
    parser = Parser(
        prog="python -m tfnlp.evaluate",
        description="Evaluate a SavedModel on rows with known answers: metrics, tables, plots.",
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="SavedModel folder, folder of versions (the highest is taken), or a name in "
        f"{SAVED_MODELS}/",
    )
    group = add_flags(parser, "options", Options, "rows and report")
    arguments.add_column_flags(group, arguments.every_column())
    flags = vars(parser.parse(argv))
    values = values_of(flags, "options")
    values["columns"] = {**values.get("columns", {}), **values_of(flags, "column")}
    options = make(Options, values, "the command line")
    exported = _exported(find_model(flags["model"]))
    if exported.task.repacks(exported.experiment.options):
        raise UserError(
            f"{exported.folder} learned from examples that {exported.experiment.task} makes of its "
            "rows, and can be evaluated on those alone: see metrics.json there, or train again"
        )
    options = _with_data(options, exported)
    target = Path(options.output) if options.output else _folder(options, exported)
    check_folder(target, "report.md")
    rows = _read(options, exported)
    report = evaluate(exported, rows, options.batch_size)
    if rows.bad:
        left = f"{len(rows.bad)} of its rows cannot be used and are left out"
        report.warnings.append(f"{rows.source}: {left}, the first: {rows.bad[0]}")
    report.warnings.extend(filter(None, [noted(rows)]))
    about = {"model": str(exported.folder), "data": rows.source, "rows": len(rows)}
    print(f"{about['model']} on {about['rows']} rows of {about['data']}")
    shown = [evaluation_files.metrics_table(report), *report.tables]
    console.tables(dataclasses.replace(report, tables=shown))
    evaluation_files.write(target, about, report)
    print(f"report and pictures: {target}{os.sep}")
    return 0


def evaluate(exported: Exported, rows: Rows, batch_size: int) -> Report:
    """Ask a SavedModel about rows and evaluate its answers.

    Args:
        exported: the SavedModel.
        rows: N rows with the task's inputs and targets.
        batch_size: rows it is asked at a time [rows].

    Example::

        evaluate(exported, rows, batch_size=64).metrics["accuracy"]
    """
    from tfnlp.evaluation import intervals

    # As training does for its report: the same rows give the same numbers on any processor.
    model = opened(exported.folder, "float32").model()
    columns = ([*map(as_request, rows.columns[name])] for name in model.inputs)
    asked = [dict(zip(model.inputs, texts, strict=True)) for texts in zip(*columns, strict=True)]
    err = Console(stderr=True)

    def ask(batches: Sequence[Mapping[str, Sequence[Any]]]) -> Iterator[Answers]:
        shown = track(batches, "answering", console=err, disable=not err.is_terminal)
        return map(model.answer, shown)

    answers = answered_rows(asked, model, batch_size, ask)
    options = exported.experiment.options
    context = task.load_context(exported.folder / "assets.extra", options, exported.facts)
    return intervals.judged(exported.task, context, rows, _arrays(answers))


def _arrays(answers: Answers) -> Arrays:
    """Turn an answer a row into named arrays of N rows; of a mapping the values, in its order."""
    import numpy as np

    found: dict[str, np.ndarray] = {}
    for name, first in answers[0].items():
        values = [answer[name] for answer in answers]
        if isinstance(first, dict):
            values = [list(value.values()) for value in values]
        if isinstance(first, list) and all(not v or isinstance(v[0], dict) for v in values):
            found[name] = np.empty(len(values), object)  # lists of things, of any length
            found[name][:] = values
            continue
        array = np.array(values, object if isinstance(first, str) else None)
        # The model computes in float32; so the report's sums are the same as after training.
        found[name] = array.astype(np.float32) if array.dtype == np.float64 else array
    return found


def _exported(folder: Path) -> Exported:
    """Read what the exporter put next to a SavedModel."""
    for name in ("experiment.yaml", "facts.json", "assets.extra/tokenizer"):
        if not (folder / name).exists():
            raise UserError(
                f"{folder} holds no {name}: it was not exported by tfnlp, or is not complete "
                "(python -m tfnlp.export RUN writes it again)"
            )
    checksums.check(folder, AGAIN)
    experiment = read_kept(folder / "experiment.yaml", AGAIN)
    facts = read_json(folder / "facts.json", {"widths": list}, remedy=AGAIN)
    return Exported(folder, experiment, task.load(experiment.task), facts)


def _with_data(options: Options, exported: Exported) -> Options:
    """Fill in what was not given: the data and the columns as they were in training."""
    data = exported.experiment.data
    test, dataset = options.test, options.dataset
    if test and dataset:
        raise UserError("--test and --dataset are both given; give one of them")
    if not test and not dataset:
        test, dataset = data.test, data.dataset
    options.layout().check([format_of(Path(test))] if test else [])
    if not test and not dataset:
        raise UserError("the model was trained without test data; give --test FILE or --dataset")
    known = [column.name for column in _columns(exported)]
    unknown_key(options.columns, known, f"the task {exported.experiment.task}", "column")
    given = dataclasses.replace(options, test=test, dataset=dataset)
    needs.check(given, SimpleNamespace(options=given, columns=_columns(exported)))
    return dataclasses.replace(
        given,
        columns={**data.columns, **options.columns},
        label_separator=options.label_separator or data.label_separator,
    )


def _columns(exported: Exported) -> tuple[Column, ...]:
    """Return the raw columns of the model's task."""
    options = exported.experiment.options
    return exported.task.input_columns(options) + exported.task.target_columns(options)


def _read(options: Options, exported: Exported) -> Rows:
    """Read the rows to evaluate on."""
    from pipelines import splits

    layout = options.layout(exported.experiment.data)
    how = (_columns(exported), options.columns, options.on_bad_row, str(options.label_separator))
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


def _folder(options: Options, exported: Exported) -> Path:
    """Name the report's folder by model, version and data."""
    if options.test:
        data = Path(options.test).name.split(".")[0]
    else:
        data = f"{data_name(options.dataset, None)}-{options.split}"
    folder = exported.folder.resolve()
    return EVALUATIONS / folder.parent.name / folder.name / data


if __name__ == "__main__":
    sys.exit(exit_status.run(main))
