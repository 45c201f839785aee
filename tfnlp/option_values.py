"""Which values an option may have: of its type, finite, within its bounds and those of the machine.

Whatever reads a value, a flag or YAML, asks here; the message says what is wrong with it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import types
import typing
from typing import Any, Literal

# What TensorFlow holds values in: int32, and float32 without the numbers that kernels take for 0.
_LARGEST_INT = 2**31 - 1
_LARGEST_FLOAT = 3.4028234e38
_SMALLEST_FLOAT = 2.0**-126

_ITEMS = {str: "texts (put each in quotes)", int: "whole numbers"}
NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text (put it in quotes)",
    dict: "a mapping from names to names",
}


class FaultError(ValueError):
    """What is wrong with a value."""


def kind_of(hint: Any) -> tuple[type, tuple[str, ...] | None]:
    """Return the plain type of an annotation, and the values that a ``Literal`` allows.

    Example:
        >>> kind_of(int | None), kind_of(Literal["mean", "cls"])
        ((<class 'int'>, None), (<class 'str'>, ('mean', 'cls')))
    """
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(a for a in typing.get_args(hint) if a is not type(None))
    if typing.get_origin(hint) is Literal:
        return str, typing.get_args(hint)
    return typing.get_origin(hint) or hint, None


def checked(value: Any, hint: Any, field: dataclasses.Field) -> Any:
    """Return the value in its field's type.

    Args:
        value: as a flag or YAML gives it.
        hint: the field's annotation.
        field: made by `tfnlp.options.option`.

    Raises:
        FaultError: the value is of another type, or out of bounds.

    Example::

        checked("1e-4", float, field)  # 0.0001
    """
    if value is None and type(None) in typing.get_args(hint):
        return None
    kind, choices = typing.cast("tuple[Any, Any]", kind_of(hint))
    if kind is tuple:
        return _checked_list(value, typing.get_args(hint)[0], field)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**1000 else math.inf
    if kind is float and isinstance(value, str):  # as YAML reads 1e-4, without a point
        with contextlib.suppress(ValueError):
            value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise FaultError(f"{value!r} is not {NAMES[kind]}")
    if kind is dict and not all(isinstance(x, str) for pair in value.items() for x in pair):
        raise FaultError(f"{value!r} is not {NAMES[kind]}")
    if choices and value not in choices:
        raise FaultError(f"{value!r} is not one of: {', '.join(choices)}")
    low, high = field.metadata.get("minimum"), field.metadata.get("maximum")
    if kind is str:
        # As of a variable of a shell that is not set: "" is no file, folder or name.
        if len(value) < (1 if low is None else low) and value != field.default:
            raise FaultError("it must not be empty")
    elif kind in (int, float):
        _check_bounds(value, low, high)
    return value


def _check_bounds(value: float, low: float | None, high: float | None) -> None:
    """Raise FaultError for a number that is out of bounds, or rounded to 0 or infinity in use."""
    if isinstance(value, float) and not math.isfinite(value):
        raise FaultError(f"{value!r} is not a finite number")
    most = _LARGEST_FLOAT if isinstance(value, float) else _LARGEST_INT
    low, high = -most if low is None else low, most if high is None else high
    if value < low:
        raise FaultError(f"{value!r} is too small; the smallest value allowed is {low}")
    if value > high:
        raise FaultError(f"{value!r} is too large; the largest value allowed is {high}")
    if isinstance(value, float) and 0 < abs(value) < _SMALLEST_FLOAT:
        raise FaultError(f"{value!r} is taken as 0 (give 0, or at least 1.2e-38)")


def _checked_list(value: Any, item: Any, field: dataclasses.Field) -> tuple[Any, ...]:
    """Return a list of texts or numbers; YAML may have one of them in its place, or nothing."""
    if value is None:
        return ()
    kind = kind_of(item)[0]
    several = [value] if isinstance(value, kind) else value
    if not isinstance(several, (list, tuple)):
        raise FaultError(f"{value!r} is not a list of {_ITEMS[kind]}")
    return tuple(checked(one, item, field) for one in several)
