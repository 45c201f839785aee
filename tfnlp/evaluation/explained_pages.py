"""Explained answers as HTML that needs no other file: rows in colour, and tables to filter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any, TextIO

from tfnlp.evaluation.html import STYLE
from tfnlp.report import Table

_OWN = """
article { border-bottom: 1px solid #e4e4e8; padding: .6rem 0; } article p { margin: .3rem 0; }
.label { font-weight: 600; } .score, .flag, .input { color: #62626a; font-size: .9em; }
.text { line-height: 2; white-space: pre-wrap; overflow-wrap: anywhere; }
mark { color: inherit; border-radius: .2rem; padding: .1rem 0; }
mark.against { text-decoration: underline dotted; }
.filter { margin: 1rem 0; display: flex; gap: .5rem; flex-wrap: wrap; }
.filter input, .filter select { font: inherit; padding: .2rem .4rem; }
"""
_SCRIPT = """
document.querySelectorAll("table.filtered").forEach(table => {
  const bar = table.previousElementSibling, word = bar.querySelector("input");
  const label = bar.querySelector("select"), rows = [...table.tBodies[0].rows];
  const show = () => rows.forEach(row => {
    const named = !label.value || row.cells[0].textContent === label.value;
    row.hidden = !named || !row.textContent.toLowerCase().includes(word.value.toLowerCase());
  });
  word.oninput = label.onchange = show;
});
"""


def writer(output: TextIO, title: str, about: Mapping[str, Any]) -> Callable[[str], None]:
    """Begin a page, and return what appends HTML to its body; `end` closes it.

    Example::

        write = writer(file, "Why", {"model": "trec", "method": "occlusion"})
        write(answer(values))
        end(write)
    """
    facts = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in about.items())
    output.write(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}{_OWN}</style></head>\n"
        f"<body><h1>{escape(title)}</h1><dl>{facts}</dl>\n"
        '<p class="flag">Green speaks for the answer; red and underlined speaks against it.</p>\n'
    )

    def write(html: str) -> None:
        output.write(html)

    return write


def end(write: Callable[[str], None]) -> None:
    """Close a page that `writer` began."""
    write(f"<script>{_SCRIPT}</script></body></html>\n")


def fragment(answers: Sequence[Mapping[str, Any]], most: int = 100) -> str:
    """Return answers as a part of a page, with its style: what a notebook shows.

    Example::

        fragment(model.explain(["A masterpiece."]))
    """
    more = len(answers) - most
    told = f'<p class="flag">and {more} more</p>' if more > 0 else ""
    return f"<style>{_OWN}</style>" + "".join(map(answer, answers[:most])) + told


def answer(values: Mapping[str, Any]) -> str:
    """Return an explained answer, its texts with their pieces coloured.

    Args:
        values: as `tfnlp.api.explaining.values` gives it.

    Example:
        >>> piece = {"input": "text", "text": "Good", "start": 0, "end": 4, "weight": 0.5}
        >>> values = {"row": 1, "text": "Good.", "label": "+", "score": 0.9, "pieces": [piece]}
        >>> "Good</mark>." in answer({**values, "flags": [], "examples": [], "changed": None})
        True
    """
    names = list(dict.fromkeys(piece["input"] for piece in values["pieces"]))
    shown = names or [n for n in inputs(values) if values[n]]
    top = max((abs(piece["weight"]) for piece in values["pieces"]), default=0.0)
    parts = [
        f'<article id="row-{values["row"]}"><p>{values["row"]} '
        f'<span class="label">{escape(values["label"])}</span> '
        f'<span class="score">{values["score"]:z.3f}</span></p>'
    ]
    for name in shown:
        own = [piece for piece in values["pieces"] if piece["input"] == name]
        told = f'<span class="input">{escape(name)}: </span>' if len(shown) > 1 else ""
        text = _coloured(values[name], own, top)
        parts.append(f'<p class="text" dir="auto">{told}{text}</p>')
    parts += [f'<p class="flag">({escape(flag)})</p>' for flag in values["flags"]]
    if values["changed"]:
        texts = "; ".join(f"{k}: {v}" for k, v in values["changed"].items())
        parts.append(f'<p class="flag">changed: {escape(texts)}</p>')
    for example in values["examples"]:
        told = "; ".join(f"{name}: {_number(value)}" for name, value in example.items())
        parts.append(f'<p class="flag" dir="auto">{escape(told)}</p>')
    return "".join([*parts, "</article>\n"])


def inputs(values: Mapping[str, Any]) -> list[str]:
    """Return the names of the texts among an explained answer's values.

    Example:
        >>> inputs({"row": 1, "text": "Good.", "label": "+"})
        ['text']
    """
    other = ("row", "label", "score", "pieces", "flags", "examples", "changed")
    return [name for name in values if name not in other]


def _number(value: Any) -> str:
    return f"{value:z.3f}" if isinstance(value, float) else str(value)


def _coloured(text: str, pieces: Sequence[Mapping[str, Any]], top: float) -> str:
    """Return a text with its pieces marked, the deeper the heavier."""
    parts, done = [], 0
    for piece in sorted(pieces, key=lambda piece: piece["start"]):
        if piece["start"] < done:  # tokens may overlap
            continue
        share = abs(piece["weight"]) / top if top else 0.0
        parts.append(escape(text[done : piece["start"]]))
        colour, kind = ("27,140,61", "for") if piece["weight"] > 0 else ("200,0,32", "against")
        part = escape(text[piece["start"] : piece["end"]])
        parts.append(
            f'<mark class="{kind if share >= 0.05 else ""}" title="{piece["weight"]:z.4f}" '
            f'style="background:rgba({colour},{0.6 * share:.2f})">{part}</mark>'
        )
        done = piece["end"]
    return "".join([*parts, escape(text[done:])])


def filtered(table: Table) -> str:
    """Return a table that a reader filters by its first column and by what is in it.

    Example::

        write(filtered(words.table()))
    """
    kinds = "".join(f"<option>{escape(str(k))}</option>" for k in _first(table))
    head = "".join(f"<th>{escape(name)}</th>" for name in table.header)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>\n" for row in table.rows)
    every = f"every {table.header[0]}"
    return (
        f'<div class="filter"><select aria-label="{escape(table.header[0])}">'
        f'<option value="">{escape(every)}</option>{kinds}</select>'
        f'<input type="search" placeholder="filter" aria-label="filter"></div>'
        f'<table class="filtered"><caption>{escape(table.title)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>\n"
    )


def _first(table: Table) -> list[Any]:
    return list(dict.fromkeys(row[0] for row in table.rows))


def _cell(value: Any) -> str:
    kind = ' class="number"' if isinstance(value, (int, float)) else ' dir="auto"'
    return f"<td{kind}>{escape(str(value))}</td>"
