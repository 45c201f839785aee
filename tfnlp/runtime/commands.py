"""Command lines that are shown to be copied into a shell."""

from __future__ import annotations

import shlex


def command(module: str, *arguments: object) -> str:
    """Return how a command of ours is called, its arguments quoted where a shell wants it.

    Example:
        >>> command("tfnlp.export", "logs/été (1) $x/run")
        "python -m tfnlp.export 'logs/été (1) $x/run'"
    """
    return " ".join(["python -m", module, *map(quoted, arguments)])


def quoted(what: object) -> str:
    """Quote a text or path for a shell, in double quotes where single ones cannot stand.

    Example:
        >>> print(quoted("it's"), quoted("a b"), quoted("a-b"))
        "it's" 'a b' a-b
    """
    text = str(what)
    return f'"{text}"' if "'" in text and not set(text) & set('"$`\\!') else shlex.quote(text)
