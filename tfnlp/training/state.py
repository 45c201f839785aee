"""The state of a fit, its input pipelines, and what decides which of its epochs was best."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

RESUME = "run the same command with --resume to continue"


@dataclass
class State:
    """Where a run stands.

    Attributes:
        epoch: the epoch being trained, the first being 0.
        step: its batches already trained; all of them when only its validation is to be done.
        history: metrics of each finished epoch.
        wait: epochs since the best one.
        best: the best value of the monitored metric.
        best_epoch: the epoch it was reached in; its weights are in ``best-<epoch>``.
        stopped: whether early stopping has ended the run.
        seconds: how long all that took, without what was trained again after a kill [s].

    Example:
        >>> State(epoch=1, step=40).stopped
        False
    """

    epoch: int = 0
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    wait: int = 0
    best: float | None = None
    best_epoch: int = 0
    stopped: bool = False
    seconds: float = 0.0


@dataclass(frozen=True)
class Feed:
    """The input pipelines of a fit.

    Attributes:
        batches: (epochs, batches of the first one to leave out) -> training batches.
        steps: epoch -> its batches.
        before: epoch -> the batches of all epochs before it.
        rows: (epoch, batch) -> the row numbers in that batch, for messages.
        validation: validation batches.
        validation_steps: how many.
        changing: whether epochs may differ in their number of batches.

    Example::

        Feed(batches, lambda epoch: 100, lambda epoch: 100 * epoch, rows, held, 10)
    """

    batches: Callable[[range, int], Any]
    steps: Callable[[int], int]
    before: Callable[[int], int]
    rows: Callable[[int, int], list[int]]
    validation: Any
    validation_steps: int
    changing: bool = False


@dataclass(frozen=True)
class Watch:
    """What decides which epoch was best.

    Attributes:
        monitor: a name among the epoch's logs, such as ``val_accuracy``.
        mode: whether more or less is better.
        score: called after each epoch for further logs, if the best epoch is chosen by one.
        least: by the number of epochs done, the best value so far with which training goes on.

    Example:
        >>> Watch("val_accuracy", "max").score is None
        True
    """

    monitor: str
    mode: Literal["min", "max"]
    score: Callable[[], Mapping[str, float]] | None = None
    least: Mapping[int, float] = field(default_factory=dict)
