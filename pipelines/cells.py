"""What single values of files mean: truth values, lists, 0/1 vectors, what can be seen of one."""

from __future__ import annotations

import ast
import json
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

# Characters that a shell makes hard to write, by what stands for them in an option.
_NAMED = {"tab": "\t", r"\t": "\t", "space": " ", r"\n": "\n"}
# What stands between the items of a list in any script: commas, semicolons, bars.
LISTING = ",，﹐､、﹑،՝፣߸᠂;\u037e；﹔؛፤|｜¦│"
# What may as well be within an item: bullets, middle dots, slashes, signs, line ends, spaces.
LOOSE = "•●◦‣▪∙⋅·\u0387‧・･/／+＋&＆\t\n\u3000 "
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no", "")


def separator(option: str) -> str:
    r"""Return what an option says that stands between fields or labels.

    Example:
        >>> separator("tab"), separator(r"\t"), separator("; ")
        ('\t', '\t', '; ')
    """
    return _NAMED.get(option, option)


def shown(separator: str) -> str:
    r"""Return a separator as an option takes it, quoted for a shell.

    Example:
        >>> shown(";"), shown("\t")
        ("';'", 'tab')
    """
    return "tab" if separator == "\t" else "'\\n'" if separator == "\n" else f"'{separator}'"


def truth(value: Any, key: str) -> bool:
    """Return a truth value, as JSON has it or as it is written in a cell; None is false.

    Raises:
        ValueError: it is none.

    Example:
        >>> truth("True", "is_impossible"), truth(0, "is_impossible")
        (True, False)
    """
    told = "" if value is None else str(value).strip().casefold()
    if told not in _TRUE + _FALSE:
        raise ValueError(f"{key!r} is neither true nor false: {told[:60]!r}")
    return told in _TRUE


def is_list(text: str) -> bool:
    """Return whether a cell holds a list as JSON.

    Example:
        >>> is_list('["a"]'), is_list("[a]")
        (True, False)
    """
    try:
        return isinstance(json.loads(text), list)
    except (ValueError, RecursionError):
        return False


def is_vector(items: Sequence[str]) -> bool:
    """Return whether what should be labels is a 0 or 1 for each label; no label stands twice.

    Example:
        >>> is_vector(["0", "1", "0"]), is_vector(["0", "1"]), is_vector(["TRUE", "TRUE"])
        (True, False, False)
    """
    told = [item.strip() for item in items]
    kinds = ({"0", "1"}, {"0.0", "1.0"}, {"false", "true"}, {"False", "True"})
    return len(told) > len(set(told)) and any(set(told) <= kind for kind in kinds)


LOST = "\ufffd"  # in place of what could not be decoded


def is_visible(character: str) -> bool:
    r"""Return whether a character is neither white space nor of no width.

    Example:
        >>> is_visible("a"), is_visible("\u200b")
        (True, False)
    """
    return not character.isspace() and unicodedata.category(character) not in ("Cc", "Cf")


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Return where a part of a text is without what cannot be seen at its ends.

    Example:
        >>> trimmed("Ann sings", 0, 4)
        (0, 3)
    """
    while start < end and not is_visible(text[start]):
        start += 1
    while start < end and not is_visible(text[end - 1]):
        end -= 1
    return start, end


def span_remedy(item: Any) -> str:
    """Return the remedy for a span of another program, or "".

    Example:
        >>> span_remedy({"start_offset": 0, "end_offset": 3, "label": "PER"})
        ' (rename start_offset and end_offset to start and end)'
    """
    if not isinstance(item, Mapping):
        return ""
    if "start_offset" in item:
        return " (rename start_offset and end_offset to start and end)"
    if isinstance(item.get("labels"), list):
        return ' (give one "label" in place of the list "labels")'
    return ""


def is_python(value: str) -> bool:
    """Return whether a cell holds a list or an object as Python prints it, which is not JSON.

    Example:
        >>> is_python("['a', 'b']"), is_python('["a"')
        (True, False)
    """
    try:
        return isinstance(ast.literal_eval(value), (list, dict, tuple))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return False
