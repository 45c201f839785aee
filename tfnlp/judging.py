"""How good a model is on some rows, and what it writes for them."""

from __future__ import annotations

import dataclasses

import numpy as np

from pipelines import splits
from pipelines.rows import Rows
from tfnlp.experiment import Model, answer
from tfnlp.report import Report, Table

_BEGUN = 8  # words of a text that a language model is shown


def evaluate(model: Model, rows: Rows) -> Report:
    """Answer rows and judge the answers; of a task that writes, texts for some of the rows."""
    answers = answer(model, rows)
    if not model.task.generate:
        return model.task.report(model.context, rows, answers)
    if not model.task.targets(model.experiment.options):
        report = model.task.report(model.context, rows, answers)
        report.tables.append(samples(model, rows))
        return report
    places = splits.evenly(len(rows), model.experiment.options.judged)
    some = rows.take(places)
    answers |= {"judged": np.array(places), **answer(model, some, asked=True)}
    report = model.task.report(model.context, rows, answers)
    if model.task.figures:
        texts = answers["generated"].tolist()
        report.figures.update(model.task.figures(model.context, model.network, some, texts))
    return report


def _beginning(text: str) -> str:
    """Return the first words of a text, at most half of them."""
    words = text.split()
    return " ".join(words[: min(_BEGUN, (len(words) + 1) // 2)])


def samples(model: Model, rows: Rows, wanted: int = 5) -> Table:
    """Write texts for some rows, for a person to look at."""
    some = rows.take(splits.evenly(len(rows), wanted))
    if not model.task.targets(model.experiment.options):  # how texts begin, to be gone on with
        begun = {n: [_beginning(text) for text in c] for n, c in some.columns.items()}
        some = dataclasses.replace(some, columns=begun)
    answers = answer(model, some, asked=True)
    cells = [
        (*(str(value) for value in values), str(text))
        for *values, text in zip(*some.columns.values(), answers["generated"], strict=True)
    ]
    return Table("samples", (*some.columns, "generated"), cells)
