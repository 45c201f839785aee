"""Every task for encoders on a model of the user's own, in Hugging Face layout, and on MPNet."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from pipelines import discover
from pipelines.rows import Rows
from pipelines.splits import Splits
from tfnlp import task as tasks
from tfnlp.exporting import card, writer
from tfnlp.inference import saved_model
from tfnlp.runs import storage
from tfnlp.runs.experiment_yaml import from_values
from tfnlp.training import answering
from tfnlp.training.model import prepare
from tfnlp.training.trainer import Trainer

_file = Path(__file__).parents[1] / "unit" / "backbones" / "tiny_folders.py"
_spec = importlib.util.spec_from_file_location("tiny_folders", _file)
tiny_folders = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny_folders)

TASKS = [n for n in discover.names("tfnlp.tasks") if "encoder" in tasks.load(n).backbones]
FAST = [("classification", "mpnet"), ("ner", "roberta")]
SLOW = [(name, kind) for name in TASKS for kind in ("mpnet", "mpnet-base-en")]
SLOW.remove(("relation_extraction", "mpnet"))  # the tiny vocabulary has no marks for arguments
SLOW += [(name, kind) for name in ("classification", "masked_lm") for kind in tiny_folders.KINDS]


def cases():
    for case in dict.fromkeys([*FAST, *SLOW]):
        marks = [] if case in FAST else [pytest.mark.slow]
        yield pytest.param(*case, marks=marks, id="-".join(case))


def experiment(name, kind, folder):
    """Return an experiment of two steps on a task's sample."""
    task = tasks.load(name)
    backbone = {"name": kind, "layers": 1, "freeze_embeddings": True}
    if kind in tiny_folders.KINDS:
        tiny_folders.write(kind, folder / "backbone")
        backbone = {"name": "./backbone", "layers": 2}
    known = task.options.__dataclass_fields__
    short = {"max_length": 64, "max_tokens": 16, "beams": 2, "max_entity": 8}
    values = {
        "task": {"name": name, **{n: v for n, v in short.items() if n in known}},
        "data": {"train": "sample.csv"},
        "backbone": backbone,
        "training": {"epochs": 1, "batch_size": 4, "precision": "float32"},
        "export": {"saved_models": str(folder / "saved_models")},
    }
    return task, from_values(values, task.options, "the test")


@pytest.mark.parametrize(("name", "kind"), cases())
def test_a_task_trains_is_kept_and_exports(name, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task, made = experiment(name, kind, tmp_path)
    sample = task.sample(made.options) * 2
    columns = {column: [row[column] for row in sample] for column in sample[0]}
    rows = Rows("sample", columns, list(range(1, len(sample) + 1)))
    model = prepare(made, rows)
    start = [w.numpy() for w in model.network.trainable_weights]
    Trainer(model, Splits(rows, rows, None), tmp_path / "checkpoints").fit()
    changed = [
        not np.array_equal(w, old)
        for w, old in zip(model.network.trainable_weights, start, strict=True)
    ]
    # A key's bias changes all scores of a query alike, so no answer depends on it.
    assert sum(changed) > 0.8 * len(changed)
    model = answering.calibrated(model, rows)
    storage.save(model, tmp_path)
    before = answering.answer(model, rows, asked=True)
    for value, again in zip(
        before.values(),
        answering.answer(storage.load(tmp_path), rows, asked=True).values(),
        strict=True,
    ):
        same(value, again)
    report = answering.evaluate(model, rows)
    text = card.write(model, {"validation": report.metrics}, report.tables)
    assert f"- backbone: `{made.backbone.name}`" in text
    saved = saved_model.load(writer.export(model, {}, text))
    inputs = [column.name for column in task.input_columns(made.options)]
    told = saved.answer({column: columns[column][:4] for column in inputs})
    assert len(told) == min(4, len(sample))
    for place, answer in enumerate(told):
        for key in before.keys() & answer.keys():
            if isinstance(answer[key], str | float):
                same(before[key][place], answer[key])


def same(one, other):
    """Compare answers, numbers to 1e-5."""
    array = np.asarray(one)
    if array.dtype.kind == "f":
        np.testing.assert_allclose(array, np.asarray(other), atol=1e-5)
    else:
        text = lambda value: value.decode() if isinstance(value, bytes) else value  # noqa: E731
        assert np.all(np.asarray(text(one), object) == np.asarray(text(other), object))
