"""Stands for tfnlp.train: makes a run whose accuracy follows from its seed, in no time.

The file ``orders`` in the working folder says by seed, or by seed and fold, what goes wrong:
``refuse`` (before there is a run), ``fail``, ``full`` (of the disk), ``stop`` (by SIGTERM), ``die``
(by SIGKILL; ``once``, the first time), ``wait`` (until a signal comes), or ``pause`` (while there
is a file ``paused``). Each call is written down in ``calls``.
"""

import os
import signal
import sys
import time
from pathlib import Path

import yaml

from pipelines.files.writers import write_json
from tfnlp import task
from tfnlp.runs import folders
from tfnlp.runs.experiment_yaml import from_values, read_yaml

assert sys.argv[1] == "--config"
assert sys.argv[3:] == ["--resume"]
values = read_yaml(sys.argv[2])
made = from_values(values, task.load(values["task"]["name"]).options, "here")
orders = yaml.safe_load(Path("orders").read_text()) or {}
order = orders.get(made.seed) or orders.get(f"{made.seed} {made.data.fold}")
with Path("calls").open("a") as calls:
    calls.write(f"{made.seed}\n")
if order == "refuse":
    sys.exit("error: there is no rows.csv")
run = folders.last_run(made) or folders.new_run(made)
if order == "wait":
    came = []
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda number, _: came.append(signal.Signals(number).name))
    Path("waiting").touch()
    end = time.monotonic() + 60
    while time.monotonic() < end and not came:
        time.sleep(0.05)
    time.sleep(1)  # for a second signal, which would kill the real one
    Path("signals").write_text(" ".join(came))
    sys.exit(143)
while order == "pause" and Path("paused").exists():
    time.sleep(0.05)
if order == "stop":
    os.kill(os.getpid(), signal.SIGTERM)
if order == "die" or (order == "once" and not Path("died").exists()):
    Path("died").touch()
    os.kill(os.getpid(), signal.SIGKILL)
if order == "full":
    sys.exit("error: cannot write the checkpoint: No space left on device (free space there)")
if order == "fail":
    print("starting TensorFlow", file=sys.stderr)
    sys.exit("error: the disk is full")
accuracy = [0.9, 0.92, 0.91, 0.95, 0.8][made.seed % 5]
accuracy -= 0.05 * ((made.data.part() or (1, 1))[0] - 1)  # folds differ
held = {"accuracy": accuracy, "loss": 1 - accuracy}
judged = {"rows": 20, "sha256": "a", "numbers": list(range(1, 21))}
right = "1" * round(20 * accuracy) + "0" * round(20 - 20 * accuracy)
drawn = {"accuracy": [accuracy - 0.05, accuracy, accuracy + 0.05]}
write_json(run / "judged.json", {**judged, "right": right, "resampled": drawn})
rows = {"train": made.data.limit or 400, "validation": 40, "test": 100}
test = {**held, "ece": None}
write_json(run / "metrics.json", {"validation": held, "test": test, "rows": rows})
