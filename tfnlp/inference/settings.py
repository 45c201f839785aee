"""What a request may hold besides its texts: which settings a model has, and their values."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.columns import FLOAT32_MAX
from pipelines.errors import UserError

ORDER = ("sample", "beam", "contrastive", "labels")  # which signature is asked if several fit
DEFAULT = "serving_default"  # the model's own way to write
STOP_END = "\x1f"  # after each stop string, where "||" between them would be ambiguous
_TAKEN = {int: "a whole number of 32 bits", float: "a number", str: "a text"}


@dataclass(frozen=True)
class Settings:
    """The settings that the signatures of a model take.

    Attributes:
        ways: by signature the settings' names and their values where a request has none.
        decoding: how the model writes by itself: greedy, sample, beam or contrastive.

    Example:
        >>> settings = Settings({"sample": {"top_p": 0.9}, "beam": {"beams": 4}}, "beam")
        >>> settings.choose({"top_p": "0.8"})
        ('sample', {'top_p': '0.8'})
    """

    ways: Mapping[str, Mapping[str, Any]]
    decoding: str = ""

    @classmethod
    def of(cls, written: Mapping[str, Mapping[str, Any]]) -> Settings:
        """Read what an export wrote: ``ways`` and, under serving_default, ``decoding``."""
        ways = {way: values for way, values in written.items() if way != DEFAULT}
        if "sample" in ways:
            ways["start"] = ways["sample"]
        return cls(ways, written.get(DEFAULT, {}).get("decoding", ""))

    def choose(self, given: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        """Return the signature that has these settings, and with what it is to be asked.

        It is the model's own way to write if that has them all, else the first that has; "" if
        nothing is given and the model does not write.

        Raises:
            UserError: there is no such signature.
        """
        own = "sample" if self.decoding == "greedy" else self.decoding
        for way in dict.fromkeys((own, *ORDER)):
            if given.keys() <= self.ways.get(way, {}).keys():
                greedy = way == "sample" and self.decoding == "greedy"
                return way, self.greedily(given) if greedy else dict(given)
        every = [name for way in ORDER for name in self.ways.get(way, ())]
        unknown = [name for name in given if name not in every]
        there = "; ".join(f"{w} has: {', '.join(self.ways[w])}" for w in ORDER if w in self.ways)
        if unknown:
            raise UserError(
                f"there is no setting {unknown[0]!r}; {_near(unknown[0], every)}{there}"
            )
        raise UserError(f"no signature has all of {', '.join(given)}; {there}")

    def greedily(self, given: Mapping[str, str]) -> dict[str, str]:
        """Add a temperature of 0 for ``sample``, unless a setting that is given is about sampling.

        Such are those that not all ways to write have: top_p is, max_tokens is not.
        """
        ways = [self.ways[way] for way in ORDER if way in self.ways]
        if any(name not in way for name in given for way in ways):
            return dict(given)
        return {"temperature": "0", **given}


def values(
    given: Mapping[str, str], there: Mapping[str, Any], kinds: Mapping[str, type], where: str
) -> dict[str, Any]:
    """Return the values of all settings of a signature.

    Args:
        given: what a user asks for, by name.
        there: the settings' defaults, by name.
        kinds: by name int, float or str.
        where: the signature and its model, for messages.

    Raises:
        UserError: a name is unknown, or a value of another kind.

    Example:
        >>> values({"beams": "8"}, {"beams": 4}, {"beams": int}, "the signature beam")
        {'beams': 8}
    """
    for name in given:
        if name not in there:
            listed = f"it has: {', '.join(there)}" if there else "it has none"
            raise UserError(f"{where} has no setting {name!r}; {_near(name, there)}{listed}")
    found = {name: kinds[name](value) for name, value in there.items()}
    for name, text in given.items():
        try:
            found[name] = _value(text, kinds[name])
        except ValueError:
            raise UserError(
                f"the setting {name} is {_TAKEN[kinds[name]]}, not {text!r} "
                f"(default: {there[name]!r})"
            ) from None
    return found


def stop_strings(stop: str) -> tuple[str, ...]:
    r"""Return the texts that end an answer, as a request has them in one string.

    Args:
        stop: the texts with "||" between them. A string of nothing but "||" is one text, and
            where a unit separator (U+001F) is in it, that stands between the texts instead: so
            is any text told.

    Example:
        >>> stop_strings("User:||END"), stop_strings("||"), stop_strings("a||b\x1f")
        (('User:', 'END'), ('||',), ('a||b',))
    """
    if STOP_END in stop:
        found = stop.split(STOP_END)
    else:
        found = stop.split("||") if stop.replace("||", "") else [stop]
    return tuple(text for text in found if text)


def stop_setting(texts: Iterable[str]) -> str:
    r"""Return the one string in which a request has texts that end an answer.

    Example:
        >>> stop_setting(["User:", "END"]), stop_setting(["a||b"])
        ('User:||END', 'a||b\x1f')
    """
    texts = tuple(texts)
    plain = "||".join(texts)
    return plain if stop_strings(plain) == texts else "".join(text + STOP_END for text in texts)


def _value(text: str, kind: type) -> Any:
    """Read a value; raises ValueError if it is of another kind."""
    value = kind(text)
    if kind is str:
        value.encode()
    elif "_" in text or not abs(value) <= (FLOAT32_MAX if kind is float else 2**31 - 1):
        raise ValueError  # not a number is not below anything either
    return value


def _near(name: str, known: Iterable[str]) -> str:
    """Return a question about the name that may have been meant."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]!r}? " if near else ""
