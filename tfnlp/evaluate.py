"""python -m tfnlp.evaluate: evaluate a run's model or a SavedModel on rows with known answers."""

from __future__ import annotations

import dataclasses
import os
import sys

from pipelines.files.writers import check_folder
from tfnlp.api import evaluating
from tfnlp.api.evaluating import Options
from tfnlp.cli import arguments, console
from tfnlp.extensions import consent
from tfnlp.inference.saved_model import SAVED_MODELS
from tfnlp.options import Parser, add_flags, make, values_of
from tfnlp.runs import evaluation_files
from tfnlp.runtime import exit_status


def main(argv: list[str]) -> int:
    """Evaluate the model that the arguments name."""
    parser = Parser(
        prog="python -m tfnlp.evaluate",
        description="Evaluate a model on rows with known answers: metrics, tables, plots.",
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="SavedModel folder, folder of versions (the highest is taken), a name in "
        f"{SAVED_MODELS}/, or a run's folder",
    )
    consent.add_flag(parser)
    group = add_flags(parser, "options", Options, "rows and report")
    arguments.add_column_flags(group, arguments.every_column())
    flags = vars(parser.parse(argv))
    values = values_of(flags, "options")
    values["columns"] = {**values.get("columns", {}), **values_of(flags, "column")}
    options = make(Options, values, "the command line")
    model = evaluating.kept(flags["model"])
    target = evaluating.folder_of(model, evaluating.with_data(options, model))
    check_folder(target, "report.md")
    done = evaluating.evaluate(model, options)
    print(f"{done.about['model']} on {done.about['rows']} rows of {done.about['data']}")
    shown = [evaluation_files.metrics_table(done.report), *done.report.tables]
    console.tables(dataclasses.replace(done.report, tables=shown))
    evaluating.write(done, target)
    print(f"report and pictures: {target}{os.sep}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_status.run(main))
