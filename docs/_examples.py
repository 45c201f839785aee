"""Examples of docstrings as mkdocstrings reads them, which knows `Examples:` and no `Example::`."""

from __future__ import annotations

import re
from typing import Any

import griffe

_LITERAL = re.compile(r"^Example::\n\n((?: {4}.*(?:\n|\Z)|\n)+)", re.MULTILINE)
_DOCTEST = re.compile(r"^Example:$", re.MULTILINE)


class Examples(griffe.Extension):
    """Shows the examples of a docstring as code."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Rewrite the headings of an object's examples."""
        if not obj.is_alias and obj.docstring:
            obj.docstring.value = as_sections(obj.docstring.value)


def as_sections(docstring: str) -> str:
    r"""Return a docstring with its examples in sections of code.

    Example:
        >>> as_sections("Train.\n\nExample::\n\n    train()").splitlines()
        ['Train.', '', 'Examples:', '    ```python', '    train()', '    ```']
    """

    def fenced(found: re.Match[str]) -> str:
        return f"Examples:\n    ```python\n{found[1].rstrip()}\n    ```\n"

    return _DOCTEST.sub("Examples:", _LITERAL.sub(fenced, docstring))
