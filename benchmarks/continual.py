"""Continual learning on Banking77: what is kept by which method and how large a buffer.

python benchmarks/continual.py data /work/data/banking77 --folder continual
python benchmarks/continual.py run --folder continual
python benchmarks/continual.py table --folder continual

``data`` writes four steps of 19 or 20 intents, 30 rows of each to train on, and validation and test
files. ``run`` trains, for three seeds, step after step by ``study grid``: each row of a step's
settings goes on from the run that the same row has of the step before. It can be stopped and
started again. ``table`` prints accuracy of old, new and all labels after the last step, beside
nearest class mean and joint training, and draws it against the buffer.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml

STEPS, SEEDS, ROWS, HELD_OUT = 4, (42, 43, 44), 30, 5
BUFFERS = (1, 5, 20)
SPLITS = ("train", "validation", "test")
PARTS = {"old": "all earlier rows", "new": "new rows", "all": "all rows"}
USUAL = {"max_length": 64, "learning_rate": 1e-4, "epochs": 8, "baseline": False}


def write_data(source: Path, folder: Path) -> None:
    """Write the files of all steps: train, validation and test, and of all of them together."""
    chance = random.Random(2026)
    rows: dict[str, dict[str, list[str]]] = {}
    for split in ("train", "test"):
        rows[split] = defaultdict(list)
        with (source / f"{split}.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                rows[split][row["category"]].append(row["text"])
    labels = sorted(rows["train"])
    chance.shuffle(labels)
    folder.mkdir(parents=True, exist_ok=True)
    every: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for step in range(STEPS):
        parts: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for label in labels[step::STEPS]:
            texts = chance.sample(rows["train"][label], ROWS + HELD_OUT)
            parts["train"] += [(text, label) for text in texts[:ROWS]]
            parts["validation"] += [(text, label) for text in texts[ROWS:]]
            parts["test"] += [(text, label) for text in rows["test"][label]]
        for split, pairs in parts.items():
            _write(folder / f"{step}-{split}.csv", pairs)
            every[split] += pairs
    for split, pairs in every.items():
        _write(folder / f"joint-{split}.csv", pairs)


def _write(file: Path, pairs: list[tuple[str, str]]) -> None:
    """Write texts with their labels."""
    with file.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened).writerows([("text", "label"), *pairs])


def methods(folder: Path, step: int) -> dict[str, dict[str, Any]]:
    """Return the rows of a step's table: a name and its settings."""
    found: dict[str, dict[str, Any]] = {"plain": {}, "lwf": {"strategy": "lwf"}}
    old = [str(folder / f"{before}-train.csv") for before in range(step)]
    for buffer in BUFFERS:
        for name in ("replay", "lwf"):
            own = {"strategy": name, "old": old, f"{name}_rows": buffer}
            found[f"{name} {buffer}"] = own
    for one in found.values():
        if "strategy" in one:
            one[f"{one['strategy']}_compare"] = False
    found["plain"] |= {"baseline": True}  # nearest class mean is shown once
    return found


def settings(folder: Path, step: int, seed: int, before: dict[str, str]) -> Path:
    """Write what ``study grid --settings`` reads for a step; returns the file.

    Args:
        folder: of the data.
        step: its number, the first being 0.
        seed: of all runs.
        before: the run of the step before by the rows' names; of the first step there is one.
    """
    rows: dict[str, dict[str, Any]] = {"plain": {}}
    if step:
        rows = {
            name: {**own, "start_from": before.get(name, before["plain"])}
            for name, own in methods(folder, step).items()
        }
    columns = {split: str(folder / f"{step}-{split}.csv") for split in SPLITS}
    file = folder / f"step{step}-seed{seed}.yaml"
    file.write_text(yaml.safe_dump({"data": {"step": columns}, **rows}), "utf-8")
    return file


def train(file: Path, seed: int, name: str, more: list[str]) -> dict[str, str]:
    """Run a grid, or go on with it; returns the run of each row by its name."""
    usual = [
        f"--{key.replace('_', '-')}={value}" if value is not False else f"--no-{key}"
        for key, value in USUAL.items()
    ]
    line = [sys.executable, "-m", "tfnlp.study", "grid", "--name", name, "--seed", str(seed)]
    subprocess.run([*line, "--settings", str(file), "--resume", *usual, *more], check=True)
    with (Path("studies") / name / "trials.csv").open(newline="", encoding="utf-8") as opened:
        return {row["row"]: row["run"] for row in csv.DictReader(opened)}


def run(folder: Path) -> None:
    """Train every step of every seed, and all steps together."""
    joint = folder / "joint.yaml"
    columns = {s: str(folder / f"joint-{s}.csv") for s in SPLITS}
    joint.write_text(yaml.safe_dump({"data": {"all": columns}, "joint": {}}), "utf-8")
    found: dict[str, dict[str, str]] = {}
    for seed in SEEDS:
        before: dict[str, str] = {}
        for step in range(STEPS):
            file = settings(folder, step, seed, before)
            before = train(file, seed, f"continual-{step}-{seed}", [])
        found[str(seed)] = before | train(joint, seed, f"continual-joint-{seed}", [])
    (folder / "runs.json").write_text(json.dumps(found, indent=1), "utf-8")


def table(folder: Path) -> None:
    """Print the accuracies after the last step, means over the seeds, and draw a picture."""
    runs = json.loads((folder / "runs.json").read_text("utf-8"))
    scores: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for by_name in runs.values():
        for name, place in by_name.items():
            metrics = json.loads((Path(place) / "metrics.json").read_text("utf-8"))
            if name == "joint":
                scores[name]["all"].append(metrics["test"]["accuracy"])
                continue
            earlier = metrics["earlier"]
            for which, key in PARTS.items():
                scores[name][which].append(earlier["now"][key])
                if means := earlier["nearest_class_mean"]:
                    scores["nearest class mean"][which].append(means[key])
    print("| method and rows a label | old | new | all |\n| --- | --- | --- | --- |")
    for name, found in scores.items():
        cells = [f"{statistics.fmean(found[w]):.3f}" if found[w] else "" for w in PARTS]
        print(f"| {name} | {' | '.join(cells)} |")
    _draw(scores, folder / "continual.png")


def _draw(scores: dict[str, dict[str, list[float]]], file: Path) -> None:
    """Draw old and new accuracy against the buffer."""
    from tfnlp.evaluation.plots import Picture

    figure = Picture(figsize=(9, 4), layout="constrained")
    for axes, which in zip(figure.subplots(1, 2, sharey=True), ("old", "new"), strict=True):
        for method, none in (("replay", "plain"), ("lwf", "lwf")):
            names = [none, *(f"{method} {buffer}" for buffer in BUFFERS)]
            values = [statistics.fmean(scores[name][which]) for name in names]
            label = "replay" if method == "replay" else "replay + LwF"
            axes.plot([0, *BUFFERS], values, "o-", label=label)
        axes.axhline(statistics.fmean(scores["nearest class mean"][which]), color="0.5", ls="--")
        axes.axhline(statistics.fmean(scores["joint"]["all"]), color="0.5", ls=":")
        axes.set(xlabel="old rows a label", ylabel="accuracy", title=f"{which} labels")
        axes.legend(title="-- nearest class mean, .. joint (all)")
    figure.savefig(file)


def main() -> None:
    """Do what is asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("data", "run", "table"))
    parser.add_argument("source", type=Path, nargs="?", help="folder of train.csv and test.csv")
    parser.add_argument("--folder", type=Path, default=Path("continual"))
    args = parser.parse_args()
    if args.what == "data":
        if args.source is None:
            parser.error("data needs the folder of Banking77's train.csv and test.csv")
        write_data(args.source, args.folder)
        return
    {"run": run, "table": table}[args.what](args.folder)


if __name__ == "__main__":
    main()
