"""The folder of an evaluation: report.md, metrics.json and a picture for each figure."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from pipelines.files.writers import json_text
from tfnlp.report import Report, Table, markdown


def check_writable(folder: Path) -> None:
    """Check, before the work is done, that a report can be written.

    Raises:
        UserError: the folder cannot be written, or holds something other than a report.
    """
    earlier = (folder / "report.md").exists()
    if folder.exists() and not earlier and (folder.is_file() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and holds no report (choose another --output)")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = _aside(folder, "new")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        aside.rmdir()
    except OSError as error:
        raise _unwritable(folder, error) from error


def write(folder: Path, about: Mapping[str, Any], report: Report) -> None:
    """Write a report, in place of an earlier one, whole or not at all.

    Args:
        folder: gets report.md, metrics.json and ``<figure>.png``.
        about: what was evaluated: ``model``, ``data`` and ``rows``.
        report: what was found.

    Raises:
        UserError: the folder cannot be written.
    """
    from tfnlp.evaluation import plots

    aside, old = _aside(folder, "new"), _aside(folder, "old")
    try:
        aside.mkdir()
        for name, draw in report.figures.items():
            plots.save(draw(), aside / f"{name}.png")
        tables = {
            table.title: [dict(zip(table.header, row, strict=True)) for row in table.rows]
            for table in report.tables
        }
        values = {**about, "metrics": report.metrics, "tables": tables, "warnings": report.warnings}
        (aside / "metrics.json").write_text(f"{json_text(values)}\n", "utf-8")
        (aside / "report.md").write_text(_markdown(about, report), "utf-8")
        if folder.exists():
            folder.rename(old)
        aside.rename(folder)
    except OSError as error:
        if old.exists():
            old.rename(folder)
        raise _unwritable(folder, error) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def metrics_table(report: Report) -> Table:
    """Return a report's metrics as a table."""
    cells = [(name, f"{value:.4f}") for name, value in report.metrics.items()]
    return Table("Metrics", ("metric", "value"), cells)


def _aside(folder: Path, what: str) -> Path:
    """Return a name beside the folder for what is not in place yet, or not any more."""
    return folder.with_name(f".{folder.name}.{os.getpid()}.{what}")


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(f"cannot write {folder}: {error.strerror} (choose another place: --output)")


def _markdown(about: Mapping[str, Any], report: Report) -> str:
    """Return the report in Markdown."""
    parts = [f"# Evaluation of {about['model']}", f"{about['rows']} rows of `{about['data']}`."]
    parts += [f"**Warning:** {text}" for text in report.warnings]
    parts += [
        f"## {table.title}\n\n{markdown(table)}"
        for table in (metrics_table(report), *report.tables)
    ]
    parts += [
        f"## {name.replace('_', ' ').capitalize()}\n\n![{name}]({name}.png)"
        for name in report.figures
    ]
    return "\n\n".join(parts) + "\n"
