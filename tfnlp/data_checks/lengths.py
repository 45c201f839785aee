"""What a backbone's tokenizer makes of rows: their lengths, what is cut, what is unknown to it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from pipelines import batching
from pipelines.rows import BadRow, Rows
from tfnlp.config import Experiment
from tfnlp.data_checks.building import built
from tfnlp.data_checks.findings import Findings, counted, histogram
from tfnlp.report import Table
from tfnlp.task import Task
from tfnlp.training import cutting, examples, language
from tfnlp.training.model import TrainedModel, room


def check(
    rows: dict[str, Rows],
    chosen: Task,
    experiment: Experiment,
    facts: dict[str, Any] | None,
    found: Findings,
) -> None:
    """Add the rows' lengths in the backbone's tokens, and what training would cut off.

    Args:
        rows: by split, none empty.
        chosen: the task, whose ``encode`` lays out the tokens.
        experiment: its options and backbone.
        facts: what the task learned from the rows; None if it could not.
        found: tables, warnings and errors are added to it.

    Raises:
        UserError: the backbone's vocabulary does not fit the task.

    Example::

        check(rows, chosen, experiment, facts, found)
    """
    both = built(rows, chosen, experiment, facts, found)
    if both is None:
        return
    backbone, model = both
    name, options = experiment.backbone.name, experiment.options
    limit = room(experiment, chosen, backbone)
    table, lengths = [], {}
    for split in rows:
        total, lost = _measured(model, rows[split])
        if chosen.repacks(options):  # a longer text runs on in the next example
            lost = np.zeros_like(lost)
        told = {
            "median": int(np.quantile(total, 0.5, method="higher")),
            "90%": int(np.quantile(total, 0.9, method="higher")),
            "95%": int(np.quantile(total, 0.95, method="higher")),
            "99%": int(np.quantile(total, 0.99, method="higher")),
            "longest": int(total.max()),
            "rows cut": int((lost > 0).sum()),
        }
        lengths[split] = total
        found.facts.setdefault("tokens", {})[split] = told
        table.append((split, *told.values()))
        _cut(rows[split], lost, chosen, options, found)
        for doubted in (examples.unlearnable, language.unreadable):
            for doubt in doubted(model, rows[split]):
                found.warn(*doubt)
    header = ("split", *told)
    found.tables.append(Table(f"Tokens a row, as {name} cuts texts", header, table))
    first = next(iter(lengths))
    found.tables.append(histogram(f"tokens a row in {first}", lengths[first]))
    held = found.facts["tokens"][first]
    advice = [
        (share, tokens, cutting.flags(tokens, chosen, options, limit, held["rows cut"] > 0))
        for share, tokens in (("95%", held["95%"]), ("all", held["longest"]))
    ]
    found.facts["whole"] = {share: {"tokens": n, "flags": flags} for share, n, flags in advice}
    title = f"What would read {first} uncut"
    found.tables.append(Table(title, ("rows", "tokens", "flags"), advice))


def _measured(model: TrainedModel, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Return each row's length, and what training would cut of it, int64 (N,) [tokens]."""
    raw = batching.tensors(rows, model.task.input_columns(model.context.options))
    read = examples.measure(model, raw)
    options = model.context.options
    if model.task.windows(options) == 1:
        return read.tokens + read.lost, read.lost
    # Windows overlap, so what is seen in several is not the length.
    context = dataclasses.replace(model.context, options=dataclasses.replace(options, windows=1))
    once = examples.measure(dataclasses.replace(model, context=context), raw)
    return once.tokens + once.lost, read.lost


def _cut(part: Rows, lost: np.ndarray, chosen: Task, options: Any, found: Findings) -> None:
    """Add findings on rows that are longer than what is read."""
    bad = [
        BadRow(number, f"its last {cut} token{'s are' if cut > 1 else ' is'} cut")
        for number, cut in zip(part.numbers, lost.tolist(), strict=True)
        if cut
    ]
    if bad:
        windows = chosen.windows(options)
        reading = f"--max-length {options.max_length}" + f" --windows {windows}" * (windows > 1)
        share = f"{len(bad) / len(part):.1%}"
        found.warn(f"{part.source}: {counted(bad)} ({share}) longer than {reading} are cut", bad)
