"""Which settings a search may choose: ``learning_rate=1e-5..1e-3:log``, ``peft=none,bitfit``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from pipelines.errors import UserError
from tfnlp.extensions import Settings
from tfnlp.studies._settings import parse, value

_COUNTED = 1000  # settings of which it matters whether all have been tried
_SOURCES = ("dataset", "train", "validation", "test")
_JUDGES = ("validation_share", "limit", "limit_held_out")  # which rows judge
FIXED = ("test_share",)  # what a search decides, the same for all of its trials
ENTRIES = ("backbone", "strategy", "peft", "augment")  # chosen first: others may depend on them


@dataclass(frozen=True)
class Dimension:
    """A setting and what it may be.

    Attributes:
        name: the flag's words with ``_``.
        values: those that are listed; empty of a range.
        low: the smallest of a range.
        high: the largest.
        log: whether ratios count, not differences.

    Example:
        >>> dimension("epochs=2..8").high
        8
    """

    name: str
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False

    @property
    def ends(self) -> tuple[Any, ...]:
        """Each listed value, or the ends of the range."""
        return self.values or (self.low, self.high)

    @property
    def size(self) -> float:
        """How many values there are."""
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        return len(self.values) or (self.high - self.low + 1 if whole else math.inf)

    def suggest(self, trial: Any) -> Any:
        """Return the value that a trial of Optuna's chooses."""
        if self.values:
            return trial.suggest_categorical(self.name, self.values)
        if isinstance(self.low, int):
            return trial.suggest_int(self.name, self.low, self.high, log=self.log)
        # Four digits are as good as seventeen, and can be read.
        return float(f"{trial.suggest_float(self.name, self.low, self.high, log=self.log):.4g}")

    def holds(self, given: Any) -> bool:
        """Return whether a value is one that may be chosen."""
        if self.values:
            return any(given == each and type(given) is type(each) for each in self.values)
        number = isinstance(given, int | float) and not isinstance(given, bool)
        return number and self.low <= given <= self.high

    def distribution(self) -> Any:
        """Return it as Optuna has it."""
        from optuna import distributions

        if self.values:
            return distributions.CategoricalDistribution(self.values)
        if isinstance(self.low, int):
            return distributions.IntDistribution(self.low, int(self.high), log=self.log)
        return distributions.FloatDistribution(self.low, self.high, log=self.log)


def dimension(text: str) -> Dimension:
    """Read ``NAME=VALUE,VALUE``, ``NAME=LOW..HIGH`` or ``NAME=LOW..HIGH:log``.

    Raises:
        UserError: it is none of these, the range is empty, or its logarithm is not a number.

    Example:
        >>> dimension("learning_rate=1e-5..1e-3:log").log
        True
    """
    name, _, given = text.partition("=")
    if ".." not in given:
        name, values = parse(text)
        return Dimension(name, tuple(values))
    name = name.strip().replace("-", "_")
    span, colon, scale = given.strip().partition(":")
    if colon and scale != "log":
        raise UserError(f"--vary {text}: {scale!r} is no scale; after the colon may stand log")
    low, high = (value(part.strip()) for part in span.split("..", 1))
    if not all(isinstance(end, int | float) and math.isfinite(end) for end in (low, high)):
        raise UserError(f"--vary {text}: the ends of a range must be numbers, such as 1e-5..1e-3")
    if not low < high:
        raise UserError(f"--vary {text}: the range is empty (write the smaller end first)")
    if colon and low <= 0:
        raise UserError(f"--vary {text}: a range on a log scale must begin above 0")
    if isinstance(low, float) or isinstance(high, float):
        low, high = float(low), float(high)
    return Dimension(name, (), low, high, bool(colon))


def space(texts: Sequence[str]) -> list[Dimension]:
    """Read all of what may be varied; what others depend on comes first.

    Raises:
        UserError: something cannot be read, or a setting stands twice.

    Example:
        >>> [each.name for each in space(["lora_rank=4,8", "peft=none,lora"])]
        ['peft', 'lora_rank']
    """
    found = [dimension(text) for text in texts]
    names = [each.name for each in found]
    for name in names:
        if name in (*FIXED, "fold", "give_up"):
            raise UserError(f"--vary {name}: the search decides that itself (leave it out)")
        if name in _SOURCES:
            raise UserError(
                f"--vary {name}: scores on other rows cannot be compared (leave it out; the study "
                "grid has columns for data)"
            )
        if name in _JUDGES:
            raise UserError(
                f"--vary {name}: scores on other validation rows cannot be compared (leave it out; "
                "the study learning_curve varies how many rows are learned from)"
            )
        if names.count(name) > 1:
            raise UserError(f"--vary names {name!r} twice (give all of its values at once)")
    return sorted(found, key=lambda each: each.name not in ENTRIES)


def applies(each: Dimension, settings: Settings, dimensions: Sequence[Dimension]) -> bool:
    """Return whether a setting is to be chosen: an entry's option only where the entry is.

    Example:
        >>> both = space(["lora_rank=4,8", "peft=none,lora"])
        >>> applies(both[1], {"peft": "none"}, both)
        False
    """
    for other in dimensions:
        if other.name in ENTRIES and other is not each:
            owner = next((v for v in other.values if each.name.startswith(f"{_word(v)}_")), None)
            if owner is not None:
                return bool(settings.get(other.name) == owner)
    return True


def _word(entry: Any) -> str:
    """Return what an entry's options begin with."""
    return str(entry).rpartition(".")[2].replace("-", "_")


def corners(dimensions: Sequence[Dimension]) -> list[Settings]:
    """Return settings in which each value that is listed, and each end of a range, stands once.

    Example:
        >>> corners(space(["epochs=2..4"]))
        [{'epochs': 2}, {'epochs': 4}]
    """
    found: list[Settings] = []
    for each in dimensions:
        for end in each.ends:
            owners = {  # the entry that an option is of
                other.name: one
                for other in dimensions
                for one in other.values
                if other.name in ENTRIES and each.name.startswith(f"{_word(one)}_")
            }
            found.append({each.name: end, **owners})
    return found


def count(dimensions: Sequence[Dimension]) -> float:
    """Return how many different settings there are.

    Example:
        >>> count(space(["lora_rank=4,8", "peft=none,lora"])), count(space(["warmup=0..0.3"]))
        (3, inf)
    """
    most = math.prod(each.size for each in dimensions)
    return len(every(dimensions)) if most <= _COUNTED else math.inf


def every(dimensions: Sequence[Dimension]) -> list[Settings]:
    """Return all settings of a space without ranges of real numbers, each once.

    Example:
        >>> every(space(["batch_size=16,32"]))
        [{'batch_size': 16}, {'batch_size': 32}]
    """
    found: dict[str, Settings] = {}
    ranges = [each.values or range(int(each.low), int(each.high) + 1) for each in dimensions]
    for values in product(*ranges):
        chosen: dict[str, Any] = {}
        for each, one in zip(dimensions, values, strict=True):
            if applies(each, chosen, dimensions):
                chosen[each.name] = one
        found.setdefault(repr(chosen), chosen)
    return list(found.values())


def params(settings: Settings, dimensions: Sequence[Dimension]) -> Mapping[str, Any]:
    """Return of a trial's settings those that the space has, as Optuna wants them.

    Example:
        >>> params({"epochs": 3, "seed": 1}, space(["epochs=2..4"]))
        {'epochs': 3}
    """
    held = {each.name: each for each in dimensions}
    return {n: v for n, v in settings.items() if n in held and held[n].holds(v)}
