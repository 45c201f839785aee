"""Studies whose trials are not trained: a function says what each scores."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfnlp import extensions
from tfnlp.cli import arguments
from tfnlp.cli.settings import Given
from tfnlp.extensions import Study, Trial
from tfnlp.options import Parser


@pytest.fixture
def simulate():
    """Return a function: runs a study to its end, and returns its trials and its report."""

    def run(name, score, *line, trials=(), metric="accuracy", split="test", **options):
        entry = extensions.load(Study, name)
        own = entry.options(**options)
        flags = ["--dataset", "trec", "--seed", "0", *line]
        given = Given(*arguments.read(flags, Parser())[:2])
        base, trials = given.experiment(), list(trials)
        while (proposed := entry.propose(base, trials, own)) is not None:
            experiment = given.vary(proposed)
            value = score(experiment)
            if value is None:
                trials.append(Trial(experiment, proposed, "failed", error="no memory"))
                continue
            rows = {"train": experiment.data.limit or 1600, "validation": 40, "test": 100}
            metrics = {"validation": {metric: 0.5}, "test": None, "rows": rows}
            metrics[split] = {metric: value}
            trials.append(Trial(experiment, proposed, "complete", metrics, (), Path("run")))
        return trials, entry.report(trials, own)

    return run
