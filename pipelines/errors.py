"""The one exception that stands for a mistake a user can mend."""

from __future__ import annotations

import re


class UserError(Exception):
    """Something the user can mend, in one sentence.

    The sentence names the value, the place and the remedy, as in ``data.csv has no column
    'label'; it has: text, tag (use --label-column)``. Commands print it after ``error:`` and exit
    with status 2; no traceback is shown.
    """


# What TensorFlow puts before the message of an op.
_AROUND = ("Graph execution error:", "Detected at node", "<stack traces", "[[{{node")


def reason(error: Exception) -> str:
    """Say in a few words why a file could not be read or written."""
    lines = (line.strip() for line in str(error).splitlines())
    told = (line for line in lines if line and not line.startswith(_AROUND))
    said = getattr(error, "strerror", None) or next(told, "")
    return re.sub(r"\{\{.*?\}\}", "", said).strip()  # TensorFlow names its graph's node first
