"""Events as lines: JSON or plain texts in, an application's answers out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pipelines.errors import UserError
from pipelines.files.raw import encodable, refuse_constant
from tfnlp.application import Conversation


def answers(conversation: Conversation, number: int, line: bytes) -> Iterator[dict[str, Any]]:
    """Yield an application's answers to a line; a blank line has none.

    A line that cannot be read or handled is answered by one event of type ``error``, with the
    line's number and what is wrong.

    Args:
        conversation: the application at work.
        number: of the line, the first is 1.
        line: an event in JSON if it begins with ``{``, else a text.

    Example::

        list(answers(conversation, 1, b"Marie Curie was born in Warsaw."))
    """
    if not line.strip():
        return
    try:
        yield from conversation.handle(event_of(line))
    except UserError as error:
        yield {"type": "error", "line": number, "error": str(error)}


def event_of(line: bytes) -> dict[str, Any]:
    """Return the event that a line holds; a plain text is one of type ``text``.

    Raises:
        UserError: the line is neither JSON nor text.

    Example:
        >>> event_of(b"It rained.")
        {'type': 'text', 'text': 'It rained.'}
    """
    try:
        text = line.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise UserError(f"not UTF-8: byte 0x{line[error.start]:02x} (save it as UTF-8)") from error
    if not text.startswith("{"):
        return {"type": "text", "text": text}
    try:
        event: dict[str, Any] = json.loads(text, parse_constant=refuse_constant)
        whole = encodable(event)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"invalid JSON: {error} (a text that begins with {{ is given as "
            '{"type": "text", "text": ...})'
        ) from error
    if not whole:
        raise UserError("half of a surrogate pair, which is not a character")
    return event
