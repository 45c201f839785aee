"""A model checked for what is wrong with it, with bounds that its figures must not cross."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

from pipelines.errors import UserError
from pipelines.files.formats import format_of
from pipelines.files.writers import replacing_folder, write_json
from pipelines.rows import Column, Rows
from tfnlp import needs, task
from tfnlp.cli import audit_files
from tfnlp.cli.arguments import Plugged
from tfnlp.cli.audit_files import Examined
from tfnlp.config_data import OF_LABELS, FileLayout
from tfnlp.extensions import Finding, Subject, UnsuitableError
from tfnlp.options import option, unknown_key
from tfnlp.report import Report

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


@dataclass(frozen=True, repr=False)
class Audited:
    """What an audit found.

    Attributes:
        about: what was checked: ``model``, ``data`` and ``rows``.
        done: what each check found, in their order.
        warnings: sentences the user should read.

    Example::

        model.audit("test.csv").passed
    """

    about: Mapping[str, Any]
    done: tuple[Examined, ...]
    warnings: tuple[str, ...] = ()

    @property
    def findings(self) -> list[Finding]:
        """The figures of all checks."""
        return [finding for one in self.done for finding in one.findings]

    @property
    def passed(self) -> bool:
        """Whether all bounds hold."""
        return all(finding.passed for finding in self.findings)

    @property
    def report(self) -> Report:
        """All findings in one table; what was left out is a warning."""
        return audit_files.summary(self.done, self.warnings)

    def __repr__(self) -> str:
        return f"Audited(passed={self.passed}, findings={self.findings})"

    def _repr_html_(self) -> str:
        """Return the findings and each check's tables and figures, for a notebook."""
        parts = [self.report, *(one.report for one in self.done if not one.unsuitable)]
        return "\n".join(part._repr_html_() for part in parts)

    def write(self, folder: Path) -> None:
        """Write index.html, report.json and junit.xml, in place of earlier ones.

        Raises:
            UserError: the folder cannot be written.
        """
        with replacing_folder(folder) as aside:
            page = audit_files.page(self.done, self.about, self.report)
            (aside / audit_files.PAGE).write_text(page, "utf-8")
            found = audit_files.values(self.done, self.about, self.warnings)
            write_json(aside / "report.json", found)
            (aside / "junit.xml").write_bytes(audit_files.junit(self.done))


def audit(
    subject: Subject, checks: Sequence[tuple[Plugged, Any]], options: Options, *, named: bool
) -> Audited:
    """Run checks on a model.

    Args:
        subject: the model.
        checks: each with its own options.
        options: the rows and the bounds.
        named: whether the checks were asked for by name; of others those that do not suit the
            model are left out.

    Raises:
        UserError: the rows cannot be used, a bound is none, or no check suits the model.

    Example::

        audit(subject, checks, Options(test="rows.csv", bounds={"ece": "0.05"}), named=True)
    """
    bounds = bounds_of([check for check, _ in checks], options.bounds)
    rows = read_rows(subject, options)
    done = [
        _examined(check, subject, rows, own, bounds[check.name], named) for check, own in checks
    ]
    if all(one.unsuitable for one in done):
        raise UserError(f"no check suits this model: {done[0].unsuitable}")
    about = {"model": subject.name, "data": rows.source, "rows": len(rows)}
    warnings = []
    if rows.bad:
        left = f"{len(rows.bad)} of its rows cannot be used and are left out"
        warnings.append(f"{rows.source}: {left}, the first: {rows.bad[0]}")
    return Audited(about, tuple(done), tuple(warnings))


def bounds_of(
    checks: Sequence[Plugged], given: Mapping[str, str]
) -> dict[str, dict[str, float | None]]:
    """Return each check's bounds, with those that the user gave in place of the defaults.

    ``ece`` is that of all checks that have it, ``calibration.ece`` that of one.

    Raises:
        UserError: there is no such figure, or its bound is no number.
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


def read_rows(subject: Subject, options: Options) -> Rows:
    """Return the rows to check on, with the model's inputs and targets."""
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


def folder_of(subject: str, test: str) -> Path:
    """Return the folder of a report, by the model and the data."""
    path = subject.rstrip("/").rpartition("://")[2]
    return AUDITS.joinpath(*Path(path).resolve().parts[-2:], Path(test).name.split(".")[0])
