"""JSON files of our own, read with a check of what they hold.

A file that is empty, cut off, overwritten or somebody else's is named in one sentence with its
remedy, wherever it is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from pipelines.errors import UserError, reason

RESTORE = "restore it from a copy, or make it anew"


def read_json(
    path: Path,
    holds: type | Mapping[str, type | tuple[type, ...]] = dict,
    *,
    remedy: str = RESTORE,
    constants: bool = False,
) -> Any:
    """Return what a JSON file holds.

    Args:
        path: the file.
        holds: the kind of its value, or the keys of an object that must be there and the kinds of
            their values.
        remedy: what the user can do if the file is damaged.
        constants: whether NaN and infinities may be in it.

    Raises:
        UserError: it is missing, cannot be read, is not JSON, or holds something else.

    Example:
        >>> _ = Path("facts.json").write_text("[]")
        >>> read_json(Path("facts.json"), {"labels": list}, remedy="train again")
        Traceback (most recent call last):
        pipelines.errors.UserError: facts.json is damaged: it does not hold an object (train again)
    """
    try:
        text = path.read_text("utf-8")
        value = json.loads(text, parse_constant=None if constants else _refuse_constant)
    except FileNotFoundError:
        raise UserError(f"there is no file {path} ({remedy})") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {reason(error)} ({remedy})") from error
    except UnicodeDecodeError:
        raise damaged(path, "it is not text in UTF-8", remedy) from None
    except _ConstantError as error:
        raise damaged(path, str(error), remedy) from None
    except (ValueError, RecursionError):
        why = "it is not JSON" if text.strip() else "it is empty"
        raise damaged(path, why, remedy) from None
    kinds: Mapping[str, Any] = {} if isinstance(holds, type) else holds
    wanted: Any = holds if isinstance(holds, type) else dict
    if not isinstance(value, wanted):
        raise damaged(path, f"it does not hold {_NAMES[wanted]}", remedy)
    for key, kind in kinds.items():
        if key not in value:
            raise damaged(path, f"it has no {key!r}", remedy)
        if not _is(value[key], kind):
            raise damaged(path, f"its {key!r} is {_shown(value[key])}", remedy)
    return value


def damaged(path: Path, why: str, remedy: str = RESTORE) -> UserError:
    """Return the error of a file that is not as it was written.

    Example:
        >>> str(damaged(Path("a.json"), "it is empty", "train again"))
        'a.json is damaged: it is empty (train again)'
    """
    return UserError(f"{path} is damaged: {why} ({remedy})")


class _ConstantError(ValueError):
    """A number that JSON does not have."""


def _refuse_constant(name: str) -> NoReturn:
    raise _ConstantError(f"{name} in it is not a number of JSON")


def _is(value: Any, kind: type | tuple[type, ...]) -> bool:
    """Return whether a value is of a kind; true and false are not numbers."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds)


def _shown(value: Any) -> str:
    """Return a value in a few characters of JSON."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:40]}…"


_NAMES: Mapping[Any, str] = {dict: "an object", list: "a list"}
