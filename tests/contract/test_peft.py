"""Every entry of tfnlp/peft trains few weights, keeps only those, and answers the same again."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import keras
import numpy as np
import pytest
from safetensors.numpy import load_file

from pipelines.errors import UserError
from tfnlp import extensions
from tfnlp import task as tasks
from tfnlp.exporting import writer
from tfnlp.extensions import Peft, PeftStep
from tfnlp.inference import saved_model
from tfnlp.runs import storage
from tfnlp.runtime.signals import Interrupted
from tfnlp.training import answering, examples
from tfnlp.training.model import backbone_of, build, context_of, prepare
from tfnlp.training.trainer import Trainer

NAMES = extensions.names(Peft)


def _values(network):
    return {weight.path: np.array(weight.numpy()) for weight in network.weights}


@pytest.fixture(
    scope="module",
    params=[
        *((name, "float32") for name in NAMES),
        *(pytest.param((name, "mixed_float16"), marks=pytest.mark.slow) for name in NAMES),
    ],
    ids="-".join,
)
def trained(request, backbone, strategy_run, tmp_path_factory):
    """A tiny classifier, trained by a method and kept as a run."""
    name, precision = request.param
    folder = tmp_path_factory.mktemp(name)
    own = shutil.copytree(backbone, folder / "backbone")
    made = strategy_run.experiment(
        folder,
        str(own),
        "supervised",
        precision,
        peft={"name": name},
        optimizer={"learning_rate": 1e-2},
        training={"epochs": 1},
    )
    splits = examples.read_splits(made, tasks.load(made.task))
    model = prepare(made, splits.train)
    before = _values(model.network)
    Trainer(model, splits, folder / "checkpoints").fit()
    keras.config.set_dtype_policy("float32")  # another process knows nothing of the run's
    storage.save(model, folder)
    return SimpleNamespace(
        model=model, before=before, rows=splits.validation, run=folder, backbone=own
    )


@pytest.mark.parametrize("name", NAMES)
def test_entries_say_what_they_are(name):
    found = extensions.load(Peft, name)
    assert found.summary
    assert not found.summary.endswith(".")


def test_what_is_frozen_stays_and_what_is_trained_moves(trained):
    after = _values(trained.model.network)
    own = {weight.path for weight in trained.model.network.trainable_weights}
    moved = {path for path, value in after.items() if (value != trained.before[path]).any()}
    assert moved <= own
    assert {path for path in own if path.startswith("logits")} <= moved
    of_backbone = {path for path in own if not path.startswith("logits")}
    # The gradient of some is zero, as of the biases of keys, which softmax takes no note of.
    assert len(moved & of_backbone) > len(of_backbone) / 2
    # LoRA of rank 8, or adapters of 48, are much on matrices of 16 x 16.
    assert sum(after[path].size for path in of_backbone) < 0.5 * sum(map(np.size, after.values()))


def test_run_holds_only_what_was_trained(trained):
    network = trained.model.network
    held = load_file(trained.run / "model" / storage.TRAINED)
    assert set(held) == {weight.path for weight in network.trainable_weights}
    for weight in network.trainable_weights:
        np.testing.assert_array_equal(held[weight.path], weight.numpy())
    others = {f.name for f in (trained.run / "model").iterdir()} - {storage.TRAINED}
    assert others == {"tokenizer", "facts.json", "checksums.json", "experiment.yaml"}


def test_loaded_it_answers_the_same_to_the_bit(trained):
    loaded = storage.load(trained.run)
    before = answering.answer(trained.model, trained.rows, asked=True)
    after = answering.answer(loaded, trained.rows, asked=True)
    assert before.keys() == after.keys()
    for name, values in before.items():
        np.testing.assert_array_equal(values, after[name])


def test_weights_that_changed_or_are_gone_are_named(trained, tmp_path):
    shutil.copytree(trained.run / "model", tmp_path / "model")
    file = tmp_path / "model" / storage.TRAINED
    assert file.stat().st_mode == (tmp_path / "model" / "facts.json").stat().st_mode
    data = bytearray(file.read_bytes())
    data[-6] ^= 0x10
    file.write_bytes(data)
    with pytest.raises(UserError, match=r"peft\.safetensors is damaged: it is not as it was"):
        storage.load(tmp_path)
    file.unlink()
    with pytest.raises(UserError, match=r"peft\.safetensors is damaged: it is gone"):
        storage.load(tmp_path)


def test_exported_it_is_whole(trained):
    loaded = storage.load(trained.run)
    saved = saved_model.load(writer.export(loaded, {}, ""))
    want = answering.answer(trained.model, trained.rows, asked=True)
    shutil.move(trained.backbone, f"{trained.backbone}-away")
    try:
        found = saved.answer({"text": trained.rows.columns["text"]})
    finally:
        shutil.move(f"{trained.backbone}-away", trained.backbone)
    assert [answer["label"] for answer in found] == list(want["label"])


def test_backbone_that_is_gone_or_another_is_named(trained):
    away = f"{trained.backbone}-away"
    shutil.move(trained.backbone, away)
    try:
        with pytest.raises(UserError, match=f"{trained.backbone}.* cannot be loaded"):
            storage.load(trained.run)
        shutil.copytree(away, trained.backbone)
        weights = trained.backbone / "model.weights.h5"
        _change(weights)
        with pytest.raises(UserError, match=r"weights differ \(put that one back"):
            storage.load(trained.run)
        shutil.rmtree(trained.backbone)
    finally:
        shutil.move(away, trained.backbone)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * (n not in ("lora", "prefix"))) for n in NAMES],
)
def test_under_frozen_layers_it_is_loaded_the_same(
    name, backbone_of_two_layers, strategy_run, tmp_path
):
    """What is added to a layer that is frozen would differ each time, and is not added."""
    made = strategy_run.experiment(
        tmp_path, backbone_of_two_layers, "supervised", peft={"name": name}, training={"epochs": 1}
    )
    frozen = dataclasses.replace(made.backbone, freeze_layers=1)
    made = dataclasses.replace(made, backbone=frozen)
    splits = examples.read_splits(made, tasks.load(made.task))
    model = prepare(made, splits.train)
    Trainer(model, splits, tmp_path / "checkpoints").fit()
    storage.save(model, tmp_path)
    before = answering.answer(model, splits.validation, asked=True)
    after = answering.answer(storage.load(tmp_path), splits.validation, asked=True)
    for key, values in before.items():
        np.testing.assert_array_equal(values, after[key])


def test_freezing_what_is_frozen_is_refused(backbone, strategy_run, tmp_path):
    made = strategy_run.experiment(tmp_path, str(backbone), "supervised", peft={"name": "lora"})
    frozen = dataclasses.replace(made.backbone, freeze_embeddings=True)
    made = dataclasses.replace(made, backbone=frozen)
    splits = examples.read_splits(made, tasks.load(made.task))
    with pytest.raises(UserError, match="--freeze-embeddings has no effect with --peft lora"):
        prepare(made, splits.train)


def test_layers_that_stay_are_refused_where_a_backbone_is_left_behind(
    backbone, strategy_run, tmp_path
):
    made = strategy_run.experiment(tmp_path, str(backbone), "supervised", peft={"name": "adapters"})
    task = dataclasses.replace(tasks.load(made.task), save_extra=lambda *_: None)
    splits = examples.read_splits(made, task)
    loaded, _ = backbone_of(made, task, splits.train)
    context = context_of(made, loaded, None, task.learn(splits.train, made.options))
    with pytest.raises(UserError, match="--peft adapters adds layers that the backbone"):
        build(made, task, context, loaded)


def _change(file: Path) -> None:
    """Add something to every weight in a file of Keras's."""

    def change(name, item):
        if isinstance(item, h5py.Dataset):
            item[...] = item[...] + 1

    with h5py.File(file, "r+") as held:
        held.visititems(change)


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in NAMES])
def test_ended_by_sigterm_it_resumes_exactly_with_augmented_rows(
    name, backbone, strategy_run, tmp_path
):
    def made(folder):
        augment = [{"name": one} for one in ("aeda", "eda", "vectors")]
        return strategy_run.experiment(
            tmp_path / folder,
            backbone,
            "supervised",
            peft={"name": name},
            augment=augment,
            training={"epochs": 2},
        )

    _, whole = strategy_run.train(made("whole"))
    kill = strategy_run.killing("fit", 15, lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Interrupted):
        strategy_run.train(made("cut"), further=kill)
    _, resumed = strategy_run.train(made("cut"), resume=True)
    assert json.dumps(resumed) == json.dumps(whole)
    peft = extensions.load(Peft, name)
    step = peft.step(peft.options()) if peft.step else PeftStep()
    finds = type(step).report is not PeftStep.report
    assert bool(whole["metrics"]["peft"]) == finds  # in metrics.json


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", NAMES)
def test_killed_on_two_replicas_it_resumes_exactly_and_is_kept(name, backbone, tmp_path):
    script = Path(__file__).parent / "strategy_run.py"

    def run(folder, *flags):
        line = [sys.executable, str(script), str(tmp_path / folder), str(backbone), "supervised"]
        line += ["--replicas", "2", "--peft", name, *flags]
        root = script.parents[2]
        return subprocess.run(line, capture_output=True, text=True, cwd=root, check=False)

    whole = run("whole")
    assert whole.returncode == 0, whole.stderr[-3000:]
    assert run("cut", "--kill", "fit:9").returncode == -9
    resumed = run("cut", "--resume")
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    one, other = (json.loads((tmp_path / f / "found.json").read_text()) for f in ("whole", "cut"))
    assert len(other.pop("answers")) == 3
    assert other == one
