"""Trackers of a run: they are given what TensorBoard is given, and never fail a training.

``tracking.json`` in the run's folder has by tracker the run's id there and what was sent, so that
a run that was killed goes on there. It is written after scalars were sent: those of the last time
may be sent again, under the same number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pipelines.errors import UserError
from pipelines.files.writers import write_json
from pipelines.json_files import read_json
from tfnlp import extensions
from tfnlp.config import Experiment
from tfnlp.extensions import Status, Tracked, Tracker, Tracking
from tfnlp.report import Report, Table, png
from tfnlp.runs import compared, study_files

FILE = "tracking.json"


@dataclass
class Sent:
    """What a tracker was sent of a run.

    Attributes:
        id: the run's, there.
        count: of sendings.
        steps: by what they are of, the last step of which they were sent.

    Example::

        Sent("f3a1", 2, {"train": 100, "validation": 100})
    """

    id: str
    count: int = 0
    steps: dict[str, int] = field(default_factory=dict)


@dataclass
class Trackers:
    """The trackers that a run is logged to; none by default.

    Attributes:
        run: its folder.
        warn: is called with a sentence when one fails.
        open: by name; one that failed is taken out.
        sent: by name.

    Example::

        with tracking.tracked(experiment, run, terminal.warn) as trackers:
            trackers.scalars("train", {"loss": 0.3}, step=100)
    """

    run: Path = Path()
    warn: Callable[[str], None] = print
    open: dict[str, Tracking] = field(default_factory=dict)
    sent: dict[str, Sent] = field(default_factory=dict)

    def scalars(self, place: str, values: Mapping[str, float | None], step: int) -> None:
        """Log numbers of a step, unless that step's were sent before.

        Args:
            place: what they are of, such as ``train`` or ``report/test``.
            values: the numbers by name; None has no number.
            step: batches trained so far.
        """
        known = {f"{place}/{n}": float(v) for n, v in values.items() if v is not None}

        def send(to: Tracking, sent: Sent) -> None:
            if known and step > sent.steps.get(place, -1):
                to.scalars(known, step, sent.count)
                sent.steps[place] = step
                sent.count += 1

        self._each(send)

    def table(self, name: str, table: Table) -> None:
        """Keep a table."""

        def send(to: Tracking, sent: Sent) -> None:
            to.table(name, table, sent.count)
            sent.count += 1

        self._each(send)

    def text(self, name: str, text: str) -> None:
        """Keep a text."""
        self._each(lambda to, _: to.text(name, text))

    def report(self, place: str, found: Report, step: int) -> None:
        """Log a report: its metrics, tables, warnings and figures."""
        self.scalars(place, found.metrics, step)
        for table in found.tables:
            self.table(f"{place}/{table.title}", table)
        if found.warnings:
            self.text(f"{place}/warnings", "\n".join(found.warnings))
        for name, draw in found.figures.items() if self.open else ():
            self._picture(f"{place}/{name}", png(draw()))

    def _picture(self, name: str, drawn: bytes) -> None:
        """Keep a picture."""

        def send(to: Tracking, sent: Sent) -> None:
            to.picture(name, drawn, sent.count)
            sent.count += 1

        self._each(send)

    def close(self, status: Status) -> None:
        """End the run there."""
        self._each(lambda to, _: to.close(status))
        self.open.clear()

    def add(self, name: str, tracked: Tracked) -> None:
        """Open the run at a tracker."""
        try:
            self.open[name] = extensions.load(Tracker, name).open(tracked)
        except Exception as error:
            self._leave_out(name, error)
            return
        self.sent.setdefault(name, Sent(self.open[name].id))
        self._keep()

    def _each(self, send: Callable[[Tracking, Sent], None]) -> None:
        """Send something to each tracker; one that fails is left out from then on."""
        for name, to in list(self.open.items()):
            try:
                send(to, self.sent[name])
            except Exception as error:
                self._leave_out(name, error)
        if self.open:
            self._keep()

    def _leave_out(self, name: str, error: Exception) -> None:
        """Say that a tracker gets no more."""
        self.open.pop(name, None)
        said = " ".join(str(error).split()) or type(error).__name__
        said = said if len(said) <= 200 else f"{said[:199]}…"
        self.warn(f"{name} gets no more of this run, which goes on without it: {said}")

    def _keep(self) -> None:
        """Write down what was sent."""
        write_json(self.run / FILE, {name: asdict(sent) for name, sent in self.sent.items()})


def check(experiment: Experiment) -> None:
    """Look, before training, whether the trackers can be used.

    Raises:
        UserError: one is not installed, or cannot be reached.

    Example::

        check(experiment)  # UserError: --track mlflow needs mlflow (pip install -e '.[track]')
    """
    names = experiment.logging.track
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"--track {name} is given twice (give it once)")
        extensions.load(Tracker, name).check()


@contextmanager
def tracked(experiment: Experiment, run: Path, warn: Callable[[str], None]) -> Iterator[Trackers]:
    """Open a run at its trackers, or go on there, and end it there.

    Args:
        experiment: its ``logging.track`` names them.
        run: the run's folder.
        warn: is called with a sentence if one cannot be reached, and is left out then.

    Example::

        with tracked(experiment, run, terminal.warn) as trackers:
            train(trackers)
    """
    found = Trackers(run, warn)
    _open(found, experiment)
    status: Status = "failed"
    try:
        yield found
        status = "finished"
    except KeyboardInterrupt:
        status = "stopped"
        raise
    finally:
        found.close(status)


def _open(found: Trackers, experiment: Experiment) -> None:
    """Open a run at the trackers that its experiment names."""
    names, file = experiment.logging.track, found.run / FILE
    if not names:
        return
    if file.exists():
        try:
            held = read_json(file, remedy="the run begins anew at its trackers")
            found.sent.update({name: Sent(**values) for name, values in held.items()})
        except (UserError, TypeError) as error:
            found.warn(str(error))
    trial = study_files.trial_of(experiment)
    tags = {"task": experiment.task, "backbone": experiment.backbone.name, "name": experiment.name}
    if trial:
        tags |= {"study": trial[0], "trial": str(trial[1])}
    group = trial[0] if trial else experiment.name
    options = compared.options(experiment)
    for name in names:
        sent = found.sent.get(name, Sent(""))
        id = sent.id or None
        found.add(name, Tracked(found.run.name, group, options, tags, id))
