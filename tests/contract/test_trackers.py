"""Every tracker keeps a run, at the real service: one that was killed goes on in the same place."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

from pipelines.errors import UserError
from tfnlp import extensions
from tfnlp.extensions import Tracker
from tfnlp.runs.experiment_yaml import to_values
from tfnlp.trackers import mlflow as ours
from tfnlp.trackers import wandb as theirs

NAMES = extensions.names(Tracker)
BATCHES = 6  # of an epoch of the small experiment
# Trains as the command does; the first time it dies after the epoch was logged, before its
# checkpoint was written.
TRAIN = """
import os, signal, sys
from tfnlp.runtime import exit_status
from tfnlp.training import callbacks
from tfnlp import train

def end(self, epoch, logs=None, before=callbacks.Saver.on_epoch_end):
    if sys.argv[1] == str(epoch):
        os.kill(os.getpid(), signal.SIGKILL)
    before(self, epoch, logs)

callbacks.Saver.on_epoch_end = end
sys.exit(exit_status.run(lambda argv: train.main(argv[1:])))
"""


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is_without_its_package(name):
    entry = extensions.load(Tracker, name)
    assert entry.summary
    assert not entry.summary.endswith(".")
    module = sys.modules[f"tfnlp.trackers.{name}"]
    body = ast.parse(Path(module.__file__).read_text("utf-8")).body
    imported = {a.name for node in body if isinstance(node, ast.Import) for a in node.names}
    assert name not in imported


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_package_is_a_sentence(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf"--track {name} needs {name} \(pip install"):
        extensions.load(Tracker, name).check()


def test_a_server_that_is_away_is_a_sentence(monkeypatch, tmp_path):
    pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{_free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match="--track mlflow cannot reach http://127") as caught:
        ours.check()
    assert "MLFLOW_TRACKING_URI" in str(caught.value)


def test_no_key_is_a_sentence(monkeypatch, tmp_path):
    wandb = pytest.importorskip("wandb")
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{_free_port()}")
    wandb.teardown()
    with pytest.raises(UserError, match=r"no key to log in with \(run `wandb login`"):
        theirs.check()
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    wandb.teardown()
    with pytest.raises(UserError, match="--track wandb cannot reach http://127"):
        theirs.check()
    wandb.teardown()


def _free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


@contextlib.contextmanager
def _server(folder):
    """MLflow's own server."""
    port = _free_port()
    place = f"http://127.0.0.1:{port}"
    store = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--workers", "1"]
    files = ["--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1"]
    command = [sys.executable, "-m", "mlflow", "server", *store, *files, "--port", str(port)]
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=env)
    try:
        end = time.monotonic() + 300
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{place}/health", timeout=5)
                break
            assert server.poll() is None, (folder / "server.log").read_text()
            time.sleep(0.5)
        yield place
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _train(killed_after, *more):
    """Train, and end by a kill after an epoch; returns what was said on standard error."""
    line = ["--config", "base.yaml", *more]
    code = [sys.executable, "-c", TRAIN, str(killed_after), *line]
    ran = subprocess.run(code, capture_output=True, text=True, check=False)
    assert ran.returncode == (-signal.SIGKILL if killed_after is not None else 0), ran.stderr
    return ran


@pytest.fixture
def here(small_experiment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    values = to_values(small_experiment(tmp_path / "rows"))
    values["training"]["epochs"] = 2
    values["data"]["test"] = values["data"]["train"]
    values["export"]["export"] = False
    Path("base.yaml").write_text(yaml.safe_dump(values), "utf-8")
    return tmp_path


def _points(histories):
    """Assert that each epoch stands once, and the final scores do."""
    epochs = [BATCHES, 2 * BATCHES]
    for name in ("train/loss", "train/learning_rate", "validation/loss", "validation/accuracy"):
        assert [step for step, _ in histories[name]] == epochs, (name, histories[name])
    assert [step for step, _ in histories["report/validation/accuracy"]] == [0, epochs[-1]]
    (file,) = Path("rows/logs/toy").glob("*/metrics.json")
    metrics = json.loads(file.read_text())
    assert histories["report/test/accuracy"] == [
        (epochs[-1], pytest.approx(metrics["test"]["accuracy"]))
    ]
    return file.parent


@pytest.mark.slow
def test_mlflow(here, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    with _server(here) as place:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
        _train(1, "--track", "mlflow")
        ran = _train(None, "--track", "mlflow", "--resume")
        said = (ran.stdout + ran.stderr).replace(here.name, "")
        assert "mlflow" not in said.lower()
        client = mlflow.MlflowClient(place)
        experiment = client.get_experiment_by_name("toy")
        (run,) = client.search_runs([experiment.experiment_id])
        metrics = {n: client.get_metric_history(run.info.run_id, n) for n in run.data.metrics}
        folder = _points({n: [(m.step, m.value) for m in held] for n, held in metrics.items()})
        assert (run.info.run_name, run.info.status) == (folder.name, "FINISHED")
        assert run.data.params["learning_rate"] == "0.0001"
        assert run.data.tags["task"] == "classification"
        kept = [f.path for f in client.list_artifacts(run.info.run_id, "report/test")]
        assert {"report/test/By label.csv", "report/test/confusion_matrix.png"} <= set(kept)
    _train(None, "--track", "mlflow", "--resume")  # it has ended: nothing is asked of the server


def _records(file):
    """Yield the records of a file of Weights & Biases, which is a log of LevelDB."""
    from wandb.proto.wandb_internal_pb2 import Record

    data = file.read_bytes()
    place, held = 7, b""
    while place + 7 <= len(data):
        room = 2**15 - place % 2**15
        if room < 7:
            place += room
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        part = data[place + 7 : place + 7 + length]
        place += 7 + length
        held = part if kind in (1, 2) else held + part  # whole, first, middle, last
        if kind in (1, 4):
            yield Record.FromString(held)


@pytest.mark.slow
def test_wandb(here, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    _train(1, "--track", "wandb")
    ran = _train(None, "--track", "wandb", "--resume")
    assert "wandb" not in (ran.stdout + ran.stderr).replace(here.name, "")
    files = sorted(here.glob("wandb/offline-run-*/*.wandb"))
    assert len(files) == 2
    histories, runs, numbers = {}, [], []
    for record in (record for file in files for record in _records(file)):
        if record.HasField("run"):
            runs.append(record.run)
        if record.HasField("history"):
            numbers.append(record.history.step.num)
            values = {i.key or "/".join(i.nested_key): i.value_json for i in record.history.item}
            for name, value in values.items():
                if "step" in values and not name.startswith("_"):
                    histories.setdefault(name, []).append((int(values["step"]), json.loads(value)))
    folder = _points(histories)
    assert numbers == list(range(len(numbers)))  # those of the second file follow the first's
    assert {(run.run_id, run.display_name, run.run_group) for run in runs} == {
        (runs[0].run_id, folder.name, "toy")
    }
    assert next(iter(runs[0].tags)) == "classification"
    assert list(files[1].parent.rglob("confusion_matrix*.png"))
    assert list(files[1].parent.rglob("By label*.json"))
