"""Few labels: the studies behind docs/few-labels.md, and texts without labels on TREC.

python benchmarks/few_labels.py study --train rows.csv --test test.csv --column label=category
python benchmarks/few_labels.py unlabelled --folder few-labels

``study`` is `study few_shot` without the linear baseline and the calibration; what follows goes to
that command. ``unlabelled`` trains `self_training` and `uda` on 20 rows a label of TREC and the
rest without labels, for 10 draws, and prints by how much each is better than training on the
labels alone and than the linear probe, with 95% intervals (Student's t) over the draws. Both can be
stopped and started again: a run that has ended is not repeated.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tfnlp.evaluation.intervals import t_interval

STRATEGIES = ("self_training", "uda")
_ALWAYS = ["--no-baseline", "--no-export", "--no-calibrate"]


def study(more: list[str]) -> int:
    """Run or resume the study; returns its exit status."""
    line = [sys.executable, "-m", "tfnlp.study", "few_shot", "--name", "few-labels", "--resume"]
    return subprocess.run([*line, *_ALWAYS, *more], check=False).returncode


def trained(folder: Path, strategy: str, seed: int, more: list[str]) -> dict[str, Any]:
    """Return the metrics of a run, which is trained if it has not ended."""
    name = f"{strategy}-{seed}"
    logs = folder / "logs"
    line = [sys.executable, "-m", "tfnlp.train", "--dataset", "trec", "--rows-per-label", "20"]
    line += ["--unlabelled", "rest", "--strategy", strategy, "--seed", str(seed), "--name", name]
    line += ["--resume", "--tensorboard-logs", str(logs), *_ALWAYS, *more]
    subprocess.run(line, check=True)
    *_, last = sorted((logs / name).glob("*/metrics.json"))
    found: dict[str, Any] = json.loads(last.read_text("utf-8"))
    return found


def unlabelled(folder: Path, draws: int, more: list[str]) -> None:
    """Print the gains over the labels alone and over the probe."""
    for strategy in STRATEGIES:
        found = [trained(folder, strategy, 42 + draw, more) for draw in range(draws)]
        scores = np.array([one["test"]["accuracy"] for one in found])
        print(f"{strategy}: {scores.mean():.4f} over {draws} draws")
        for other in ("supervised", "linear_probe"):
            base = np.array([one["strategy"][f"{other}_accuracy"] for one in found])
            low, high = t_interval((scores - base).tolist())
            gain = (scores - base).mean()
            print(f"  against {other} ({base.mean():.4f}): {gain:+.4f} [{low:+.4f}, {high:+.4f}]")


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("study", "unlabelled"))
    parser.add_argument("--folder", type=Path, default=Path("few-labels"))
    parser.add_argument("--draws", type=int, default=10)
    given, more = parser.parse_known_args()
    if given.what == "study":
        return study(more)
    unlabelled(given.folder, given.draws, more)
    return 0


if __name__ == "__main__":
    sys.exit(main())
