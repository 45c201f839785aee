"""Logs of runs that are resumed, compared or run out of disk."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.plugin_event_accumulator import (
    EventAccumulator as PluginEventAccumulator,
)
from tensorboard.plugins.hparams.hparams_plugin import HParamsPlugin
from werkzeug.test import Client

from pipelines.errors import UserError
from tfnlp.runs import folders, tensorboard

STEPS = 4  # in each of two epochs


def test_a_full_disk_is_named(tmp_path, prepare):
    made = prepare(tmp_path)
    run = folders.new_run(made.model.experiment)
    log = tensorboard.Log(made.model, made.trainer.drawn, run)
    log.step, log.writers = 1, {"train": tf.io.TFRecordWriter("/dev/full")}
    with pytest.raises(UserError, match=f"cannot write the TensorBoard log in {run}/train"):
        log._write("train", [tensorboard.scalar_pb("batch/loss", 1.0)])


class Kill(keras.callbacks.Callback):
    """Stops a run after some batches, without a checkpoint of the last one."""

    def __init__(self, batches):
        super().__init__()
        self.left = batches

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise RuntimeError("killed")


def test_resumed_run_shows_every_batch_once(tmp_path, prepare, fit, read):
    whole = prepare(tmp_path / "whole")
    expected = folders.new_run(whole.model.experiment)
    fit(whole, expected)

    run = folders.new_run(prepare(tmp_path / "killed", minutes=0.0).model.experiment)
    with pytest.raises(RuntimeError):
        fit(prepare(tmp_path / "killed", minutes=0.0), run, callbacks=[Kill(STEPS + 3)])
    (written,) = (run / "train").glob("*.fit")
    orphans = [tf.compat.v1.Event.FromString(r.numpy()) for r in tf.data.TFRecordDataset(written)]
    assert max(event.step for event in orphans) == STEPS + 3
    with written.open("r+b") as file:  # and killed while it wrote
        file.truncate(written.stat().st_size - 20)
    newest = max((run / "checkpoints").glob("step-*"), key=lambda f: int(f.name[5:]))
    shutil.rmtree(newest)  # so that the run resumes one batch earlier

    history, _, _ = fit(prepare(tmp_path / "killed", minutes=0.0), run, resume=True)
    assert len(history) == 2
    for part in ("train", "validation", "report", "report/validation", "report/test"):
        shown, there = read(run / part)[0], read(expected / part)[0]
        assert set(shown) == set(there)
        for tag, values in there.items():
            assert list(shown[tag]) == list(values), tag
            if tag.startswith(("batch/", "epoch/", "report/")) and "per_second" not in tag:
                for step, value in values.items():
                    if value.dtype.kind == "f":
                        np.testing.assert_allclose(shown[tag][step], value, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_what_was_finished_is_not_written_twice(tmp_path, prepare, fit):
    made = prepare(tmp_path)
    run = folders.new_run(made.model.experiment)
    fit(made, run)
    before = sorted(path.name for path in run.rglob("*.tfevents.*"))
    fit(prepare(tmp_path), run, resume=True)  # killed before metrics.json: all is done again
    assert sorted(path.name for path in run.rglob("*.tfevents.*")) == before


@pytest.mark.slow
def test_runs_are_compared_by_their_options(tmp_path, prepare, fit, context):
    rates = {}
    for rate in (1e-3, 3e-3):
        made = prepare(tmp_path, rate=rate)
        run = folders.new_run(made.model.experiment)
        rates[f"sample/{run.name}/report"] = rate, fit(made, run)[2].metrics["accuracy"]
    apps = HParamsPlugin(context(tmp_path)).get_plugin_apps()
    ask = {"headers": {"Content-Type": "application/json"}}
    found = Client(apps["/experiment"]).post("/experiment", data="{}", **ask).json
    assert [h["name"] for h in found["hparamInfos"] if h.get("differs")] == ["learning_rate"]
    assert {"task", "backbone", "batch_size", "pooling", "seed"} <= {
        h["name"] for h in found["hparamInfos"]
    }
    metrics = [(m["name"]["tag"], m["name"]["group"]) for m in found["metricInfos"]]
    assert metrics[:2] == [("report/accuracy", "test"), ("report/accuracy", "validation")]
    assert all(tag.startswith("report/") for tag, _ in metrics)  # none of single batches
    asked = {
        "startIndex": 0,
        "sliceSize": 10,
        "allowedStatuses": ["STATUS_SUCCESS"],
        "colParams": [{"metric": {"group": "test", "tag": "report/accuracy"}}],
    }
    groups = (
        Client(apps["/session_groups"])
        .post("/session_groups", data=json.dumps(asked), **ask)
        .json["sessionGroups"]
    )
    assert len(groups) == 2
    for group in groups:
        (session,) = group["sessions"]
        rate, accuracy = rates[session["name"]]
        assert group["hparams"]["learning_rate"] == pytest.approx(rate)
        values = {m["name"]["group"] + "/" + m["name"]["tag"]: m for m in group["metricValues"]}
        assert values["test/report/accuracy"]["value"] == pytest.approx(accuracy)


def _write(writer, tag, steps):
    for step in steps:
        scalar = tensorboard.scalar_pb(tag, float(step))
        writer.write(tensorboard._event(step, scalar).SerializeToString())
    writer.flush()


@pytest.mark.parametrize("epoch_ended", [True, False])
def test_a_tensorboard_that_runs_forgets_too(tmp_path, epoch_ended, read):
    """It has read the batches after the last checkpoint before the run is resumed at batch 4."""
    reader = PluginEventAccumulator(str(tmp_path))
    writer = tensorboard._open(tmp_path, 1)
    _write(writer, "batch/loss", range(1, 7))
    _write(writer, "epoch/loss", [2, 4, 6])
    reader.Reload()
    assert [event.step for event in reader.Tensors("batch/loss")] == [1, 2, 3, 4, 5, 6]
    tensorboard._forget(tmp_path, 4, epoch_ended)
    assert list(read(tmp_path)[0]["batch/loss"]) == [1, 2, 3, 4]
    assert list(read(tmp_path)[0]["epoch/loss"]) == ([2, 4] if epoch_ended else [2])
    writer = tensorboard._open(tmp_path, 5)
    _write(writer, "batch/loss", range(5, 9))
    reader.Reload()
    assert [event.step for event in reader.Tensors("batch/loss")] == list(range(1, 9))
    assert list(read(tmp_path)[0]["batch/loss"]) == list(range(1, 9))
