"""Settings as a command line names them: ``learning_rate=1e-5,3e-5``."""

from __future__ import annotations

from typing import Any

from pipelines.errors import UserError


def parse(text: str, flag: str = "--vary") -> tuple[str, list[Any]]:
    """Return a setting's name and the values that are listed for it.

    Args:
        text: ``NAME=VALUE,VALUE``.
        flag: where it was given, for messages.

    Raises:
        UserError: there is no name or no value, or a value stands twice.

    Example:
        >>> parse("peft=none,bitfit"), parse("batch_size=16,32")
        (('peft', ['none', 'bitfit']), ('batch_size', [16, 32]))
    """
    name, values = named(text, flag)
    found = [value(part) for part in values.split(",")]
    shown = [repr(each) for each in found]
    if len(set(shown)) < len(shown):
        raise UserError(f"{flag} {text} names a value twice (name each once)")
    return name, found


def named(text: str, flag: str) -> tuple[str, str]:
    """Return a setting's name, with ``_`` for ``-``, and the rest.

    Raises:
        UserError: one of them is missing.

    Example:
        >>> named("learning-rate = 3e-5", "--vary")
        ('learning_rate', '3e-5')
    """
    name, equals, values = (part.strip() for part in text.partition("="))
    if not name or not equals or not values:
        raise UserError(f"{flag} is {text!r}; it must be NAME=VALUES, such as batch_size=16,32")
    return name.removeprefix("--").replace("-", "_"), values


def value(text: str) -> Any:
    """Return a value as YAML would hold it: a number, true or false, else the text.

    Example:
        >>> [value(text) for text in ("3", "1e-5", "true", "none", "minilm-l6-en")]
        [3, 1e-05, True, 'none', 'minilm-l6-en']
    """
    text = text.strip()
    if not text:
        raise UserError("a value to vary is empty (a comma too many?)")
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
