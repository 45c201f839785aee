"""The one exception that stands for a mistake a user can mend."""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend, in one sentence.

    The sentence names the value, the place and the remedy, as in ``data.csv has no column
    'label'; it has: text, tag (use --label-column)``. Commands print it after ``error:`` and exit
    with status 2; no traceback is shown.
    """
