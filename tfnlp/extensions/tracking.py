"""Where the log of a run goes besides TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from tfnlp.report import Table

# How a run ended; one that was stopped may be resumed.
Status: TypeAlias = Literal["finished", "failed", "stopped"]


@dataclass(frozen=True)
class Tracked:
    """A run, as a tracker is told of it.

    Attributes:
        name: of the run's folder.
        group: what it belongs to: the study, or the name that its runs are filed under.
        options: by its flag's words with ``_``, what decides the run.
        tags: what runs are found by, such as ``task`` and ``backbone``.
        id: what the tracker named it by before it was killed; None of a new one.
    """

    name: str
    group: str
    options: Mapping[str, Any]
    tags: Mapping[str, str]
    id: str | None = None


class Tracking(Protocol):
    """A run that is open at a tracker. Whatever a function raises is told as a warning.

    Each sending has a number, one more than the one before. A run that goes on after a kill may
    send scalars again under the number that they had; they must not stand there twice.
    """

    @property
    def id(self) -> str:
        """What the tracker names it by."""

    def scalars(self, values: Mapping[str, float], step: int, number: int) -> None:
        """Log numbers by name, such as ``train/loss``.

        Args:
            values: the numbers; NaN and infinities are among them.
            step: batches that the fit has trained so far.
            number: of the sending.
        """

    def table(self, name: str, table: Table, number: int) -> None:
        """Keep a table by its name, such as ``report/test/By label``, in place of one there."""

    def picture(self, name: str, png: bytes, number: int) -> None:
        """Keep a picture by its name, in place of one that is there."""

    def text(self, name: str, text: str) -> None:
        """Keep a text by its name, in place of one that is there."""

    def close(self, status: Status) -> None:
        """End it."""


@dataclass(frozen=True)
class Tracker:
    """A service that keeps the logs of runs, such as MLflow.

    Attributes:
        summary: one line, shown by ``available``.
        check: raises UserError in one sentence, before training, if it cannot be used.
        open: starts a run there, or goes on with that of an id.
    """

    summary: str
    check: Callable[[], None]
    open: Callable[[Tracked], Tracking]
