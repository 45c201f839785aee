"""Fixed splits for data that come without them."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Hashable, Sequence

_TENTHS = 1  # of the data


def is_held_out(text: str) -> bool:
    """Say whether a text belongs to the test split, about a tenth of the data.

    The text alone decides, so the split never changes and needs no list. Letter case, spaces,
    punctuation and character width do not count: near-copies fall on the same side.
    """
    return _tenth(text) < _TENTHS


def split_of(text: str) -> str:
    """Say which split a text belongs to: about a tenth is ``test``, and another ``validation``.

    The text alone decides, as for `is_held_out`, which says the same of the test split.
    """
    tenth = _tenth(text)
    return "test" if tenth < _TENTHS else "validation" if tenth < 2 * _TENTHS else "train"


def _tenth(text: str) -> int:
    """Give a text a number from 0 to 9 that its near-copies share."""
    letters = re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).casefold())
    digest = hashlib.sha256((letters or text).encode()).digest()
    return int.from_bytes(digest[:8], "big") % 10


def linked(groups: Sequence[Sequence[Hashable]]) -> list[int]:
    """Join groups that share a member, directly or through others.

    Returns:
        For each group the place of the first one that it is joined with: groups with the same
        belong into the same split.
    """
    first = list(range(len(groups)))

    def root(place: int) -> int:
        while first[place] != place:
            first[place] = first[first[place]]
            place = first[place]
        return place

    holder: dict[Hashable, int] = {}
    for place, members in enumerate(groups):
        for member in members:
            a, b = root(holder.setdefault(member, place)), root(place)
            first[max(a, b)] = min(a, b)
    return [root(place) for place in range(len(groups))]
