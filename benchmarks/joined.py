"""What heads joined in one SavedModel cost, against as many SavedModels on the same server.

The heads have learned nothing: neither size nor time depends on what is in their weights. One
kind has LoRA on every layer, the other a frozen backbone. For 1, 3 and 10 of them this prints the
size on disk [MB], the memory of a server of tfnlp that has answered each of them [MB], and the
median time of a request with one text over REST [ms]: to one head; to all, by one request to
``all`` or by one to each SavedModel.

    python benchmarks/joined.py --folder joined

It can be stopped and started again; ``--counts 1,2 --requests 20`` is a small one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import requests

TEXT = "The shoes arrived two days late, but they fit well and look just like the picture."
KINDS = ("lora", "frozen")


def make(folder: Path, kind: str, backbone: str, count: int) -> list[str]:
    """Write runs of heads with three labels, as training leaves them; returns their folders."""
    import keras

    from pipelines.rows import Rows
    from tfnlp import task as tasks
    from tfnlp.backbones import loading
    from tfnlp.runs import storage
    from tfnlp.runs.experiment_yaml import from_values
    from tfnlp.training.model import build, context_of

    task = tasks.load("classification")
    runs = []
    for place in range(count):
        run = folder / f"{kind}-{place}"
        runs.append(str(run))
        if (run / "model" / "facts.json").exists():
            continue
        values: dict = {
            "task": {"name": "classification"},
            "data": {"train": "none.csv"},
            "backbone": {"name": backbone},
            "seed": place,
            "name": f"{kind}_{place}",
        }
        loaded = loading.load(backbone)
        if kind == "lora":
            values["peft"] = {"name": "lora"}
        else:
            values["backbone"]["freeze_layers"] = len(loaded.blocks) - 1
        experiment = from_values(values, task.options, "the benchmark")
        keras.utils.set_random_seed(place)
        rows = Rows("none", {"text": ["a", "b", "c"], "label": ["x", "y", "z"]}, [1, 2, 3])
        facts = task.learn(rows, experiment.options)
        model = build(experiment, task, context_of(experiment, loaded, None, facts), loaded)
        for weight in model.network.trainable_weights:
            if weight.path.endswith("/b"):
                weight.assign(keras.random.normal(weight.shape, stddev=0.01, seed=place))
        run.mkdir(parents=True, exist_ok=True)
        storage.save(dataclasses.replace(model, lengths=[32, 64]), run)
    return runs


def export(runs: Sequence[str], parent: Path, name: str, *, together: bool) -> None:
    """Export runs, joined or each alone."""
    from tfnlp.api.exporting import export as write

    shutil.rmtree(parent, ignore_errors=True)
    place = {"saved_models": str(parent)}
    if together:
        write(runs, {"join": True, "name": name, **place}, "the benchmark")
        return
    for run in runs:
        write([run], place, "the benchmark")


def served(parent: Path, port: int) -> subprocess.Popen:
    """Start a server of all models in a folder; returns when it is ready."""
    line = [sys.executable, "-m", "tfnlp.serve", str(parent), "--rest-port", str(port)]
    server = subprocess.Popen([*line, "--grpc-port", str(port + 1)], stderr=subprocess.DEVNULL)
    for _ in range(2400):
        try:
            if requests.get(f"http://localhost:{port}/readyz", timeout=5).ok:
                return server
        except requests.RequestException:
            pass
        time.sleep(0.5)
    raise SystemExit("the server does not start")


def memory(server: subprocess.Popen) -> float:
    """Return how much memory a server holds [MB]."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", status)
    return int(found.group(1)) / 1024 if found else float("nan")


def median(ask: Sequence[tuple[str, dict]], count: int) -> float:
    """Return the median time of as many rounds of requests [ms]."""
    with requests.Session() as session:
        taken = []
        for round_ in range(count + 5):
            began = time.perf_counter()
            for url, body in ask:
                session.post(url, json=body, timeout=60).raise_for_status()
            if round_ >= 5:
                taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken)


def measure(parent: Path, names: Sequence[str], joined: str, port: int, rounds: int) -> dict:
    """Return size, memory and times of what is in a folder."""
    size = sum(f.stat().st_size for f in parent.rglob("*") if f.is_file()) / 1e6
    server = served(parent, port)
    row = [{"text": TEXT}]
    url = f"http://localhost:{port}/v1/models"
    try:
        if joined:
            one = [(f"{url}/{joined}:predict", {"instances": row, "signature_name": names[0]})]
            each = [(one[0][0], {"instances": row, "signature_name": name}) for name in names]
            every = [(one[0][0], {"instances": row, "signature_name": "all"})]
            every = every if len(names) > 1 else one
        else:
            one = [(f"{url}/{names[0]}:predict", {"instances": row})]
            each = every = [(f"{url}/{name}:predict", {"instances": row}) for name in names]
        median(each, 1)
        return {
            "MB on disk": round(size, 1),
            "MB of memory": round(memory(server)),
            "ms for one": round(median(one, rounds), 2),
            "ms for all": round(median(every, rounds), 2),
        }
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    """Measure, and print a line for each cell; what was measured before is not measured again."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--backbone", default="minilm-l6-en")
    parser.add_argument("--counts", default="1,3,10")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--port", type=int, default=8731)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    file = given.folder / "found.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    counts = [int(count) for count in given.counts.split(",")]
    for kind in KINDS:
        runs = make(given.folder / "runs", kind, given.backbone, max(counts))
        for count in counts:
            for how in ("joined", "apart"):
                key = f"{kind} {count} {how}"
                if key not in found:
                    parent = given.folder / how
                    export(runs[:count], parent, "every", together=how == "joined")
                    names = [f"{kind}_{place}" for place in range(count)]
                    joined = "every" if how == "joined" else ""
                    found[key] = measure(parent, names, joined, given.port, given.requests)
                    file.write_text(json.dumps(found, indent=1))
                print(key, json.dumps(found[key]), flush=True)


if __name__ == "__main__":
    main()
