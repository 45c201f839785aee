"""Reports as one HTML page that needs no other file."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from tfnlp.report import Report, html

STYLE = """
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


def page(title: str, about: Mapping[str, Any], sections: Mapping[str, Report]) -> str:
    """Return a page with the metrics, tables, figures and warnings of several reports.

    Args:
        title: above it all.
        about: what a reader must know first, name -> value.
        sections: heading -> report.
    """
    facts = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in about.items())
    body = "".join(
        f"<h2>{escape(heading)}</h2>\n{html(report)}" for heading, report in sections.items()
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1><dl>{facts}</dl>{body}</body></html>\n"
    )
