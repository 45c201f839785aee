"""Time, memory and quality compared with Transformers and ONNX Runtime, on the same cores.

python benchmarks/speed.py [PART ...]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import peers
import speed_dropped
import speed_growth
import speed_parts
import speed_profile
from matplotlib.figure import Figure
from rich.progress import track

from tfnlp.cli import arguments
from tfnlp.options import Parser
from tfnlp.runtime.startup import quiet_start

HERE = Path(__file__).parent
Job = Callable[[int], dict[str, Any]]


def command(arguments: Sequence[str], folder: Path) -> dict[str, Any]:
    """Run a command; returns the seconds it took and the most memory it held [MB]."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments], cwd=folder, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(arguments)} ended with {os.waitstatus_to_exitcode(status)}")
    return {"seconds": time.perf_counter() - begun, "megabytes": usage.ru_maxrss / 1024}


def peer(python: Path, job: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Run a job of speed_peer.py."""
    line = [str(python), str(HERE / "speed_peer.py"), job, json.dumps(dict(given))]
    quiet = {**os.environ, "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"}
    begun = time.perf_counter()
    done = subprocess.run(line, capture_output=True, text=True, env=quiet)
    if done.returncode:
        raise SystemExit(done.stderr)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**told, "seconds": time.perf_counter() - begun}


def in_turn(jobs: Mapping[str, Job], repeats: int, what: str) -> dict[str, dict[str, float]]:
    """Run all jobs in turn, several times; returns the medians of what each told."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in jobs}
    for repeat in track(range(repeats), what, transient=True):
        for name, job in jobs.items():
            found[name].append(job(repeat))
    return {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for name, runs in found.items()
    }


def table(
    title: str,
    found: Mapping[str, Mapping[str, float]],
    shown: Mapping[str, str],
    picture: Path,
) -> None:
    """Print a Markdown table, a line a contender, a column a figure and its format; draw it."""
    print(f"\n**{title}**\n\n| | {' | '.join(shown)} |\n|{' --- |' * (len(shown) + 1)}")
    for name, figures in found.items():
        cells = [form.format(figures.get(key.partition(" [")[0], 0)) for key, form in shown.items()]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(2 + 3 * len(shown), 1 + 0.4 * len(found)), layout="constrained")
    side_by_side = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, (key, form) in zip(side_by_side, shown.items(), strict=True):
        values = [figures.get(key.partition(" [")[0], math.nan) for figures in found.values()]
        bars = axes.barh(list(found), values)
        labels = ["" if math.isnan(value) else form.format(value) for value in values]
        axes.bar_label(bars, labels, label_type="center", color="white")
        axes.set(title=key)
    figure.axes[0].invert_yaxis()  # the first contender on top
    figure.suptitle(title)
    figure.savefig(picture, dpi=120)
    print(f"\ndrawn: {picture}")


def written(dataset: str, folder: Path) -> dict[str, str]:
    """Write the rows of a data set's splits as JSONL, for both sides."""
    from tfnlp import task as tasks
    from tfnlp.training import examples

    flags = ["--task", "classification", "--dataset", dataset]
    experiment, _ = arguments.parse(flags, Parser(prog="speed"))
    found = examples.read_splits(experiment, tasks.load("classification"))
    paths = {}
    for name in ("train", "validation", "test"):
        columns = getattr(found, name).columns
        rows = zip(columns["text"], columns["label"], strict=True)
        lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
        paths[name] = str(folder / f"{dataset}-{name}.jsonl")
        Path(paths[name]).write_text("\n".join(lines) + "\n", "utf-8")
    return paths


SETTINGS = {
    # What Transformers takes, and what tfnlp.
    "same": (
        {"batch_size": 32, "learning_rate": 1e-4, "bf16": False, "grouped": False},
        ["--batch-size", "32", "--learning-rate", "1e-4"],
    ),
    "best": (
        {"batch_size": 32, "learning_rate": 1e-4, "bf16": True, "grouped": True},
        ["--batch-size", "64", "--learning-rate", "2e-4", "--freeze-embeddings"],
    ),
}


def training(python: Path, given: argparse.Namespace, folder: Path) -> None:
    """Train on both sides, whole commands, another seed each time."""
    from tfnlp.backbones import loading

    dataset, epochs = given.dataset, given.epochs
    paths, weights = written(dataset, folder), str(loading.find("minilm-l6-en"))
    for how in given.settings:
        theirs, flags = SETTINGS[how]

        def ours(repeat: int, flags: Sequence[str] = flags) -> dict[str, Any]:
            name = f"{dataset}-{time.time_ns()}"
            files = [f"--{split}={path}" for split, path in paths.items()]
            seed = ["--name", name, "--epochs", str(epochs), "--seed", str(repeat + 1)]
            line = ["tfnlp.train", "--task", "classification", *files, *seed, *flags]
            told = command(line, folder)
            (file,) = folder.glob(f"tensorboard_logs/{name}/*/metrics.json")
            test = json.loads(file.read_text("utf-8"))["test"]
            return {**told, "accuracy": test["accuracy"]}

        def transformers(repeat: int, settings: Mapping[str, Any] = theirs) -> dict[str, Any]:
            told = {**paths, "weights": weights, "folder": str(folder / "peer"), **settings}
            return peer(python, "train", {**told, "epochs": epochs, "seed": repeat + 1})

        found = in_turn({"tfnlp": ours, "Transformers": transformers}, given.repeats, how)
        ratio = found["Transformers"]["seconds"] / found["tfnlp"]["seconds"]
        shown = {"seconds": "{:.1f}", "accuracy": "{:.4f}", "megabytes": "{:.0f}"}
        title = (
            f"{dataset}, {epochs} epochs, whole command, {how} settings: {ratio:.2f} times as fast"
        )
        table(title, found, shown, given.output / f"training-{dataset}-{how}.png")


def answers(python: Path, given: argparse.Namespace, folder: Path) -> None:
    """Answer the test rows of R52 by the same weights on all sides."""
    paths = written("reuters-r52", folder)
    train = [f"--{split}={path}" for split, path in paths.items()]
    command(
        ["tfnlp.train", "--task", "classification", "--name", "r52", *train, "--epochs=1"], folder
    )
    (run,) = folder.glob("tensorboard_logs/r52/*")
    kept = speed_parts.kept(run, paths, folder)
    peer(python, "export", kept)
    saved = str(folder / "saved_models" / "r52")
    jobs: dict[str, Job] = {
        "tfnlp.predict": lambda _: speed_parts.apart("answers", saved, paths["test"]),
        "tfnlp.predict --precision float32": lambda _: speed_parts.apart(
            "answers", saved, paths["test"], "float32"
        ),
        "ONNX Runtime": lambda _: peer(python, "onnx", kept),
        "Transformers pipeline": lambda _: peer(python, "pipeline", kept),
    }
    found = in_turn(jobs, given.repeats, "answers")
    found["Transformers pipeline"] |= {"accuracy": float("nan"), "one": float("nan")}
    shown = {"rate": "{:.1f}", "one": "{:.2f}", "accuracy": "{:.4f}", "megabytes": "{:.0f}"}
    title = "R52's test rows: texts/s, a text alone [ms], accuracy, peak memory [MB]"
    table(title, found, shown, given.output / "answers.png")


def tokens(python: Path, given: argparse.Namespace, folder: Path) -> None:
    """Tokenize R52's test rows on one core."""
    from tfnlp.backbones import loading

    paths, weights = written("reuters-r52", folder), str(loading.find("minilm-l6-en"))

    def ours(size: int) -> Job:
        return lambda _: speed_parts.apart("tokens", paths["test"], str(size))

    def theirs(job: Mapping[str, Any]) -> Job:
        return lambda _: peer(python, "tokens", job)

    os.sched_setaffinity(0, {0})
    for size in (32, 1024):
        job = {**paths, "weights": weights, "batch_size": size}
        jobs: dict[str, Job] = {
            "tfnlp": ours(size),
            "Hugging Face tokenizers": theirs(job),
        }
        found = in_turn(jobs, given.repeats, "tokens")
        title = f"Tokens/s of R52 on one core, batches of {size}"
        table(title, found, {"rate": "{:,.0f}"}, given.output / f"tokens-{size}.png")
    os.sched_setaffinity(0, range(os.cpu_count() or 1))


def start(given: argparse.Namespace, folder: Path) -> None:
    """Time from a command's start to its help, and to the first step of training."""
    jobs: dict[str, Job] = {
        "tfnlp.train to its first step": lambda _: speed_parts.apart("first_step"),
        "tfnlp.train --help": lambda _: command(["tfnlp.train", "--help"], folder),
        "tfnlp.predict --help": lambda _: command(["tfnlp.predict", "--help"], folder),
    }
    found = in_turn(jobs, given.repeats, "start")
    table("Start", found, {"seconds": "{:.2f}"}, given.output / "start.png")


def main() -> None:
    """Print tables as Markdown; draw the growth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts = ("training", "answers", "tokens", "start", "growth", "arithmetic", "parts", "dropped")
    parser.add_argument("parts", nargs="*", default=[], metavar="PART", help=", ".join(parts))
    parser.add_argument("--dataset", default="trec", help="of training")
    parser.add_argument("--epochs", type=int, default=4, help="of training")
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("speed"), help="folder of the plots")
    parser.add_argument("--peer-python", type=Path, help="of an environment with the peers")
    given = parser.parse_args()
    chosen = given.parts or parts
    if unknown := set(chosen) - set(parts):
        parser.error(f"no part {unknown.pop()}; there are: {', '.join(parts)}")
    with quiet_start():
        import tensorflow  # noqa: F401
    beside = {"training", "answers", "tokens"}.intersection(chosen)
    python = peers.installed(given.peer_python) if beside else Path(sys.executable)
    print(f"{os.cpu_count()} cores, {speed_parts.processor()}; medians of {given.repeats}")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if "training" in chosen:
            training(python, given, folder)
        if "answers" in chosen:
            answers(python, given, folder)
        if "tokens" in chosen:
            tokens(python, given, folder)
        if "start" in chosen:
            start(given, folder)
        if "growth" in chosen:
            speed_growth.growth(given.output)
        if "arithmetic" in chosen:
            speed_growth.arithmetic(given.repeats)
        if "parts" in chosen:
            speed_profile.parts(given.repeats)
        if "dropped" in chosen:
            line = ["tfnlp.train", "--limit", "200", "--epochs", "1", "--name", "short"]
            command(line, folder)
            speed_dropped.dropped(given.repeats, folder / "saved_models" / "short" / "1")


if __name__ == "__main__":
    main()
