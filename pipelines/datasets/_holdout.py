"""Fixed splits for data that come without them."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Hashable, Sequence


def is_held_out(text: str) -> bool:
    """Return whether a text belongs to the test split, about a tenth of the data.

    The text alone decides, so the split never changes and needs no list. Letter case, spaces,
    punctuation and character width do not count: near-copies fall on the same side.
    """
    return _part(text, 10) == 0


def split_of(text: str, parts: int = 10) -> str:
    """Return which split a text belongs to.

    The text alone decides, as for `is_held_out`, which says the same of the test split.

    Args:
        text: near-copies of it fall on the same side.
        parts: of which ``test`` is about one, ``validation`` another, and ``train`` the rest.
    """
    part = _part(text, parts)
    return "test" if part == 0 else "validation" if part == 1 else "train"


def letters(text: str) -> str:
    """Return what near-copies share: letters and digits, in one case and width."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).casefold()) or text


def _part(text: str, parts: int) -> int:
    """Give a text a number below ``parts`` that its near-copies share."""
    digest = hashlib.sha256(letters(text).encode()).digest()
    return int.from_bytes(digest[:8], "big") % parts


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
