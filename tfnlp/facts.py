"""What facts.json of a trained model holds, checked where it is read.

A model of 0.1.0 has no checksums, and other values would answer wrongly or fail far from the file.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from pipelines.json_files import damaged, read_json


class Facts(dict[str, Any]):
    """Facts by name; one that is missing is the file's damage.

    Example:
        >>> Facts(Path("facts.json"), "train again", {})["labels"]
        Traceback (most recent call last):
        pipelines.errors.UserError: facts.json is damaged: it has no 'labels' (train again)
    """

    def __init__(self, file: Path, remedy: str, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.file = file
        self.remedy = remedy

    def __missing__(self, name: str) -> Any:
        """Name the file that lacks a fact."""
        raise self.damaged(f"it has no {name!r}")

    def damaged(self, why: str) -> UserError:
        """Return the error of facts that cannot be right."""
        return damaged(self.file, why, self.remedy)


def read(file: Path, task: str, remedy: str) -> Facts:
    """Read a model's facts.

    Args:
        file: its facts.json.
        task: its task's name; of a task of your own only what tfnlp itself reads is checked.
        remedy: what the user can do if the file is damaged.

    Raises:
        UserError: the file is damaged; the first fact that cannot be right is named.

    Example::

        read(run / "model" / "facts.json", "classification", "train again")["labels"]
    """
    facts = Facts(file, remedy, read_json(file, {"widths": list}, remedy=remedy))
    own = {} if "." in task else _OWN
    for name, is_right in {**_EVERY, **own}.items():
        if name in facts and not is_right(facts[name], facts):
            raise facts.damaged(f"its {name!r} cannot be right")
    return facts


def check_outputs(facts: Facts, shape: tuple[int | None, ...]) -> None:
    """Refuse facts that have more or fewer labels than a network has outputs.

    Args:
        facts: as `read` returned them.
        shape: of the network's outputs: one for each label, (B, C), or for labels of spans one
            for what is outside, and for each label's first and further words, (B, W, T, 1 + 2 C).

    Raises:
        UserError: the labels are too many or too few.

    Example::

        check_outputs(facts, network.output_shape)
    """
    labels = len(facts["labels"])
    needed = labels if len(shape) == 2 else 1 + 2 * labels
    if needed != shape[-1]:
        told = f"its {labels} labels need {needed} outputs, and the model has {shape[-1]}"
        raise facts.damaged(told)


def check_labels(facts: Facts, labels: list[str]) -> None:
    """Refuse facts whose labels or grades are not those that the model answers with.

    Args:
        facts: as `read` returned them.
        labels: under which the model gives its scores.

    Raises:
        UserError: they are others, or in another order.

    Example::

        check_labels(facts, ["no", "yes"])
    """
    known = facts.get("labels") or [f"{grade:g}" for grade in facts.get("grades", [])]
    if known != labels:
        which = "labels" if "labels" in facts else "grades"
        raise facts.damaged(f"its {which!r} are not those that the model answers with")


def _is_number(value: Any) -> bool:
    kind = isinstance(value, int | float) and not isinstance(value, bool)
    return kind and abs(value) < math.inf


def _is_positive(value: Any, facts: Facts) -> bool:
    return _is_number(value) and value > 0


def _is_count(value: Any, facts: Facts) -> bool:
    return isinstance(value, int) and _is_positive(value, facts)


def _are_counts(value: Any, facts: Facts) -> bool:
    return all(_is_count(each, facts) for each in value)


def _are_names(value: Any, facts: Facts) -> bool:
    """Return whether these are different texts in the order in which training puts them.

    It sorts them; those that were added later follow, sorted too (`_labels.grown`). Renamed ones
    stay where they were.
    """
    texts = isinstance(value, list) and all(isinstance(name, str) and name for name in value)
    if not texts or not value or len(set(value)) < len(value):
        return False
    return "grown" in facts or value == sorted(value)


def _are_sizes(value: Any, facts: Facts) -> bool:
    """Return whether these may be the numbers of labels before labels were added."""
    counts = isinstance(value, list) and all(_is_count(each, facts) for each in value)
    rising = counts and all(low <= high for low, high in itertools.pairwise(value))
    return rising and "labels" in facts and (not value or value[-1] <= len(facts["labels"]))


def _are_of_labels(value: Any, facts: Facts) -> bool:
    numbers = isinstance(value, list) and all(map(_is_number, value))
    return numbers and len(value) == len(facts["labels"])


def _are_rising(value: Any, facts: Facts) -> bool:
    numbers = isinstance(value, list) and len(value) > 1 and all(map(_is_number, value))
    return numbers and all(low < high for low, high in itertools.pairwise(value))


def _are_of_grades(value: Any, facts: Facts) -> bool:
    shares = isinstance(value, list) and all(_is_share(share, facts) for share in value)
    return shares and len(value) == len(facts["grades"]) - 1


def _is_share(value: Any, facts: Facts) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _is_chat(value: Any, facts: Facts) -> bool:
    return value is None or (isinstance(value, dict) and {"begin", "user", "assistant"} <= {*value})


_Check = Callable[[Any, Facts], bool]
_EVERY: Mapping[str, _Check] = {
    "widths": _are_counts,
    "form": lambda value, facts: value in ("encoder", "causal", "encoder-decoder"),
    "positions": _is_count,
    "chat": _is_chat,
}
_OWN: Mapping[str, _Check] = {
    "grown": _are_sizes,
    "labels": _are_names,
    "temperature": _is_positive,
    "doubt": _is_share,
    "thresholds": _are_of_labels,
    "class_weights": _are_of_labels,
    "most_frequent": lambda value, facts: value in facts["labels"],
    "grades": _are_rising,
    "reached": _are_of_grades,
    "mean": lambda value, facts: _is_number(value),
    "deviation": _is_positive,
    "unanswerable": lambda value, facts: isinstance(value, bool),
    "null_threshold": lambda value, facts: value is None or _is_number(value),
    "reading": lambda value, facts: isinstance(value, str),
    "scores": lambda value, facts: _are_rising(value, facts) and len(value) == 2,
}
