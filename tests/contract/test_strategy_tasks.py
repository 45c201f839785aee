"""Every strategy trains every task that it is for, and says of the others that it is not."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from pipelines import discover
from pipelines.errors import UserError
from pipelines.rows import Rows
from pipelines.splits import Splits
from tfnlp import extensions
from tfnlp import task as tasks
from tfnlp.extensions import Strategy
from tfnlp.runs.experiment_yaml import from_values
from tfnlp.training.model import prepare
from tfnlp.training.trainer import Trainer

# Those for few labels are for classification and multi_label: test_few_labels.py.
FEW_LABELS = {"linear_probe", "prompt", "self_training", "setfit", "uda", "zero_shot"}
NAMES = sorted(set(extensions.names(Strategy)) - {"gan", "supervised"} - FEW_LABELS)
# Pairs and windows give other inputs: texts of two segments, and several of them a row.
VARIANTS = {"": {}, "pair": {"pair": True}, "windows": {"windows": 3, "max_length": 8}}
CASES = [(name, "") for name in discover.names("tfnlp.tasks")]
CASES += [("classification", "pair"), ("classification", "windows"), ("similarity", "pair")]
ALL = [(method, *case) for method in NAMES for case in CASES]
# What differs between tasks is how answers are compared and where a row's embeddings are.
FAST = [("smart", "ner", ""), ("fgm", "classification", "windows")]


@pytest.fixture
def made(request, backbone_with_marks, tmp_path):
    """An experiment of a strategy with a task, and the task's sample."""
    method, name, variant = request.param
    task = tasks.load(name)
    known = {field.name for field in dataclasses.fields(task.options)}
    wanted = {"max_length": 32, "max_tokens": 4, "beams": 1, **VARIANTS[variant]}
    options = extensions.load(Strategy, method).options.__dataclass_fields__
    own = {"teacher": ["teacher"], "compare": False, "target": str(tmp_path / "target.jsonl")}
    own |= {"together_with": ["other.yaml"], "runs": ["one", "two"], "epochs": 1}
    reads = "encoder" in task.backbones
    values = (
        {
            "task": {"name": name, **{n: v for n, v in wanted.items() if n in known}},
            "data": {"train": "sample.csv"},
            "backbone": {"name": backbone_with_marks if reads else "scratch:1x64"},
            "strategy": {"name": method, **{n: v for n, v in own.items() if n in options}},
            "training": {"epochs": 1, "batch_size": 4, "precision": "float32"},
        },
        task.options,
        "the test",
    )
    try:
        experiment = from_values(*values)
    except UserError as error:  # such as one that goes on from an earlier run
        return SimpleNamespace(name=method, refused=str(error))
    sample = task.sample(experiment.options) * 2
    inputs = [column.name for column in task.input_columns(experiment.options)]
    lines = [json.dumps({name: row[name] for name in inputs}) for row in sample]
    (tmp_path / "target.jsonl").write_text("\n".join(lines))
    columns = {key: [row[key] for row in sample] for key in sample[0]}
    rows = Rows("sample", columns, [*range(1, len(sample) + 1)])
    return SimpleNamespace(
        name=method, refused="", experiment=experiment, rows=rows, folder=tmp_path
    )


def _trained(made):
    """Train; returns the trainer, what the strategy says of it, and why it is not for the task."""
    experiment, task = made.experiment, tasks.load(made.experiment.task)
    strategy = extensions.load(Strategy, experiment.strategy.name)
    try:
        strategy.fits(task, experiment, experiment.strategy.options)
    except UserError as error:
        return None, None, str(error)
    model = prepare(experiment, made.rows)
    inputs = tuple(sorted(task.input_columns(experiment.options), key=lambda c: c.name))
    teacher = SimpleNamespace(
        name="teacher", inputs=inputs, experiment=experiment, model=prepare(experiment, made.rows)
    )
    splits = Splits(made.rows, made.rows, None)
    other = _other(made)
    trainer = Trainer(
        model, splits, made.folder / "checkpoints", load=lambda source: teacher, read=other
    )
    return trainer, strategy.train(trainer), ""


def _other(made):
    """Return what reads the experiment of a further task: one label for a text."""
    file = made.folder / "more.jsonl"
    rows = [{"text": text, "label": text} for text in ("a", "b")] * 8
    file.write_text("\n".join(map(json.dumps, rows)))
    values = {
        "task": {"name": "classification", "max_length": 32},
        "data": {"train": str(file)},
        "name": "more",
    }
    return lambda _: from_values(values, tasks.load("classification").options, "the test")


def _marked(case):
    return pytest.param(case, marks=() if case in FAST else pytest.mark.slow, id="-".join(case))


@pytest.mark.parametrize("made", [*map(_marked, ALL)], indirect=True)
def test_it_trains_or_says_in_a_sentence_that_it_is_not_for_the_task(made):
    trainer, outcome, refused = (None, None, made.refused) if made.refused else _trained(made)
    if refused:
        assert f"--strategy {made.name}" in refused
        assert "\n" not in refused
        return
    losses = [epoch["loss"] for fit in trainer.histories.values() for epoch in fit]
    assert np.isfinite(losses).all()
    if outcome.report:
        assert all(np.isfinite(value) for value in outcome.report.metrics.values())
