"""What a training step of the catalog's backbones costs: python benchmarks/backbones.py [NAME ...].

A step of 32 rows of 32 tokens in float32, by tfnlp's layer and AdamW: the least processor time of 3
steps after 2, which other processes of the machine hardly change (on two free cores half of it
passes), and the most memory that the process had. Each backbone has a process of its own. The
figures are those of ``python -m tfnlp.backbones``.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

from speed_step import learner

_ROWS = _WIDTH = 32


def measure(name: str) -> dict[str, float]:
    """Return seconds and megabytes of a backbone, in this process."""
    learn = learner(_ROWS, _WIDTH, "float32", name=name)
    for _ in range(2):
        learn()
    seconds = []
    for _ in range(3):
        begun = time.process_time()
        learn()
        seconds.append(time.process_time() - begun)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3  # Linux: kilobytes
    return {"seconds": round(min(seconds), 2), "megabytes": round(peak)}


def main(names: list[str]) -> None:
    """Print a line for each backbone."""
    from tfnlp.backbones import entry

    for name in names or entry.names():
        command = [sys.executable, __file__, "--apart", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        print(name, json.loads(done.stdout.splitlines()[-1]), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--apart"]:
        print(json.dumps(measure(sys.argv[2])))
    else:
        main(sys.argv[1:])
