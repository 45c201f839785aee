"""Every task in tfnlp/tasks takes every method of tfnlp/peft, or says in a sentence why not."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from pipelines import discover
from pipelines.errors import UserError
from pipelines.rows import Rows
from tfnlp import extensions
from tfnlp import task as tasks
from tfnlp.extensions import Peft
from tfnlp.runs import storage
from tfnlp.runs.experiment_yaml import from_values
from tfnlp.training import answering
from tfnlp.training.model import prepare

NAMES = extensions.names(Peft)
TASKS = discover.names("tfnlp.tasks")
# Of methods all kinds with a task that copies the backbone's layers; of tasks all kinds with one.
FAST = [(name, "lora") for name in ("translation", "ner", "dialogue")]
ALL = [(name, method) for name in TASKS for method in NAMES]


@pytest.fixture
def made(request, backbone_with_marks, tmp_path):
    """A task with a method, on its own sample, not yet trained."""
    name, method = request.param
    task = tasks.load(name)
    known = {field.name for field in dataclasses.fields(task.options)}
    short = {"max_length": 32, "max_tokens": 4, "beams": 1}
    short = {n: value for n, value in short.items() if n in known}
    reads = "encoder" in task.backbones
    experiment = from_values(
        {
            "task": {"name": name, **short},
            "data": {"train": "sample.csv"},
            "backbone": {"name": backbone_with_marks if reads else "scratch:1x32"},
            "training": {"epochs": 1, "batch_size": 4},
            "peft": {"name": method},
        },
        task.options,
        "the test",
    )
    sample = task.sample(experiment.options) * 2
    columns = {key: [row[key] for row in sample] for key in sample[0]}
    rows = Rows("sample", columns, [*range(1, len(sample) + 1)])
    return SimpleNamespace(experiment=experiment, rows=rows, folder=tmp_path)


def _each(case):
    return pytest.param(case, marks=() if case in FAST else pytest.mark.slow, id="-".join(case))


def _prepared(made):
    """Return the model, or why it cannot be trained so."""
    try:
        return prepare(made.experiment, made.rows), ""
    except UserError as error:
        return None, str(error)


@pytest.mark.parametrize("made", [*map(_each, ALL)], indirect=True)
def test_what_it_trains_of_a_task_is_kept_or_it_says_in_a_sentence_why_not(made):
    model, refused = _prepared(made)
    if refused:
        assert f"--peft {made.experiment.peft.name}" in refused
        assert "\n" not in refused
        return
    draw = np.random.default_rng(1)
    for weight in model.network.trainable_weights:
        weight.assign(weight + draw.normal(0, 0.02, weight.shape).astype("float32"))
    storage.save(model, made.folder)
    loaded = storage.load(made.folder)
    asked = answering.answer(model, made.rows, asked=True)
    again = answering.answer(loaded, made.rows, asked=True)
    assert asked.keys() == again.keys()
    for name, values in asked.items():
        if values.dtype.kind == "O":
            assert [*map(str, values)] == [*map(str, again[name])]
        else:
            np.testing.assert_array_equal(values, again[name])


def test_a_decoder_starts_from_the_same_weights_with_a_method_as_without(backbone):
    from tfnlp.backbones import loading
    from tfnlp.heads import decoder

    def start(method):
        loaded = loading.load(backbone)
        if method:
            peft = extensions.load(Peft, method)
            peft.adapt(loaded, peft.options())
        keras.utils.set_random_seed(1)
        network = decoder.head(
            loaded.model, vocabulary_size=20, shared=False, layers=1, positions=9
        )
        return [weight.numpy() for weight in network.get_layer("decoder_layer_0").weights]

    for method in NAMES:
        for one, other in zip(start(method), start(""), strict=True):
            np.testing.assert_array_equal(one, other)
