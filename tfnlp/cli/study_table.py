"""The trials of a study as a table on a terminal, which is drawn anew while the study runs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from pipelines.errors import UserError
from tfnlp.cli import console
from tfnlp.evaluation import runs
from tfnlp.extensions import Trial
from tfnlp.report import four_places
from tfnlp.runs import studies, study_files
from tfnlp.runs.study_files import Asked

_LAST = 15  # trials that are shown
_STYLES = {"running": "cyan", "complete": "", "failed": "red"}


class StudyTable:
    """The trials of a study, as they are or as its folder tells of them.

    Args:
        asked: the study.
        trials: of it.

    Example::

        console.out.print(StudyTable(asked, trials).draw())
    """

    def __init__(self, asked: Asked, trials: Sequence[Trial] = ()) -> None:
        self.asked = asked
        self.trials = list(trials)
        self.lengths: dict[int, int] = {}  # by how many there are
        self.began: dict[int, float] = {}  # when a running trial was first seen

    def follow(self) -> RenderableType:
        """Read the trials that have not ended again, and draw."""
        with suppress(UserError):  # of a damaged file `run` tells
            self.trials = studies.followed(self.asked.folder, self.trials)
        return self.draw()

    def draw(self) -> RenderableType:
        """Return the last trials, the best of all marked, and the time."""
        trials = self.trials
        if not trials:
            return ""
        name = next((runs.headline(trial.metrics) for trial in trials if trial.metrics), None)
        best = study_files.best(self.asked, trials)
        first = max(0, len(trials) - _LAST)
        named = self.asked.study.labels
        labels = named(trials, self.asked.options) if named else [{}] * len(trials)
        table = Table(title=f"Study {escape(self.asked.base.name)}")
        for title in ("", "trial", "state"):
            table.add_column(title)
        table.add_column("settings", no_wrap=True, overflow="ellipsis")
        splits = [f"{split} {name or ''}".strip() for split in ("validation", "test")]
        for title in ("epoch", *splits, "time"):
            table.add_column(title, justify="right")
        for number, trial in enumerate(trials, 1):
            spent = self._seconds(number, trial)
            if number > first or trial is best:
                called = " on ".join(filter(None, labels[number - 1].values()))
                cells = _cells(number, trial, called, name, spent)
                mark = "★" if trial is best else ""
                table.add_row(mark, *cells, style="bold" if mark else _STYLES[trial.state])
        return Group(table, self._times())

    def _seconds(self, number: int, trial: Trial) -> float:
        """Return how long a trial has taken; of a running one since it was seen, and before."""
        if trial.state != "running" and trial.seconds:
            return trial.seconds
        began = self.began.setdefault(number, time.monotonic() - trial.seconds)
        return time.monotonic() - began

    def _times(self) -> str:
        """Return how long the trials took, and how long those to come may take."""
        spent = [self._seconds(number, trial) for number, trial in enumerate(self.trials, 1)]
        took = f"{_time(sum(spent))} so far"
        if len(self.trials) not in self.lengths:
            self.lengths[len(self.trials)] = self.asked.length(self.trials)
        most = self.lengths[len(self.trials)]
        said = f"trial {len(self.trials)} of at most {most}, {took}"
        states = [trial.state for trial in self.trials]
        ended = [s for s, state in zip(spent, states, strict=True) if state == "complete"]
        if not ended:
            return said
        going = sum(s for s, state in zip(spent, states, strict=True) if state == "running")
        left = most - len(states) + states.count("running")
        to_go = max(0.0, left * sum(ended) / len(ended) - going)
        return f"{said}, about {_time(to_go)} to go" if left else said


def _cells(number: int, trial: Trial, called: str, name: str | None, seconds: float) -> list[str]:
    """Return a trial's row, without its mark.

    Args:
        number: of the trial.
        trial: as it is now.
        called: what stands for its settings; "" if they do.
        name: of the metric that is shown; None before one is known.
        seconds: that it has taken.
    """
    settings = {n: v for n, v in trial.settings.items() if n != "give_up"}
    said = ", ".join(f"{n}={_shown(v)}" for n, v in settings.items()) or "as given"
    if called:
        said = f"{called}, seed={trial.experiment.seed}"
    if trial.error:
        said = f"{said}: {trial.error}"
    epochs = trial.experiment.training.epochs
    epoch = f"{len(trial.history)}{f'/{epochs}' if epochs else ''}" if trial.history else ""
    scores = ["", ""]
    if trial.metrics and name:
        held = [trial.metrics.get(split) or {} for split in ("validation", "test")]
        scores = [four_places(metrics[name]) if name in metrics else "" for metrics in held]
    elif trial.history:
        last = trial.history[-1]
        values = {n.removeprefix("val_"): v for n, v in last.items() if n.startswith("val_")}
        shown = name if name in values else next(iter(values), None)
        if shown:
            prefix = "" if shown == name else f"{shown} "
            scores[0] = f"{prefix}{four_places(values[shown])}"
    return [str(number), trial.state, escape(said), epoch, *scores, _time(seconds)]


def _shown(value: object) -> str:
    """Return a setting's value, in few digits."""
    return f"{value:.3g}" if isinstance(value, float) else "none" if value is None else str(value)


def _time(seconds: float) -> str:
    """Return a time as a person says it.

    Example:
        >>> _time(42), _time(150), _time(7500)
        ('42 s', '2:30 min', '2:05 h')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02} h"


@contextmanager
def live(asked: Asked) -> Iterator[bool]:
    """Draw the table every second until the block ends, and remove it; yields whether it is drawn.

    It is not in a file or a notebook, nor of trials that a database keeps.

    Example::

        with live(asked) as drawn:
            studies.run(asked, tell=(lambda text: None) if drawn else print)
    """
    out = console.out
    if (
        not out.is_terminal
        or out.is_dumb_terminal
        or console.IN_NOTEBOOK
        or out.quiet
        or asked.storage
    ):
        yield False
        return
    table = StudyTable(asked)
    with Live(get_renderable=table.follow, console=out, refresh_per_second=1, transient=True):
        out.show_cursor(True)  # a second Ctrl-C ends the process at once, and would leave none
        yield True
