"""The earlier run that training goes on from, and those before it, back to the first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pipelines import checksums
from pipelines.errors import UserError
from pipelines.json_files import read_json
from pipelines.rows import Rows
from tfnlp import task as tasks
from tfnlp.config import Experiment
from tfnlp.extensions import Origin, Subject
from tfnlp.report import Table
from tfnlp.runs import data_digest, judged_rows
from tfnlp.runs.experiment_yaml import read_trusted
from tfnlp.runs.subject import is_run
from tfnlp.task import Task

if TYPE_CHECKING:
    from tfnlp.training.model import TrainedModel

_ENDED = "name the folder of a run that has ended, such as tensorboard_logs/NAME/RUN"


def of(
    experiment: Experiment, load: Callable[[str], Subject], warn: Callable[[str], None]
) -> Origin | None:
    """Return the run that an experiment goes on from; None if it names none.

    Args:
        experiment: names it.
        load: loads a run.
        warn: is told which runs' rows cannot be judged any more.

    Raises:
        UserError: there is no such run, it has not ended, or it has no label that is renamed.

    Example::

        of(experiment, subject.load, terminal.warn).held_out
    """
    from tfnlp.training import continuing

    name = experiment.earlier.start_from
    if name is None:
        return None
    run = Path(name)
    if not is_run(run) or not (run / "metrics.json").exists():
        raise UserError(f"--start-from {name} is no run that has ended ({_ENDED})")
    found: Any = load(name).model
    names = experiment.earlier.renamed
    model = continuing.renamed(found, names)
    chain = history(run, found)
    chain[-1]["renamed"] = dict(names)  # since then
    held_out = dict(_held_out(chain, model, warn))
    rows = partial(_trained_on, run, chain[-1]["renamed"])
    return Origin(name, model, _composed(chain), rows, held_out)


def digest(origin: Origin | None) -> str | None:
    """Return what tells whether the model of an earlier run is as it was; None of no run.

    Example::

        digest(origin)  # "9f86d081884c7d65..."
    """
    if origin is None:
        return None
    file = Path(origin.name) / "model" / checksums.FILE
    return checksums.sha256(file) if file.exists() else ""


def history(run: Path, model: TrainedModel) -> list[dict[str, Any]]:
    """Return the runs that a run goes back to, the first one first, and it last, as JSON values.

    Each has ``run``, its folder; ``data``; ``rows``, how many it was trained on; ``labels``, how
    many it had then; ``strategy``; ``renamed``, what labels were called from the next run on.

    Args:
        run: one that has ended.
        model: what it trained.

    Example::

        [one["run"] for one in history(run, storage.load(run))]
    """
    metrics = read_json(run / "metrics.json", remedy="train again")
    before = list((metrics.get("earlier") or {}).get("history", ()))
    return [*before, entry(run, model, (metrics.get("rows") or {}).get("train"))]


def entry(run: Path, model: TrainedModel, rows: int | None) -> dict[str, Any]:
    """Return what is kept of a run in the history of those that go on from it."""
    experiment = model.experiment
    return {
        "run": str(run),
        "data": experiment.data.dataset or experiment.data.train,
        "rows": rows,
        "labels": len(model.context.facts.get("labels", ())),
        "strategy": experiment.strategy.name,
        "peft": experiment.peft.name if experiment.peft else None,
        "renamed": {},
    }


def table(chain: Sequence[Mapping[str, Any]]) -> Table:
    """Return where a model comes from, the first run first.

    Example::

        table(metrics["earlier"]["history"]).rows
    """
    rows = []
    for number, one in enumerate(chain, 1):
        method = "+".join(filter(None, (one["strategy"], one["peft"])))
        names = ", ".join(f"{old} is {new}" for old, new in one["renamed"].items())
        counts = (one["rows"] or "", one["labels"] or "")  # 0.1.0 did not count; not all label
        rows.append((number, one["run"], one["data"], *counts, method, names))
    header = ("step", "run", "data", "rows", "labels", "trained by", "renamed after it")
    return Table("Where it comes from", header, rows)


def _composed(chain: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return by the names that labels had at any time the ones they have now."""
    found: dict[str, str] = {}
    for one in chain:
        names = one["renamed"]
        found = {old: names.get(new, new) for old, new in found.items()} | dict(names)
    return found


def _held_out(
    chain: Sequence[Mapping[str, Any]], model: TrainedModel, warn: Callable[[str], None]
) -> Iterator[tuple[str, Rows]]:
    """Yield the rows that each run was judged on and could answer, with today's labels."""
    from tfnlp.training import continuing

    task = model.task
    targets = task.target_columns(model.experiment.options)
    facts, seen = model.context.facts, set()
    for number, one in enumerate(chain):
        try:
            rows = _judged(Path(one["run"]))
        except UserError as error:
            warn(f"what {one['run']} was judged on cannot be judged again: {error}")
            continue
        rows = continuing.rows_renamed(rows, targets, _composed(chain[number:]))
        known = {**facts, "labels": facts["labels"][: one["labels"]]} if one["labels"] else facts
        rows = usable(task, rows, known)
        keys = key_of(rows)
        rows = rows.take([place for place, key in enumerate(keys) if key not in seen])
        seen.update(keys)
        if len(rows):
            yield one["run"], rows


def usable(task: Task, rows: Rows, facts: dict[str, Any]) -> Rows:
    """Return the rows whose targets a model with these facts can answer.

    Example::

        usable(task, splits.test, {"labels": ["cat", "dog"]})
    """
    bad = {one.number for one in task.unusable_rows(rows, facts)}
    return rows.take([place for place, number in enumerate(rows.numbers) if number not in bad])


def key_of(rows: Rows) -> list[str]:
    """Return by what rows are known to be the same, of each.

    Example:
        >>> key_of(Rows("a.csv", {"text": ["Good."]}, [1]))
        ["('Good.',)"]
    """
    return [repr(one) for one in zip(*(rows.columns[n] for n in sorted(rows.columns)), strict=True)]


def _splits(run: Path) -> dict[str, Rows]:
    """Return the rows of a run as they are read now."""
    from tfnlp.training import examples

    experiment = read_trusted(run / "experiment.yaml", "restore it")
    task = tasks.load(experiment.task)
    return examples.divided(experiment, task, examples.read(experiment, task))


def _judged(run: Path) -> Rows:
    """Return the rows that a run was judged on.

    Raises:
        UserError: they are gone, or others.
    """
    parts = _splits(run)
    rows = parts.get("test") or parts["validation"]
    kept = read_json(run / judged_rows.FILE, judged_rows.HOLDS, remedy="restore it")
    experiment = read_trusted(run / "experiment.yaml", "restore it")
    columns = tasks.load(experiment.task).target_columns(experiment.options)
    targets = {c.name: rows.columns[c.name] for c in columns if c.name in rows.columns}
    if data_digest.of(targets or rows.columns)["sha256"] != kept["sha256"]:
        raise UserError(f"{rows.source} holds other rows now (put it back as it was)")
    return rows


def rows_of(run: Path) -> Rows:
    """Return the rows that a run was trained on.

    Raises:
        UserError: they are gone, or others.

    Example::

        len(rows_of(Path("tensorboard_logs/NAME/RUN")))
    """
    rows = _splits(run)["train"]
    kept = read_json(run / data_digest.FILE, {"train": dict}, remedy="restore it")
    if data_digest.of(rows.columns) != kept["train"]:
        raise UserError(
            f"{rows.source} does not hold the rows any more that {run} was trained on (put it back "
            "as it was, or name a file of them by --old)"
        )
    return rows


def _trained_on(run: Path, names: Mapping[str, str]) -> Rows:
    """Return the rows that a run was trained on, with today's labels."""
    from tfnlp.training import continuing

    rows = rows_of(run)
    experiment = read_trusted(run / "experiment.yaml", "restore it")
    targets = tasks.load(experiment.task).target_columns(experiment.options)
    return continuing.rows_renamed(rows, targets, names)


def trained_on(origin: Origin) -> list[Rows]:
    """Return the rows that the earlier run, and each one before it, was trained on.

    Raises:
        UserError: some are gone, or others.

    Example::

        [len(rows) for rows in trained_on(origin)]
    """
    chain = history(Path(origin.name), cast("TrainedModel", origin.model))
    before = [_trained_on(Path(one["run"]), origin.renamed) for one in chain[:-1]]
    return [*before, origin.rows()]
