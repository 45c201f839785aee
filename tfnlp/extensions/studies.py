"""Several runs compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tfnlp.config import Experiment
from tfnlp.report import Report


@dataclass(frozen=True)
class Trial:
    """One run of a study.

    Attributes:
        experiment: what decides it.
        state: ``failed`` is not repeated; ``running`` is resumed when the study is.
        metrics: split -> name -> value, as in the run's metrics.json; None before its end.
        run: its folder; None before its start.
        error: why it failed, in a line.
    """

    experiment: Experiment
    state: Literal["running", "complete", "failed"] = "running"
    metrics: Mapping[str, Any] | None = None
    run: Path | None = None
    error: str = ""


@dataclass(frozen=True)
class Study:
    """Several runs compared.

    Attributes:
        summary: one line, shown by ``--help``.
        options: dataclass; each field is a flag that bears the study's name.
        propose: (base experiment, trials so far, options) -> the next experiment, None at the end;
            the same for the same arguments. The caller names it and decides on its export.
        report: (trials, options) -> Report.
    """

    summary: str
    options: type
    propose: Callable[[Experiment, Sequence[Trial], Any], Experiment | None]
    report: Callable[[Sequence[Trial], Any], Report]
