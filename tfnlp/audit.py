"""python -m tfnlp.audit: check a model for what is wrong with it; fails if a bound is crossed."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

from pipelines.errors import UserError
from pipelines.files.formats import format_of
from pipelines.files.writers import check_folder, replacing_folder, write_json
from pipelines.rows import Column, Rows
from tfnlp import extensions, needs, task
from tfnlp.cli import arguments, audit_files, console, entries
from tfnlp.cli.arguments import Plugged
from tfnlp.cli.audit_files import Examined
from tfnlp.config import OF_LABELS, FileLayout
from tfnlp.extensions import Audit, Subject, UnsuitableError
from tfnlp.inference.saved_model import SAVED_MODELS
from tfnlp.options import Parser, add_flags, make, option, unknown_key
from tfnlp.runtime import exit_status, signals

AUDITS = Path("audits")
# The target of a model of which nothing is known.
_LABEL = Column("label", "label", "the label")


@dataclass(frozen=True)
class Options(FileLayout):
    """The rows, the bounds, and where the report goes.

    Example::

        python -m tfnlp.audit MODEL --test rows.csv --bound ece=0.05
    """

    test: str | None = option(
        None, "file of rows with the right answers, of any format that training takes"
    )
    columns: dict[str, str] = option(
        {},
        "header of a column, such as text=review; as in training if not given",
        flag="--column",
    )
    label_separator: str | None = option(
        None,
        "what separates the labels of one row in a file, or tab; as in training if not given",
        needs=OF_LABELS,
    )
    on_bad_row: Literal["error", "skip", "quarantine"] = option(
        "error", "a row that cannot be used stops the command, is left out, or is kept aside"
    )
    bounds: dict[str, str] = option(
        {}, "what a figure must not cross, such as ece=0.05; may be repeated", flag="--bound"
    )
    output: str | None = option(None, f"folder of the report; {AUDITS}/<model>/<data> if not given")
    batch_size: int = option(64, "rows the model is asked at a time [rows]", minimum=1)


def main(argv: list[str]) -> int:
    """Audit the model that the arguments name; 1 if a bound is crossed."""
    there = extensions.names(Audit)
    parser = Parser(
        prog="python -m tfnlp.audit",
        description="Check a model on rows with known answers. Exit status: 0 if all bounds hold, "
        "1 if one is crossed,\n2 if the command line is wrong.",
    )
    parser.add_argument(
        "subject",
        metavar="SUBJECT",
        help=f"a run's folder, a SavedModel's folder or its name in {SAVED_MODELS}/, or a server's "
        "http://HOST:8501/v1/models/NAME",
    )
    parser.add_argument(
        "--check",
        action="append",
        metavar="CHECK",
        help=f"what to check: {', '.join(there)}, or your own module; may be repeated (default: "
        "all that suit the model)",
    )
    group = add_flags(parser, "options", Options, "rows, bounds and report")
    arguments.add_column_flags(group, arguments.every_column())
    named = entries.named(argv, "--check")
    checks = entries.add(parser, Audit, named or there)
    flags = vars(parser.parse(argv))
    values = entries.section(flags, "options")
    values["columns"] = {**values.get("columns", {}), **entries.section(flags, "column")}
    options = make(Options, values, "the command line")
    if options.test is None:
        raise UserError("nothing to check the model on (give --test FILE)")
    bounds = _bounds(checks, options.bounds)
    target = Path(options.output) if options.output else _folder(flags["subject"], options.test)
    check_folder(target, audit_files.PAGE)
    with signals.caught("") as caught:
        from tfnlp.runs import subject as subjects

        subject = subjects.load(flags["subject"], options.batch_size, caught.holding)
        rows = _read(subject, options)
        done = [
            _examined(
                check, subject, rows, entries.options(check, flags), bounds[check.name], bool(named)
            )
            for check in checks
        ]
    if all(one.unsuitable for one in done):
        raise UserError(f"no check suits this model: {done[0].unsuitable}")
    about = {"model": subject.name, "data": rows.source, "rows": len(rows)}
    return _shown(done, about, rows, target)


def _bounds(
    checks: Sequence[Plugged], given: Mapping[str, str]
) -> dict[str, dict[str, float | None]]:
    """Return each check's bounds, with those that the user gave in place of the defaults.

    ``ece`` is that of all checks that have it, ``calibration.ece`` that of one.
    """
    bounds = {check.name: dict(check.record.bounds) for check in checks}
    both = [f"{check}.{name}" for check, own in bounds.items() for name in own]
    known = [*(name for own in bounds.values() for name in own), *both]
    unknown_key(given, known, "the audit", "bound")
    for name in sorted(given, key=both.__contains__):  # that of one check comes last, and wins
        try:
            value = float(given[name])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise UserError(f"--bound {name}={given[name]}: {given[name]!r} is not a number")
        for check, own in bounds.items():
            if (place := name.removeprefix(f"{check}.")) in own:
                own[place] = value
    return bounds


def _read(subject: Subject, options: Options) -> Rows:
    """Read the rows with the model's inputs and targets."""
    from pipelines import splits

    options.layout().check([format_of(Path(str(options.test)))])
    layout = options.layout()
    headers: Mapping[str, str] = {}
    separator = "|"
    targets: tuple[Column, ...] = (_LABEL,)
    if subject.experiment:
        experiment = subject.experiment
        headers, separator = experiment.data.columns, experiment.data.label_separator
        layout = options.layout(experiment.data)
        targets = task.load(experiment.task).target_columns(experiment.options)
    columns = (*subject.inputs, *targets)
    unknown_key(options.columns, [column.name for column in columns], subject.name, "column")
    needs.check(options, SimpleNamespace(columns=columns))
    return splits.from_files(
        {"test": str(options.test)},
        columns,
        {**headers, **options.columns},
        options.on_bad_row,
        options.label_separator or separator,
        layout,
    )["test"]


def _examined(
    check: Any,
    subject: Subject,
    rows: Rows,
    options: Any,
    bounds: Mapping[str, float | None],
    named: bool,
) -> Examined:
    """Run a check; one that does not suit the model is passed over unless it was named."""
    try:
        findings, report = check.record.examine(subject, rows, options, bounds)
    except UnsuitableError as error:
        if named:
            raise
        return Examined(check.name, check.record.summary, unsuitable=str(error))
    return Examined(check.name, check.record.summary, tuple(findings), report)


def _shown(done: Sequence[Examined], about: Mapping[str, Any], rows: Rows, target: Path) -> int:
    """Print and write what the checks found; returns the exit status."""
    warnings = []
    if rows.bad:
        left = f"{len(rows.bad)} of its rows cannot be used and are left out"
        warnings.append(f"{rows.source}: {left}, the first: {rows.bad[0]}")
    summary = audit_files.summary(done, warnings)
    with replacing_folder(target) as folder:
        (folder / audit_files.PAGE).write_text(audit_files.page(done, about, summary), "utf-8")
        write_json(folder / "report.json", audit_files.values(done, about, warnings))
        (folder / "junit.xml").write_bytes(audit_files.junit(done))
    console.line(f"{about['model']} on {about['rows']} rows of {about['data']}")
    console.tables(summary)
    console.line(f"report: {target / audit_files.PAGE}")
    return int(any(not finding.passed for one in done for finding in one.findings))


def _folder(subject: str, test: str) -> Path:
    """Name the report's folder by the model and the data."""
    path = subject.rstrip("/").rpartition("://")[2]
    return AUDITS.joinpath(*Path(path).resolve().parts[-2:], Path(test).name.split(".")[0])


if __name__ == "__main__":
    sys.exit(exit_status.run(main))
