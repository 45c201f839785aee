"""What a run forgot of what the runs before it had learned."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pipelines.atomic import write_text
from pipelines.errors import UserError
from pipelines.files.writers import json_text
from pipelines.json_files import read_json
from pipelines.rows import Rows
from pipelines.selection import joined
from pipelines.splits import labels_of
from tfnlp.evaluation import forgetting
from tfnlp.extensions import Origin
from tfnlp.report import Report, Table
from tfnlp.runs import origins
from tfnlp.runtime.commands import command

if TYPE_CHECKING:
    from tfnlp.training.model import TrainedModel

FILE = "forgotten.jsonl"  # in a run's folder
NEW = "new rows"
KNOWN = "new rows of earlier labels"
_OLD, _ALL = "all earlier rows", "all rows"


@dataclass(frozen=True)
class Forgotten:
    """What was found out about earlier rows.

    Attributes:
        values: JSON values that metrics.json keeps as ``earlier``.
        report: the same for a reader.
        refused: why there is to be no SavedModel; None if there is.
    """

    values: dict[str, Any]
    report: Report = field(repr=False)
    refused: str | None


@dataclass(frozen=True)
class _Answered:
    """A model's answers to several parts of rows.

    Attributes:
        reports: by part, and of all earlier rows together and of all rows.
        right: of every earlier row, whether it is right; nothing if answers are not right or wrong.
        said: what it answers to every earlier row.
    """

    reports: Mapping[str, Report]
    right: Sequence[bool]
    said: Sequence[str]


def parts(origin: Origin, model: TrainedModel, judged: Rows) -> dict[str, Rows]:
    """Return the rows that are judged: of each earlier run, and `NEW`.

    Rows of this run with labels that were known before count as earlier ones where others are new.

    Args:
        origin: the earlier run.
        model: that is trained.
        judged: this run's test or validation rows.

    Raises:
        UserError: what is forgotten shall be bounded, and there are no earlier rows.

    Example::

        {name: len(rows) for name, rows in parts(origin, model, splits.test).items()}
    """
    found = dict(origin.held_out)
    seen = {key for rows in found.values() for key in origins.key_of(rows)}
    left = [place for place, key in enumerate(origins.key_of(judged)) if key not in seen]
    new = judged.take(left)
    facts = [one.context.facts for one in (origin.model, model)]
    if len(facts[0].get("labels", ())) < len(facts[1].get("labels", ())):
        known = origins.usable(model.task, new, facts[0])
        if len(known):
            found[KNOWN] = known
            numbers = set(known.numbers)
            new = new.take([i for i, n in enumerate(new.numbers) if n not in numbers])
    if not found and model.experiment.earlier.forget_at_most is not None:
        raise UserError(
            f"--forget-at-most needs rows that {origin.name} or a run before it was judged on, and "
            "none of them are there any more (put their files back, or leave it out)"
        )
    return {**found, NEW: new}


def class_means(
    origin: Origin,
    model: TrainedModel,
    train: Rows,
    rows: Mapping[str, Rows],
    warn: Callable[[str], None],
) -> dict[str, float]:
    """Return the accuracy of nearest class mean on a frozen encoder, by part of rows.

    Args:
        origin: the earlier run; rows that it and those before it were trained on have means too.
        model: what it is compared with.
        train: this run's training rows.
        rows: as `parts` returned them.
        warn: is told why there is none, where rows of earlier runs are gone.

    Returns:
        Part -> accuracy, and of all earlier rows and of all rows; nothing where rows have no label.

    Example::

        class_means(origin, model, splits.train, parts(origin, model, splits.test), terminal.warn)
    """
    from tfnlp.training import class_means as means

    if not means.possible(model):
        return {}
    try:
        learned = joined([*origins.trained_on(origin), train], "rows of all steps")
    except UserError as error:
        warn(f"nearest class mean is not shown beside: {error}")
        return {}
    (target,) = model.task.target_columns(model.experiment.options)
    whole = joined(list(rows.values()), _ALL)
    answers = np.array(means.answers(model, learned, whole), object)
    right = answers == np.array(whole.columns[target.name], object)
    ends = np.cumsum([0, *(len(part) for part in rows.values())])
    found = {n: right[a:b] for n, a, b in zip(rows, ends, ends[1:], strict=False)}
    found |= {_OLD: right[: ends[-1] - len(rows[NEW])], _ALL: right}
    return {name: float(part.mean()) for name, part in found.items() if len(part)}


def judge(
    origin: Origin,
    model: TrainedModel,
    rows: Mapping[str, Rows],
    means: Mapping[str, float],
    run: Path,
) -> Forgotten:
    """Judge a trained model and the earlier one on earlier and new rows.

    Args:
        origin: the earlier run.
        model: trained and calibrated.
        rows: as `parts` returned them.
        means: accuracy of nearest class mean by part, if known.
        run: the folder of the run, for what is said.

    Example::

        judge(origin, model, parts(origin, model, splits.test), {}, run).refused
    """
    old = {name: part for name, part in rows.items() if name != NEW}
    now = _answered(model, rows)
    earlier = cast("TrainedModel", origin.model)
    before = _answered(earlier, old) if old else None
    metric = next(iter(next(iter(now.reports.values())).metrics))
    score = {n: _number(r.metrics.get(metric)) for n, r in now.reports.items()}
    was = {n: _number(r.metrics.get(metric)) for n, r in before.reports.items()} if before else {}
    chain = origins.history(Path(origin.name), earlier)
    chain[-1]["renamed"] = dict(model.experiment.earlier.renamed)
    scores = _scores(Path(origin.name), was, score)
    values: dict[str, Any] = {
        "history": chain,
        "metric": metric,
        "rows": {name: len(part) for name, part in rows.items()},
        "before": was,
        "now": score,
        "nearest_class_mean": dict(means) or None,
        "scores": scores,
        "backward_transfer": _number(forgetting.transfer(scores, list(origin.held_out), "now")),
    }
    broken, counts = _broken(model, old, before, now)
    values["broke"] = len(broken) if before and before.right else None
    found = [_summary(values), *forgetting.tables(broken, counts), origins.table(chain)]
    values["tables"] = [[one.title, list(one.header), list(map(list, one.rows))] for one in found]
    report = Report(_metrics(values), found, warnings=_warnings(values))
    models = [one["run"] for one in chain]
    if len(scores) > 1:
        report.figures["forgetting"] = partial(forgetting.curve, metric, [*models, "now"], scores)
    values["broken"] = broken
    return Forgotten(values, report, _refused(values, model, run))


def write(run: Path, found: Forgotten) -> dict[str, Any]:
    """Keep the rows that broke in a run's folder; returns what metrics.json holds of the rest.

    Example::

        metrics["earlier"] = write(run, found)
    """
    values = dict(found.values)
    broken = values.pop("broken")
    write_text(run / FILE, "".join(f"{json_text(one)}\n" for one in broken))
    scores = values["scores"]
    values["scores"] = {str(run) if one == "now" else one: score for one, score in scores.items()}
    own = values["scores"][str(run)]
    if NEW in values["now"]:
        own[str(run)] = values["now"][NEW]
    return values


def tables(metrics: Mapping[str, Any]) -> list[Table]:
    """Return the tables that a run's metrics.json keeps of what was forgotten.

    Example::

        card.write(model, metrics, tables(metrics))
    """
    kept = (metrics.get("earlier") or {}).get("tables", ())
    return [Table(title, tuple(header), list(map(tuple, rows))) for title, header, rows in kept]


def _answered(model: TrainedModel, rows: Mapping[str, Rows]) -> _Answered:
    """Answer parts of rows, all together where each row is answered for itself."""
    from tfnlp.training import answering

    old = [part for name, part in rows.items() if name != NEW]
    totals = {_OLD: old, _ALL: list(rows.values())}
    wholes = {n: joined(p, n) for n, p in totals.items() if p and (n == _OLD or NEW in rows)}
    if model.task.writing or model.task.pack:
        every = {**rows, **wholes}
        return _Answered(
            {n: answering.evaluate(model, p) for n, p in every.items() if len(p)}, [], []
        )
    whole = wholes[_ALL if NEW in rows else _OLD]
    answers = answering.answer(model, whole)
    ends = np.cumsum([0, *(len(part) for part in rows.values())])
    cuts = {n: (a, b) for n, a, b in zip(rows, ends, ends[1:], strict=False)}
    if old:
        cuts[_OLD] = (0, sum(map(len, old)))
    if NEW in rows:
        cuts[_ALL] = (0, len(whole))
    reports = {}
    for name, (start, end) in cuts.items():
        if start < end:
            some = {n: np.asarray(column)[start:end] for n, column in answers.items()}
            part = whole.take(list(range(start, end)))
            reports[name] = model.task.report(model.context, part, some)
    count = sum(map(len, old))
    right = reports[_OLD].right if _OLD in reports else []
    return _Answered(reports, right, [_said(answers, place) for place in range(count)])


def _said(answers: Mapping[str, Any], place: int) -> str:
    """Return an answer in words."""
    for name in ("label", "grade", "value", "answer"):
        if name in answers:
            value = answers[name][place]
            return value.decode() if isinstance(value, bytes) else str(value)
    found = answers.get("entities")
    if found is None:
        return ""
    return ", ".join(f"{one['text']} ({one['type']})" for one in found[place]) or "nothing"


def _broken(
    model: TrainedModel, old: Mapping[str, Rows], before: _Answered | None, now: _Answered
) -> tuple[list[dict[str, Any]], list[tuple[Any, ...]]]:
    """Return the rows that were right before and are wrong now, and the counts by label."""
    if before is None or not before.right:
        return [], []
    rows = joined(list(old.values()), _OLD)
    options = model.experiment.options
    marks = labels_of(rows, model.task.target_columns(options))
    labels = [" ".join(dict.fromkeys(str(label) for _, label in row)) or "–" for row in marks]
    names = [column.name for column in model.task.input_columns(options)]
    texts = [
        " / ".join(map(str, one)) for one in zip(*(rows.columns[n] for n in names), strict=True)
    ]
    runs = [name for name, part in old.items() for _ in range(len(part))]
    broken = [
        {"label": labels[i], "text": texts[i], "now": now.said[i], "rows_of": runs[i]}
        for i, (was, is_now) in enumerate(zip(before.right, now.right, strict=True))
        if was and not is_now
    ]
    return broken, forgetting.by_label(labels, before.right, now.right)


def _scores(
    earlier: Path, was: Mapping[str, float | None], now: Mapping[str, float | None]
) -> dict[str, dict[str, float]]:
    """Return run -> step -> score of all models so far, the present one's as ``now``."""
    kept = (read_json(earlier / "metrics.json").get("earlier") or {}).get("scores") or {}
    scores = {run: dict(values) for run, values in kept.items()}
    left = (NEW, KNOWN, _OLD, _ALL)
    for run, values in ((str(earlier), was), ("now", now)):
        known = {s: v for s, v in values.items() if s not in left and v is not None}
        scores[run] = {**scores.get(run, {}), **known}
    return scores


def _summary(values: Mapping[str, Any]) -> Table:
    """Return the scores of earlier and new rows, before and now."""
    metric, means = values["metric"], values["nearest_class_mean"]
    steps = {one["run"]: f"step {i}: {one['run']}" for i, one in enumerate(values["history"], 1)}
    old = sum(count for name, count in values["rows"].items() if name != NEW)
    counts = {**values["rows"], _OLD: old, _ALL: sum(values["rows"].values())}
    rows = [
        (
            steps.get(name, name),
            counts[name],
            forgetting.cell(values["before"].get(name)),
            forgetting.cell(values["now"][name]),
            *([forgetting.cell(means.get(name))] if means else []),
        )
        for name in counts
        if name in values["now"]
    ]
    more = ["frozen encoder, nearest class mean"] if means else []
    header = ("rows", "count", f"{metric} before", f"{metric} now", *more)
    return Table("Earlier and new rows", header, rows)


def _metrics(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures for TensorBoard."""
    metric, before, now = values["metric"], values["before"], values["now"]
    found = {
        f"old_{metric}": now.get(_OLD),
        f"old_{metric}_before": before.get(_OLD),
        f"new_{metric}": now.get(NEW),
        f"all_{metric}": now.get(_ALL),
        "backward_transfer": values["backward_transfer"],
        "broke": values["broke"],
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def _warnings(values: Mapping[str, Any]) -> list[str]:
    """Say so where the model is worse than one that forgets nothing."""
    means, now, name = values["nearest_class_mean"] or {}, values["now"], values["metric"]
    if _ALL not in means or now.get(_ALL) is None or now[_ALL] > means[_ALL]:
        return []
    return [
        "no better than nearest class mean on the frozen encoder, which forgets nothing: "
        f"{name} of all rows {now[_ALL]:.3f} and {means[_ALL]:.3f}"
    ]


def _refused(values: Mapping[str, Any], model: TrainedModel, run: Path) -> str | None:
    """Return why there is to be no SavedModel."""
    most, metric = model.experiment.earlier.forget_at_most, values["metric"]
    before, now = values["before"].get(_OLD), values["now"].get(_OLD)
    if most is None or before is None or now is None:
        return None
    lost = forgetting.loss(metric, before, now)
    if lost <= most:
        return None
    count = sum(n for name, n in values["rows"].items() if name != NEW)
    return (
        f"no SavedModel is written: on {count} rows of earlier runs {metric} went from "
        f"{before:.4f} to {now:.4f}, which loses {lost:.4f}, more than --forget-at-most {most:g} "
        f"({command('tfnlp.export', run)} writes it all the same)"
    )


def _number(value: float | None) -> float | None:
    """Return a score as JSON has it."""
    return None if value is None or not math.isfinite(value) else float(value)
