"""Searches whose trials are not trained: a function says what each scores, epoch by epoch."""

from __future__ import annotations

from pathlib import Path

from tfnlp.cli import arguments
from tfnlp.cli.settings import Given
from tfnlp.extensions import Trial
from tfnlp.options import Parser
from tfnlp.studies import search
from tfnlp.studies._search import tried

GIVEN = Given(*arguments.read(["--dataset", "trec", "--name", "toy"], Parser())[:2])
BASE = GIVEN.experiment()


def trained(settings, scores, test=0.5, monitor="val_accuracy", **costs):
    """Return a trial whose epochs had these scores, until it was given up."""
    history = [{monitor: score} for score in scores]
    better = min if monitor == "val_loss" else max
    name = monitor.removeprefix("val_")
    metrics = {name: better(scores)}
    held = {"validation": metrics, "test": {name: test}, "monitor": monitor, "costs": costs}
    return Trial(BASE, settings, "complete", held, history, Path("run"), seconds=60.0)


def simulated(options, score, most=1000, base=BASE):
    """Return the trials of a search whose scores a function gives by settings and epoch."""
    trials = []
    while (proposed := search.propose(base, trials, options)) is not None and len(trials) < most:
        assert proposed == search.propose(base, trials, options)
        scores = []
        for epoch in range(8):
            scores.append(score(proposed, epoch))
            if tried.gave_up(trained(proposed, scores)):
                break
        trials.append(trained(proposed, scores, test=max(scores)))
    return trials
