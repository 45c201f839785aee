"""Reports as one HTML page that needs no other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tfnlp.evaluation import plots
from tfnlp.report import Report, Table, four_places

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1c1e; background: #fff; margin: 2rem auto;
  max-width: 62rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #d0d0d5; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
caption { text-align: left; font-weight: 600; padding-bottom: .3rem; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #e4e4e8; text-align: left; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
td.bad { color: #b00020; font-weight: 600; } td.good { color: #1b7a3d; font-weight: 600; }
p.warning { background: #fff4d6; padding: .4rem .8rem; } img { max-width: 100%; height: auto; }
dl { display: grid; grid-template-columns: max-content auto; gap: .1rem 1rem; } dd { margin: 0; }
"""
BAD, GOOD = ("crossed", "failed"), ("passed", "complete")  # cells that are coloured


def page(title: str, about: Mapping[str, Any], sections: Mapping[str, Report]) -> str:
    """Return a page with the metrics, tables, figures and warnings of several reports.

    Args:
        title: above it all.
        about: what a reader must know first, name -> value.
        sections: heading -> report.
    """
    facts = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in about.items())
    body = "".join(_section(heading, report) for heading, report in sections.items())
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1><dl>{facts}</dl>{body}</body></html>\n"
    )


def _section(heading: str, report: Report) -> str:
    """Return a report under a heading."""
    parts = [f"<h2>{escape(heading)}</h2>"]
    parts += [f'<p class="warning">{escape(text)}</p>' for text in report.warnings]
    if report.metrics:
        cells = [(name, four_places(value)) for name, value in report.metrics.items()]
        parts.append(_table(Table("Metrics", ("metric", "value"), cells)))
    parts += [_table(table) for table in report.tables]
    for name, draw in report.figures.items():
        held = io.BytesIO()
        plots.save(draw(), held)
        data = base64.b64encode(held.getvalue()).decode("ascii")
        alt = escape(name.replace("_", " "), quote=True)
        parts.append(f'<p><img alt="{alt}" src="data:image/png;base64,{data}"></p>')
    return "\n".join(parts)


def _table(table: Table) -> str:
    """Return a table."""
    head = "".join(f"<th>{escape(name)}</th>" for name in table.header)
    rows = "".join(f"<tr>{_cells(row)}</tr>\n" for row in table.rows)
    return f"<table><caption>{escape(table.title)}</caption><tr>{head}</tr>\n{rows}</table>"


def _cells(row: Sequence[Any]) -> str:
    """Return a row's cells, numbers on the right, verdicts in colour."""
    shown = []
    for value in row:
        text = str(value)
        kind = "bad" if text in BAD else "good" if text in GOOD else ""
        kind = kind or ("number" if _is_number(text) else "")
        attribute = f' class="{kind}"' if kind else ""
        shown.append(f"<td{attribute}>{escape(text)}</td>")
    return "".join(shown)


def _is_number(text: str) -> bool:
    """Return whether a cell holds a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
