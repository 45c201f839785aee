"""Answers explained, as plain values."""

from __future__ import annotations

from typing import Any

from tfnlp.extensions import Attribution

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
    }
