"""The folder of an evaluation: report.md, metrics.json and a picture for each figure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.files.writers import json_text, replacing_folder
from tfnlp.report import Report, Table, between, four_places, markdown, png


def write(folder: Path, about: Mapping[str, Any], report: Report) -> None:
    """Write a report, in place of an earlier one, whole or not at all.

    Args:
        folder: gets report.md, metrics.json and ``<figure>.png``.
        about: what was evaluated: ``model``, ``data`` and ``rows``.
        report: what was found.

    Raises:
        UserError: the folder cannot be written.

    Example::

        write(Path("report"), {"model": "trec", "data": "a.csv", "rows": 500}, report)
    """
    tables = {
        table.title: [dict(zip(table.header, row, strict=True)) for row in table.rows]
        for table in report.tables
    }
    values = {
        **about,
        "metrics": report.metrics,
        "intervals": report.intervals,
        "tables": tables,
        "warnings": report.warnings,
    }
    with replacing_folder(folder) as aside:
        for name, draw in report.figures.items():
            (aside / f"{name}.png").write_bytes(png(draw()))
        (aside / "metrics.json").write_text(f"{json_text(values)}\n", "utf-8")
        (aside / "report.md").write_text(_markdown(about, report), "utf-8")


def metrics_table(report: Report) -> Table:
    """Return a report's metrics as a table.

    Example:
        >>> metrics_table(Report({"f1": 0.91})).rows
        [('f1', '0.9100', '')]
    """
    cells = [
        (name, four_places(value), between(report.intervals.get(name)))
        for name, value in report.metrics.items()
    ]
    return Table("Metrics", ("metric", "value", "95% interval"), cells)


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
