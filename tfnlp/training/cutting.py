"""Texts that are longer than what is read of them: how many are cut, and what reads them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from pipelines.batching import Sizes
from tfnlp.task import Task
from tfnlp.training.model import TrainedModel, longest_example

_MOST = 0.95  # share of the rows that the remedy reads to their ends


def flags(tokens: int, task: Task, options: Any, limit: int, cut: bool) -> str:
    """Return the flags with which a text of this many tokens is read to its end.

    Args:
        tokens: of the text [tokens].
        task: how it is read.
        options: the task's.
        limit: the greatest ``--max-length`` that the backbone has positions for [tokens].
        cut: whether any text is cut now.

    Example::

        flags(700, task.load("classification"), Options(), 512, cut=True)
        # "--max-length 512 --windows 2"
    """
    bounds = {field.name: field.metadata for field in dataclasses.fields(options)}
    if tokens <= limit:
        return f"--max-length {max(tokens, bounds['max_length']['minimum'])}"
    if not cut:  # some tasks take as many windows as a text needs
        return "none: it is read in parts"
    # In a pair the first text stands in each window.
    if task.reading != "windows" or len(task.input_columns(options)) > 1:
        return f"more than the backbone's --max-length {limit}"
    # As pipelines.encoding.segments lays windows, two special tokens in each.
    span = limit - 2
    step = max(span - options.overlap, 1)
    windows, most = 1 - (limit - tokens) // step, bounds["windows"]["maximum"]
    more = "more than " * (most is not None and windows > most)
    return f"{more}--max-length {limit} --windows {most if more else windows}"


def told(model: TrainedModel, sizes: Sizes) -> str:
    """Say how many training rows are cut, what reads more of them, and what that costs.

    Args:
        model: what reads them.
        sizes: of N rows.

    Returns:
        A sentence; "" where no row is cut.

    Example::

        told(model, data.sizes)
        # "312 of 1000 training rows (31.2%) are longer than --max-length 128 has room for, and
        # 41.0% of all tokens are cut (--max-length 401 reads 95% of the rows whole, and 1.7 times
        # the tokens)"
    """
    cut = int((sizes.lost > 0).sum())
    if not cut:
        return ""
    options, task, context = model.experiment.options, model.task, model.context
    reading = f"--max-length {options.max_length}"
    if task.windows(options) > 1:
        reading += f" with --windows {options.windows}"
    whole = sizes.tokens + sizes.lost
    wanted = int(np.quantile(whole, _MOST, method="higher"))
    written = longest_example(task, options, context.kind) - options.max_length
    limit = context.positions - written
    remedy = flags(wanted, task, options, limit, cut=True)
    if remedy.startswith("--"):
        cost = np.minimum(whole, wanted).sum() / max(sizes.tokens.sum(), 1)
        remedy += f" reads {_MOST:.0%} of the rows whole, and {cost:.1f} times the tokens"
    else:
        remedy = f"{_MOST:.0%} of the rows would need {remedy}"
    share, lost = cut / len(whole), sizes.lost.sum() / max(whole.sum(), 1)
    return (
        f"{cut} of {len(whole)} training rows ({share:.1%}) are longer than {reading} has room "
        f"for, and {lost:.1%} of all tokens are cut ({remedy})"
    )
