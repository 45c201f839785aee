"""Real runs of the command, killed by real signals, against one that nobody killed."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
TINY = ["--layers", "1", "--limit", "120", "--batch-size", "16", "--epochs", "3"]
TINY += ["--deterministic", "--accumulate", "2", "--dropout", "0.2"]
TINY += ["--checkpoint-minutes", "0.005"]
ENV = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}


def start(place: Path, *flags: str) -> subprocess.Popen:
    place.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "tfnlp.train", *flags],
        cwd=place,
        env=ENV,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def end(process: subprocess.Popen) -> str:
    out, _ = process.communicate(timeout=900)
    assert process.returncode == 0, out
    return out


def run_of(place: Path) -> Path:
    (run,) = place.glob("tensorboard_logs/*/*/")
    return run


def result(place: Path) -> dict:
    """Everything that must be the same: weights, history, facts and scores."""
    run = run_of(place)
    weights = {}

    def take(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset):
            weights[name] = item[()]

    with (
        zipfile.ZipFile(run / "model" / "model.keras") as archive,
        archive.open("model.weights.h5") as stream,
        h5py.File(stream, "r") as file,
    ):
        file.visititems(take)
    metrics = json.loads((run / "metrics.json").read_text())
    del metrics["saved_model"]
    history = json.loads((run / "history.json").read_text())
    return {
        "weights": weights,
        "history": history,
        "metrics": metrics,
        "facts": (run / "model" / "facts.json").read_text(),
    }


def assert_same(place: Path, whole: dict) -> None:
    found = result(place)
    weights, wanted = found.pop("weights"), {**whole}.pop("weights")
    assert weights.keys() == wanted.keys()
    for name, value in weights.items():
        np.testing.assert_array_equal(value, wanted[name])
    assert found == {k: v for k, v in whole.items() if k != "weights"}
    assert not (run_of(place) / "checkpoints").exists()
    assert not list(place.glob("saved_models/*/.tfnlp-*"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict:
    place = tmp_path_factory.mktemp("whole")
    end(start(place, *TINY))
    return result(place)


def until(process: subprocess.Popen, pattern: str) -> bool:
    """Read the output up to a line; False if the run ended before."""
    return any(re.search(pattern, line) for line in process.stdout)


MOMENTS = ["starting TensorFlow", "run: ", "run: ", "epoch 1/3", "epoch 2/3", "epoch 3/3"]


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_random_it_ends_as_if_it_was_not(tmp_path, whole, seed):
    choice = random.Random(seed)
    for attempt in range(4):
        process = start(tmp_path / "run", *TINY, *(["--resume"] if attempt else []))
        if until(process, choice.choice(MOMENTS)):
            time.sleep(choice.uniform(0, 8))
            signum = choice.choice([9, 9, signal.SIGTERM, signal.SIGINT])
            process.send_signal(signum)
            said, _ = process.communicate(timeout=300)
            assert process.returncode in (0, -9 if signum == 9 else 128 + signum), said
            if process.returncode > 0:
                last = said.strip().splitlines()[-1]
                assert last.startswith(f"error: stopped by {signal.Signals(signum).name}")
                assert last.endswith("run the same command with --resume to continue")
                assert "Traceback" not in said
        process.communicate()
    end(start(tmp_path / "run", *TINY, "--resume"))
    assert_same(tmp_path / "run", whole)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_while_exporting_it_only_exports(tmp_path, whole, signum):
    process = start(tmp_path / "run", *TINY)
    assert until(process, "run: ")
    while not list(tmp_path.glob("run/saved_models/*/.tfnlp-*")):
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signum)
    said, _ = process.communicate(timeout=300)
    if signum == signal.SIGTERM:
        assert process.returncode == 143, said
        assert not list(tmp_path.glob("run/saved_models/*/*"))
    said = end(start(tmp_path / "run", *TINY, "--resume"))
    assert "epoch 1/" not in said
    assert "epoch 3/" not in said
    assert "SavedModel: " in said
    if signum == signal.SIGTERM:
        assert_same(tmp_path / "run", whole)


def test_killed_after_its_export_it_has_one_saved_model(tmp_path):
    process = start(tmp_path / "run", *TINY)
    while not list(tmp_path.glob("run/saved_models/*/1")):
        assert process.poll() is None
        time.sleep(0.002)
    process.kill()
    process.communicate()
    assert not (run_of(tmp_path / "run") / "metrics.json").exists()
    end(start(tmp_path / "run", *TINY, "--resume"))
    (version,) = tmp_path.glob("run/saved_models/*/*")
    told = json.loads((run_of(tmp_path / "run") / "metrics.json").read_text())
    assert tmp_path / "run" / told["saved_model"] == version


def test_a_run_that_has_ended_says_so(tmp_path, whole):
    first = end(start(tmp_path, *TINY))
    assert_same(tmp_path, whole)
    again = end(start(tmp_path, *TINY, "--resume"))
    assert "has ended already" in again
    assert "epoch 3/3" in first
    assert "epoch 3/3" not in again


def test_a_learning_rate_that_blows_up_names_batch_and_checkpoint(tmp_path):
    flags = [*TINY, "--learning-rate", "1e25", "--clip-norm", "0", "--checkpoint-minutes", "0"]
    said, _ = (process := start(tmp_path, *flags)).communicate(timeout=600)
    assert process.returncode == 2, said
    message = next(line for line in said.splitlines() if line.startswith("error: "))
    assert re.search(r"the loss became (nan|inf) in epoch 1, batch \d+ \(rows \d", message)
    assert "--learning-rate" in message
    (kept,) = re.findall(r"the last good checkpoint is (\S+)", message)
    assert (tmp_path / kept / "manifest.json").exists()


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="needs to mount a tmpfs")
def test_a_full_disk_is_one_sentence_and_the_run_goes_on(tmp_path, whole):
    logs = tmp_path / "run" / "tensorboard_logs"
    logs.mkdir(parents=True)

    def mount(options: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(logs)]
        return subprocess.run(command, check=False).returncode == 0

    if not mount("size=400m"):  # a checkpoint takes 219 MB
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        process = start(tmp_path / "run", *TINY)
        said, _ = process.communicate(timeout=600)
        assert process.returncode == 2, said
        assert "error: cannot write the checkpoint" in said
        assert "Traceback" not in said
        (kept,) = (run_of(tmp_path / "run") / "checkpoints").glob("[!.]*-*")
        assert kept.name.startswith("step-")
        assert mount("remount,size=2g")
        end(start(tmp_path / "run", *TINY, "--resume"))
        assert_same(tmp_path / "run", whole)
    finally:
        subprocess.run(["umount", str(logs)], check=True)
