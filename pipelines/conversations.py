"""Conversations: messages with roles, lists or lines of turns -> turns in which two alternate.

A conversation in one string, as a request has it, is a turn a line. A line end within a turn is
U+2028 there, and a first line that begins with U+0001 is the system prompt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

TURN_END = "\n"  # between the turns of a conversation, where one string holds them all
LINE_END = "\u2028"  # within a turn there
SYSTEM = "\x01"  # before a system prompt, which stands before the turns
CHATS = ("messages", "conversations")  # fields of chat files that hold turns and their answer

_ROLES, _SAID = ("role", "from"), ("content", "value")
_CALLS = ("tool_calls", "function_call")
_USER, _ASSISTANT, _SYSTEM = "user", "assistant", "system"
_KNOWN = {
    **dict.fromkeys(("user", "human", "prompter"), _USER),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "model", "bot", "chatbot", "ai"), _ASSISTANT),
    **dict.fromkeys(("system", "developer"), _SYSTEM),
}
_ONLY = "and only what the system, the user and the assistant say can be learned"
_LINES = re.compile(r"\r\n|\r|\n")
# What is meant as a JSON list; "[laughs] Hello" is a turn.
_LIST = re.compile(r"""\s*\[\s*(["{].*)?\]\s*""", re.DOTALL)


class Turns(list[str]):
    """The turns of a conversation, none blank: the last is to be answered, two speakers alternate.

    The first is preceded by the system prompt, if there is one: `SYSTEM` and its text.

    Attributes:
        merged: turns that were joined to the one before, whose role they have.
        unanswered: turns after the last answer, left out.

    Example:
        >>> str(Turns([SYSTEM + "Be kind.", "Hi!"]))
        'system: Be kind. | Hi!'
    """

    merged = 0
    unanswered = 0

    def __str__(self) -> str:
        return " | ".join(self).replace(SYSTEM, "system: ")


def is_list(value: Any) -> bool:
    """Return whether a field holds a list of turns, perhaps as JSON, not a text of one turn a line.

    Example:
        >>> is_list('["Hi!"]'), is_list("[laughs] Hi!")
        (True, False)
    """
    return not isinstance(value, str) or bool(_LIST.fullmatch(value))


def from_lines(text: str) -> Turns:
    r"""Return the turns in one string, as `joined` writes them; blank lines are none.

    Example:
        >>> from_lines("Hi!\n\nHello.\u2028How are you?")
        ['Hi!', 'Hello.\nHow are you?']
    """
    lines = [line.replace(LINE_END, "\n").strip() for line in _LINES.split(text)]
    lines = [line for line in lines if line]
    system = lines[0].replace(SYSTEM, "").strip() if lines and lines[0][0] == SYSTEM else ""
    spoken = [line.replace(SYSTEM, "").strip() for line in lines[bool(system) :]]
    return _with_system(system, [turn for turn in spoken if turn])


def joined(turns: Iterable[str]) -> str:
    r"""Return the turns of a conversation as one string, as requests have them: one turn a line.

    Line ends inside a turn become U+2028.

    Example:
        >>> joined(["Hi!", "Hello\nthere."])
        'Hi!\nHello\u2028there.'
    """
    return TURN_END.join(_LINES.sub(LINE_END, turn) for turn in turns)


def from_items(items: Sequence[Any], key: str) -> Turns:
    r"""Return the turns in a list of strings, or of messages with roles.

    Args:
        items: strings, which two speakers said in turn, or ``{"role": "user", "content": "Hi"}``
            or ``{"from": "human", "value": "Hi"}``.
        key: the field that holds them, for messages.

    Raises:
        ValueError: an item is neither; a role cannot be learned or answered; the last turn is the
            assistant's own.

    Example:
        >>> from_items([{"role": "user", "content": text} for text in ("Hi", "You?")], "messages")
        ['Hi\nYou?']
    """
    system, turns, merged = _alternating(items, key)
    if turns and turns[-1][0] == _ASSISTANT:
        raise ValueError(f"{key!r} ends with a turn of the assistant, so nothing is to be answered")
    found = _with_system(system, [text for _, text in turns])
    found.merged = merged
    return found


def answered(items: Sequence[Any], key: str) -> tuple[Turns, str]:
    """Divide a chat into what precedes the assistant's last turn, and that turn.

    Raises:
        ValueError: as `from_items`, or there is no such turn after another's.

    Example:
        >>> said = [("user", "Hi!"), ("assistant", "Hello.")]
        >>> answered([{"role": role, "content": text} for role, text in said], "messages")
        (['Hi!'], 'Hello.')
    """
    system, turns, merged = _alternating(items, key)
    places = [i for i, (role, _) in enumerate(turns) if role == _ASSISTANT]
    last = places[-1] if places else 0
    if not last:
        raise ValueError(
            f"{key!r} has no message of the assistant after another's: {_shown(items)} (an answer "
            'is {"role": "assistant", "content": "Hello"})'
        )
    found = _with_system(system, [text for _, text in turns[:last]])
    found.merged, found.unanswered = merged, len(turns) - last - 1
    return found, turns[last][1]


def _with_system(system: str, turns: Iterable[str]) -> Turns:
    """Return turns after a system prompt, if it is not empty; a prompt alone is no conversation."""
    spoken = Turns(turns)
    return Turns([SYSTEM + system, *spoken]) if system and spoken else spoken


def _alternating(items: Sequence[Any], key: str) -> tuple[str, list[tuple[str, str]], int]:
    """Return the system prompt, the turns with their roles, and how many turns were joined.

    Blank messages are left out, and those of one role in a row are joined by a line end, because
    templates are for roles that alternate. Strings have the role "", and are not joined.
    """
    messages = [message for message in (_message(item, key) for item in items) if message[1]]
    roles = {role for role, _ in messages}
    if len(roles) > 1 and "" in roles:
        raise ValueError(f"{key!r} has turns with a role and turns without one (give each its own)")
    if roles == {""}:
        return "", messages, 0
    groups = [
        (role, [text for _, text in group])
        for role, group in groupby(messages, key=lambda message: message[0])
    ]
    merged = sum(len(texts) - 1 for _, texts in groups)
    turns = [(role, "\n".join(texts)) for role, texts in groups]
    system = turns.pop(0)[1] if turns and turns[0][0] == _SYSTEM else ""
    if any(role == _SYSTEM for role, _ in turns):
        raise ValueError(
            f"{key!r} has a system message after the first turn, where no template has a place for "
            "it (put it first)"
        )
    return system, turns, merged


def _message(item: Any, key: str) -> tuple[str, str]:
    """Return the role of an item, "" of a string, and its text."""
    role, text = "", item
    if isinstance(item, Mapping) and any(name in item for name in _SAID):
        told = _first(item, _ROLES)
        role = _role(told, key) if told is not None else ""
        text = _first(item, _SAID) or ""
        if _first(item, _CALLS):
            raise ValueError(f"{key!r} has a call of a tool, {_ONLY}")
    if not isinstance(text, str):
        raise ValueError(
            f"{key!r} has {_shown(item)}, which is neither a string nor "
            '{"role": "user", "content": "Hi"}'
        )
    return role, text.replace(SYSTEM, "").strip()


def _role(told: Any, key: str) -> str:
    """Return the role that a name stands for."""
    role = _KNOWN.get(str(told).strip().casefold())
    if role is None:
        raise ValueError(f"{key!r} has a turn of {str(told)[:60]!r}, {_ONLY}")
    return role


def _first(item: Mapping[str, Any], names: Iterable[str]) -> Any:
    """Return the first of these fields that an item has."""
    return next((item[name] for name in names if item.get(name) is not None), None)


def _shown(value: Any) -> str:
    """Return the beginning of a JSON value."""
    return json.dumps(value, ensure_ascii=False, default=str)[:60]
