"""Zero-shot: a text gets the label whose name or description means most nearly the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.errors import UserError
from pipelines.rows import Rows
from tfnlp.config import Experiment
from tfnlp.extensions import Outcome, Strategy, Trainer
from tfnlp.options import option
from tfnlp.report import Report
from tfnlp.strategies import _label_file, _probe
from tfnlp.task import Task

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Options:
    """How labels are read.

    Example::

        python -m tfnlp.train --strategy zero_shot --labels labels.txt --test test.csv
    """

    pattern: tuple[str, ...] = option(
        ("{}", "This is about {}."),
        "a text with {} where a label's description or name stands; given several times, their "
        "vectors are averaged",
        metavar="TEXT",
    )
    temperature: float = option(
        0.05, "what cosines are divided by, to be probabilities", minimum=0.001, maximum=10.0
    )


def fits(task: Task, experiment: Experiment, options: Options) -> None:
    """Refuse a training without labels, another task, pairs of texts, and patterns without a place.

    Raises:
        UserError: it is one.

    Example::

        fits(load("classification"), experiment, Options())
    """
    _probe.check("zero_shot", task, experiment)
    data = experiment.data
    if experiment.task != "classification" or experiment.options.pair:
        raise UserError(
            "--strategy zero_shot gives one of several labels to a text (take --task "
            "classification without --pair)"
        )
    if data.labels and data.train:
        raise UserError(
            "--strategy zero_shot learns from no rows: --labels and --train are both given (leave "
            "out --train; rows to judge by are --test's)"
        )
    for pattern in options.pattern:
        if pattern.count("{}") != 1:
            raise UserError(f"--zero-shot-pattern {pattern!r} must have {{}} once, for the label")


def train(trainer: Trainer) -> Outcome:
    """Give the head the vectors of the labels' names or descriptions.

    Example::

        train(trainer).facts["open_labels"]["temperature"]  # 0.05

    Source: Chang et al. 2008, "Importance of semantic representation: dataless classification",
        section 3; with sentence vectors as in Yin et al. 2019, "Benchmarking zero-shot text
        classification", section 5 (https://arxiv.org/abs/1909.00161).
    """
    own, rows = trainer.options, trainer.splits.train
    names = trainer.model.context.facts["labels"]
    if trainer.experiment.data.labels is None:  # training rows name the labels, and no more
        columns = {"text": [_label_file.in_words(name) for name in names], "label": list(names)}
        rows = Rows(rows.source, columns, list(range(1, len(names) + 1)))
    kernel = _directions(trainer, rows, names) / own.temperature
    output, bias = trainer.model.network.get_layer("logits").weights
    output.assign(kernel)
    bias.assign(bias * 0.0)
    told = []
    if not trainer.splits.test and trainer.experiment.data.labels:
        told.append("no rows to judge by were given: the scores are those of the labels' own names")
    if trainer.experiment.data.labels and (twice := _label_file.repeated(trainer.experiment)):
        shown = ", ".join(map(repr, twice[:5])) + ", ..." * (len(twice) > 5)
        told.append(f"{rows.source}: these stand there more than once, and count once: {shown}")
    said = [*told, "nothing is calibrated: probabilities only order the labels"]
    facts = {"patterns": list(own.pattern), "temperature": own.temperature}
    return Outcome(Report({}, warnings=said), {"open_labels": facts})


def _directions(trainer: Trainer, rows: Rows, names: list[str]) -> np.ndarray:
    """Return for each label the mean of the unit vectors of its texts, of norm 1, (H, C)."""
    import numpy as np

    total: np.ndarray | None = None
    for pattern in trainer.options.pattern:
        texts = [pattern.replace("{}", text) for text in rows.columns["text"]]
        asked = Rows(rows.source, {**rows.columns, "text": texts}, rows.numbers)
        found = _probe.vectors(trainer, asked)
        found = found / np.maximum(np.linalg.norm(found, axis=-1, keepdims=True), 1e-12)
        total = found if total is None else total + found
    assert total is not None
    labels = np.array(rows.columns["label"], object)
    means = np.stack([total[labels == name].mean(0) for name in names])
    return np.asarray(means / np.linalg.norm(means, axis=-1, keepdims=True)).T


STRATEGY = Strategy(
    summary="labels by their names or descriptions alone, without any training row",
    options=Options,
    train=train,
    fits=fits,
    defaults={"task": {"unit_vectors": True}},
    takes_all=True,
    head_only=True,
    reads=("labels",),
    rows=_label_file.read,
)
