"""Answers explained, as plain values, as tables, and for a notebook."""

from __future__ import annotations

from typing import Any

from tfnlp.evaluation import explained_pages
from tfnlp.evaluation.explained_words import Words
from tfnlp.extensions import Attribution
from tfnlp.report import Report

DEFAULT = "occlusion"


def values(found: Attribution) -> dict[str, Any]:
    """Return an attribution as a line of JSON holds it.

    Example::

        values(found)["pieces"][0]  # {"input": "text", "text": "Who", "weight": 0.41, ...}
    """
    pieces = [
        {
            "input": piece.input,
            "text": found.inputs[piece.input][piece.start : piece.end],
            "start": piece.start,
            "end": piece.end,
            "weight": piece.weight,
        }
        for piece in found.pieces
    ]
    about = {"label": found.label, "score": found.score}
    return {
        "row": found.row,
        **found.inputs,
        **about,
        "pieces": pieces,
        "flags": list(found.flags),
        "examples": [dict(example) for example in found.examples],
        "changed": dict(found.changed) if found.changed else None,
    }


class Explained(list[dict[str, Any]]):
    """Explained answers, as `values` gives each; a notebook shows them in colour.

    Example::

        found = model.explain(["A masterpiece."])
        found[0]["pieces"], found.words().to_frame("Words by label")
    """

    def words(self, fewest: int = 2) -> Report:
        """Return which words count most for each label, as a report with one table.

        Args:
            fewest: rows that a word must stand in [rows].

        Example::

            model.explain(Path("reviews.csv")).words().to_frame("Words by label")
        """
        words = Words()
        for one in self:
            words.add(one)
        return words.report(fewest)

    def _repr_html_(self) -> str:
        """Return the answers with their words in colour, for a notebook."""
        return explained_pages.fragment(self)
