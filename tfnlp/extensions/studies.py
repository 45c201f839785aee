"""Several runs compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tfnlp.config import Experiment
from tfnlp.report import Report

# By a flag's words with ``_``, a value of its type; None is its default.
Settings: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Trial:
    """One run of a study.

    Attributes:
        experiment: what decides it.
        settings: what the study proposed.
        state: ``failed`` is not repeated; ``running`` is resumed when the study is.
        metrics: split -> name -> value, as in the run's metrics.json; None before its end.
        history: each epoch's metrics so far, as in the run's history.json.
        run: its folder; None before its start.
        seconds: how long it took, all in all.
        error: why it failed, in a line.
        judged: how its model did on each row, as in the run's judged.json; None before its end,
            and of a run that an earlier version trained.
    """

    experiment: Experiment
    settings: Settings
    state: Literal["running", "complete", "failed"] = "running"
    metrics: Mapping[str, Any] | None = None
    history: Sequence[Mapping[str, float]] = ()
    run: Path | None = None
    error: str = ""
    seconds: float = 0.0
    judged: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Study:
    """Several runs compared.

    Attributes:
        summary: one line, shown by ``--help``.
        options: dataclass; each field is a flag that bears the study's name.
        propose: (base experiment, trials so far, options) -> what the next trial has in place of
            what the base has; None at the end, or until a trial has ended that other processes are
            running. It is the same for the same arguments, so that a killed study of one process
            ends as one that was not.
        report: (trials, options) -> Report.
        possible: options -> settings that must be possible, as each end of a range: they are looked
            at before the first trial.
        best: (trials, options) -> which trial is the one to take; if None, the best by the first
            metric of its validation rows.
        length: (trials, options) -> how many there are at most, to say how long they take; if None,
            as many as are proposed whatever comes out.
        labels: (trials, options) -> for each trial what it is called, by the columns of trials.csv.
    """

    summary: str
    options: type
    propose: Callable[[Experiment, Sequence[Trial], Any], Settings | None]
    report: Callable[[Sequence[Trial], Any], Report]
    possible: Callable[[Any], Sequence[Settings]] = lambda options: ()
    best: Callable[[Sequence[Trial], Any], int | None] | None = None
    length: Callable[[Sequence[Trial], Any], int] | None = None
    labels: Callable[[Sequence[Trial], Any], Sequence[Mapping[str, str]]] | None = None
