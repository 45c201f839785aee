"""Replicas of one process, and two workers, against one device."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from pipelines.errors import UserError
from tfnlp.training import checkpoints, distribution

CLUSTER = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", json.dumps(CLUSTER)])
def test_a_wrong_tf_config_is_named(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match="--distribute multiworker needs TF_CONFIG"):
        distribution.devices("multiworker", 8)


TWO_REPLICAS = """
import sys
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
from pipelines import batching
from pipelines.errors import UserError
from tfnlp import config
from tfnlp.training import distribution, network, optimizers

random = np.random.default_rng(1)
x = random.normal(size=(23, 4)).astype("float32")
y = np.eye(3, dtype="float32")[(x @ random.normal(size=(4, 3))).argmax(-1)]
weights = random.uniform(0.5, 2, 23).astype("float32")
raw = {"x": tf.constant(x), "y": tf.constant(y), "w": tf.constant(weights)}

def trained(strategy, **settings):
    keras.utils.set_random_seed(5)
    with strategy.scope():
        inputs = keras.Input((4,))
        hidden = keras.layers.LayerNormalization()(keras.layers.Dense(8)(inputs))
        model = keras.Model(inputs, keras.layers.Dense(3)(hidden))
        blocks = [[model.layers[1]]]
        model = network.trainable(model, divisible=True)
        optimizer = optimizers.adamw(config.Optimizer(learning_rate=0.1, **settings), 12, blocks)
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy"),
                 keras.metrics.F1Score(average="macro", name="f1")],
        jit_compile=False,
    )
    with strategy.scope():
        model.optimizer.build(model.trainable_variables)
    lengths = np.full(23, 4)
    plan = batching.Plan(lengths, 8, np.array([4]), 3, divisor=2)
    held = batching.Plan(lengths[:15], 7, np.array([4]))
    def dealt(plan, epochs):
        element = lambda raw, width: (raw["x"], raw["y"], raw["w"])
        return distribution.dataset(strategy, lambda parts, of: batching.batches(
            raw, plan, element, epochs, parts=parts, of=of))
    history = model.fit(
        dealt(plan, range(4)), epochs=4, steps_per_epoch=len(plan), shuffle=False, verbose=0,
        validation_data=dealt(held, range(1)), validation_steps=len(held),
        callbacks=[keras.callbacks.LambdaCallback(
            on_epoch_end=lambda *_: settings.get("accumulate") and optimizer.update_leftover())],
    ).history
    assert [len(rows) for rows in held.epoch(0)[0]] == [7, 7, 1]  # uneven, and too few for two
    state = [v.numpy() for v in model.optimizer.variables]
    return history, [v.numpy() for v in network.single(model).weights], state, model

one = distribution.devices("none", 8)
two = distribution.devices("mirrored", 8)
assert two.num_replicas_in_sync == 2
for settings in ({"clip_norm": 0.01}, {"accumulate": 2, "clip_norm": 0.01},
                 {"accumulate": 2, "layer_decay": 0.5}, {"accumulate": 64, "clip_norm": 0.01}):
    (h1, w1, s1, _), (h2, w2, s2, model) = trained(one, **settings), trained(two, **settings)
    assert h1.keys() == h2.keys() and "val_f1" in h1
    for name in h1:
        np.testing.assert_allclose(h1[name], h2[name], atol=2e-5, err_msg=name)
    for a, b in zip(w1, w2, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)
    for a, b in zip(s1, s2, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)
    for v in [*model.variables, *model.optimizer.variables]:
        if id(v) not in {id(metric) for metric in model.metrics_variables}:
            first, second = (r.numpy() for r in two.experimental_local_results(v.value))
            np.testing.assert_array_equal(first, second)
    assert np.ptp(h1["loss"]) > 0.01
try:
    distribution.devices("mirrored", 7)
except UserError as error:
    assert "--batch-size 7 cannot be dealt out evenly over 2 replicas" in str(error)
    print("good")
"""


@pytest.mark.slow
def test_two_replicas_compute_what_one_device_does():
    run = subprocess.run(
        [sys.executable, "-c", TWO_REPLICAS], capture_output=True, text=True, check=False
    )
    assert run.stdout == "good\n", run.stderr[-3000:]


WORKER = """
import json, os, sys
from pathlib import Path
import numpy as np, tensorflow as tf
from tfnlp import task as tasks
from tfnlp.cli import arguments
from tfnlp.options import Parser
from tfnlp.runtime import exit_status
from tfnlp.training import distribution, examples, model as models
from tfnlp.training.network import single
from tfnlp.training.trainer import Trainer

def main(argv):
    place, resume, *flags = argv
    tf.config.experimental.enable_op_determinism()
    e, _ = arguments.parse(flags, Parser())
    strategy = distribution.devices(e.training.distribute, e.training.batch_size)
    with distribution.others_needed(strategy):
        splits = examples.read_splits(e, tasks.load(e.task))
        with strategy.scope():
            model = models.prepare(e, splits.train)
        history = Trainer(model, splits, Path(place, "checkpoints"), resume == "1").fit()
    network = single(model.network)
    index = json.loads(os.environ.get("TF_CONFIG") or '{"task": {"index": 0}}')["task"]["index"]
    np.savez(f"{place}/weights-{index}.npz", *[v.numpy() for v in network.weights])
    Path(place, f"history-{index}.json").write_text(json.dumps(history))
    return 0

sys.exit(exit_status.run(main))
"""
TINY = ["--layers", "1", "--limit", "71", "--batch-size", "16", "--epochs", "6", "--patience", "6"]
TINY += ["--checkpoint-minutes", "0.001", "--accumulate", "2", "--validation-share", "0.1"]


def ports() -> list[str]:
    taken = [socket.socket() for _ in range(2)]
    for each in taken:
        each.bind(("localhost", 0))
    found = [f"localhost:{each.getsockname()[1]}" for each in taken]
    for each in taken:
        each.close()
    return found


def two(command: list[str], **places) -> list[subprocess.Popen]:
    """Start two workers."""
    cluster = {"worker": ports()}
    started = []
    for index in range(2):
        config = {"cluster": cluster, "task": {"type": "worker", "index": index}}
        env = {**os.environ, "TF_CONFIG": json.dumps(config), "TF_CPP_MIN_LOG_LEVEL": "2"}
        started.append(
            subprocess.Popen(
                [sys.executable, *command, "--distribute", "multiworker"],
                env=env,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                **places,
            )
        )
    return started


def worker(folder, resume: bool = False, *flags: str) -> list[str]:
    return ["-c", WORKER, str(folder), str(int(resume)), *TINY, *flags]


def arrays(folder, index: int = 0) -> list[np.ndarray]:
    with np.load(folder / f"weights-{index}.npz") as held:
        return [held[name] for name in held.files]


def ended(processes: list[subprocess.Popen]) -> list[tuple[int, str, str]]:
    found = []
    for process in processes:
        out, err = process.communicate(timeout=900)
        found.append((process.returncode, out, err))
    return found


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_two_workers_end_equal_and_a_killed_one_resumes(tmp_path):
    whole, broken, alone = (tmp_path / name for name in ("whole", "broken", "alone"))
    for folder in (whole, broken, alone):
        folder.mkdir()
    for status, _, err in ended(two(worker(whole))):
        assert status == 0, err[-3000:]
    for a, b in zip(arrays(whole, 0), arrays(whole, 1), strict=True):
        np.testing.assert_array_equal(a, b)
    histories = [(whole / f"history-{i}.json").read_text() for i in (0, 1)]
    assert histories[0] == histories[1]

    processes = two(worker(broken))
    while not checkpoints.listed(broken / "checkpoints", "step-")[-1:] >= [
        broken / "checkpoints" / "step-8"
    ]:
        assert processes[0].poll() is None, processes[0].stderr.read()
        time.sleep(0.2)
    processes[1].kill()
    (status, _, err), (killed, _, _) = ended(processes)
    assert killed == -9
    assert status == 2, err[-3000:]
    assert "error: another worker has stopped" in err
    assert "start all workers again with --resume" in err
    assert not (broken / "weights-0.npz").exists()
    for status, _, err in ended(two(worker(broken, True))):
        assert status == 0, err[-3000:]
    for a, b, c in zip(arrays(broken, 0), arrays(broken, 1), arrays(whole), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    assert (broken / "history-0.json").read_text() == histories[0]


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_two_workers_compute_what_one_process_does(tmp_path):
    """Without dropout; 71 rows are 64 to train, in even batches, and 7 to validate."""
    still = ["--dropout", "0", "--head-dropout", "0", "--precision", "float32"]
    places = [tmp_path / "two", tmp_path / "one"]
    for place in places:
        place.mkdir()
    for status, _, err in ended(two(worker(places[0], False, *still))):
        assert status == 0, err[-3000:]
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    subprocess.run([sys.executable, *worker(places[1], False, *still)], check=True, env=env)
    for a, b in zip(arrays(places[0]), arrays(places[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
    both = [json.loads((place / "history-0.json").read_text()) for place in places]
    for a, b in zip(*both, strict=True):
        assert a.keys() == b.keys()
        np.testing.assert_allclose(list(a.values()), list(b.values()), atol=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_the_command_with_two_workers(tmp_path):
    command = ["-m", "tfnlp.train", *TINY, "--epochs", "2"]
    (status, out, err), (other, silent, _) = ended(two(command, cwd=tmp_path))
    assert (status, other) == (0, 0), err[-3000:]
    assert "SavedModel: saved_models/trec-classification/1" in out
    assert silent == ""
    (run,) = (tmp_path / "tensorboard_logs" / "trec-classification").iterdir()
    assert (run / "metrics.json").exists()
    assert not (run / "checkpoints").exists()
    (saved,) = (tmp_path / "saved_models" / "trec-classification").iterdir()
    ask = (
        "import sys, tensorflow as tf, tensorflow_text\n"
        "serve = tf.saved_model.load(sys.argv[1]).signatures['serving_default']\n"
        "print(serve(text=tf.constant(['Who wrote Hamlet ?']))['label'].numpy())\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", ask, str(saved)], capture_output=True, text=True, check=True
    )
    assert answer.stdout.startswith("[b'")
