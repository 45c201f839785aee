"""The one exception for mistakes that a user can fix."""

from __future__ import annotations

import re


class UserError(Exception):
    """A mistake that the user can fix, in one sentence.

    The sentence names the value, the place and the remedy, as in ``data.csv has no column
    'label'; it has: text, tag (use --label-column)``. Commands print it after ``error:`` and exit
    with status 2; no traceback is shown.

    Example:
        >>> raise UserError("there is no file reviews.csv (check the path)")
        Traceback (most recent call last):
        pipelines.errors.UserError: there is no file reviews.csv (check the path)
    """


# What TensorFlow puts before the message of an op.
_AROUND = ("Graph execution error:", "Detected at node", "<stack traces", "[[{{node")


def reason(error: Exception) -> str:
    """Return in a few words why a file could not be read or written.

    Example:
        >>> reason(OSError(28, "No space left on device"))
        'No space left on device'
    """
    lines = (line.strip() for line in str(error).splitlines())
    messages = (line for line in lines if line and not line.startswith(_AROUND))
    said = getattr(error, "strerror", None) or next(messages, "")
    return re.sub(r"\{\{.*?\}\}", "", said).strip()  # TensorFlow names its graph's node first
